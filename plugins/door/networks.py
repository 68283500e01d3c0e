"""What is remembered of peers, by network. Bounded: however many come, the oldest are forgotten first."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

MAX_NETWORKS = 8192
HALF_LIFE_S = 3600.0  # of the count of recipients, good and unknown

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A table of the entries used last, `most` of them."""

    __slots__ = ("_most", "_table")

    def __init__(self, most: int) -> None:
        self._most = most
        self._table: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def get(self, key: K) -> V | None:
        """The entry, which is the last used now."""
        found = self._table.get(key)
        if found is not None:
            self._table.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> None:
        """Add or replace an entry; the one that was not used for longest may go for it."""
        self._table[key] = value
        self._table.move_to_end(key)
        if len(self._table) > self._most:
            self._table.popitem(last=False)

    def entry(self, key: K, make: Callable[[], V]) -> V:
        """The entry, made if it is not there."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def items(self) -> list[tuple[K, V]]:
        """All entries, the one unused for longest first."""
        return list(self._table.items())


class Bucket:
    """A token bucket: so many a minute, which may come all at once. Times are seconds that never jump."""

    __slots__ = ("_at", "_used")

    def __init__(self) -> None:
        self._used = 0.0
        self._at = 0.0

    def take(self, now: float, per_minute: int) -> bool:
        """Take one if there is one left; 0 a minute is no limit."""
        if not per_minute:
            return True
        self._used = max(0.0, self._used - (now - self._at) * per_minute / 60)
        self._at = now
        if self._used + 1 > per_minute:
            return False
        self._used += 1
        return True


class Network:
    """One network: how much it does, and how many of its recipients are unknown."""

    __slots__ = ("_counted_at", "_good", "_unknown", "connections", "messages", "open", "recipients", "shut_until")

    def __init__(self) -> None:
        self.open = 0  # connections now
        self.connections = Bucket()
        self.messages = Bucket()
        self.recipients = Bucket()
        self.shut_until = 0.0
        self._good = self._unknown = 0.0
        self._counted_at = 0.0

    def named(self, now: float, *, good: int = 0, unknown: int = 0) -> None:
        """Note recipients that got mail, or that are not known here."""
        fade = 0.5 ** ((now - self._counted_at) / HALF_LIFE_S)
        self._counted_at = now
        self._good = self._good * fade + good
        self._unknown = self._unknown * fade + unknown

    def harvests(self, unknown: int, share: float) -> bool:
        """Whether so many of the recipients that it named lately are unknown, and such a share of all."""
        # What has faded a little within a burst still counts as whole.
        return 0 < unknown <= round(self._unknown) and self._unknown >= share * (self._unknown + self._good)


def network_of(peer_ip: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """The network that a peer is counted by; IPv4 within IPv6 counts as IPv4."""
    address = ipaddress.ip_address(peer_ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return _text(int(address), 128, ipv6_prefix)
        address = address.ipv4_mapped
    return _text(int(address), 32, ipv4_prefix)


def _text(address: int, bits: int, prefix: int) -> str:
    return f"{address >> (bits - prefix):x}/{bits}"


class Trusted:
    """Whether a peer is of certain networks. They are read once for each list."""

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []

    def has(self, peer_ip: str, texts: tuple[str, ...]) -> bool:
        """Whether the address lies in one of the networks. A Unix socket (no address) does."""
        if not peer_ip:
            return True
        if texts != self._texts:
            self._networks = [ipaddress.ip_network(text) for text in texts]
            self._texts = texts
        address = ipaddress.ip_address(peer_ip.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)
