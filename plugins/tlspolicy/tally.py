"""Counting how TLS went, for the daily reports to domains that ask for them (RFC 8460 section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from appliance.dailycounts import DailyCounts
from appliance.dns import DnsError
from plugins.tlspolicy.protocol_tlsrpt import AppliedPolicy, Counted, Failure, report_uris

if TYPE_CHECKING:
    from appliance.dns import Resolver

MAX_POLICIES = 50  # of one domain and day
MAX_KINDS = 100  # of failures of one policy; what comes on top counts as one of no further detail


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


def _pack(tally: Tally) -> bytes:
    return _encode([Row(one.policy, one.successes, list(one.failures.items())) for one in tally.counted.values()])


def _merge(tally: Tally, data: bytes) -> None:
    try:
        rows = _decode(data)
    except msgspec.DecodeError:  # of another release
        return
    for row in rows:
        counted = tally.of(row.policy)
        if counted is not None:
            counted.successes += row.successes
            for failure, count in row.failures:
                counted.failures[failure] = counted.failures.get(failure, 0) + count


class Tallies(DailyCounts[Tally]):
    """The counts of the days that are not reported yet. `now` gives epoch seconds."""

    def __init__(self, resolver: Resolver, *, now: Callable[[], float]) -> None:
        super().__init__("tls_count", now=now, new=Tally, pack=_pack, merge=_merge)
        self._resolver = resolver

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
        tally = self.of_today(domain)
        return tally.of(policy) if tally is not None else None
