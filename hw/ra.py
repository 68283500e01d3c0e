"""Ask the routers of a link to advertise themselves now (RFC 4861 section 4.1), as the kernel does when it comes up.

An advertisement makes the kernel give its default route the metric that holds now; without asking, that takes until
the router's next one, minutes later.
"""

from __future__ import annotations

import socket

from hw import kernel as k

_ROUTER_SOLICITATION = bytes([133, 0, 0, 0, 0, 0, 0, 0])
_ALL_ROUTERS = "ff02::2"
_HOP_LIMIT = 255  # routers drop anything else, which may come from farther than the link
_SO_BINDTODEVICE = 25
_METRIC = ("net/ipv6/conf/", "/ra_defrtr_metric")


def solicit(link: str) -> None:
    """Send one router solicitation. Raises OSError where the link cannot send."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, link.encode() + b"\0")
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        raw.sendto(_ROUTER_SOLICITATION, (_ALL_ROUTERS, 0, 0, socket.if_nametoindex(link)))


def metric_changes(changes: tuple[k.Change, ...]) -> list[str]:
    """The links whose advertised default routes have another metric by these changes."""
    paths = [change.sysctl.path for change in changes if isinstance(change, k.SetSysctl)]
    return [path[len(_METRIC[0]) : -len(_METRIC[1])] for path in paths if path.endswith(_METRIC[1])]
