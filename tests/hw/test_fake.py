"""The fake kernel refuses what the real one refuses and does what the real one does by itself."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator

import pytest

from hw.apply import Applier
from hw.config import NetworkConfig
from hw.fake import FakeDhcpServer, FakeKernel, eui64
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
    Kernel,
    KernelError,
    LinkEvent,
    Present,
    SetLink,
    SetSysctl,
)
from hw.nics import Nic
from hw.plan import plan
from hw.wanted import DEFAULT_V4, DEFAULT_V6, Inventory, Learned, Link, Route, Rule, Sysctl

ETH0 = Nic(name="eth0", bus="platform", mac="dc:a6:32:00:00:01", carrier=True, onboard=True)
ETH1 = Nic(name="eth1", bus="usb", driver="r8152", mac="00:e0:4c:00:00:01", carrier=True)
VLAN = Link(name="office", kind="vlan", parent="eth0", vlan_id=20)
BRIDGE = Link(name="br0", kind="bridge")
DEFAULT = Route(destination=DEFAULT_V4, link="eth0", gateway="192.0.2.1", metric=100, prefer="192.0.2.5")
UP = SetLink(name="eth0", up=True)
OWN = AddAddress("eth0", "192.0.2.5/24")


async def made(*changes: Change) -> FakeKernel:
    kernel = FakeKernel(ETH0, ETH1)
    for change in changes:
        await kernel.make(change)
    return kernel


async def applied(kernel: FakeKernel, learned: Learned, *nics: Nic) -> Present:
    await Applier(kernel).apply(plan(Inventory(nics=nics), NetworkConfig(), learned))
    return await kernel.read()


def destinations(present: Present) -> list[tuple[str, str]]:
    return [(one.route.destination, one.route.link) for one in present.routes]


def test_it_is_a_kernel() -> None:
    kernel: Kernel = FakeKernel()
    assert kernel is not None


@pytest.mark.parametrize(
    ("before", "change", "number"),
    [
        ((), SetLink(name="eth9", up=True), errno.ENODEV),
        ((), AddAddress("eth9", "192.0.2.5/24"), errno.ENODEV),
        ((), AddLink(Link(name="eth0", kind="bridge")), errno.EEXIST),
        ((), AddLink(Link(name="v", kind="vlan", parent="eth9", vlan_id=1)), errno.ENODEV),
        ((AddLink(VLAN),), AddLink(Link(name="v", kind="vlan", parent="eth0", vlan_id=20)), errno.EEXIST),
        ((AddLink(VLAN),), SetLink(name="office", mtu=9000), errno.ERANGE),
        ((), DeleteLink("eth0"), errno.EOPNOTSUPP),
        ((), DeleteLink("br9"), errno.ENODEV),
        ((), SetLink(name="eth0", master="eth1"), errno.EINVAL),
        ((OWN,), OWN, errno.EEXIST),
        ((), DeleteAddress("eth0", "192.0.2.5/24"), errno.EADDRNOTAVAIL),
        ((OWN,), AddRoute(DEFAULT), errno.ENETDOWN),
        ((UP,), AddRoute(DEFAULT), errno.ENETUNREACH),
        ((UP, OWN, AddRoute(DEFAULT)), AddRoute(DEFAULT), errno.EEXIST),
        (
            (UP, OWN),
            AddRoute(Route(destination="10.0.0.0/8", link="eth0", gateway="192.0.2.1", prefer="192.0.2.9")),
            errno.EINVAL,
        ),
        ((UP,), DeleteRoute(DEFAULT), errno.ESRCH),
        (
            (AddRule(Rule(source="192.0.2.5/32", table=1100, priority=1100)),) * 1,
            DeleteRule(Rule(source="x", table=1, priority=1)),
            errno.ENOENT,
        ),
        ((), SetSysctl(Sysctl(path="net/ipv4/conf/eth9/rp_filter", value="2")), errno.ENOENT),
        (
            (SetSysctl(Sysctl(path="net/ipv6/conf/eth0/disable_ipv6", value="1")),),
            AddAddress("eth0", "2001:db8::5/64"),
            errno.EACCES,
        ),
    ],
)
async def test_what_the_kernel_refuses(before: tuple[Change, ...], change: Change, number: int) -> None:
    kernel = await made(*before)
    present = await kernel.read()
    with pytest.raises(KernelError) as caught:
        await kernel.make(change)
    assert caught.value.errno == number
    assert await kernel.read() == present
    assert change not in kernel.made or change in before


async def test_a_link_that_is_up_reaches_its_network() -> None:
    kernel = await made(UP, OWN, AddRoute(DEFAULT))
    present = await kernel.read()
    assert destinations(present) == [(DEFAULT_V4, "eth0"), ("192.0.2.0/24", "eth0"), ("fe80::/64", "eth0")]
    assert [one.automatic for one in present.routes] == [False, True, True]


async def test_a_link_that_goes_down_loses_routes_and_ipv6_but_no_ipv4_address() -> None:
    kernel = await made(UP, OWN, AddRoute(DEFAULT), SetLink(name="eth0", up=False))
    present = await kernel.read()
    assert present.routes == ()
    assert [one.address for one in present.addresses] == ["192.0.2.5/24"]


async def test_an_address_takes_its_routes_along() -> None:
    kernel = await made(UP, OWN, AddRoute(DEFAULT), DeleteAddress("eth0", "192.0.2.5/24"))
    assert destinations(await kernel.read()) == [("fe80::/64", "eth0")]


async def test_an_unplugged_stick_takes_everything_along() -> None:
    kernel = await made(
        AddLink(BRIDGE),
        SetLink(name="eth1", master="br0"),
        SetLink(name="eth1", master=""),
        SetLink(name="eth1", up=True),
        AddAddress("eth1", "10.0.0.2/24"),
        AddLink(Link(name="v", kind="vlan", parent="eth1", vlan_id=1)),
    )
    kernel.unplug("eth1")
    present = await kernel.read()
    assert [link.nic.name for link in present.links] == ["br0", "eth0"]
    assert present.addresses == present.routes == ()


async def test_a_bridge_that_goes_frees_its_ports() -> None:
    kernel = await made(AddLink(BRIDGE), SetLink(name="eth0", master="br0"), DeleteLink("br0"))
    assert {link.nic.name: link.master for link in (await kernel.read()).links} == {"eth0": "", "eth1": ""}


async def test_a_pulled_cable_leaves_routes_and_turns_packets_to_the_next() -> None:
    server = FakeDhcpServer()
    learned = Learned(
        leases=tuple((nic.name, lease) for nic in (ETH0, ETH1) if (lease := server.ask(nic.mac)) is not None)
    )
    kernel = FakeKernel(ETH0, ETH1)
    await applied(kernel, learned, ETH0, ETH1)
    first = kernel.best_route()
    kernel.carrier("eth0", there=False)
    second = kernel.best_route()
    kernel.carrier("eth0", there=True)
    assert first is not None
    assert second is not None
    assert (first.link, second.link) == ("eth0", "eth1")
    assert kernel.best_route() == first


async def test_an_advertisement_makes_address_and_route_with_our_metric() -> None:
    kernel = FakeKernel(ETH0)
    await applied(kernel, Learned(), ETH0)
    kernel.advertise("eth0", "2001:db8:7::/64")
    present = await kernel.read()
    assert "2001:db8:7:0:dea6:32ff:fe00:1/64" in [one.address for one in present.addresses if one.automatic]
    (route,) = [one.route for one in present.routes if one.route.destination == DEFAULT_V6]
    assert (route.gateway, route.metric) == ("fe80::1", 100)
    assert kernel.best_route(6) == route


async def test_who_does_not_listen_hears_nothing() -> None:
    kernel = await made(UP, SetSysctl(Sysctl(path="net/ipv6/conf/eth0/accept_ra", value="0")))
    before = await kernel.read()
    kernel.advertise("eth0")
    kernel.advertise("eth1")
    kernel.advertise("eth9")
    assert await kernel.read() == before


async def test_ipv6_is_switched_off_and_on() -> None:
    path = "net/ipv6/conf/eth0/disable_ipv6"
    kernel = await made(UP, AddAddress("eth0", "2001:db8::5/64"), SetSysctl(Sysctl(path=path, value="1")))
    assert (await kernel.read()).addresses == ()
    await kernel.make(SetSysctl(Sysctl(path=path, value="0")))
    assert [one.address for one in (await kernel.read()).addresses] == ["fe80::dea6:32ff:fe00:1/64"]


async def test_settings_go_with_their_link() -> None:
    path = "net/ipv4/conf/eth1/rp_filter"
    kernel = await made(SetSysctl(Sysctl(path=path, value="2")))
    assert await kernel.sysctl(path) == "2"
    kernel.unplug("eth1")
    assert await kernel.sysctl(path) is None
    kernel.plug(ETH1)
    assert await kernel.sysctl(path) == "0"


async def test_a_test_can_refuse_changes_that_some_kernels_lack() -> None:
    kernel = FakeKernel(ETH0)
    kernel.refusals.append((lambda change: isinstance(change, AddLink), errno.EOPNOTSUPP))
    with pytest.raises(KernelError, match="not supported"):
        await kernel.make(AddLink(BRIDGE))
    assert kernel.made == []


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def following(kernel: FakeKernel) -> tuple[AsyncIterator[Event], asyncio.Future[Event]]:
    """An iterator that listens already: its first event is awaited."""
    events = kernel.events()
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # lets it begin; waits for no time
    return events, first


async def test_carrier_and_hot_plugging_are_told() -> None:
    kernel = FakeKernel(ETH0)
    events, first = await following(kernel)
    kernel.carrier("eth0", there=False)
    kernel.carrier("eth0", there=False)
    kernel.carrier("eth0", there=True)
    kernel.plug(ETH1)
    kernel.unplug("eth1")
    assert [await first, await anext(events), await anext(events), await anext(events)] == [
        LinkEvent(name="eth0", carrier=False, carrier_changes=1),
        LinkEvent(name="eth0", carrier=True, carrier_changes=2),
        LinkEvent(name="eth1", carrier=True),
        LinkEvent(name="eth1", carrier=False, gone=True),
    ]


async def test_resolvers_and_duplicates_are_told() -> None:
    kernel = await made(OWN)
    kernel.advertise("eth0", dns=("2001:db8::53",))  # down: nobody hears it
    events, first = await following(kernel)
    kernel.duplicate("eth0", "192.0.2.5/24")
    assert await first == AddressEvent(link="eth0", address="192.0.2.5/24", duplicate=True)
    await kernel.make(UP)
    kernel.advertise("eth0", prefix="2001:db8::/64", dns=("2001:db8::53",))
    while not isinstance(event := await anext(events), DnsEvent):
        pass
    assert event == DnsEvent(link="eth0", dns=("2001:db8::53",), lifetime_s=1800)


# ── the DHCP server ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_server_knows_its_clients_again() -> None:
    server = FakeDhcpServer(mtu=1400, ntp=("192.168.1.1",))
    first, second = server.ask(ETH0.mac), server.ask(ETH1.mac)
    assert first is not None
    assert second is not None
    assert (first.address, second.address) == ("192.168.1.100/24", "192.168.1.101/24")
    assert server.ask(ETH0.mac) == first
    assert (first.mtu, first.ntp) == (1400, ("192.168.1.1",))


def test_a_silent_a_full_and_a_new_server() -> None:
    server = FakeDhcpServer(silent=True)
    assert server.ask(ETH0.mac) is None
    server.silent = False
    known = server.ask(ETH0.mac)
    server.full = True
    assert server.ask(ETH1.mac) is None
    assert server.ask(ETH0.mac) == known
    server.forget()
    server.full = False
    fresh = server.ask(ETH0.mac)
    assert fresh is not None
    assert known is not None
    assert fresh.address != known.address
    assert server.asked == [ETH0.mac, ETH0.mac, ETH1.mac, ETH0.mac, ETH0.mac]


def test_the_identifier_that_a_mac_makes() -> None:
    assert f"{eui64('34:56:78:9a:bc:de'):x}" == "365678fffe9abcde"  # RFC 4291 appendix A turns the second bit
