"""What strangers on the wire can say: leases, router advertisements, ARP, and how much of it is believed."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw import arp
from hw.domainnames import MAX_DOMAINS
from hw.failover import Failover, Judgement, Target, echo, is_reply
from hw.kernel import DeleteLink, SetSysctl
from hw.lease import MAX_ROUTES, MAX_SERVERS, MIN_LEASE_S, classless_routes, lease_of, lease_seconds, mended_times
from hw.linklocal import LinkLocal, LinkLocalWorker, candidates
from hw.mdns import keeps_name, next_name
from hw.ndoptions import MAX_RESOLVERS, NdOption, parse
from hw.ra import metric_changes
from hw.wanted import Sysctl, WifiClient, WifiNetwork
from hw.wifi import render

anything = st.recursive(
    st.none() | st.integers(-(2**33), 2**33) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=12),
    max_leaves=12,
)
OPTIONS = ("subnet_mask", "router", "name_server", "ntp_servers", "interface_mtu", "domain_name", "lease_time",
           "renewal_time", "rebinding_time", "classless_static_route", "domain_search")  # fmt: skip


@given(anything, st.dictionaries(st.sampled_from(OPTIONS), anything))
def test_no_answer_of_a_dhcp_server_raises(address: object, options: dict[str, object]) -> None:
    for yiaddr in (address, "192.0.2.7"):
        ack = {"yiaddr": yiaddr, "options": options}
        lease = lease_of(ack)
        mended_times(options)
        assert (lease_seconds(ack) or MIN_LEASE_S) >= MIN_LEASE_S
        if lease is not None:
            assert max(map(len, (lease.routers, lease.dns, lease.ntp))) <= MAX_SERVERS
            assert len(lease.routes) <= MAX_ROUTES
            assert len(lease.domains) <= MAX_DOMAINS


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "x", None])
def test_addresses_that_cannot_be_ours_are_no_lease(address: str | None) -> None:
    assert lease_of({"yiaddr": address, "options": {}}) is None


def test_times_that_contradict_each_other_are_dropped() -> None:
    assert mended_times({"lease_time": 100, "renewal_time": 90, "rebinding_time": 80}) == {"lease_time": 100}
    assert mended_times({"lease_time": 1})["lease_time"] == MIN_LEASE_S
    fine = {"lease_time": 100, "renewal_time": 50, "rebinding_time": 80}
    assert mended_times(fine) == fine


def test_classless_routes() -> None:
    octets = [16, 10, 20, 10, 9, 0, 7, 0, 10, 9, 0, 1, 32, 1, 2, 3, 4, 0, 0, 0, 0, 24, 1]
    assert list(classless_routes(octets)) == [
        ("10.20.0.0/16", "10.9.0.7"),
        ("0.0.0.0/0", "10.9.0.1"),
        ("1.2.3.4/32", "0.0.0.0"),
    ]


@given(st.binary(max_size=200))
def test_no_octets_raise(data: bytes) -> None:
    assert all(rule is not None for rule in parse(data))
    assert arp.parse(data) is None or len(data) >= 28  # octets of an ARP packet for IPv4 over Ethernet (RFC 826)
    assert is_reply(data, 0, b"x" * 8, with_header=True) in {True, False}


def user_option(option: bytes, index: int = 3) -> bytes:
    body = struct.pack("=BBHiBBHI", socket.AF_INET6, 0, len(option), index, 134, 0, 0, 0) + option
    return struct.pack("=IHHII", 16 + len(body), 68, 0, 0, 0) + body


def test_resolvers_of_a_router() -> None:
    hosts = [socket.inet_pton(socket.AF_INET6, text) for text in ("fd00::53", "ff02::1", "fe80::1")]
    option = bytes([25, 7, 0, 0]) + (600).to_bytes(4, "big") + b"".join(hosts)
    assert list(parse(user_option(option))) == [NdOption(index=3, dns=("fd00::53", "fe80::1"), lifetime_s=600)]
    many = b"".join(socket.inet_pton(socket.AF_INET6, f"fd00::{number + 1:x}") for number in range(40))
    (found,) = parse(user_option(bytes([25, 81, 0, 0]) + bytes(4) + many))
    assert len(found.dns) == MAX_RESOLVERS
    domains = b"\x05local\x04test\x00" + bytes(5)
    (found,) = parse(user_option(bytes([31, 3, 0, 0]) + bytes(4) + domains))
    assert found.domains == ("local.test",)


def test_arp_there_and_back() -> None:
    packet = arp.Arp(arp.REQUEST, b"\2" * 6, "0.0.0.0", bytes(6), "192.0.2.5")
    assert arp.parse(arp.encode(packet)) == packet
    assert arp.conflicts(packet, "192.0.2.5", b"\4" * 6)  # somebody else probes for it
    assert not arp.conflicts(packet, "192.0.2.5", b"\2" * 6)  # that was us
    assert not arp.conflicts(packet, "192.0.2.6", b"\4" * 6)


def test_uplinks_are_judged_with_patience() -> None:
    told: list[frozenset[str]] = []
    failover = Failover(told.append)
    for reasons in (["x", "x", "", "x", "x", "x"], ["", "", "x", "", "", ""]):
        for reason in reasons:
            failover.take({"eth0": reason, "eth1": ""})
        assert failover.reasons == ({"eth0": "x"} if told[-1] else {})
    assert [bool(one) for one in told] == [False] * 5 + [True] * 6 + [False]
    assert Judgement().seen(False).seen(True) == Judgement()


async def test_failover_asks_nobody_where_there_is_only_one_uplink() -> None:
    async def never(target: Target) -> str:
        raise AssertionError(target)

    await Failover(lambda _: None, check=never).look()


def test_echo_reply_is_recognized() -> None:
    request = echo(8, b"12345678")
    assert is_reply(bytes([0]) + request[1:], 0, b"12345678", with_header=False)
    assert not is_reply(request, 0, b"12345678", with_header=False)


def test_link_local_candidates_stay_and_differ() -> None:
    first, again = candidates("02:00:00:00:00:01"), candidates("02:00:00:00:00:01")
    some = [next(first) for _ in range(50)]
    assert some == [next(again) for _ in range(50)]
    assert len(set(some)) > 45
    assert all(one.startswith("169.254.") and one.split(".")[2] not in {"0", "255"} for one in some)


async def test_link_local_address_is_taken_given_up_and_replaced() -> None:
    told: list[str] = []
    answers = iter(["02:02:02:02:02:02", "", ""])
    losses = iter(["03:03:03:03:03:03"])

    async def claim(link: str, address: str) -> str:
        return next(answers)

    async def defend(link: str, address: str) -> str:
        if (loss := next(losses, None)) is None:
            raise KeyboardInterrupt
        return loss

    async def no_wait(seconds: float) -> None:
        return None

    worker = LinkLocalWorker(
        LinkLocal(link="eth0", mac="02:00:00:00:00:01"),
        lambda _, address: told.append(address),
        claim=claim,
        defend=defend,
        sleep=no_wait,
    )
    worker.carrier(True, 1)
    with pytest.raises(KeyboardInterrupt):
        await worker.run(lambda _: None)
    ordered = candidates("02:00:00:00:00:01")
    _, second, third = (next(ordered) for _ in range(3))
    assert told == [f"{second}/16", "", f"{third}/16"]


def test_wifi_configuration_takes_no_orders() -> None:
    evil = 'x"\n}\nnetwork={\n\tssid="evil'
    client = WifiClient(link="wlan0", country="DE", networks=(WifiNetwork(ssid=evil, passphrase='pass"} phrase'),))
    text = render(client, Path("/run/palomar-hw/wpa"))
    assert text.count("network={") == 1
    assert f"ssid={evil.encode().hex()}\n" in text
    assert '\tsae_password="pass"} phrase"\n' in text
    with pytest.raises(ValueError):
        render(
            WifiClient(link="wlan0", country="DE", networks=(WifiNetwork(ssid="x", passphrase="a\nbcdefgh"),)), Path()
        )
    with pytest.raises(ValueError):
        render(WifiClient(link="wlan0", country="D\nE", networks=()), Path())


def test_names_after_a_conflict() -> None:
    assert [next_name("box", attempt) for attempt in (1, 2, 3)] == ["box", "box-2", "box-3"]
    assert len(next_name("a" * 63, 10)) <= 63


def test_of_two_machines_with_one_name_one_gives_way() -> None:
    ours, theirs = ["192.0.2.9", "fe80::9"], ["192.0.2.10", "fe80::8", "192.0.2.200"]
    assert all(keeps_name(ours, rival) for rival in theirs)
    assert not all(keeps_name(theirs, rival) for rival in ours)
    assert keeps_name(["fe80::1"], "203.0.113.5")  # AAAA comes after A
    assert not keeps_name(["192.0.2.9"], "192.0.2.10")


def test_routers_are_asked_where_the_metric_changed() -> None:
    made = (SetSysctl(Sysctl(path="net/ipv6/conf/eth0.7/ra_defrtr_metric", value="7")), DeleteLink("eth1"))
    assert metric_changes(made) == ["eth0.7"]
