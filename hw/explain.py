"""A plan in words, for `palomar network`, the log and the status file. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hw.addressing import version_of
from hw.wanted import Address, Link, Plan


def explain(plan: Plan, remarks: Iterable[str]) -> Plan:
    """The same plan with its words: a line for each link, then names and resolvers, then what could not be."""
    lines = [_link_line(link, plan) for link in plan.links]
    lines += list(_name_lines(plan))
    lines += sorted(set(remarks))
    return replace(plan, words=tuple(lines))


def _link_line(link: Link, plan: Plan) -> str:
    if link.master:
        return f"{link.name}: port of {link.master}."
    parts = [*_address_parts(link.name, plan), *_way_parts(link.name, plan)]
    if link.mtu:
        parts.append(f"packets of {link.mtu} octets")
    if link.speed_mbps:
        parts.append(f"held at {link.speed_mbps} Mb/s")
    called = f" ({_called(link, plan)})" if _called(link, plan) else ""
    return f"{link.name}{called}: {', '.join(parts)}."


def _called(link: Link, plan: Plan) -> str:
    if link.kind == "vlan":
        return f"VLAN {link.vlan_id} on {link.parent}"
    if link.kind == "bridge":
        return "bridge"
    wifi = next((one for one in plan.wifi if one.link == link.name), None)
    if wifi is not None:
        return f"Wi-Fi, network {wifi.networks[0].ssid!r}"
    return next((uplink.words for uplink in plan.uplinks if uplink.link == link.name), "")


def _address_parts(name: str, plan: Plan) -> Iterator[str]:
    own = [one for one in plan.addresses if one.link == name]
    if any(client.link == name for client in plan.dhcp):
        leased = [one.address for one in own if one.source == "dhcp"]
        yield f"{leased[0]} by DHCP" if leased else "asks for an IPv4 address by DHCP"
    given = [one for one in own if one.source != "dhcp"]
    yield from (_given(one) for one in given)
    ipv6_off = any(one.path == f"net/ipv6/conf/{name}/disable_ipv6" and one.value == "1" for one in plan.sysctls)
    if name in plan.router_advertisements:
        yield "IPv6 as routers advertise it"
    elif ipv6_off:
        yield "no IPv6"
    elif not any(version_of(one.address) == 6 for one in own):
        yield "IPv6 within the link only"


def _given(address: Address) -> str:
    return f"{address.address} (link-local)" if address.source == "link-local" else address.address


def _way_parts(name: str, plan: Plan) -> Iterator[str]:
    for place, uplink in enumerate(plan.uplinks, 1):
        if uplink.link == name:
            state = ", which does not work now" if uplink.failed else ""
            yield f"way out number {place} (metric {uplink.metric}){state}"


def _name_lines(plan: Plan) -> Iterator[str]:
    if not plan.links:
        yield "No network interface is used."
    if plan.mdns_name:
        yield f"In the local networks this machine is {plan.mdns_name}.local."
    if plan.dns:
        yield f"Resolvers: {', '.join(plan.dns)}."
    if plan.search:
        yield f"Names without a dot are looked up in {', '.join(plan.search)}."
    if not plan.firewall.enabled:
        yield "The firewall is off: every port that something listens on is open."
