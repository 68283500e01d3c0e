"""The brakes on guessing: failed logins per peer and per login name, in memory, bounded."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

MAX_ENTRIES = 4096  # peers, and as many names; the oldest are forgotten first
MAX_KNOWN = 16_384  # pairs of name and peer that have logged in
MAX_DOUBLINGS = 3  # of the failure delay


class Throttle:
    """Counts different failures within a window. A client that keeps repeating one wrong password counts once."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, _Failures] = OrderedDict()
        self._logins: OrderedDict[str, _Failures] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def blocked(self, peer: str, login: str, now: float, *, peer_limit: int, login_limit: int) -> bool:
        """Whether a login must wait unchecked. `peer` is a `peer_key`; an empty one, like an empty name, is not judged.

        A peer that has logged in to `login` before is judged by its own failures with it alone: so an attacker
        locks nobody out of a device in use, and an office behind one address does not suffer for one colleague.
        """
        known = self._known.get((login, peer))
        if known is not None:
            return known.count(now) >= login_limit
        return _count(self._peers, peer, now) >= peer_limit or _count(self._logins, login, now) >= login_limit

    def failed(self, peer: str, login: str, fingerprint: bytes, now: float, *, window: float, limit: int) -> int:
        """Note a failure; `fingerprint` tells different attempts apart. Returns the count that it falls under.

        No more than `limit` failures are remembered for each.
        """
        until = now + window
        known = self._known.get((login, peer))
        if known is not None:
            return known.add(fingerprint, until, now, limit)
        count = _entry(self._logins, login).add(fingerprint, until, now, limit) if login else 1
        return _entry(self._peers, peer).add(fingerprint, until, now, limit) if peer else count

    def succeeded(self, peer: str, login: str) -> None:
        """Note that this peer knows the password of that login."""
        if not peer or not login:
            return  # whoever comes by a proxy on this machine is not known by its address
        self._known.setdefault((login, peer), _Failures())
        self._known.move_to_end((login, peer))
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


class _Failures:
    """The different failures of one peer or name: fingerprint → when it stops to count."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[bytes, float] = {}

    def count(self, now: float) -> int:
        if any(until <= now for until in self._seen.values()):
            self._seen = {fingerprint: until for fingerprint, until in self._seen.items() if until > now}
        return len(self._seen)

    def add(self, fingerprint: bytes, until: float, now: float, limit: int) -> int:
        if self.count(now) < limit or fingerprint in self._seen:
            self._seen[fingerprint] = until
        return len(self._seen)


def _count(table: OrderedDict[str, _Failures], key: str, now: float) -> int:
    found = table.get(key)
    return found.count(now) if found is not None else 0


def _entry(table: OrderedDict[str, _Failures], key: str) -> _Failures:
    found = table.setdefault(key, _Failures())
    table.move_to_end(key)
    if len(table) > MAX_ENTRIES:
        table.popitem(last=False)
    return found


def peer_key(peer_ip: str) -> str:
    """The name under which a peer's failures are counted: its address, or the /64 of an IPv6 one.

    Empty for this machine itself: a proxy or web page on it speaks for many, who are told apart by name only.
    """
    if not peer_ip:
        return ""
    address = ipaddress.ip_address(peer_ip.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_loopback:
        return ""
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
