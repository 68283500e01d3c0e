"""Make the plan so: compare it with what is there, and change only what differs.

`changes` is pure: the same plan on a network that has it all already is no change. What somebody else added to or took
from our links is drift, and is repaired the same way. `Applier` does the changes; one that the kernel refuses does not
stop the others.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hw import kernel as k
from hw.wanted import Link, Plan, Route

log = logging.getLogger(__name__)

_ROUNDS = 2  # the second finishes what the first one's changes took along, such as routes of a replaced address
_DONE_ALREADY = {
    k.AddLink: errno.EEXIST,
    k.AddAddress: errno.EEXIST,
    k.AddRoute: errno.EEXIST,
    k.AddRule: errno.EEXIST,
    k.DeleteLink: errno.ENODEV,
    k.DeleteAddress: errno.EADDRNOTAVAIL,
    k.DeleteRoute: errno.ESRCH,
    k.DeleteRule: errno.ENOENT,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What `Applier.apply` did: each change made, and each that was refused with the kernel's words."""

    made: tuple[k.Change, ...] = ()
    refused: tuple[tuple[k.Change, str], ...] = ()

    @property
    def words(self) -> list[str]:
        """A line for people for each."""
        return [*map(describe, self.made), *(f"could not {describe(change)}: {why}" for change, why in self.refused)]


class Applier:
    """Applies plans to one kernel."""

    def __init__(self, kernel: k.Kernel) -> None:
        self._kernel = kernel
        self._refused: dict[k.Change, str] = {}

    async def apply(self, plan: Plan) -> Outcome:
        """Make it so. What is refused is logged once, not each time; it is tried again at the next call."""
        made: list[k.Change] = []
        refused: dict[k.Change, str] = {}
        for _ in range(_ROUNDS):
            present = await self._kernel.read()
            todo = changes(plan, present, await self._sysctls(plan))
            if not todo:
                break
            for change in todo:
                if change in refused:
                    continue
                try:
                    await self._kernel.make(change)
                    made.append(change)
                except k.KernelError as error:
                    if error.errno != _DONE_ALREADY.get(type(change)):
                        refused[change] = str(error)
        self._tell(made, refused)
        return Outcome(made=tuple(made), refused=tuple(refused.items()))

    async def _sysctls(self, plan: Plan) -> dict[str, str]:
        found = {sysctl.path: await self._kernel.sysctl(sysctl.path) for sysctl in plan.sysctls}
        return {path: value for path, value in found.items() if value is not None}

    def _tell(self, made: list[k.Change], refused: dict[k.Change, str]) -> None:
        for change in made:
            log.info("%s", describe(change))
        for change, why in refused.items():
            if self._refused.get(change) != why:
                log.warning("could not %s: %s", describe(change), why)
        self._refused = refused


def changes(plan: Plan, present: k.Present, sysctls: Mapping[str, str]) -> list[k.Change]:
    """What is to do, in an order in which the kernel takes it.

    `sysctls` has the present value of each setting that exists. Only links of the plan are touched; VLANs and bridges
    that it does not have are taken away.
    """
    wanted = {link.name: link for link in plan.links}
    there = {link.nic.name: link for link in present.links}
    todo: list[k.Change] = []
    todo += _unwanted_links(plan, wanted, there)
    todo += [k.AddLink(link) for link in plan.links if link.kind != "physical" and link.name not in there]
    # Before links go up: what the kernel does then, it does by these settings (RFC 4862 section 5.3).
    todo += [k.SetSysctl(one) for one in plan.sysctls if _differs(sysctls.get(one.path), one.value)]
    for link in plan.links:
        todo += _link_changes(link, there.get(link.name))
    todo += _rule_changes(plan, present)
    ours = {name for name, link in wanted.items() if name in there or link.kind != "physical"}
    todo += _address_and_route_changes(plan, present, ours | set(plan.down))
    return todo


def _unwanted_links(plan: Plan, wanted: Mapping[str, Link], there: Mapping[str, k.PresentLink]) -> Iterator[k.Change]:
    for name, link in there.items():
        own = wanted.get(name)
        if link.nic.kind in {"vlan", "bridge"}:
            if own is None or not _same_kind(own, link):
                yield k.DeleteLink(name)
        elif name in plan.down and link.nic.up:
            yield k.SetLink(name=name, up=False)


def _same_kind(own: Link, link: k.PresentLink) -> bool:
    """Whether a made link can become the wanted one; a VLAN's number and parent are for ever."""
    same_place = own.kind != "vlan" or (own.parent, own.vlan_id) == (link.parent, link.vlan_id)
    return own.kind == link.nic.kind and same_place


def _link_changes(own: Link, link: k.PresentLink | None) -> Iterator[k.Change]:
    if link is not None and own.kind != "physical" and not _same_kind(own, link):
        yield k.AddLink(own)  # the other one of that name was taken away before
        link = None
    if link is None:
        if own.kind == "physical":
            return  # unplugged meanwhile; an event will tell
        yield k.SetLink(name=own.name, mtu=own.mtu or None, mac=own.mac or None, master=own.master or None)
        yield k.SetLink(name=own.name, up=True)
        return
    nic = link.nic
    mtu = own.mtu if own.mtu and own.mtu != nic.mtu else None
    mac = own.mac if own.mac and own.mac != nic.mac else None
    master = own.master if own.master != link.master else None
    if mtu is not None or mac is not None or master is not None:
        yield k.SetLink(name=own.name, mtu=mtu, mac=mac, master=master)
    if not nic.up:
        yield k.SetLink(name=own.name, up=True)


def _differs(present: str | None, value: str) -> bool:
    return present is not None and present.split() != value.split()


def _rule_changes(plan: Plan, present: k.Present) -> Iterator[k.Change]:
    yield from (k.DeleteRule(rule) for rule in present.rules if rule not in plan.rules)
    yield from (k.AddRule(rule) for rule in plan.rules if rule not in present.rules)


def _address_and_route_changes(plan: Plan, present: k.Present, links: set[str]) -> Iterator[k.Change]:
    """Old routes, old addresses, then new ones; routes without gateway first, which others need."""
    addresses = {(one.link, _normal(one.address)): one for one in plan.addresses if one.link in links}
    there = {(one.link, one.address) for one in present.addresses}
    routes = {_normal_route(route): route for route in plan.routes if route.link in links}
    present_routes = {_kernels(one.route): one for one in present.routes}
    for key, one in present_routes.items():
        if not one.automatic and one.route.link in links and key not in {_kernels(route) for route in routes}:
            yield k.DeleteRoute(one.route)
    for address in present.addresses:
        if not address.automatic and address.link in links and (address.link, address.address) not in addresses:
            yield k.DeleteAddress(address.link, address.address)
    for link, text in addresses:
        if (link, text) not in there:
            yield k.AddAddress(link, text)
    for route in sorted(routes, key=lambda route: bool(route.gateway)):
        if _kernels(route) not in present_routes:
            yield k.AddRoute(route)


def _normal(address: str) -> str:
    """An address as the kernel writes it."""
    return str(ipaddress.ip_interface(address))


def _normal_route(route: Route) -> Route:
    return Route(
        destination=str(ipaddress.ip_network(route.destination, strict=False)),
        link=route.link,
        gateway=str(ipaddress.ip_address(route.gateway)) if route.gateway else "",
        metric=route.metric,
        table=route.table,
        prefer=route.prefer,
    )


def _kernels(route: Route) -> tuple[str, str, str, int, int, str]:
    """What tells routes apart. The kernel gives IPv6 routes without a metric 1024."""
    metric = route.metric or (1024 if ":" in route.destination else 0)
    return (route.destination, route.link, route.gateway, metric, route.table, route.prefer)


def describe(change: k.Change) -> str:
    """A change in words, as an order: `add the address 192.0.2.5/24 to eth0`."""
    match change:
        case k.AddLink(link):
            return f"make the {'VLAN' if link.kind == 'vlan' else link.kind} {link.name}"
        case k.DeleteLink(name):
            return f"take the link {name} away"
        case k.SetLink():
            return _describe_link(change)
        case k.AddAddress(link, address):
            return f"add the address {address} to {link}"
        case k.DeleteAddress(link, address):
            return f"take the address {address} from {link}"
        case k.AddRoute(route) | k.DeleteRoute(route):
            verb = "add" if isinstance(change, k.AddRoute) else "take away"
            return f"{verb} the route to {_describe_route(route)}"
        case k.AddRule(rule) | k.DeleteRule(rule):
            verb = "add" if isinstance(change, k.AddRule) else "take away"
            return f"{verb} the rule that {rule.source} uses table {rule.table}"
        case k.SetSysctl(sysctl):
            return f"set {sysctl.path} to {sysctl.value}"


def _describe_link(change: k.SetLink) -> str:
    words = []
    if change.mtu is not None:
        words.append(f"give {change.name} the MTU {change.mtu}")
    if change.mac is not None:
        words.append(f"give {change.name} the MAC address {change.mac}")
    if change.master is not None:
        words.append(
            f"put {change.name} into {change.master}" if change.master else f"take {change.name} out of its bridge"
        )
    if change.up is not None:
        words.append(f"switch {change.name} {'on' if change.up else 'off'}")
    return " and ".join(words) or f"leave {change.name} as it is"


def _describe_route(route: Route) -> str:
    where = "everywhere" if route.destination in {"0.0.0.0/0", "::/0"} else route.destination
    six = " (IPv6)" if route.destination == "::/0" else ""
    via = f" by {route.gateway}" if route.gateway else ""
    metric = f", metric {route.metric}" if route.metric else ""
    table = f", table {route.table}" if route.table != 254 else ""
    return f"{where}{six}{via} on {route.link}{metric}{table}"
