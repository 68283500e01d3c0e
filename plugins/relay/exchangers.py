"""Which mail exchangers of a domain are tried, and in which order (RFC 5321 section 5.1). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, zip_longest
from random import Random

from appliance.dns import MxHost


def in_order(hosts: Sequence[MxHost], own_name: str, random: Random) -> list[MxHost]:
    """The exchangers by preference, equal ones in random order, cut where we ourselves stand.

    A host that finds itself in the list may only pass mail on to those preferred to it: to others it would come
    back. An empty result means that we are the best exchanger, and so there is nobody to send to.
    """
    own = [host.preference for host in hosts if same_host(host.name, own_name)]
    limit = min(own) if own else None
    ordered = []
    for preference, group in groupby(sorted(hosts, key=lambda host: host.preference), key=lambda host: host.preference):
        if limit is not None and preference >= limit:
            break
        equal = list(group)
        random.shuffle(equal)
        ordered += equal
    return ordered


def same_host(left: str, right: str) -> bool:
    """Whether two host names are one."""
    return left.rstrip(".").lower() == right.rstrip(".").lower()


def interleaved(addresses: Sequence[str]) -> list[str]:
    """IPv6 and IPv4 addresses in turn, so that a family that does not work costs one attempt (RFC 8305 section 4)."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    return [address for pair in zip_longest(six, four) for address in pair if address is not None]


def named_host(next_hop: str) -> tuple[str, int]:
    """Host and port of a next hop that an administrator named: `[mx.example.com]`, `[192.0.2.1]:2525`.

    The port is 0 where none was named; a next hop without brackets is a domain.
    """
    if not next_hop.startswith("["):
        return next_hop, 0
    host, _, port = next_hop[1:].partition("]")
    return host.removeprefix("IPv6:"), int(port[1:]) if port[1:].isdecimal() else 0
