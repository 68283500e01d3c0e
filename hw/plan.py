"""From what there is and what is configured to the wanted state of the network. Pure, and the same for the same input.

Without any configuration every Ethernet interface is a way out: it asks by DHCP and listens to routers. The order of
the ways is onboard Ethernet, other Ethernet, USB, Wi-Fi, VLANs, and by name among equals; a metric in the
configuration goes before all of that. What was learned while running (leases, resolvers, uplinks that failed) is an
input too, so the plan is always the whole wanted state, and applying it is one comparison with the kernel.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hw.addressing import version_of
from hw.config import MAX_MTU, MAX_NAMESERVERS, MIN_MTU, NetworkConfig
from hw.explain import explain
from hw.routes import Way, addresses_of, detour, metrics, routes_of, rules_of
from hw.sysctls import global_sysctls, ipv4_sysctls, ipv6_sysctls
from hw.topology import DEFAULT_MTU, Member, Topology, topology
from hw.wanted import (
    Allowance,
    DhcpClient,
    Firewall,
    Inventory,
    Learned,
    Link,
    Plan,
    Sysctl,
    Uplink,
)

DEFAULT_HOSTNAME = "palomar"
NOTHING_LEARNED = Learned()
MAX_SEARCH = 6
"""Search domains that resolvers of old take (resolv.conf(5))."""
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def plan(
    inventory: Inventory, config: NetworkConfig, learned: Learned = NOTHING_LEARNED, *, hostname: str = ""
) -> Plan:
    """The wanted state. `hostname` is the top-level one of the file; its first label is the default short name."""
    made = topology(inventory.nics, config)
    ways = _ways(made, learned)
    name = host_label(config.hostname or hostname)
    addresses, remarks = addresses_of(ways)
    dhcp = tuple(DhcpClient(link=way.name, metric=way.metric, hostname=name) for way in ways if way.asks_dhcp)
    listening = tuple(way.name for way in ways if way.listens)
    dns = _dns(config, ways)
    if len(dns) > MAX_NAMESERVERS:
        remarks.append(f"Of {len(dns)} resolvers the first {MAX_NAMESERVERS} are used.")
    unexplained = Plan(
        hostname=name,
        mdns_name=name if config.mdns else "",
        links=tuple(_sized(made.links, ways, remarks)),
        down=tuple(sorted(made.down)),
        addresses=addresses,
        routes=(*routes_of(ways, addresses), *detour(ways, learned.advertised_routes)),
        rules=rules_of(ways, addresses),
        sysctls=tuple(_sysctls(made, ways)),
        dhcp=dhcp,
        router_advertisements=listening,
        link_local=tuple(way.name for way in ways if way.config.ipv4 != "off"),
        mdns_links=tuple(way.name for way in ways) if config.mdns else (),
        wifi=tuple(made.wifi),
        uplinks=tuple(
            Uplink(link=way.name, metric=way.route_metric, words=way.member.words, failed=way.failed)
            for way in sorted(ways, key=lambda way: way.route_metric)
            if way.is_uplink
        ),
        probes=config.probes,
        dns=tuple(dns[:MAX_NAMESERVERS]),
        search=tuple(dict.fromkeys(_search(ways)))[:MAX_SEARCH],
        ntp=tuple(_ntp(config, ways)),
        firewall=_firewall(config, learned, dhcp, ways),
    )
    return explain(unexplained, [*made.remarks, *remarks])


def host_label(hostname: str) -> str:
    """The first label of a host name as mDNS and DHCP take it; `palomar` where there is none that fits."""
    label = hostname.partition(".")[0].lower()
    return label if _LABEL.fullmatch(label) else DEFAULT_HOSTNAME


def _ways(made: Topology, learned: Learned) -> list[Way]:
    """All members with their metrics and what was learned of each, the best way out first."""
    leases, advertised, link_local = dict(learned.leases), dict(learned.advertised), dict(learned.link_local)
    numbers = metrics(made.members)
    ways = []
    for member in made.members:
        asks = _asks_dhcp(member)
        ways.append(
            Way(
                member=member,
                metric=numbers[member.name],
                failed=member.name in learned.failed,
                asks_dhcp=asks,
                listens=member.config.ipv6 == "auto",
                lease=leases.get(member.name) if asks else None,
                advertised=advertised.get(member.name) if member.config.ipv6 == "auto" else None,
                link_local=link_local.get(member.name, "") if member.config.ipv4 != "off" else "",
            )
        )
    return sorted(ways, key=lambda way: way.metric)


def _asks_dhcp(member: Member) -> bool:
    if member.config.ipv4 == "auto":
        return not (member.first and any(version_of(one) == 4 for one in member.config.addresses))
    return member.config.ipv4 == "dhcp"


def _sized(links: Iterable[Link], ways: Iterable[Way], remarks: list[str]) -> Iterator[Link]:
    """The MTU of the configuration, else that of the lease where IPv6 still fits, else the usual one.

    A VLAN's packets must fit through its interface: the configuration's do already, those of leases are made to.
    """
    asked = {way.name: way.lease.mtu for way in ways if way.lease}
    on_it: dict[str, int] = {}
    for link in links:
        on_it[link.parent] = max(on_it.get(link.parent, 0), link.mtu)
    carried: dict[str, int] = {}
    for link in links:  # what VLANs are on comes before them
        mtu = link.mtu or asked.get(link.name, 0)
        least, most = max(MIN_MTU, on_it.get(link.name, 0)), carried.get(link.parent, MAX_MTU)
        if mtu and not link.mtu and not least <= mtu <= most:
            remarks.append(f"{link.name}: the DHCP server wants packets of {mtu} octets, which is not heeded.")
            mtu = 0
        carried[link.name] = mtu or DEFAULT_MTU
        yield replace(link, mtu=mtu)


def _sysctls(made: Topology, ways: Iterable[Way]) -> Iterator[Sysctl]:
    yield from global_sysctls()
    by_name = {way.name: way for way in ways}
    for link in made.links:
        way = by_name.get(link.name)
        if way is None:  # a port of a bridge: nothing is sent to it
            yield from ipv6_sysctls(link.name, enabled=False, listen=False, default_route=False, metric=0)
            continue
        yield from ipv4_sysctls(link.name)
        yield from ipv6_sysctls(
            link.name,
            enabled=way.config.ipv6 != "off",
            listen=way.listens,
            default_route=way.is_uplink and not way.config.gateway6,
            metric=way.route_metric,
        )


def _dns(config: NetworkConfig, ways: Iterable[Way]) -> list[str]:
    """Resolvers in the order to ask: configured ones, then those of the uplinks that work, then the rest."""
    found = [str(ipaddress.ip_address(text)) for text in config.dns if version_of(text)]
    for way in _in_order(ways):
        found += [text for text in (way.lease.dns if way.lease else ()) if _is_server(text)]
        found += [
            _with_zone(text, way.name) for text in (way.advertised.dns if way.advertised else ()) if _is_server(text)
        ]
    return list(dict.fromkeys(found))


def _in_order(ways: Iterable[Way]) -> list[Way]:
    """Uplinks that work, then those that do not, then the rest."""
    return sorted(ways, key=lambda way: (not way.is_uplink, way.failed or not way.member.carrier, way.metric))


def _search(ways: Iterable[Way]) -> Iterator[str]:
    """Search domains of the lease (RFC 3397, RFC 2132 section 3.17) and of routers (RFC 8106 section 5.2)."""
    for way in _in_order(ways):
        yield from way.lease.domains if way.lease else ()
        yield from way.advertised.domains if way.advertised else ()


def _ntp(config: NetworkConfig, ways: Iterable[Way]) -> list[str]:
    found = list(config.ntp)
    for way in ways:
        found += [text for text in (way.lease.ntp if way.lease else ()) if _is_server(text)]
    return list(dict.fromkeys(found))


def _is_server(text: str) -> bool:
    """Whether what a stranger on the wire calls a server can be one. Nothing of ours answers on the loopback."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_multicast or found.is_unspecified)


def _with_zone(text: str, link: str) -> str:
    """A link-local resolver is reached on the link that it was learned from (RFC 4007 section 11)."""
    found = ipaddress.ip_address(text)
    return f"{found}%{link}" if found.version == 6 and found.is_link_local and "%" not in text else str(found)


def _firewall(config: NetworkConfig, learned: Learned, dhcp: Iterable[DhcpClient], ways: Iterable[Way]) -> Firewall:
    allowances = [
        Allowance(protocol=one.protocol, port=one.port, sources=tuple(sorted(one.sources))) for one in config.allow
    ]
    return Firewall(
        enabled=config.firewall,
        ports=tuple(sorted(set(learned.listening))),
        ssh=learned.has_ssh_key,
        mdns=config.mdns,
        ping=config.ping,
        dhcp_links=tuple(sorted(client.link for client in dhcp)),
        ipv6_links=tuple(sorted(way.name for way in ways if way.config.ipv6 != "off")),
        allowances=tuple(sorted(set(allowances), key=lambda one: (one.protocol, one.port, one.sources))),
    )
