"""A kernel and a DHCP server in memory, for tests: they refuse what real ones refuse, and do what those do.

`FakeKernel` keeps links, addresses, routes, rules and settings. A test plays the world with `plug`, `unplug`,
`carrier` and `advertise`; what code under test changed is in `made`. Nothing waits and nothing sleeps.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from hw.kernel import (
    AddAddress,
    AddLink,
    AddressEvent,
    AddRoute,
    AddRule,
    Change,
    DeleteAddress,
    DeleteLink,
    DeleteRoute,
    DeleteRule,
    DnsEvent,
    Event,
    KernelError,
    LinkEvent,
    Present,
    PresentAddress,
    PresentLink,
    PresentRoute,
    RouteEvent,
    SetLink,
    SetSysctl,
)
from hw.nics import Kind, Nic
from hw.wanted import DEFAULT_V4, DEFAULT_V6, Lease, Link, Route, Rule

RA_METRIC = "1024"  # the kernel's own ra_defrtr_metric


class FakeKernel:
    """Serves `hw.kernel.Kernel`. Settings of a link exist while the link does, with the kernel's own defaults."""

    def __init__(self, *nics: Nic) -> None:
        self.made: list[Change] = []
        """Every change that was made, in order."""
        self.refusals: list[tuple[Callable[[Change], bool], int]] = []
        """Changes to refuse, with their errno: for kernels that lack something."""
        self._links: dict[str, PresentLink] = {}
        self._addresses: dict[tuple[str, str], PresentAddress] = {}
        self._routes: dict[tuple[str, int, int], PresentRoute] = {}
        self._rules: set[Rule] = set()
        self._sysctls: dict[str, str] = {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"}
        self._readers: list[asyncio.Queue[Event]] = []
        self._next_index = 2
        for nic in nics:
            self.plug(nic)

    # ── what the code under test sees ────────────────────────────────────────────────────────────────────────────

    async def read(self) -> Present:
        """Everything, in the order of the names."""
        return Present(
            links=tuple(self._links[name] for name in sorted(self._links)),
            addresses=tuple(self._addresses[key] for key in sorted(self._addresses)),
            routes=tuple(self._routes[key] for key in sorted(self._routes)),
            rules=tuple(sorted(self._rules, key=lambda rule: (rule.priority, rule.source))),
        )

    async def sysctl(self, path: str) -> str | None:
        """A setting. Those of links that are not there do not exist."""
        if (link := _link_of(path)) and link not in {*self._links, "all", "default", "lo"}:
            return None
        return self._sysctls.get(path, RA_METRIC if path.endswith("/ra_defrtr_metric") else "0")

    async def make(self, change: Change) -> None:
        """Make a change, or refuse it as the kernel would."""
        for refuses, number in self.refusals:
            if refuses(change):
                raise _error(number, change)
        if isinstance(change, AddLink | SetLink | DeleteLink):
            self._make_link(change)
        elif isinstance(change, AddRule | DeleteRule):
            self._make_rule(change)
        elif isinstance(change, SetSysctl):
            await self._set_sysctl(change)
        else:
            self._make_on_link(change)
        self.made.append(change)

    def _make_link(self, change: AddLink | SetLink | DeleteLink) -> None:
        match change:
            case AddLink(link):
                self._add_link(link, change)
            case SetLink():
                self._set_link(change)
            case DeleteLink(name):
                if self._link(name, change).nic.is_physical:
                    raise _error(errno.EOPNOTSUPP, change)
                self.unplug(name)

    def _make_rule(self, change: AddRule | DeleteRule) -> None:
        there = change.rule in self._rules
        if isinstance(change, AddRule):
            if there:
                raise _error(errno.EEXIST, change)
            self._rules.add(change.rule)
        elif there:
            self._rules.remove(change.rule)
        else:
            raise _error(errno.ENOENT, change)

    async def _set_sysctl(self, change: SetSysctl) -> None:
        setting = change.sysctl
        if await self.sysctl(setting.path) is None:
            raise _error(errno.ENOENT, change)
        self._sysctls[setting.path] = setting.value
        self._ipv6_switched(setting.path)

    def _make_on_link(self, change: AddAddress | DeleteAddress | AddRoute | DeleteRoute) -> None:
        match change:
            case AddAddress(link, address):
                self._add_address(link, address, change)
            case DeleteAddress(link, address):
                self._delete_address(link, address, change)
            case AddRoute(route):
                self._add_route(route, change)
            case DeleteRoute(route):
                self._delete_route(route, change)

    async def events(self) -> AsyncIterator[Event]:
        """What happens from the first `anext` on."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._readers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._readers.remove(queue)

    # ── the world ────────────────────────────────────────────────────────────────────────────────────────────────

    def plug(self, nic: Nic) -> None:
        """A NIC appears, down, as the driver leaves it."""
        self._links[nic.name] = PresentLink(nic=replace(nic, index=nic.index or self._take_index(), up=False))
        self._tell(LinkEvent(name=nic.name, carrier=nic.carrier))

    def unplug(self, name: str) -> None:
        """A link goes, with its addresses, its routes, and the VLANs on it."""
        del self._links[name]
        for child in [link.nic.name for link in self._links.values() if link.parent == name]:
            self.unplug(child)
        for port in [link for link in self._links.values() if link.master == name]:
            self._links[port.nic.name] = replace(port, master="")
        for key in [key for key in self._addresses if key[0] == name]:
            del self._addresses[key]
        self._forget_routes(lambda route: route.link == name)
        self._sysctls = {path: value for path, value in self._sysctls.items() if _link_of(path) != name}
        self._tell(LinkEvent(name=name, carrier=False, gone=True))

    def carrier(self, name: str, there: bool) -> None:
        """The cable is pulled or put in. Routes stay; the kernel only passes over them."""
        nic = self._links[name].nic
        if nic.carrier == there:
            return
        self._change_nic(name, carrier=there, carrier_changes=nic.carrier_changes + 1)
        self._link_local(name)
        self._tell(LinkEvent(name=name, carrier=there, carrier_changes=nic.carrier_changes + 1))

    def advertise(
        self,
        name: str,
        prefix: str = "2001:db8:1::/64",
        *,
        router: str = "fe80::1",
        dns: Iterable[str] = (),
        domains: Iterable[str] = (),
    ) -> None:
        """A router advertises itself on a link (RFC 4861). Only links that listen, are up and have carrier hear it."""
        link = self._links.get(name)
        if link is None or not self._listens(link):
            return
        network = ipaddress.IPv6Network(prefix)
        if self._sysctls.get(f"net/ipv6/conf/{name}/autoconf", "1") == "1":
            address = f"{network[eui64(link.nic.mac)]}/{network.prefixlen}"
            self._put_address(PresentAddress(link=name, address=address, automatic=True))
        if router and self._sysctls.get(f"net/ipv6/conf/{name}/accept_ra_defrtr", "1") == "1":
            metric = int(self._sysctls.get(f"net/ipv6/conf/{name}/ra_defrtr_metric", RA_METRIC))
            self._put_route(Route(destination=DEFAULT_V6, link=name, gateway=router, metric=metric), automatic=True)
        if dns:
            self._tell(DnsEvent(link=name, dns=tuple(dns), lifetime_s=1800))
        if domains:
            self._tell(DnsEvent(link=name, domains=tuple(domains), lifetime_s=1800))

    def duplicate(self, name: str, address: str) -> None:
        """Duplicate address detection finds an address of ours taken."""
        found = replace(self._addresses[name, address], tentative=False, duplicate=True)
        self._addresses[name, address] = found
        self._tell(AddressEvent(link=name, address=address, duplicate=True))

    def best_route(self, version: int = 4) -> Route | None:
        """The default route that packets take now: the smallest metric of those on links with carrier."""
        destination = DEFAULT_V4 if version == 4 else DEFAULT_V6
        usable = [
            present.route
            for (where, _, table), present in self._routes.items()
            if where == destination and table == 254 and self._links[present.route.link].nic.carrier
        ]
        return min(usable, key=lambda route: route.metric, default=None)

    # ── links ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _link(self, name: str, change: Change) -> PresentLink:
        if name not in self._links:
            raise _error(errno.ENODEV, change)
        return self._links[name]

    def _take_index(self) -> int:
        self._next_index += 1
        return self._next_index - 1

    def _change_nic(self, name: str, **values: object) -> None:
        link = self._links[name]
        self._links[name] = replace(link, nic=replace(link.nic, **values))

    def _add_link(self, link: Link, change: Change) -> None:
        if link.name in self._links:
            raise _error(errno.EEXIST, change)
        mac, mtu, carrier = link.mac or "02:00:00:00:00:01", 1500, True
        if link.kind == "vlan":
            parent = self._link(link.parent, change)
            if any(one.parent == link.parent and one.vlan_id == link.vlan_id for one in self._links.values()):
                raise _error(errno.EEXIST, change)
            mac, mtu, carrier = link.mac or parent.nic.mac, parent.nic.mtu, parent.nic.carrier
        kind: Kind = "vlan" if link.kind == "vlan" else "bridge"
        nic = Nic(name=link.name, index=self._take_index(), kind=kind, mac=mac, mtu=mtu, carrier=carrier)
        self._links[link.name] = PresentLink(nic=nic, parent=link.parent, vlan_id=link.vlan_id)
        self._tell(LinkEvent(name=link.name, carrier=nic.carrier))

    def _set_link(self, change: SetLink) -> None:
        link = self._link(change.name, change)
        if change.master:
            if self._link(change.master, change).nic.kind != "bridge":
                raise _error(errno.EINVAL, change)
            if link.nic.kind in {"wifi", "bridge"}:
                raise _error(errno.EOPNOTSUPP if link.nic.kind == "wifi" else errno.ELOOP, change)
        if change.mtu is not None and link.parent and change.mtu > self._links[link.parent].nic.mtu:
            raise _error(errno.ERANGE, change)
        if change.master is not None:
            self._links[change.name] = replace(link, master=change.master)
        values = {"up": change.up, "mtu": change.mtu, "mac": change.mac}
        self._change_nic(change.name, **{name: value for name, value in values.items() if value is not None})
        if change.up is False:
            self._forget_routes(lambda route: route.link == change.name)
            for key in [key for key, one in self._addresses.items() if key[0] == change.name and ":" in one.address]:
                del self._addresses[key]
        if change.up and not link.nic.up:
            for present in [one for one in self._addresses.values() if one.link == change.name]:
                self._connected(present)
        self._link_local(change.name)
        nic = self._links[change.name].nic
        self._tell(LinkEvent(name=nic.name, carrier=nic.carrier, carrier_changes=nic.carrier_changes))

    def _link_local(self, name: str) -> None:
        """The kernel gives every link that comes up a link-local address (RFC 4862 section 5.3)."""
        link = self._links[name]
        off = self._sysctls.get(f"net/ipv6/conf/{name}/disable_ipv6") == "1"
        if link.nic.up and link.nic.carrier and link.nic.mac and not link.master and not off:
            address = f"{ipaddress.IPv6Network('fe80::/64')[eui64(link.nic.mac)]}/64"
            self._put_address(PresentAddress(link=name, address=address, automatic=True))

    def _ipv6_switched(self, path: str) -> None:
        name = _link_of(path)
        if not path.endswith("/disable_ipv6") or name not in self._links:
            return
        if self._sysctls[path] == "1":
            for key in [key for key in self._addresses if key[0] == name and ":" in key[1]]:
                del self._addresses[key]
            self._forget_routes(lambda route: route.link == name and ":" in route.destination)
        self._link_local(name)

    def _listens(self, link: PresentLink) -> bool:
        name = link.nic.name
        heard = self._sysctls.get(f"net/ipv6/conf/{name}/accept_ra", "1") != "0"
        off = self._sysctls.get(f"net/ipv6/conf/{name}/disable_ipv6") == "1"
        return link.nic.up and link.nic.carrier and heard and not off

    # ── addresses and routes ─────────────────────────────────────────────────────────────────────────────────────

    def _add_address(self, link: str, address: str, change: Change) -> None:
        self._link(link, change)
        if (link, address) in self._addresses:
            raise _error(errno.EEXIST, change)
        if ":" in address and self._sysctls.get(f"net/ipv6/conf/{link}/disable_ipv6") == "1":
            raise _error(errno.EACCES, change)
        self._put_address(PresentAddress(link=link, address=address))

    def _put_address(self, address: PresentAddress) -> None:
        if self._addresses.get((address.link, address.address)) == address:
            return
        self._addresses[address.link, address.address] = address
        self._connected(address)
        self._tell(AddressEvent(link=address.link, address=address.address))

    def _connected(self, address: PresentAddress) -> None:
        """The route to the address's own network, which the kernel makes."""
        found = ipaddress.ip_interface(address.address)
        if self._links[address.link].nic.up and found.network.prefixlen < found.max_prefixlen:
            metric = 0 if found.version == 4 else 256
            prefer = str(found.ip) if found.version == 4 else ""
            route = Route(destination=str(found.network), link=address.link, metric=metric, prefer=prefer)
            if (route.destination, metric, route.table) not in self._routes:
                self._put_route(route, automatic=True)

    def _delete_address(self, link: str, address: str, change: Change) -> None:
        self._link(link, change)
        if (link, address) not in self._addresses:
            raise _error(errno.EADDRNOTAVAIL, change)
        del self._addresses[link, address]
        host = address.partition("/")[0]
        network = str(ipaddress.ip_interface(address).network)
        self._forget_routes(lambda route: route.link == link and (route.prefer == host))
        others = [one for one in self._addresses.values() if one.link == link]
        if not any(str(ipaddress.ip_interface(one.address).network) == network for one in others):
            self._forget_routes(lambda route: route.link == link and route.destination == network)
        self._tell(AddressEvent(link=link, address=address, gone=True))

    def _add_route(self, route: Route, change: Change) -> None:
        link = self._link(route.link, change)
        if not link.nic.up:
            raise _error(errno.ENETDOWN, change)
        if (route.destination, route.metric, route.table) in self._routes:
            raise _error(errno.EEXIST, change)
        if route.gateway and not self._reaches(route):
            raise _error(errno.ENETUNREACH, change)
        if route.prefer and not any(one.address.startswith(f"{route.prefer}/") for one in self._addresses.values()):
            raise _error(errno.EINVAL, change)
        self._put_route(route)

    def _reaches(self, route: Route) -> bool:
        gateway = ipaddress.ip_address(route.gateway)
        if gateway.is_link_local:
            return True
        return any(
            gateway in ipaddress.ip_network(present.route.destination)
            for present in self._routes.values()
            if not present.route.gateway and present.route.link == route.link
        )

    def _put_route(self, route: Route, *, automatic: bool = False) -> None:
        self._routes[route.destination, route.metric, route.table] = PresentRoute(route=route, automatic=automatic)
        self._tell(RouteEvent(link=route.link, destination=route.destination))

    def _delete_route(self, route: Route, change: Change) -> None:
        key = (route.destination, route.metric, route.table)
        if key not in self._routes or self._routes[key].route.link != route.link:
            raise _error(errno.ESRCH, change)
        self._forget_routes(lambda one: one == self._routes[key].route)

    def _forget_routes(self, which: Callable[[Route], bool]) -> None:
        for key, present in list(self._routes.items()):
            if which(present.route):
                del self._routes[key]
                self._tell(RouteEvent(link=present.route.link, destination=present.route.destination, gone=True))

    def _tell(self, event: Event) -> None:
        for queue in self._readers:
            queue.put_nowait(event)


@dataclass(slots=True)
class FakeDhcpServer:
    """A DHCPv4 server on one network: the same lease for the same MAC address, in the order they came.

    `silent` answers nobody, `full` has no address left for strangers; `forget` is a router that was replaced.
    """

    network: str = "192.168.1.0/24"
    routers: tuple[str, ...] = ("192.168.1.1",)
    dns: tuple[str, ...] = ("192.168.1.1",)
    ntp: tuple[str, ...] = ()
    mtu: int = 0
    first: int = 100
    silent: bool = False
    full: bool = False
    asked: list[str] = field(default_factory=list)
    _given: dict[str, str] = field(default_factory=dict)

    def ask(self, mac: str) -> Lease | None:
        """DISCOVER and REQUEST in one: the lease, or None when nobody answers."""
        self.asked.append(mac)
        if self.silent or (self.full and mac not in self._given):
            return None
        network = ipaddress.IPv4Network(self.network)
        host = self._given.setdefault(mac, str(network[self.first + len(self._given)]))
        return Lease(
            address=f"{host}/{network.prefixlen}", routers=self.routers, dns=self.dns, ntp=self.ntp, mtu=self.mtu
        )

    def forget(self) -> None:
        """Lose all leases; the next ones start elsewhere in the pool."""
        self.first += len(self._given)
        self._given.clear()


def eui64(mac: str) -> int:
    """The interface identifier that a MAC address makes (RFC 4291 appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    return int.from_bytes(bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:], "big")


def _link_of(path: str) -> str:
    parts = path.split("/")
    return parts[3] if len(parts) == 5 and parts[2] in {"conf", "neigh"} else ""


def _error(number: int, change: Change) -> KernelError:
    return KernelError(number, f"{os.strerror(number)}: {change}")
