"""Counting how TLS went, for the daily reports to domains that ask for them (RFC 8460 section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from appliance.dns import DnsError
from appliance.store.database import Database
from plugins.tlspolicy.protocol_tlsrpt import AppliedPolicy, Counted, Failure, report_uris

if TYPE_CHECKING:
    from appliance.dns import Resolver

DAY_S = 86_400
MAX_DOMAINS = 2000  # of one day; what comes on top is not counted
MAX_POLICIES = 50  # of one domain and day
MAX_KINDS = 100  # of failures of one policy; what comes on top counts as one of no further detail
KEEP_DAYS = 3  # a report that could not be sent for so long is given up

Key = tuple[int, str]  # the day since the epoch (UTC), the domain


@dataclass(slots=True)
class Tally:
    """The sessions of one domain and day."""

    counted: dict[AppliedPolicy, Counted] = field(default_factory=dict)

    def of(self, policy: AppliedPolicy) -> Counted | None:
        """The sessions under one policy; None when there are too many policies."""
        found = self.counted.get(policy)
        if found is None and len(self.counted) < MAX_POLICIES:
            found = self.counted[policy] = Counted(policy, 0, {})
        return found


class Row(msgspec.Struct, array_like=True):
    """What is written of a policy."""

    policy: AppliedPolicy
    successes: int
    failures: list[tuple[Failure, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Row]).decode


class Tallies:
    """The counts of the days that are not reported yet. `now` gives epoch seconds."""

    def __init__(self, resolver: Resolver, *, now: Callable[[], float]) -> None:
        self._resolver = resolver
        self._now = now
        self._days: dict[Key, Tally] = {}
        self._dirty: set[Key] = set()

    @property
    def today(self) -> int:
        """The day since the epoch, in UTC."""
        return int(self._now() // DAY_S)

    async def uris(self, domain: str) -> list[str]:
        """Where a domain wants its reports; the resolver's cache answers again and again, that there are none too."""
        try:
            return report_uris(await self._resolver.txt(f"_smtp._tls.{domain}"))
        except DnsError:
            return []

    def success(self, domain: str, policy: AppliedPolicy) -> None:
        """One session went well."""
        counted = self._counted(domain, policy)
        if counted is not None:
            counted.successes += 1

    def failure(self, domain: str, policy: AppliedPolicy, failure: Failure) -> None:
        """One session did not."""
        counted = self._counted(domain, policy)
        if counted is None:
            return
        if failure not in counted.failures and len(counted.failures) >= MAX_KINDS:
            failure = Failure(failure.result)
        counted.failures[failure] = counted.failures.get(failure, 0) + 1

    def _counted(self, domain: str, policy: AppliedPolicy) -> Counted | None:
        key = (self.today, domain)
        tally = self._days.get(key)
        if tally is None:
            if sum(day == key[0] for day, _ in self._days) >= MAX_DOMAINS:
                return None
            tally = self._days[key] = Tally()
        self._dirty.add(key)
        return tally.of(policy)

    def due(self) -> list[tuple[Key, list[Counted]]]:
        """What was counted on days that are over."""
        return [(key, list(tally.counted.values())) for key, tally in self._days.items() if key[0] < self.today]

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
        """Read what was counted before. Counts made since the start of this process are added."""
        for day, domain, data in db.execute("SELECT day, domain, data FROM tls_count").fetchall():
            try:
                rows = _decode(data)
            except msgspec.DecodeError:
                continue
            tally = self._days.setdefault((day, domain), Tally())
            for row in rows:
                counted = tally.of(row.policy)
                if counted is not None:
                    counted.successes += row.successes
                    for failure, count in row.failures:
                        counted.failures[failure] = counted.failures.get(failure, 0) + count

    def changes(self) -> Callable[[Database], None] | None:
        """What writes all changes; None without any."""
        if not self._dirty:
            return None
        rows = {key: self._packed(key) for key in self._dirty}
        self._dirty = set()

        def write(db: Database) -> None:
            for (day, domain), data in rows.items():
                if data is None:
                    db.execute("DELETE FROM tls_count WHERE day = ? AND domain = ?", (day, domain))
                else:
                    db.execute("INSERT OR REPLACE INTO tls_count VALUES (?, ?, ?)", (day, domain, data))

        return write

    def _packed(self, key: Key) -> bytes | None:
        tally = self._days.get(key)
        if tally is None:
            return None
        return _encode([Row(one.policy, one.successes, list(one.failures.items())) for one in tally.counted.values()])
