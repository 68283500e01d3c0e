"""The best TLS that each domain has shown, so that whoever takes it away on the wire gains nothing by it.

As chasquid does. "authenticated" is remembered where the host proved its name to the authorities that we trust; where
DANE proved it, "encrypted" is: a signed zone says itself, and cannot be made to say by others, that DANE is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from appliance.smtpclient import TlsLevel
from appliance.store.database import Database

MAX_DOMAINS = 20_000  # those not heard of for longest go first
MAX_REFUSED = 100  # domains whose downgrades are told
TOUCH_S = 86_400.0  # a domain's date is written at most once in so long: the card is spared

_RANK: dict[TlsLevel, int] = {"plain": 0, "encrypted": 1, "authenticated": 2}


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of a domain; `seen_at` in epoch seconds is when it was last lived up to."""

    level: TlsLevel
    seen_at: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection that was not used because it was worse than those before."""

    at: float
    words: str


class Memory:
    """Levels by domain. `days` and `now` (epoch seconds) are asked at every use; nothing ages while `timeless`."""

    def __init__(
        self, *, days: Callable[[], float], now: Callable[[], float], timeless: Callable[[], bool] = lambda: False
    ) -> None:
        self._days, self._now, self._timeless = days, now, timeless
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._dirty: set[str] = set()
        self.refused: OrderedDict[str, Refused] = OrderedDict()

    def level(self, domain: str) -> TlsLevel:
        """The least that connections to a domain must come to."""
        found = self._seen.get(domain)
        if found is None or not self._days():
            return "plain"
        if not self._timeless() and self._now() - found.seen_at > self._days() * 86_400:
            return "plain"
        return found.level

    def note(self, domain: str, level: TlsLevel) -> None:
        """A connection came to that; what is less than known changes nothing."""
        known = self.level(domain)
        if not self._days() or _RANK[level] < _RANK[known] or level == "plain":
            return
        found = self._seen.get(domain)
        if found is None or found.level != level or self._now() - found.seen_at > TOUCH_S:
            self._seen[domain] = Seen(level, self._now())
            self._dirty.add(domain)
        self._seen.move_to_end(domain)
        while len(self._seen) > MAX_DOMAINS:
            oldest, _ = self._seen.popitem(last=False)
            self._dirty.add(oldest)
        self.refused.pop(domain, None)

    def lower(self, domain: str, level: TlsLevel) -> None:
        """The domain itself has said, and proven, that it offers less from now on."""
        if _RANK[self.level(domain)] > _RANK[level]:
            self._seen[domain] = Seen(level, self._now())
            self._dirty.add(domain)

    def refuse(self, domain: str, words: str) -> None:
        """A connection was refused for what is remembered."""
        self.refused[domain] = Refused(self._now(), words)
        self.refused.move_to_end(domain)
        while len(self.refused) > MAX_REFUSED:
            self.refused.popitem(last=False)

    def forget(self, domain: str) -> bool:
        """Remember nothing of a domain any more. Says whether there was something."""
        self.refused.pop(domain, None)
        self._dirty.add(domain)
        return self._seen.pop(domain, None) is not None

    def all(self) -> dict[str, Seen]:
        """Everything that is remembered."""
        return dict(self._seen)

    # ── on the disk ───────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, db: Database) -> None:
        """Read what was written before; what was learnt since then stays."""
        rows = db.execute("SELECT domain, level, seen_at FROM tls_level ORDER BY seen_at DESC LIMIT ?", (MAX_DOMAINS,))
        for domain, level, seen_at in reversed(rows.fetchall()):
            if level in _RANK and domain not in self._seen:
                self._seen[domain] = Seen(level, seen_at)
                self._seen.move_to_end(domain, last=False)

    def changes(self) -> Callable[[Database], None] | None:
        """What writes all changes; None without any.."""
        if not self._dirty:
            return None
        rows = {domain: self._seen.get(domain) for domain in self._dirty}
        self._dirty = set()

        def write(db: Database) -> None:
            for domain, seen in rows.items():
                if seen is None:
                    db.execute("DELETE FROM tls_level WHERE domain = ?", (domain,))
                else:
                    row = (domain, seen.level, int(seen.seen_at))
                    db.execute("INSERT OR REPLACE INTO tls_level VALUES (?, ?, ?)", row)

        return write
