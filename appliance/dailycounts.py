"""What is counted per day and domain for daily reports to others: in memory, bounded, written down in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from appliance.store.database import Database

DAY_S = 86_400
MAX_DOMAINS = 2000  # of one day; what comes on top is not counted
KEEP_DAYS = 3  # a report that could not be sent for so long is given up

Key = tuple[int, str]  # the day since the epoch (UTC), the domain
T = TypeVar("T")


class DailyCounts(Generic[T]):
    """The counts of the days that are not reported yet. `now` gives epoch seconds.

    `table` has the columns day, domain and data with day and domain as its key; `pack` makes the data of a count,
    `merge` adds such data to one. `new` makes an empty count.
    """

    def __init__(
        self,
        table: str,
        *,
        now: Callable[[], float],
        new: Callable[[], T],
        pack: Callable[[T], bytes],
        merge: Callable[[T, bytes], None],
    ) -> None:
        self._table = table
        self._now = now
        self._new = new
        self._pack = pack
        self._merge = merge
        self._days: dict[Key, T] = {}
        self._dirty: set[Key] = set()

    @property
    def today(self) -> int:
        """The day since the epoch, in UTC."""
        return int(self._now() // DAY_S)

    def of_today(self, domain: str) -> T | None:
        """The count of a domain, which is about to be changed; None when there are too many domains."""
        key = (self.today, domain)
        count = self._days.get(key)
        if count is None:
            if sum(day == key[0] for day, _ in self._days) >= MAX_DOMAINS:
                return None
            count = self._days[key] = self._new()
        self._dirty.add(key)
        return count

    def all(self) -> list[tuple[Key, T]]:
        """All that is not reported yet, of today too."""
        return sorted(self._days.items(), key=lambda item: item[0])

    def due(self) -> list[tuple[Key, T]]:
        """What was counted on days that are over."""
        return [(key, count) for key, count in self._days.items() if key[0] < self.today]

    def done(self, key: Key) -> None:
        """A report has left, or nobody wants it."""
        self._days.pop(key, None)
        self._dirty.add(key)

    def give_up_old(self) -> None:
        """Forget what could not be reported for too long."""
        for key in [key for key in self._days if key[0] < self.today - KEEP_DAYS]:
            self.done(key)

    # ── on the disk ───────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, db: Database) -> None:
        """Read what was counted before; what was counted since the start of this process is kept beside it."""
        for day, domain, data in db.execute(f"SELECT day, domain, data FROM {self._table}").fetchall():
            self._merge(self._days.setdefault((day, domain), self._new()), data)

    def changes(self) -> Callable[[Database], None] | None:
        """What writes all changes; None without any."""
        if not self._dirty:
            return None
        rows = {key: self._pack(self._days[key]) if key in self._days else None for key in self._dirty}
        self._dirty = set()

        def write(db: Database) -> None:
            for (day, domain), data in rows.items():
                if data is None:
                    db.execute(f"DELETE FROM {self._table} WHERE day = ? AND domain = ?", (day, domain))
                else:
                    db.execute(f"INSERT OR REPLACE INTO {self._table} VALUES (?, ?, ?)", (day, domain, data))

        return write
