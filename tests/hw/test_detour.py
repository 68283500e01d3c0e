"""Around an IPv6 uplink whose router fell silent, and what resolv.conf says; on the fake kernel, as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.apply import Applier
from hw.config import NetworkConfig, NicConfig
from hw.fake import FakeKernel
from hw.network import Network, advertised_routes
from hw.nics import Nic
from hw.plan import MAX_SEARCH, plan
from hw.routes import DETOUR
from hw.wanted import DEFAULT_V6, Advertised, AdvertisedRoute, Inventory, Learned, Lease, Plan, Route

ETH0 = Nic(name="eth0", driver="bcmgenet", bus="platform", mac="dc:a6:32:00:00:01", carrier=True, onboard=True)
ETH1 = Nic(name="eth1", driver="r8152", bus="usb", mac="00:e0:4c:00:00:01", carrier=True)
FIRST = AdvertisedRoute(link="eth0", router="fe80::1", metric=100)
SECOND = AdvertisedRoute(link="eth1", router="fe80::2", metric=300)
LATE = AdvertisedRoute(link="eth0", router="fe80::1", metric=10_100)
AROUND = Route(destination=DEFAULT_V6, link="eth1", gateway="fe80::2", metric=DETOUR)


def detours(made: Plan) -> list[Route]:
    return [one for one in made.routes if one.metric == DETOUR]


@pytest.mark.parametrize(
    ("failed", "routes", "around"),
    [
        ({"eth0"}, (FIRST, SECOND), [AROUND]),
        (set(), (FIRST, SECOND), []),
        ({"eth1"}, (FIRST, SECOND), []),
        ({"eth0", "eth1"}, (FIRST, SECOND), []),
        ({"eth0"}, (LATE, SECOND), []),  # its router spoke since, and the kernel took the metric of a failed one
        ({"eth0"}, (FIRST,), []),
        ({"eth0"}, (SECOND,), []),
    ],
)
def test_the_way_around_is_there_only_while_it_is_needed(
    failed: set[str], routes: tuple[AdvertisedRoute, ...], around: list[Route]
) -> None:
    learned = Learned(failed=frozenset(failed), advertised_routes=routes)
    assert detours(plan(Inventory(nics=(ETH0, ETH1)), NetworkConfig(), learned)) == around


def test_a_configured_router_is_a_way_around_too() -> None:
    own = NicConfig(addresses=("2001:db8::5/64",), gateway6="2001:db8::1", ipv6="static")
    learned = Learned(failed=frozenset({"eth0"}), advertised_routes=(FIRST,))
    made = plan(Inventory(nics=(ETH0, ETH1)), NetworkConfig(nics={"eth1": own}), learned)
    assert [one.gateway for one in detours(made)] == ["2001:db8::1"]


async def test_packets_take_it_and_leave_it() -> None:
    kernel = FakeKernel(ETH0, ETH1)
    inventory = Inventory(nics=(ETH0, ETH1))

    async def applied(failed: frozenset[str]) -> str:
        learned = Learned(failed=failed, advertised_routes=advertised_routes(await kernel.read()))
        await Applier(kernel).apply(plan(inventory, NetworkConfig(), learned))
        best = kernel.best_route(6)
        return best.link if best else ""

    await applied(frozenset())
    kernel.advertise("eth0", router="fe80::1")
    kernel.advertise("eth1", "2001:db8:2::/64", router="fe80::2")
    assert await applied(frozenset()) == "eth0"
    assert await applied(frozenset({"eth0"})) == "eth1"
    assert await applied(frozenset({"eth0"})) == "eth1"
    assert await applied(frozenset()) == "eth0"


def test_search_domains_of_uplinks_that_work_come_first() -> None:
    learned = Learned(
        leases=(("eth0", Lease(address="192.0.2.5/24", domains=("office.example",))),),
        advertised=(
            ("eth0", Advertised(domains=("six.example", "office.example"))),
            ("eth1", Advertised(domains=("b.example",))),
        ),
    )
    made = plan(Inventory(nics=(ETH0, ETH1)), NetworkConfig(), learned)
    assert made.search == ("office.example", "six.example", "b.example")
    assert "Names without a dot are looked up in office.example, six.example, b.example." in made.words
    many = Learned(advertised=(("eth0", Advertised(domains=tuple(f"{number}.example" for number in range(9)))),))
    assert len(plan(Inventory(nics=(ETH0,)), NetworkConfig(), many).search) == MAX_SEARCH


async def test_resolv_conf_says_what_routers_advertise(tmp_path: Path) -> None:
    kernel = FakeKernel(ETH0)
    path = tmp_path / "resolv.conf"
    rounds: asyncio.Queue[str] = asyncio.Queue()
    network = Network(
        kernel,
        NetworkConfig(),
        changed=lambda: rounds.put_nowait(path.read_text()),
        hire=lambda *_: {},
        load_rules=lambda _: None,
        resolv_conf=path,
    )
    task = asyncio.create_task(network.run(lambda _: None))
    assert "nameserver" not in await until(rounds, lambda _: True)
    kernel.advertise("eth0", dns=("2001:db8::53",), domains=("office.example", "lab.example"))
    text = await until(rounds, lambda text: "search" in text and "nameserver" in text)
    assert text.splitlines()[1:3] == ["nameserver 2001:db8::53", "search office.example lab.example"]
    task.cancel()
    await asyncio.wait([task])


async def test_rules_that_were_not_taken_are_tried_again(tmp_path: Path) -> None:
    given: list[bytes] = []
    notes: asyncio.Queue[str] = asyncio.Queue()

    def load_rules(rules: bytes) -> None:
        given.append(rules)
        if len(given) < 3:
            raise OSError("nft did not end within 60 s")

    def report(facts: object) -> None:
        assert isinstance(facts, tuple)
        notes.put_nowait(" ".join(note.text for note in facts))

    network = Network(
        FakeKernel(ETH0),
        NetworkConfig(),
        changed=lambda: None,
        hire=lambda *_: {},
        load_rules=load_rules,
        resolv_conf=tmp_path / "resolv.conf",
        rules_again_s=0.01,
    )
    task = asyncio.create_task(network.run(report))
    assert "nft did not end within 60 s" in await until(notes, lambda text: "were not taken" in text)
    await until(notes, lambda text: "were not taken" not in text)
    assert len(given) == 3
    assert len(set(given)) == 1
    task.cancel()
    await asyncio.wait([task])


async def until(rounds: asyncio.Queue[str], fits: Callable[[str], bool]) -> str:
    async with asyncio.timeout(60):
        while not fits(text := await rounds.get()):
            pass
    return text
