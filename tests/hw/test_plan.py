"""The plan: what boards get without configuration, what each setting does, and what holds whatever is configured."""

from __future__ import annotations

import dataclasses
import ipaddress
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hw.apply import Applier
from hw.config import Allow, BridgeConfig, Match, NetworkConfig, NicConfig, VlanConfig, Wifi
from hw.fake import FakeKernel
from hw.firewall import document
from hw.nics import Nic
from hw.plan import host_label, plan
from hw.routes import FAILED
from hw.wanted import (
    DEFAULT_V4,
    MAIN_TABLE,
    Advertised,
    DhcpClient,
    Inventory,
    Learned,
    Lease,
    Plan,
    Route,
    WifiNetwork,
)
from tests.hw.boards import SAMPLES, Sample, nics

ETH0 = Nic(name="eth0", driver="bcmgenet", bus="platform", mac="dc:a6:32:00:00:01", carrier=True, onboard=True)
ETH1 = Nic(name="eth1", driver="r8152", bus="usb", mac="00:e0:4c:00:00:01", carrier=True)
ETH2 = Nic(name="eth2", driver="ax88179_178a", bus="usb", mac="00:0e:c6:00:00:01", carrier=True)
WLAN0 = Nic(name="wlan0", kind="wifi", driver="brcmfmac", bus="sdio", mac="dc:a6:32:00:00:02", onboard=True)
HOME = Wifi(ssid="home", psk="correct horse", country="DE")
LEASE = Lease(address="192.168.1.7/24", routers=("192.168.1.1",), dns=("192.168.1.1",))
LEASE_1 = Lease(address="10.0.0.9/24", routers=("10.0.0.1",), dns=("10.0.0.1",), ntp=("10.0.0.1",))


def planned(
    *links: Nic, learned: Learned | None = None, hostname: str = "", config: NetworkConfig | None = None
) -> Plan:
    return plan(Inventory(nics=links), config or NetworkConfig(), learned or Learned(), hostname=hostname)


def with_leases(**leases: Lease) -> Learned:
    return Learned(leases=tuple(leases.items()))


def sysctl(made: Plan, path: str) -> str:
    (value,) = [one.value for one in made.sysctls if one.path == path]
    return value


def defaults(made: Plan) -> list[tuple[str, str, int]]:
    found = [one for one in made.routes if one.destination == DEFAULT_V4 and one.table == MAIN_TABLE]
    return [(one.link, one.gateway, one.metric) for one in found]


# ── without any configuration ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_every_ethernet_interface_of_every_board_is_a_way_out(sample: Sample, tmp_path: Path) -> None:
    made = planned(*nics(sample.name, tmp_path))
    wired = [port.name for port in sample.ports if not port.wifi]
    assert sorted(client.link for client in made.dhcp) == wired
    assert sorted(made.router_advertisements) == sorted(made.link_local) == sorted(made.mdns_links) == wired
    assert sorted(uplink.link for uplink in made.uplinks) == wired
    assert made.down == tuple(port.name for port in sample.ports if port.wifi)
    assert made.mdns_name == "palomar"


def test_the_ways_out_are_ranked_onboard_usb_wifi() -> None:
    made = planned(WLAN0, ETH2, ETH1, ETH0, config=NetworkConfig(wifi=HOME))
    assert [(one.link, one.metric) for one in made.uplinks] == [
        ("eth0", 100),
        ("eth1", 300),
        ("eth2", 301),
        ("wlan0", 600),
    ]


def test_a_stick_that_is_plugged_in_moves_nothing_that_was_there() -> None:
    before = planned(ETH0, ETH1, WLAN0, config=NetworkConfig(wifi=HOME))
    after = planned(ETH0, ETH1, ETH2, WLAN0, config=NetworkConfig(wifi=HOME))
    assert set(before.uplinks) < set(after.uplinks)
    assert set(before.sysctls) < set(after.sysctls)
    assert set(before.links) < set(after.links)


def test_links_that_others_made_are_left_alone() -> None:
    others = [Nic(name="tun0", kind="other"), Nic(name="br9", kind="bridge"), Nic(name="v9", kind="vlan")]
    assert planned(ETH0, *others) == planned(ETH0)


def test_no_interface_is_a_plan_too() -> None:
    made = planned()
    assert (made.links, made.uplinks, made.words[0]) == ((), (), "No network interface is used.")


@pytest.mark.parametrize(
    ("hostname", "label"),
    [
        ("mail.example.org", "mail"),
        ("palomar-3F2A.local", "palomar-3f2a"),
        ("", "palomar"),
        ("-x.example", "palomar"),
        ("bücher.example", "palomar"),
        ("a" * 64, "palomar"),
    ],
)
def test_the_short_name(hostname: str, label: str) -> None:
    assert host_label(hostname) == label
    made = planned(ETH0, hostname=hostname)
    assert (made.hostname, made.mdns_name, made.dhcp[0].hostname) == (label, label, label)


def test_addresses_by_advertisement_stay_the_same_and_temporary_ones_are_off() -> None:
    made = planned(ETH0)
    values = [sysctl(made, f"net/ipv6/conf/eth0/{name}") for name in ("accept_ra", "use_tempaddr", "addr_gen_mode")]
    assert values == ["2", "0", "0"]
    assert sysctl(made, "net/ipv6/conf/eth0/ra_defrtr_metric") == "100"
    assert sysctl(made, "net/ipv4/ip_forward") == "0"


# ── what is learned ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_is_an_address_a_route_and_a_resolver() -> None:
    made = planned(ETH0, learned=with_leases(eth0=LEASE))
    assert [(one.link, one.address, one.source) for one in made.addresses] == [("eth0", "192.168.1.7/24", "dhcp")]
    assert made.routes == (
        Route(destination=DEFAULT_V4, link="eth0", gateway="192.168.1.1", metric=100, prefer="192.168.1.7"),
    )
    assert made.dns == ("192.168.1.1",)
    assert made.rules == ()


def test_an_uplink_that_failed_steps_back_and_keeps_its_routes() -> None:
    learned = with_leases(eth0=LEASE, eth1=LEASE_1)
    well = planned(ETH0, ETH1, learned=learned)
    ill = planned(ETH0, ETH1, learned=replace(learned, failed=frozenset({"eth0"})))
    (_, _, first), (_, _, second) = defaults(well)
    assert first < second
    assert defaults(ill) == [("eth0", "192.168.1.1", first + FAILED), ("eth1", "10.0.0.1", second)]
    assert [one.link for one in ill.uplinks] == ["eth1", "eth0"]
    assert well.dns == ("192.168.1.1", "10.0.0.1")
    assert ill.dns == ("10.0.0.1", "192.168.1.1")
    assert sysctl(ill, "net/ipv6/conf/eth0/ra_defrtr_metric") == str(first + FAILED)


def test_answers_leave_by_the_uplink_that_the_question_came_to() -> None:
    made = planned(ETH0, ETH1, learned=with_leases(eth0=LEASE, eth1=LEASE_1))
    for address, link in (("192.168.1.7/32", "eth0"), ("10.0.0.9/32", "eth1")):
        (rule,) = [rule for rule in made.rules if rule.source == address]
        own = {(route.destination, route.link) for route in made.routes if route.table == rule.table}
        assert (DEFAULT_V4, link) in own
        assert {one for _, one in own} == {link}


@pytest.mark.parametrize(
    ("lease", "routes"),
    [
        (
            Lease(address="192.0.2.5/32", routers=("198.51.100.1",)),
            {("198.51.100.1/32", ""), (DEFAULT_V4, "198.51.100.1")},
        ),
        (
            Lease(address="192.0.2.5/24", routers=("192.0.2.1",), routes=(("10.0.0.0/8", "192.0.2.2"),)),
            {("10.0.0.0/8", "192.0.2.2")},  # RFC 3442: option 3 does not count then
        ),
        (
            Lease(address="192.0.2.5/24", routes=(("0.0.0.0/0", "192.0.2.1"), ("10.0.0.0/8", "0.0.0.0"))),
            {(DEFAULT_V4, "192.0.2.1"), ("10.0.0.0/8", "")},
        ),
        (Lease(address="192.0.2.5/24", routers=("127.0.0.1",)), set()),
        (Lease(address="192.0.2.5/24", routers=("nonsense",)), set()),
        (Lease(address="192.0.2.5/24", routes=(("nonsense", "192.0.2.1"), ("127.0.0.0/8", "192.0.2.1"))), set()),
        (Lease(address="192.0.2.5/24", routes=(("10.0.0.1/8", "192.0.2.1"),)), {("10.0.0.0/8", "192.0.2.1")}),
        (Lease(address="192.0.2.5/24"), set()),
    ],
)
def test_routes_of_a_lease(lease: Lease, routes: set[tuple[str, str]]) -> None:
    made = planned(ETH0, learned=with_leases(eth0=lease))
    assert {(one.destination, one.gateway) for one in made.routes} == routes


@pytest.mark.parametrize(
    ("asked", "got"), [(1400, 1400), (1280, 1280), (9000, 9000), (576, 0), (68, 0), (65535, 0), (0, 0)]
)
def test_packet_size_of_a_lease_is_heeded_where_ipv6_fits(asked: int, got: int) -> None:
    made = planned(ETH0, learned=with_leases(eth0=replace(LEASE, mtu=asked)))
    assert made.links[0].mtu == got
    assert any("not heeded" in line for line in made.words) == (bool(asked) and not got)


@pytest.mark.parametrize(
    ("own", "own_lease", "vlan", "vlan_lease", "sizes"),
    [
        (1280, 0, 0, 1400, (1280, 0)),  # the VLAN's lease asks for more than its interface carries
        (0, 0, 0, 1400, (0, 1400)),
        (0, 0, 0, 9000, (0, 0)),
        (0, 1400, 0, 1400, (1400, 1400)),
        (0, 1400, 1500, 0, (0, 1500)),  # the interface's lease would leave too little for the VLAN
        (1280, 0, 1500, 0, (1500, 1500)),
    ],
)
def test_what_a_vlan_sends_fits_through_its_interface(
    own: int, own_lease: int, vlan: int, vlan_lease: int, sizes: tuple[int, int]
) -> None:
    config = NetworkConfig(
        nics={"eth0": NicConfig(mtu=own)}, vlans={"office": VlanConfig(id=7, on="eth0", mtu=vlan, ipv4="dhcp")}
    )
    leases = with_leases(eth0=replace(LEASE, mtu=own_lease), office=replace(LEASE_1, mtu=vlan_lease))
    made = planned(ETH0, learned=leases, config=config)
    assert tuple(link.mtu for link in made.links) == sizes


def test_what_cannot_be_a_resolver_is_none() -> None:
    bad = ("127.0.0.1", "0.0.0.0", "224.0.0.251", "::1", "name.example", "192.168.1.1")
    learned = Learned(
        leases=(("eth0", replace(LEASE, dns=bad, ntp=bad)),),
        advertised=(("eth0", Advertised(dns=("ff02::1", "fe80::1"))),),
    )
    made = planned(ETH0, learned=learned)
    assert made.dns == ("192.168.1.1", "fe80::1%eth0")
    assert made.ntp == ("192.168.1.1",)


def test_resolvers_in_order_and_three_at_most() -> None:
    learned = Learned(
        leases=(("eth0", LEASE), ("eth1", LEASE_1)), advertised=(("eth0", Advertised(dns=("2001:db8::1",))),)
    )
    made = planned(ETH0, ETH1, learned=learned, config=NetworkConfig(dns=("9.9.9.9",)))
    assert made.dns == ("9.9.9.9", "192.168.1.1", "2001:db8::1")
    assert "Of 4 resolvers the first 3 are used." in made.words


def test_a_resolver_behind_a_pulled_cable_is_asked_later() -> None:
    learned = with_leases(eth0=LEASE, eth1=LEASE_1)
    assert planned(replace(ETH0, carrier=False), ETH1, learned=learned).dns == ("10.0.0.1", "192.168.1.1")


def test_two_servers_with_one_address_give_it_once() -> None:
    made = planned(ETH0, ETH1, learned=with_leases(eth0=LEASE, eth1=LEASE))
    assert [(one.link, one.address) for one in made.addresses] == [("eth0", "192.168.1.7/24")]
    assert "eth1: 192.168.1.7 is on eth0 already, so it is left out here." in made.words


def test_link_local_is_for_links_without_another_address() -> None:
    learned = Learned(leases=(("eth0", LEASE),), link_local=(("eth0", "169.254.3.4/16"), ("eth1", "169.254.5.6/16")))
    made = planned(ETH0, ETH1, learned=learned)
    assert [(one.link, one.source) for one in made.addresses] == [("eth0", "dhcp"), ("eth1", "link-local")]
    assert [route.link for route in made.routes] == ["eth0"]


def test_leases_of_links_that_do_not_ask_are_forgotten() -> None:
    off = NetworkConfig(nics={"eth0": NicConfig(ipv4="off")})
    made = planned(ETH0, learned=with_leases(eth0=LEASE, eth9=LEASE_1), config=off)
    assert (made.addresses, made.routes, made.dns, made.dhcp, made.link_local) == ((), (), (), (), ())


# ── what is configured ────────────────────────────────────────────────────────────────────────────────────────────

STATIC = NicConfig(addresses=("192.0.2.5/24", "2001:db8::5/64"), gateway="192.0.2.1", gateway6="fe80::1", ipv6="static")


def test_static_addresses() -> None:
    made = planned(ETH0, config=NetworkConfig(nics={"eth0": STATIC}))
    assert [one.address for one in made.addresses] == ["192.0.2.5/24", "2001:db8::5/64"]
    assert [(one.destination, one.gateway) for one in made.routes] == [(DEFAULT_V4, "192.0.2.1"), ("::/0", "fe80::1")]
    assert made.dhcp == made.router_advertisements == ()
    assert sysctl(made, "net/ipv6/conf/eth0/accept_ra") == "0"


def test_static_ipv4_beside_advertised_ipv6_and_dhcp_beside_static() -> None:
    own = NicConfig(addresses=("192.0.2.5/24",), gateway="192.0.2.1")
    made = planned(ETH0, config=NetworkConfig(nics={"eth0": own}))
    assert (made.dhcp, made.router_advertisements) == ((), ("eth0",))
    both = planned(
        ETH0,
        learned=with_leases(eth0=LEASE),
        config=NetworkConfig(nics={"eth0": dataclasses.replace(own, ipv4="dhcp", gateway="")}),
    )
    assert [one.source for one in both.addresses] == ["static", "dhcp"]
    assert defaults(both) == [("eth0", "192.168.1.1", 100)]


def test_an_own_ipv6_gateway_goes_before_advertised_ones() -> None:
    own = NicConfig(gateway6="fe80::9")
    made = planned(ETH0, config=NetworkConfig(nics={"eth0": own}))
    assert sysctl(made, "net/ipv6/conf/eth0/accept_ra") == "2"
    assert sysctl(made, "net/ipv6/conf/eth0/accept_ra_defrtr") == "0"


def test_ipv6_off() -> None:
    made = planned(ETH0, config=NetworkConfig(nics={"eth0": NicConfig(ipv6="off")}))
    assert [one.value for one in made.sysctls if "/ipv6/conf/eth0/" in one.path] == ["1"]
    assert made.firewall.ipv6_links == ()


def test_no_way_out_by_this_link() -> None:
    own = NetworkConfig(nics={"eth1": NicConfig(uplink=False)})
    made = planned(ETH0, ETH1, learned=with_leases(eth0=LEASE, eth1=LEASE_1), config=own)
    assert [one.link for one in made.uplinks] == ["eth0"]
    assert [link for link, _, _ in defaults(made)] == ["eth0"]
    assert sysctl(made, "net/ipv6/conf/eth1/accept_ra_defrtr") == "0"
    assert made.dns[0] == "192.168.1.1"


def test_an_unused_interface_is_down() -> None:
    made = planned(ETH0, ETH1, config=NetworkConfig(nics={"eth1": NicConfig(use=False)}))
    assert (made.down, [link.name for link in made.links]) == (("eth1",), ["eth0"])
    assert any(line.startswith("eth1 (USB Ethernet (r8152)) is not used") for line in made.words)


def test_a_configured_metric_goes_before_the_rank() -> None:
    made = planned(ETH0, ETH1, config=NetworkConfig(nics={"eth1": NicConfig(metric=50)}))
    assert [(one.link, one.metric) for one in made.uplinks] == [("eth1", 50), ("eth0", 100)]


def test_a_configured_metric_that_a_rank_has_moves_the_rank() -> None:
    made = planned(ETH0, ETH1, config=NetworkConfig(nics={"eth1": NicConfig(metric=100)}))
    assert [(one.link, one.metric) for one in made.uplinks] == [("eth1", 100), ("eth0", 101)]


@pytest.mark.parametrize(
    "match",
    [
        Match(name="eth1"),
        Match(mac="00-E0-4C-00-00-01"),
        Match(driver="r8152"),
        Match(name="eth*", driver="r8152", bus="usb"),
    ],
)
def test_tables_are_matched_by_what_they_say(match: Match) -> None:
    made = planned(ETH0, ETH1, ETH2, config=NetworkConfig(nics={"lan": NicConfig(match=match, mtu=1400)}))
    assert [link.name for link in made.links if link.mtu == 1400] == ["eth1"]


@pytest.mark.parametrize("match", [Match(name="eth9"), Match(mac="02:00:00:00:00:99"), Match(name="eth1", driver="x")])
def test_a_table_for_nothing_is_said(match: Match) -> None:
    made = planned(ETH0, ETH1, config=NetworkConfig(nics={"lan": NicConfig(match=match)}))
    assert "nics.lan: no interface here fits it." in made.words
    assert [one.link for one in made.uplinks] == ["eth0", "eth1"]


def test_the_mac_goes_before_the_name_and_the_name_before_the_driver() -> None:
    tables = {
        "a": NicConfig(match=Match(driver="r8152"), mtu=1401),
        "b": NicConfig(match=Match(name="eth1"), mtu=1402),
        "c": NicConfig(match=Match(mac=ETH1.mac), mtu=1403),
    }
    for names, mtu in (("abc", 1403), ("ab", 1402), ("a", 1401), ("ca", 1403)):
        made = planned(ETH1, config=NetworkConfig(nics={name: tables[name] for name in names}))
        assert made.links[0].mtu == mtu


def test_of_two_that_fit_only_the_first_has_the_address() -> None:
    table = NicConfig(match=Match(bus="usb"), addresses=("192.0.2.5/24",), gateway="192.0.2.1")
    made = planned(ETH0, ETH1, ETH2, config=NetworkConfig(nics={"sticks": table}))
    assert [(one.link, one.address) for one in made.addresses] == [("eth1", "192.0.2.5/24")]
    assert [link for link, _, _ in defaults(made)] == ["eth1"]
    assert {client.link for client in made.dhcp} == {"eth0", "eth2"}
    assert "eth2: another interface fits the same table and has its addresses." in made.words


def test_wifi_joins_with_a_network_and_never_shows_its_passphrase() -> None:
    made = planned(WLAN0, config=NetworkConfig(wifi=HOME))
    assert made.wifi[0].networks == (WifiNetwork(ssid="home", passphrase="correct horse"),)
    assert made.wifi[0].country == "DE"
    assert made.dhcp == (DhcpClient(link="wlan0", metric=600, hostname="palomar"),)
    assert "correct horse" not in repr(made)
    assert "correct horse" not in "".join(made.words)


def test_a_wifi_interface_may_have_a_network_of_its_own() -> None:
    own = NicConfig(wifi=Wifi(ssid="guests", country="FR", hidden=True))
    made = planned(WLAN0, config=NetworkConfig(wifi=HOME, nics={"wlan0": own}))
    assert made.wifi[0].networks == (WifiNetwork(ssid="guests", hidden=True),)


def test_eee_is_off_unless_wanted_and_speed_is_held() -> None:
    own = NicConfig(eee=True, speed="100")
    made = planned(ETH0, ETH1, config=NetworkConfig(nics={"eth1": own}))
    assert [(link.name, link.eee, link.speed_mbps) for link in made.links] == [("eth0", False, 0), ("eth1", True, 100)]


def test_names_servers_and_probes_are_passed_on() -> None:
    own = NetworkConfig(hostname="office", mdns=False, ntp=("ntp.example", "192.0.2.9"), probes=("192.0.2.8",))
    made = planned(ETH0, learned=with_leases(eth0=replace(LEASE, ntp=("192.168.1.1",))), config=own, hostname="x.y")
    assert (made.hostname, made.mdns_name, made.mdns_links) == ("office", "", ())
    assert made.ntp == ("ntp.example", "192.0.2.9", "192.168.1.1")
    assert made.probes == ("192.0.2.8",)


def test_the_firewall_knows_what_the_rest_of_the_plan_does() -> None:
    own = NetworkConfig(
        ping=False, allow=(Allow(port=8080, sources=("192.0.2.0/24",)), Allow(port=123, protocol="udp"))
    )
    learned = Learned(listening=(993, 25, 25), has_ssh_key=True)
    wall = planned(ETH0, ETH1, learned=learned, config=own).firewall
    assert (wall.ports, wall.ssh, wall.ping, wall.dhcp_links) == ((25, 993), True, False, ("eth0", "eth1"))
    assert [(one.protocol, one.port) for one in wall.allowances] == [("tcp", 8080), ("udp", 123)]


# ── VLANs and bridges ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_vlan_on_any_interface() -> None:
    vlan = VlanConfig(id=20, on="lan", addresses=("10.20.0.2/24",), uplink=False, mtu=9000)
    own = NetworkConfig(vlans={"office": vlan}, nics={"lan": NicConfig(match=Match(mac=ETH1.mac))})
    made = planned(ETH0, ETH1, config=own)
    links = {link.name: link for link in made.links}
    assert (links["office"].parent, links["office"].vlan_id, links["office"].kind) == ("eth1", 20, "vlan")
    assert links["eth1"].mtu == 9000  # its packets must fit through
    assert [link.name for link in made.links].index("eth1") < [link.name for link in made.links].index("office")
    assert [one.link for one in made.addresses] == ["office"]


def test_a_vlan_waits_for_its_interface() -> None:
    own = NetworkConfig(vlans={"office": VlanConfig(id=20, on="eth7")})
    made = planned(ETH0, config=own)
    assert [link.name for link in made.links] == ["eth0"]
    assert "vlans.office: waits for eth7, which is not there." in made.words


def test_one_vlan_under_two_names_is_made_once() -> None:
    tables = {"a": VlanConfig(id=20, on="eth0"), "b": VlanConfig(id=20, on="lan")}
    own = NetworkConfig(vlans=tables, nics={"lan": NicConfig(match=Match(name="eth0"))})
    made = planned(ETH0, config=own)
    assert [link.name for link in made.links] == ["eth0", "a"]
    assert "vlans.b: is the same VLAN as a on eth0, so it is left out." in made.words


def test_a_bridge_over_several() -> None:
    own = NetworkConfig(bridges={"br0": BridgeConfig(ports=("eth0", "eth1"), mtu=1400)})
    made = planned(ETH0, ETH1, learned=with_leases(br0=LEASE), config=own)
    assert [(link.name, link.kind, link.master) for link in made.links] == [
        ("br0", "bridge", ""),
        ("eth0", "physical", "br0"),
        ("eth1", "physical", "br0"),
    ]
    assert made.links[0].mac == ETH0.mac
    assert {link.mtu for link in made.links} == {1400}
    assert [client.link for client in made.dhcp] == ["br0"]
    assert sysctl(made, "net/ipv6/conf/eth0/disable_ipv6") == "1"
    assert [one.link for one in made.addresses] == ["br0"]


def test_a_vlan_on_a_bridge_and_a_vlan_in_one() -> None:
    on_it = NetworkConfig(bridges={"br0": BridgeConfig(ports=("eth0",))}, vlans={"office": VlanConfig(id=7, on="br0")})
    assert [link.name for link in planned(ETH0, config=on_it).links] == ["br0", "eth0", "office"]
    in_it = NetworkConfig(
        bridges={"br0": BridgeConfig(ports=("eth1", "office"))}, vlans={"office": VlanConfig(id=7, on="eth0")}
    )
    made = planned(ETH0, ETH1, config=in_it)
    assert {link.name: link.master for link in made.links} == {"br0": "", "eth0": "", "eth1": "br0", "office": "br0"}
    assert [client.link for client in made.dhcp] == ["eth0", "br0"]


def test_ports_take_the_packets_of_a_vlan_on_their_bridge() -> None:
    own = NetworkConfig(
        bridges={"br0": BridgeConfig(ports=("eth0",))}, vlans={"office": VlanConfig(id=7, on="br0", mtu=9000)}
    )
    assert {link.name: link.mtu for link in planned(ETH0, config=own).links} == dict.fromkeys(
        ("br0", "eth0", "office"), 9000
    )


def test_no_circles_of_vlans_and_bridges() -> None:
    own = NetworkConfig(
        bridges={"b1": BridgeConfig(ports=("v1",)), "b2": BridgeConfig(ports=("v2",))},
        vlans={"v1": VlanConfig(id=1, on="b2"), "v2": VlanConfig(id=2, on="b1")},
    )
    made = planned(config=own)
    assert [link.name for link in made.links] == ["b1", "b2"]
    assert any("v1" in line and "left out" in line for line in made.words)


def test_a_bridge_works_without_a_stick_until_it_comes() -> None:
    own = NetworkConfig(bridges={"br0": BridgeConfig(ports=("eth0", "eth1"))})
    without, with_it = planned(ETH0, config=own), planned(ETH0, ETH1, config=own)
    assert "bridges.br0: works without eth1 until it is plugged in." in without.words
    assert set(without.links) < set(with_it.links)
    assert without.uplinks == tuple(replace(one, words=without.uplinks[0].words) for one in with_it.uplinks)


def test_wifi_cannot_be_in_a_bridge() -> None:
    own = NetworkConfig(wifi=HOME, bridges={"br0": BridgeConfig(ports=("eth0", "wlan0"))})
    made = planned(ETH0, WLAN0, config=own)
    assert {link.name: link.master for link in made.links} == {"br0": "", "eth0": "br0", "wlan0": ""}
    assert "bridges.br0: wlan0 is Wi-Fi, which cannot be in a bridge." in made.words


def test_a_new_interface_with_the_name_of_a_bridge_is_not_run_over() -> None:
    own = NetworkConfig(bridges={"eth1": BridgeConfig(ports=("eth0",))}, vlans={"eth2": VlanConfig(id=3, on="eth0")})
    made = planned(ETH0, ETH1, ETH2, config=own)
    assert [link.name for link in made.links] == ["eth0", "eth1", "eth2"]
    assert all(link.kind == "physical" and not link.master for link in made.links)


# ── what holds whatever is configured ─────────────────────────────────────────────────────────────────────────────

NAMES = ("eth0", "eth1", "eth2", "wlan0", "enp1s0", "usb0")
HOSTS = ("192.0.2.5/24", "192.0.2.6/24", "10.1.1.1/8", "2001:db8::5/64", "2001:db8::6/64", "198.51.100.4/32")


@st.composite
def interfaces(draw: st.DrawFn) -> tuple[Nic, ...]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))
    return tuple(
        Nic(
            name=name,
            index=place,
            kind="wifi" if name.startswith("wlan") else "ethernet",
            driver=draw(st.sampled_from(("r8152", "bcmgenet", ""))),
            bus=draw(st.sampled_from(("usb", "platform", "none"))),
            mac=f"02:00:00:00:00:{NAMES.index(name) + 16:02x}",
            carrier=draw(st.booleans()),
            onboard=draw(st.booleans()),
        )
        for place, name in enumerate(names, 2)
    )


addressing = {
    "ipv4": st.sampled_from(("auto", "dhcp", "off")),
    "ipv6": st.sampled_from(("auto", "static", "off")),
    "addresses": st.lists(st.sampled_from(HOSTS), max_size=3).map(tuple),
    "gateway": st.sampled_from(("", "192.0.2.1", "10.9.9.9")),
    "gateway6": st.sampled_from(("", "fe80::1")),
    "metric": st.sampled_from((0, 0, 1, 100, 300, 9999)),
    "uplink": st.booleans(),
    "mtu": st.sampled_from((0, 1280, 9000)),
}
references = st.sampled_from((*NAMES, "lan", "office", "guests", "br0", "br1"))
matches = st.builds(
    Match,
    name=st.sampled_from(("", "", "eth*", "eth1")),
    driver=st.sampled_from(("", "r8152")),
    bus=st.sampled_from(("", "usb")),
)
networks = st.builds(
    NetworkConfig,
    wifi=st.sampled_from((Wifi(), HOME)),
    dns=st.sampled_from(((), ("9.9.9.9",))),
    nics=st.dictionaries(
        st.sampled_from(("lan", "eth0", "eth1", "any")),
        st.builds(NicConfig, match=matches, use=st.sampled_from((True, True, False)), **addressing),
        max_size=3,
    ),
    vlans=st.dictionaries(
        st.sampled_from(("office", "guests", "eth2")),
        st.builds(VlanConfig, id=st.sampled_from((1, 20)), on=references, **addressing),
        max_size=3,
    ),
    bridges=st.dictionaries(
        st.sampled_from(("br0", "br1", "usb0")),
        st.builds(BridgeConfig, ports=st.lists(references, max_size=3, unique=True).map(tuple), **addressing),
        max_size=2,
    ),
)
leases = st.builds(
    Lease,
    address=st.sampled_from(HOSTS[:3]),
    routers=st.sampled_from(((), ("192.0.2.1",), ("203.0.113.1",))),
    dns=st.sampled_from(((), ("192.0.2.1", "192.0.2.2"))),
    mtu=st.sampled_from((0, 1400, 99)),
)
learnings = st.builds(
    Learned,
    leases=st.dictionaries(references, leases).map(lambda found: tuple(found.items())),
    link_local=st.dictionaries(references, st.just("169.254.7.7/16")).map(lambda found: tuple(found.items())),
    failed=st.frozensets(references, max_size=3),
    listening=st.just((25, 993)),
    has_ssh_key=st.booleans(),
)
anything = given(interfaces(), networks, learnings)


@anything
@settings(max_examples=300, deadline=None)
def test_no_address_is_on_two_links(found: tuple[Nic, ...], own: NetworkConfig, learned: Learned) -> None:
    made = planned(*found, learned=learned, config=own)
    hosts = [one.address.partition("/")[0] for one in made.addresses]
    assert len(hosts) == len(set(hosts))
    masters = {link.name for link in made.links if link.master}
    assert not masters & {one.link for one in made.addresses}
    assert {one.link for one in made.addresses} <= {link.name for link in made.links}


@anything
@settings(max_examples=300, deadline=None)
def test_no_two_ways_have_one_metric(found: tuple[Nic, ...], own: NetworkConfig, learned: Learned) -> None:
    made = planned(*found, learned=learned, config=own)
    ranks = [uplink.metric for uplink in made.uplinks]
    assert ranks == sorted(set(ranks))
    keys = [(route.destination, route.metric, route.table) for route in made.routes]
    assert len(keys) == len(set(keys))
    listening = [one.value for one in made.sysctls if one.path.endswith("/ra_defrtr_metric")]
    assert len(listening) == len(set(listening))
    assert {route.link for route in made.routes if route.destination == DEFAULT_V4 and route.table == MAIN_TABLE} <= {
        uplink.link for uplink in made.uplinks
    }


@anything
@settings(max_examples=200, deadline=None)
def test_the_order_of_anything_changes_nothing(found: tuple[Nic, ...], own: NetworkConfig, learned: Learned) -> None:
    made = planned(*found, learned=learned, config=own)
    shuffled = random.Random(7)
    mixed = dataclasses.replace(
        own,
        **{
            name: dict(shuffled.sample(sorted(table.items()), len(table)))
            for name, table in (("nics", own.nics), ("vlans", own.vlans), ("bridges", own.bridges))
        },
    )
    again = planned(
        *shuffled.sample(found, len(found)),
        learned=replace(learned, leases=learned.leases[::-1], link_local=learned.link_local[::-1]),
        config=mixed,
    )
    assert again == made


@anything
@settings(max_examples=200, deadline=None)
def test_links_come_in_an_order_in_which_they_can_be_made(
    found: tuple[Nic, ...], own: NetworkConfig, learned: Learned
) -> None:
    made = planned(*found, learned=learned, config=own)
    there: set[str] = set()
    for link in made.links:
        assert {one for one in (link.parent, link.master) if one} <= there
        assert link.name not in there
        there.add(link.name)
    assert not there & set(made.down)
    sizes = {link.name: link.mtu or 1500 for link in made.links}
    assert all((link.mtu or 0) <= sizes[link.parent] for link in made.links if link.parent)


@anything
@settings(max_examples=200, deadline=None)
def test_gateways_can_be_reached_and_words_are_sentences(
    found: tuple[Nic, ...], own: NetworkConfig, learned: Learned
) -> None:
    made = planned(*found, learned=learned, config=own)
    for route in made.routes:
        if route.gateway and route.destination == DEFAULT_V4:
            near = [one.address for one in made.addresses if one.link == route.link and "." in one.address]
            near += [one.destination for one in made.routes if one.link == route.link and not one.gateway]
            networks_ = [ipaddress.ip_interface(one).network for one in near]
            assert any(ipaddress.ip_address(route.gateway) in one for one in networks_)
    assert all(line.endswith(".") for line in made.words)
    assert document(made.firewall) == document(made.firewall)


@anything
@settings(max_examples=100, deadline=None)
async def test_planning_again_what_was_applied_plans_the_same(
    found: tuple[Nic, ...], own: NetworkConfig, learned: Learned
) -> None:
    kernel = FakeKernel(*found)
    before = planned(*found, learned=learned, config=own)
    await Applier(kernel).apply(before)
    present = await kernel.read()
    after = planned(*(link.nic for link in present.links), learned=learned, config=own)
    assert after == before
    done = len(kernel.made)
    await Applier(kernel).apply(after)
    assert kernel.made[done:] == []
