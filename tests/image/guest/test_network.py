"""The guest on lines that a build machine cannot make: a VLAN, lost packets, a server that dies, a router that is mute.

One guest has two ways out, both by cables that lose a quarter of all packets: the VLAN `office` and the plain `spare`.
The tests go through its life in order. Its third interface is QEMU's own, which leads nowhere; mail's ports are
forwarded there, and the owner's SSH.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

import pytest

from hw.firewall import document
from hw.wanted import Firewall
from image.qemu import Guest, Setup
from tests.hw.netns.cable import Cable, GuestNic
from tests.image.guest.admin import PORTS, Admin
from tests.image.guest.card import Card
from tests.image.guest.doors import ANA, PASSWORD, subjects_by_imap, submit
from tests.image.guest.town import ELSEWHERE, Town

pytestmark = [
    pytest.mark.image,
    pytest.mark.root(users=True),
    pytest.mark.programs("dnsmasq", "ip", "nsenter", "ssh", "ssh-keygen"),
]

BOOT_S = 500.0
MAIL_S = 300.0  # lost packets come again, each time after a longer pause
LOSS = 0.25
VLAN = 30
OFFICE, SPARE = "52:54:00:aa:00:01", "52:54:00:aa:00:02"
FORWARDED = "52:54:00:12:34:56"  # QEMU's own choice for the first
SERVED = (25, 143, 465, 587, 993)  # POP3 is off
HOST = "10.9.0.50"  # what the office's server lends us
STEADY_S = 90.0
LEASE_S = 120.0


def config(key: str) -> str:
    return f"""
hostname = "mail.office.example"
domains = ["office.example"]
plugins = ["mda", "smtp", "imap4", "relay", "network"]

[network.nics.forwarded]
match = {{ mac = "{FORWARDED}" }}
uplink = false

[network.nics.trunk]
match = {{ mac = "{OFFICE}" }}
ipv4 = "off"
ipv6 = "off"

[network.nics.spare]
match = {{ mac = "{SPARE}" }}

[network.vlans.office]
id = {VLAN}
on = "trunk"
metric = 50

[setup]
ssh_keys = ["{key}"]

[[setup.accounts]]
name = "{ANA}"
password = "{PASSWORD}"
"""


@dataclass
class Place:
    """The guest and all that is around it."""

    town: Town
    office: Cable
    router: int
    server: Popen[bytes]
    guest: Guest
    admin: Admin

    def run(self, script: str) -> str:
        return self.admin.run(self.guest, script)

    def state(self) -> dict[str, Any]:
        """What palomar-hw says of the network."""
        found: dict[str, Any] = json.loads(self.run("cat /run/palomar-hw/state.json"))
        return found

    def until(self, what: Callable[[dict[str, Any]], object], seconds: float) -> dict[str, Any]:
        """The first state that fits. Fails with the last one."""
        deadline = time.monotonic() + seconds
        while not what(state := self.state()):
            assert time.monotonic() < deadline, json.dumps(state, indent=1)
        return state

    def until_route(self, nic: str, family: str, address: str, seconds: float = 60) -> None:
        """Wait until the kernel sends by `nic`: it follows what the state says at once, not before."""
        deadline = time.monotonic() + seconds
        while f"dev {nic} " not in (route := self.run(f"ip {family} route get {address}")):
            assert time.monotonic() < deadline, route


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("network")
    admin = Admin(folder)
    card = Card(folder / "card.img")
    card.put("palomar.toml", config(admin.public), folder)
    town = Town(folder)
    try:
        trunk, plain = GuestNic("trunk", OFFICE), GuestNic("plain", SPARE)
        router, office = town.network(0, trunk, vlan=VLAN, loss=LOSS)
        other, _ = town.network(1, plain, loss=LOSS)
        server = town.serve(router, 0, OFFICE)
        town.serve(other, 1, SPARE)
        town.mail_server(router)
        setup = Setup(disk=card.disk, ports=PORTS, arguments=(*trunk.arguments, *plain.arguments))
        with Guest(setup, folder) as guest:
            guest.banner("smtp", BOOT_S)
            yield Place(town, office, router, server, guest, admin)
    finally:
        town.close()


def active(state: dict[str, Any]) -> str:
    return next((str(one["nic"]) for one in state.get("uplinks", ()) if one.get("active")), "")


def addresses(state: dict[str, Any], nic: str, source: str) -> list[str]:
    found = [one for one in state["addresses"] if one["nic"] == nic and one.get("source") == source]
    return [str(one["address"]) for one in found if one.get("usable", True)]


def spare_nic(state: dict[str, Any]) -> str:
    return next(str(one["name"]) for one in state["nics"] if one.get("mac") == SPARE)


def test_a_vlan_gets_addresses_and_names_over_a_bad_line(place: Place) -> None:
    state = place.until(lambda state: addresses(state, "office", "dhcp") and addresses(state, "office", "ra"), 300)
    assert addresses(state, "office", "dhcp") == [f"{HOST}/24"]
    assert active(state) == "office"
    assert [one for one in addresses(state, "office", "ra") if one.startswith("fd00:9:")]
    assert "10.9.0.1" in state["dns"]
    link = place.run("ip -d link show office")
    assert f"802.1Q id {VLAN}" in link
    assert "search town.example" in place.run("cat /etc/resolv.conf")
    assert place.office.lost > 20


def test_mail_flows_both_ways_over_a_bad_line(place: Place) -> None:
    for number in range(3):
        place.town.send(place.router, HOST, "guest@elsewhere.example", ANA, f"in {number}", MAIL_S)
    assert subjects_by_imap(place.guest, 3) == {"in 0", "in 1", "in 2"}
    submit(place.guest, "out", f"luis@{ELSEWHERE}")
    deadline = time.monotonic() + MAIL_S
    while not (found := [path.read_text() for path in place.town.mail.iterdir() if not path.name.startswith(".")]):
        assert time.monotonic() < deadline, place.run("palomar queue list; journalctl --no-pager -n 50")
        time.sleep(1)
    assert "Subject: out" in found[0]


def test_a_bad_line_is_no_dead_one(place: Place) -> None:
    place.until(lambda state: len([one for one in state["uplinks"] if one.get("alive")]) >= 2, 300)
    began = place.run("cat /proc/uptime").split()[0]
    time.sleep(STEADY_S)  # that long nothing shall happen
    said = place.run("journalctl --boot --no-pager --output short-monotonic --unit palomar-hw")
    late = [line for line in said.splitlines() if float(re.findall(r"[\d.]+", line)[0]) > float(began)]
    assert not [line for line in late if "leads nowhere" in line], said
    assert active(place.state()) == "office"


def test_a_mute_router_gives_way_until_it_speaks(place: Place) -> None:
    nic = spare_nic(place.state())
    place.office.loss = 1.0
    state = place.until(lambda state: active(state) == nic, 120)
    assert "does not answer" in next(one["reason"] for one in state["uplinks"] if one["nic"] == "office")
    for family, address in (("-4", "192.0.2.1"), ("-6", "2001:db8::1")):
        place.until_route(nic, family, address)
    place.office.loss = LOSS
    place.until(lambda state: active(state) == "office", 120)
    place.until_route("office", "-4", "192.0.2.1")


def test_ports_are_open_as_roles_are(place: Place) -> None:
    loaded = json.loads(place.run("nft -j list chain inet palomar input"))["nftables"]
    rules = [one["rule"] for one in loaded if "rule" in one]
    every = Firewall(ports=SERVED, ssh=True, dhcp_links=("any",), ipv6_links=("any",))
    rendered = [one["add"]["rule"] for one in json.loads(document(every))["nftables"] if "rule" in one.get("add", {})]
    assert [rule.get("comment") for rule in rules] == [rule["comment"] for rule in rendered]
    (served,) = [rule for rule in rules if rule.get("comment") == "served"]
    (match,) = [one["match"] for one in served["expr"] if "match" in one]
    assert tuple(sorted(match["right"]["set"])) == SERVED
    assert next(one["chain"]["policy"] for one in loaded if "chain" in one) == "drop"
    place.office.loss = 0.0
    place.until(lambda state: addresses(state, "office", "dhcp"), 180)
    for port, result in {25: "open", 143: "open", 587: "open", 22: "open", 110: "silent", 995: "silent"}.items():
        assert place.town.connects(place.router, HOST, port) == result, port
    assert place.town.connects(place.router, HOST, 113) == "refused"
    place.office.loss = LOSS


def test_roles_that_are_off_hold_no_port(place: Place) -> None:
    def listening() -> set[int]:
        lines = place.run("ss -Hltn").splitlines()
        return {int(line.split()[3].rpartition(":")[2]) for line in lines}

    place.until(lambda _: not listening() & {110, 995}, 60)
    assert set(SERVED) <= listening()
    place.run("systemctl restart palomar.service")  # systemd opens all of them again
    place.until(lambda _: not listening() & {110, 995}, 90)
    assert place.guest.banner("smtp", 60).startswith(b"220 ")


def test_a_lease_that_runs_out_is_given_up_and_asked_for_again(place: Place) -> None:
    place.office.loss = 0.0
    place.server.terminate()
    place.server.wait(10)
    place.until(lambda state: not addresses(state, "office", "dhcp"), LEASE_S + 60)
    state = place.until(lambda state: addresses(state, "office", "link-local"), 60)
    assert [one for one in addresses(state, "office", "link-local") if one.startswith("169.254.")]
    # IPv6 still has its router. The other network's lease is as short, and its cable loses packets.
    place.until(lambda state: f"dev {spare_nic(state)} " in place.run("ip -4 route get 192.0.2.1 || true"), 180)
    place.server = place.town.serve(place.router, 0, OFFICE)
    place.until(lambda state: addresses(state, "office", "dhcp") == [f"{HOST}/24"] and active(state) == "office", 180)
    place.town.send(place.router, HOST, "guest@elsewhere.example", ANA, "again", MAIL_S)
    assert "again" in subjects_by_imap(place.guest, 4)
