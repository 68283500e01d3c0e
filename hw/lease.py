"""From a DHCP server's answer to a `Lease`: only what fits, each within a named limit. Pure.

The answer was written by whoever answered first on the link. What is wrong in it is left out; without a usable address
there is no lease.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hw.domainnames import MAX_DOMAINS, domain_names
from hw.wanted import Lease

MAX_SERVERS = 8
"""Routers, resolvers and time servers taken from one answer, of each."""
MAX_ROUTES = 64
"""Routes of option 121 taken from one answer."""
MIN_LEASE_S = 30
"""A server that lends for less is taken to mean this."""
MIN_MTU = 68  # RFC 2132 section 5.1
_PAD, _END = 0, 255  # options of one octet (RFC 2132 sections 3.1, 3.2)
_DOMAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")


def lease_of(ack: Mapping[str, Any]) -> Lease | None:
    """The lease in an answer as pyroute2 decodes it, None if its address cannot be ours."""
    options: Mapping[str, Any] = ack.get("options") or {}
    address = _address(ack.get("yiaddr"))
    if address is None:
        return None
    mtu = options.get("interface_mtu")
    return Lease(
        address=f"{address}/{_prefix(options.get('subnet_mask'))}",
        routers=_hosts(options.get("router")),
        routes=tuple(classless_routes(options.get("classless_static_route"))),
        dns=_hosts(options.get("name_server")),
        ntp=_hosts(options.get("ntp_servers")),
        mtu=mtu if isinstance(mtu, int) and mtu >= MIN_MTU else 0,
        domains=_domains(options),
    )


def lease_seconds(ack: Mapping[str, Any]) -> float | None:
    """How long the lease lasts; None for ever (RFC 2131 section 3.3: all ones)."""
    seconds = (ack.get("options") or {}).get("lease_time")
    if not isinstance(seconds, int) or seconds < 0:
        return None
    return float(max(seconds, MIN_LEASE_S))


def mended_times(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with times that the client's timers can live with: 0 < T1 < T2 < lease (RFC 2131 section 4.4.5)."""
    fixed = dict(options)
    seconds = fixed.get("lease_time")
    if not isinstance(seconds, int):
        return fixed
    fixed["lease_time"] = -1 if seconds < 0 else max(seconds, MIN_LEASE_S)
    first, second = fixed.get("renewal_time", 0), fixed.get("rebinding_time", 0)
    in_order = isinstance(first, int) and isinstance(second, int) and 0 < first < second
    if not in_order or 0 <= fixed["lease_time"] <= second:
        fixed.pop("renewal_time", None)
        fixed.pop("rebinding_time", None)
    return fixed


def classless_routes(octets: object) -> Iterator[tuple[str, str]]:
    """(destination, gateway) of option 121 (RFC 3442): the prefix length, its significant octets, the router."""
    data = _bytes(octets)
    place = 0
    for _ in range(MAX_ROUTES):
        if place >= len(data):
            return
        length = data[place]
        significant = (length + 7) // 8
        end = place + 1 + significant + 4
        if length > 32 or end > len(data):
            return
        host = data[place + 1 : place + 1 + significant].ljust(4, b"\0")
        network = ipaddress.IPv4Network((host, length), strict=False)
        yield str(network), str(ipaddress.IPv4Address(data[end - 4 : end]))
        place = end


def joined(options: bytes, code: int) -> bytes:
    """All instances of one option, put together to one (RFC 3396 section 7); `options` is what follows the cookie.

    An option that reaches beyond the end is left out, and nothing comes after it.
    """
    whole = bytearray()
    place = 0
    while place < len(options) and options[place] != _END:
        if options[place] == _PAD:
            place += 1
            continue
        length = options[place + 1] if place + 1 < len(options) else 0
        content = options[place + 2 : place + 2 + length]
        if options[place] == code and len(content) == length:
            whole += content
        place += 2 + length
    return bytes(whole)


def _domains(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The search list, else the one domain."""
    listed = dict.fromkeys(domain_names(_bytes(options.get("domain_search")), pointers=True))
    if listed:
        return tuple(listed)[:MAX_DOMAINS]
    domain = options.get("domain_name")
    return (domain.rstrip(".").lower(),) if isinstance(domain, str) and _DOMAIN.fullmatch(domain) else ()


def _bytes(octets: object) -> bytes:
    """What pyroute2 gives, or a kept lease has: a list of numbers."""
    if not isinstance(octets, Sequence) or isinstance(octets, str):
        return b""
    try:
        return bytes(octets)
    except (TypeError, ValueError):
        return b""


def _address(text: object) -> ipaddress.IPv4Address | None:
    try:
        found = ipaddress.IPv4Address(text)
    except ValueError:
        return None
    unfit = found.is_unspecified or found.is_multicast or found.is_loopback or found == ipaddress.IPv4Address(2**32 - 1)
    return None if unfit or found.is_reserved else found


def _prefix(mask: object) -> int:
    """The length of a subnet mask; 32 where there is none that is one."""
    try:
        return ipaddress.IPv4Network(f"0.0.0.0/{mask}").prefixlen or 32
    except ValueError:
        return 32


def _hosts(texts: object) -> tuple[str, ...]:
    if not isinstance(texts, Iterable) or isinstance(texts, str):
        return ()
    return tuple(dict.fromkeys(text for text in texts if _address(text) is not None))[:MAX_SERVERS]
