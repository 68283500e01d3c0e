"""Metrics, addresses, routes and rules of the links that have addresses. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from hw.addressing import on_link, version_of
from hw.config import Addressing
from hw.topology import Member
from hw.wanted import (
    DEFAULT_V4,
    DEFAULT_V6,
    OUR_NUMBERS,
    Address,
    Advertised,
    AdvertisedRoute,
    Lease,
    Route,
    Rule,
)

FAILED = 10_000
"""On top of the metric of an uplink that does not work: its routes stay, for the probes and for want of better."""
DETOUR = 1
"""The metric of a way around an uplink that failed; less than that of any uplink."""
BASES = (100, 200, 300, 600, 700)
"""First metric of each rank (`hw.nics.RANKS`, then VLANs), far enough apart that a new NIC moves no other."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the network with its metric, and what was learned about it."""

    member: Member
    metric: int
    failed: bool
    asks_dhcp: bool
    listens: bool
    lease: Lease | None = None
    advertised: Advertised | None = None
    link_local: str = ""

    @property
    def name(self) -> str:
        """The link's name."""
        return self.member.name

    @property
    def config(self) -> Addressing:
        """The link's settings."""
        return self.member.config

    @property
    def is_uplink(self) -> bool:
        """Whether a default route may come of it."""
        own = self.config
        return own.uplink and bool(self.asks_dhcp or self.listens or own.gateway or own.gateway6)

    @property
    def route_metric(self) -> int:
        """The metric of its routes now."""
        return self.metric + FAILED if self.failed else self.metric

    @property
    def table(self) -> int:
        """The routing table for what comes from its addresses."""
        return OUR_NUMBERS.start + self.metric


def metrics(members: Iterable[Member]) -> dict[str, int]:
    """A metric for each member, no two the same: the configured ones, and free ones by rank for the rest."""
    given: dict[str, int] = {}
    taken: set[int] = set()
    ordered = sorted(members, key=lambda member: (not member.config.metric, member.config.metric, member.order))
    for member in ordered:
        number = member.config.metric or BASES[min(member.rank, len(BASES) - 1)]
        while number in taken:
            number += 1
        taken.add(number)
        given[member.name] = number
    return given


def addresses_of(ways: Sequence[Way]) -> tuple[tuple[Address, ...], list[str]]:
    """The address of every link, and in words which could not be: an address is on one link only."""
    found: list[Address] = []
    remarks: list[str] = []
    owners: dict[str, str] = {}
    for way in ways:
        for address in _own_addresses(way):
            host = address.address.partition("/")[0]
            owner = owners.setdefault(host, way.name)
            if owner == way.name:
                if host not in {one.address.partition("/")[0] for one in found}:
                    found.append(address)
            else:
                remarks.append(f"{way.name}: {host} is on {owner} already, so it is left out here.")
        if way.config.addresses and not way.member.first:
            remarks.append(f"{way.name}: another interface fits the same table and has its addresses.")
    for way in ways:
        has_ipv4 = any(one.link == way.name and version_of(one.address) == 4 for one in found)
        if way.link_local and not has_ipv4 and way.link_local.partition("/")[0] not in owners:
            owners[way.link_local.partition("/")[0]] = way.name
            found.append(Address(link=way.name, address=way.link_local, source="link-local"))
    return tuple(found), remarks


def _own_addresses(way: Way) -> Iterator[Address]:
    if way.member.first:
        for text in way.config.addresses:
            if version_of(text) == 4 or way.config.ipv6 != "off":
                yield Address(link=way.name, address=str(ipaddress.ip_interface(text)))
    if way.lease is not None:
        yield Address(link=way.name, address=str(ipaddress.ip_interface(way.lease.address)), source="dhcp")


def routes_of(ways: Sequence[Way], addresses: Sequence[Address]) -> tuple[Route, ...]:
    """Every route beyond the kernel's own, those to gateways first; and each IPv4 uplink's own table."""
    found = []
    several = len(_with_ipv4(ways, addresses)) > 1
    for way in ways:
        own = [one for one in addresses if one.link == way.name]
        main = [*_ipv4_routes(way, own), *_ipv6_routes(way, own)]
        found += main
        if several:
            found += _own_table(way, own, main)
    return tuple(dict.fromkeys(found))


def _with_ipv4(ways: Sequence[Way], addresses: Sequence[Address]) -> list[Way]:
    links = {one.link for one in addresses if version_of(one.address) == 4 and one.source != "link-local"}
    return [way for way in ways if way.name in links]


def _ipv4_routes(way: Way, own: Sequence[Address]) -> Iterator[Route]:
    mine = [one.address for one in own if version_of(one.address) == 4]
    if not mine or not _has_own(own):
        return
    if way.config.gateway and way.config.uplink and way.member.first:
        yield from _by_gateway(way, DEFAULT_V4, way.config.gateway, mine, mine[0])
    elif way.lease is not None:
        leased = [one.address for one in own if one.source == "dhcp"]
        prefer = leased[0] if leased else mine[0]
        for destination, gateway in _leased_routes(way.lease):
            if destination != DEFAULT_V4 or way.config.uplink:
                yield from _by_gateway(way, destination, gateway, mine, prefer)


def _has_own(own: Sequence[Address]) -> bool:
    return any(version_of(one.address) == 4 and one.source != "link-local" for one in own)


def _leased_routes(lease: Lease) -> Iterator[tuple[str, str]]:
    """Option 121 replaces option 3 (RFC 3442); what cannot be a route is passed over."""
    if not lease.routes:
        yield from ((DEFAULT_V4, router) for router in lease.routers[:1] if _is_router(router))
        return
    seen: set[str] = set()
    for text, gateway in lease.routes:
        try:
            network = ipaddress.IPv4Network(text, strict=False)
        except ValueError:
            continue
        if network.is_loopback or network.is_multicast or (gateway != "0.0.0.0" and not _is_router(gateway)):
            continue
        if str(network) not in seen:
            seen.add(str(network))
            yield str(network), "" if gateway == "0.0.0.0" else gateway


def _is_router(text: str) -> bool:
    try:
        found = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_multicast or found.is_unspecified)


def _by_gateway(way: Way, destination: str, gateway: str, mine: Sequence[str], prefer: str) -> Iterator[Route]:
    source = prefer.partition("/")[0]
    if gateway and not on_link(gateway, mine):
        # Some providers lease a /32 and expect their router to be reached on the link all the same.
        yield Route(destination=f"{gateway}/32", link=way.name, metric=way.route_metric, prefer=source)
    yield Route(destination=destination, link=way.name, gateway=gateway, metric=way.route_metric, prefer=source)


def _ipv6_routes(way: Way, own: Sequence[Address]) -> Iterator[Route]:
    """Only the configured one; those of advertisements are the kernel's, with the metric that a sysctl gives them."""
    if way.config.gateway6 and way.config.uplink and way.config.ipv6 != "off" and way.member.first:
        yield Route(destination=DEFAULT_V6, link=way.name, gateway=way.config.gateway6, metric=way.route_metric)


def detour(ways: Sequence[Way], advertised: Sequence[AdvertisedRoute]) -> Iterator[Route]:
    """The way around an IPv6 uplink that failed while the kernel still prefers it.

    Routes of advertisements are the kernel's. A router that fell silent tells of itself no more, so its route keeps the
    metric of better days until it runs out, which takes half an hour (RFC 4861 section 6.2.1). The best uplink that
    works gets a second route before it.
    """
    routers = {one.link: one for one in sorted(advertised, key=lambda one: one.metric, reverse=True)}
    working = [way for way in ways if way.is_uplink and not way.failed and way.member.carrier]
    for way in working:
        if (own := _ipv6_way(way, routers)) is None:
            continue
        gateway, metric = own
        failed = {one.name for one in ways if one.failed}
        if any(one.link in failed and one.metric < metric for one in advertised):
            yield Route(destination=DEFAULT_V6, link=way.name, gateway=gateway, metric=DETOUR)
        return


def _ipv6_way(way: Way, routers: Mapping[str, AdvertisedRoute]) -> tuple[str, int] | None:
    """By which router an uplink leads out, and with which metric; None if it does not."""
    if way.config.gateway6 and way.config.ipv6 != "off" and way.member.first:
        return way.config.gateway6, way.route_metric
    found = routers.get(way.name)
    return (found.router, found.metric) if found is not None and way.listens else None


def _own_table(way: Way, own: Sequence[Address], main: Sequence[Route]) -> list[Route]:
    """What answers to strangers need: the network itself and the ways out, whatever other uplinks there are."""
    found: dict[str, Route] = {}
    for one in own:
        if version_of(one.address) != 4 or one.source == "link-local":
            continue
        network = ipaddress.ip_interface(one.address).network
        if network.prefixlen < network.max_prefixlen:
            source = one.address.partition("/")[0]
            route = Route(destination=str(network), link=way.name, table=way.table, prefer=source)
            found.setdefault(route.destination, route)
    for route in main:
        if version_of(route.destination) == 4:
            found.setdefault(route.destination, replace(route, metric=0, table=way.table))
    return list(found.values())


def rules_of(ways: Sequence[Way], addresses: Sequence[Address]) -> tuple[Rule, ...]:
    """Where several links have IPv4 addresses, answers leave by the link that the question came to."""
    among = _with_ipv4(ways, addresses)
    if len(among) < 2:
        return ()
    by_name = {way.name: way for way in among}
    return tuple(
        Rule(
            source=f"{one.address.partition('/')[0]}/32",
            table=by_name[one.link].table,
            priority=by_name[one.link].table,
        )
        for one in addresses
        if version_of(one.address) == 4 and one.source != "link-local"
    )
