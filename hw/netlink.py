"""The kernel's network by netlink (pyroute2): `hw.kernel.Kernel` for real. Needs CAP_NET_ADMIN to change anything."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hw import kernel as k
from hw.linkread import link_event, present_address, present_link, present_route, present_rule
from hw.ndoptions import NdOptionSocket
from hw.pyroute import AsyncIPRoute, NetlinkError
from hw.wanted import Link, Route, Rule

log = logging.getLogger(__name__)

PROC_SYS = Path("/proc/sys")
MAX_WAITING_EVENTS = 1024
"""Events that nobody has taken yet; more are no help, everything is read anew then."""
# <linux/rtnetlink.h>: RTMGRP_ LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_RTNH_F_ONLINK = 4
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL})


class NetlinkKernel:
    """One netlink socket for questions and changes; `events` opens its own. Use as an async context manager."""

    def __init__(self) -> None:
        self._socket: Any = None

    async def __aenter__(self) -> NetlinkKernel:
        self._socket = AsyncIPRoute(ext_ack=True, strict_check=False)
        await self._socket.setup_endpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()
        # pyroute2 aborts its transport; the loop needs one turn to close it.
        await asyncio.sleep(0)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self) -> k.Present:
        """Links but the loopback, their addresses, unicast routes of all tables but the local one, and our rules."""
        try:
            raw = [message async for message in await self._socket.link("dump")]
            everyone = {message["index"]: message.get_attr("IFLA_IFNAME") for message in raw}
            links = [link for message in raw if (link := present_link(message, everyone)) is not None]
            names = {link.nic.index: link.nic.name for link in links}
            addresses = [present_address(message, names) async for message in await self._socket.addr("dump")]
            routes: list[k.PresentRoute | None] = []
            rules: list[Rule | None] = []
            for family in (socket.AF_INET, socket.AF_INET6):
                found = await self._socket.route("dump", family=family)
                routes += [present_route(message, names) async for message in found]
                rules += [present_rule(message) async for message in await self._socket.rule("dump", family=family)]
        except NetlinkError as error:
            raise k.KernelError(error.code, f"reading the network: {error}") from error
        return k.Present(
            links=tuple(links),
            addresses=tuple(one for one in addresses if one is not None),
            routes=tuple(one for one in routes if one is not None),
            rules=tuple(one for one in rules if one is not None),
        )

    async def sysctl(self, path: str) -> str | None:
        """The value of a setting, stripped; None where this kernel has no such one."""
        try:
            return (PROC_SYS / path).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return None

    # ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def make(self, change: k.Change) -> None:
        """Make one change. Raises KernelError."""
        try:
            await self._make(change)
        except NetlinkError as error:
            raise k.KernelError(error.code, str(error.args[-1] if error.args else error)) from error
        except OSError as error:
            raise k.KernelError(error.errno or errno.EIO, error.strerror or str(error)) from error

    async def _make(self, change: k.Change) -> None:
        match change:
            case k.AddLink(link):
                await self._add_link(link)
            case k.SetLink():
                await self._set_link(change)
            case k.DeleteLink(name):
                await self._socket.link("del", index=self._index(name))
            case k.AddAddress(link, address) | k.DeleteAddress(link, address):
                await self._address("add" if isinstance(change, k.AddAddress) else "del", link, address)
            case k.AddRoute(route):
                await self._add_route(route)
            case k.DeleteRoute(route):
                await self._socket.route("del", **self._route(route))
            case k.AddRule(rule) | k.DeleteRule(rule):
                await self._socket.rule("add" if isinstance(change, k.AddRule) else "del", **_rule(rule))
            case k.SetSysctl(sysctl):
                (PROC_SYS / sysctl.path).write_text(sysctl.value, encoding="ascii")

    async def _add_link(self, link: Link) -> None:
        if link.kind == "vlan":
            parent = self._index(link.parent)
            await self._socket.link("add", ifname=link.name, kind="vlan", link=parent, vlan_id=link.vlan_id)
        else:
            # No spanning tree: an office's bridge has no loops, and its port would be deaf for 30 s after each start.
            await self._socket.link("add", ifname=link.name, kind=link.kind, br_stp_state=0, br_forward_delay=0)

    async def _set_link(self, change: k.SetLink) -> None:
        wanted: dict[str, Any] = {}
        if change.up is not None:
            wanted["state"] = "up" if change.up else "down"
        if change.mtu is not None:
            wanted["mtu"] = change.mtu
        if change.mac is not None:
            wanted["address"] = change.mac
        if change.master is not None:
            wanted["master"] = self._index(change.master) if change.master else 0
        await self._socket.link("set", index=self._index(change.name), **wanted)

    async def _address(self, command: str, link: str, address: str) -> None:
        host, _, length = address.partition("/")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        wanted: dict[str, Any] = {}
        if command == "add" and family == socket.AF_INET and int(length) < 31:
            wanted["broadcast"] = _broadcast(host, int(length))
        await self._socket.addr(
            command, index=self._index(link), address=host, prefixlen=int(length), family=family, **wanted
        )

    async def _add_route(self, route: Route) -> None:
        wanted = self._route(route)
        try:
            await self._socket.route("add", **wanted)
        except NetlinkError as error:
            if not route.gateway or error.code not in _UNREACHABLE:
                raise
            # Some providers give a /32 and a router outside it: it is on this link all the same.
            await self._socket.route("add", flags=_RTNH_F_ONLINK, **wanted)

    def _route(self, route: Route) -> dict[str, Any]:
        host, _, length = route.destination.partition("/")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        wanted: dict[str, Any] = {
            "family": family,
            "dst_len": int(length),
            "oif": self._index(route.link),
            "table": route.table,
        }
        if int(length):
            wanted["dst"] = host
        if route.metric:
            wanted["priority"] = route.metric
        if route.gateway:
            wanted["gateway"] = route.gateway
        elif family == socket.AF_INET:
            wanted["scope"] = 253  # RT_SCOPE_LINK
        if route.prefer:
            wanted["prefsrc"] = route.prefer
        return wanted

    def _index(self, name: str) -> int:
        try:
            return socket.if_nametoindex(name)
        except OSError as error:
            raise k.KernelError(errno.ENODEV, f"there is no interface {name}") from error

    # ── events ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def events(self) -> AsyncIterator[k.Event]:
        """What happens from now on, for ever. A socket that lost events is opened anew after a `LostEvents`."""
        while True:
            queue: asyncio.Queue[k.Event | None] = asyncio.Queue(MAX_WAITING_EVENTS)
            async with _watch(queue):
                while (event := await queue.get()) is not None:
                    yield event
            yield k.LostEvents()


@contextlib.asynccontextmanager
async def _watch(queue: asyncio.Queue[k.Event | None]) -> AsyncIterator[None]:
    """Put events into the queue; None means that some were lost and the socket is no good any more."""
    lost = False

    def put(event: k.Event | None) -> None:
        nonlocal lost
        if lost:
            return
        if event is None or queue.full():
            lost = True
            while not queue.empty():
                queue.get_nowait()
            event = None
        queue.put_nowait(event)

    watcher = AsyncIPRoute()
    await watcher.bind(_GROUPS)
    task = asyncio.create_task(_pump(watcher, put), name="netlink events")
    try:
        with NdOptionSocket(put):
            yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        watcher.close()


async def _pump(watcher: Any, put: Any) -> None:
    try:
        while True:
            async for message in watcher.get():
                if (event := _event(message)) is not None:
                    put(event)
    except (NetlinkError, OSError) as error:
        log.warning("the kernel's events were lost (%s); everything is read anew", error)
        put(None)


def _event(message: Any) -> k.Event | None:
    kind = message.get("event", "")
    if kind in {"RTM_NEWLINK", "RTM_DELLINK"}:
        return link_event(message)
    gone = kind.startswith("RTM_DEL")
    if kind in {"RTM_NEWADDR", "RTM_DELADDR"}:
        name = _name(message["index"])
        found = present_address(message, {message["index"]: name}) if name else None
        if found is None:
            return None
        return k.AddressEvent(link=found.link, address=found.address, gone=gone, duplicate=found.duplicate)
    if kind in {"RTM_NEWROUTE", "RTM_DELROUTE"}:
        name = _name(message.get_attr("RTA_OIF") or 0)
        route = present_route(message, {message.get_attr("RTA_OIF") or 0: name}) if name else None
        if route is None:
            return None
        return k.RouteEvent(link=route.route.link, destination=route.route.destination, gone=gone)
    return None


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def _broadcast(host: str, length: int) -> str:
    address = int.from_bytes(socket.inet_aton(host), "big") | (0xFFFFFFFF >> length)
    return socket.inet_ntoa(address.to_bytes(4, "big"))


def _rule(rule: Rule) -> dict[str, Any]:
    host, _, length = rule.source.partition("/")
    six = ":" in host
    return {
        "family": socket.AF_INET6 if six else socket.AF_INET,
        "src": host,
        "src_len": int(length) if length else (128 if six else 32),
        "table": rule.table,
        "priority": rule.priority,
    }
