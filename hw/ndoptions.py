"""Resolvers and search domains that IPv6 routers advertise (RFC 8106), as the kernel passes them on (RTM_NEWNDUSEROPT).

The kernel makes addresses and routes of router advertisements by itself and hands the rest to whoever listens. What
arrives was written by anybody on the link, so everything is parsed within named limits, and nothing raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hw.domainnames import MAX_DOMAINS, domain_names
from hw.kernel import DnsEvent, Event

log = logging.getLogger(__name__)

MAX_RESOLVERS = 8
"""Resolvers taken from one advertisement; RFC 8106 section 5.3.1 asks for three at least."""
FOREVER_S = 0xFFFFFFFF

_RTM_NEWNDUSEROPT = 68
_RTNLGRP_ND_USEROPT = 20
_ICMP6_ROUTER_ADVERTISEMENT = 134
_OPTION_RDNSS, _OPTION_DNSSL = 25, 31
_NLMSG = struct.Struct("=IHHII")
_NDUSEROPT = struct.Struct("=BBHiBBHI")  # family, -, length of options, index, type, code, -, -


@dataclass(frozen=True, kw_only=True, slots=True)
class NdOption:
    """One option of an advertisement on the link `index`: resolvers or search domains, for `lifetime_s` seconds."""

    index: int
    dns: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    lifetime_s: int = 0


def parse(data: bytes) -> Iterator[NdOption]:
    """The options in what one read of the netlink socket gave; whatever is no such thing is passed over."""
    place = 0
    while place + _NLMSG.size <= len(data):
        length, kind, _, _, _ = _NLMSG.unpack_from(data, place)
        if length < _NLMSG.size or place + length > len(data):
            return
        if kind == _RTM_NEWNDUSEROPT:
            yield from _user_option(data[place + _NLMSG.size : place + length])
        place += (length + 3) & ~3


def _user_option(body: bytes) -> Iterator[NdOption]:
    if len(body) < _NDUSEROPT.size:
        return
    family, _, length, index, kind, code, _, _ = _NDUSEROPT.unpack_from(body)
    if family != socket.AF_INET6 or kind != _ICMP6_ROUTER_ADVERTISEMENT or code != 0 or index <= 0:
        return
    options = body[_NDUSEROPT.size : _NDUSEROPT.size + length]
    while len(options) >= 8:
        size = options[1] * 8  # RFC 4861 section 4.6: in units of 8 octets, and 0 is invalid
        if size == 0 or size > len(options):
            return
        if (found := _option(index, options[:size])) is not None:
            yield found
        options = options[size:]


def _option(index: int, option: bytes) -> NdOption | None:
    lifetime = int.from_bytes(option[4:8], "big")
    if option[0] == _OPTION_RDNSS:
        # RFC 8106 section 5.1: 3 units at least, and an odd number of them.
        if len(option) < 24 or (len(option) - 8) % 16:
            return None
        texts = (socket.inet_ntop(socket.AF_INET6, option[at : at + 16]) for at in range(8, len(option), 16))
        usable = tuple(dict.fromkeys(text for text in texts if _usable(text)))[:MAX_RESOLVERS]
        return NdOption(index=index, dns=usable, lifetime_s=lifetime) if usable else None
    if option[0] == _OPTION_DNSSL and len(option) >= 16:
        domains = tuple(dict.fromkeys(domain_names(option[8:], pointers=False)))[:MAX_DOMAINS]
        return NdOption(index=index, domains=domains, lifetime_s=lifetime) if domains else None
    return None


def _usable(text: str) -> bool:
    address = ipaddress.IPv6Address(text)
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or address.ipv4_mapped)


class NdOptionSocket:
    """Listens to the kernel and calls `put` with a `DnsEvent` for each; use as a context manager in a running loop."""

    def __init__(self, put: Callable[[Event | None], None]) -> None:
        self._put = put
        self._socket: socket.socket | None = None

    def __enter__(self) -> NdOptionSocket:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        sol_netlink, add_membership = 270, 1
        self._socket.setsockopt(sol_netlink, add_membership, _RTNLGRP_ND_USEROPT)
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data, sender = self._socket.recvfrom(65536)
        except BlockingIOError:
            return
        except OSError as error:  # ENOBUFS
            log.warning("router advertisements were lost: %s", error)
            self._put(None)
            return
        if _is_kernel(sender):
            for option in parse(data):
                self._tell(option)

    def _tell(self, option: NdOption) -> None:
        with contextlib.suppress(OSError):  # the link went meanwhile
            name = socket.if_indextoname(option.index)
            self._put(DnsEvent(link=name, dns=option.dns, domains=option.domains, lifetime_s=option.lifetime_s))


def _is_kernel(sender: Any) -> bool:
    """Only port 0 is the kernel; any process may send to our socket."""
    return bool(sender[0] == 0)
