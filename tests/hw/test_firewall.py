"""The firewall's document: what is let in, and that nft takes it, at once and as often as one likes."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from hw.firewall import MDNS_PORT, PEERS, TABLE, document
from hw.wanted import Allowance, Firewall

WALLS = {
    "nothing": Firewall(),
    "off": Firewall(enabled=False),
    "mail": Firewall(ports=(25, 465, 993), dhcp_links=("eth0",), ipv6_links=("eth0",)),
    "one port": Firewall(ports=(25,), mdns=False, ping=False),
    "ssh": Firewall(ssh=True, dhcp_links=("eth0", "wlan0")),
    "allowances": Firewall(
        allowances=(
            Allowance(protocol="tcp", port=8080, sources=("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32")),
            Allowance(protocol="tcp", port=8081, sources=("10.0.0.0/25", "10.0.0.128/25")),
            Allowance(protocol="udp", port=123),
        )
    ),
}
WALLS["all"] = Firewall(
    ports=(25, 465), ssh=True, dhcp_links=("eth0",), ipv6_links=("eth0",), allowances=WALLS["allowances"].allowances
)


def commands(wall: Firewall) -> list[dict[str, Any]]:
    return list(json.loads(document(wall))["nftables"])


def rules(wall: Firewall, comment: str = "") -> list[dict[str, Any]]:
    found = [one["add"]["rule"] for one in commands(wall) if "rule" in one.get("add", {})]
    return [rule for rule in found if not comment or rule["comment"] == comment]


def accepts(wall: Firewall) -> list[str]:
    return [rule["comment"] for rule in rules(wall) if {"accept": None} in rule["expr"]]


@pytest.mark.parametrize("name", WALLS)
def test_the_table_is_replaced_in_one_transaction(name: str) -> None:
    found = commands(WALLS[name])
    assert found[1:3] == [{"add": {"table": {"family": "inet", "name": TABLE}}}, {"delete": found[1]["add"]}]
    assert all("flush" not in one for one in found)  # nobody else's tables
    chains = [one["add"]["chain"] for one in found if "chain" in one.get("add", {})]
    assert [(one["hook"], one["policy"]) for one in chains] == (
        [] if name == "off" else [("input", "drop"), ("forward", "drop")]
    )


@pytest.mark.parametrize("name", WALLS)
def test_the_same_firewall_is_the_same_octets(name: str) -> None:
    assert document(WALLS[name]) == document(WALLS[name])


def test_without_anything_only_the_network_itself_is_let_in() -> None:
    assert set(accepts(Firewall())) == {"answers", "ourselves", "icmp errors", "pings", "mdns"}
    assert accepts(Firewall(mdns=False, ping=False)) == ["answers", "ourselves", "icmp errors"]


def test_answers_come_first_and_broken_packets_nowhere() -> None:
    comments = [rule["comment"] for rule in rules(WALLS["all"])]
    assert comments[:3] == ["answers", "ourselves", "no part of any connection"]
    assert rules(WALLS["all"])[2]["expr"][-1] == {"drop": None}


def test_each_served_port_is_open_and_floods_are_stopped_before() -> None:
    wall = WALLS["mail"]
    (served,) = rules(wall, "served")
    assert served["expr"][0]["match"]["right"] == {"set": [25, 465, 993]}
    comments = [rule["comment"] for rule in rules(wall)]
    assert comments.count("syn flood") == 2
    assert comments.index("syn flood") < comments.index("served")
    meters = [part["meter"] for rule in rules(wall, "syn flood") for part in rule["expr"] if "meter" in part]
    assert [one["size"] for one in meters] == [PEERS, PEERS]
    assert all(one["stmt"]["limit"]["inv"] for one in meters)


def test_one_who_has_an_ipv6_network_is_one_peer() -> None:
    keys = [
        part["meter"]["key"]["elem"]["val"]
        for rule in rules(WALLS["mail"], "syn flood")
        for part in rule["expr"]
        if "meter" in part
    ]
    assert keys[1] == {"&": [{"payload": {"protocol": "ip6", "field": "saddr"}}, "ffff:ffff:ffff:ffff::"]}


@pytest.mark.parametrize(("wall", "open_"), [(WALLS["ssh"], True), (WALLS["mail"], False), (WALLS["nothing"], False)])
def test_ssh_only_with_a_key(wall: Firewall, open_: bool) -> None:
    assert ("ssh" in accepts(wall)) is open_


def test_neighbours_must_be_neighbours() -> None:
    (rule,) = rules(WALLS["mail"], "neighbours")
    assert rule["expr"][0]["match"]["right"] == 255
    assert not rules(WALLS["nothing"], "neighbours")


def test_dhcp_answers_only_where_a_client_runs() -> None:
    (rule,) = rules(WALLS["ssh"], "dhcp")
    assert rule["expr"][0]["match"]["right"] == {"set": ["eth0", "wlan0"]}
    assert not rules(WALLS["nothing"], "dhcp")


def test_mdns_by_its_groups_only() -> None:
    groups = [rule["expr"][0]["match"]["right"] for rule in rules(WALLS["nothing"], "mdns")]
    assert groups == ["224.0.0.251", "ff02::fb"]
    assert all(rule["expr"][1]["match"]["right"] == MDNS_PORT for rule in rules(WALLS["nothing"], "mdns"))


def test_allowances_by_source_and_family() -> None:
    found = [rule["expr"] for rule in rules(WALLS["allowances"], "allowed")]
    assert [len(one) for one in found] == [3, 3, 3, 2]
    assert found[0][0]["match"]["right"] == {"set": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "192.0.2.1"]}
    assert found[2][0]["match"]["right"] == {"set": [{"prefix": {"addr": "10.0.0.0", "len": 24}}]}  # neighbours join
    assert found[3][0]["match"]["left"]["payload"] == {"protocol": "udp", "field": "dport"}


def test_ident_is_refused_and_not_dropped() -> None:
    (rule,) = rules(WALLS["mail"], "ident")
    assert rule["expr"][-1] == {"reject": {"type": "tcp reset"}}


def nft(document_: bytes) -> subprocess.CompletedProcess[bytes]:
    # One namespace for all of them: replacing what is there is the point.
    script = "while read -r line; do printf '%s' \"$line\" | nft -j -f - || exit 1; done; nft -j list ruleset"
    return subprocess.run(["unshare", "-rn", "sh", "-c", script], input=document_, capture_output=True, timeout=60)


@pytest.mark.root
@pytest.mark.programs("nft")
def test_nft_takes_every_one_of_them_one_after_the_other() -> None:
    everything = b"".join(document(wall) + b"\n" for wall in [*WALLS.values(), WALLS["all"], WALLS["all"]])
    done = nft(everything)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)["nftables"]
    assert [one["table"]["name"] for one in found if "table" in one] == [TABLE]
    loaded = [one["rule"]["comment"] for one in found if "rule" in one]
    assert loaded == [rule["comment"] for rule in rules(WALLS["all"])]


@pytest.mark.root
@pytest.mark.programs("nft")
def test_off_leaves_no_rule() -> None:
    done = nft(document(WALLS["all"]) + b"\n" + document(WALLS["off"]) + b"\n")
    assert done.returncode == 0, done.stderr.decode()
    assert [one for one in json.loads(done.stdout)["nftables"] if "metainfo" not in one] == []
