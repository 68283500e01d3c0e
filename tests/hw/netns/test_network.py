"""palomar-hw as a whole on the kernel's own network, against Debian's dnsmasq. VLANs are for the guest's kernel."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from hw.messages import Listeners, Renew
from tests.hw.netns.lab import Lab, active, addresses

pytestmark = [pytest.mark.root(users=True), pytest.mark.programs("dnsmasq", "nft", "ip", "nsenter")]

STEADY_S = 60.0
RANGE = "--dhcp-range=10.9.0.50,10.9.0.99,2m"


def test_dhcp_gives_address_routes_mtu_and_time_servers(lab: Lab) -> None:
    lab.dnsmasq(lab.router(), RANGE, "--dhcp-option=option:ntp-server,10.9.0.1", "--dhcp-option=option:mtu,1400",
                "--dhcp-option=6,10.9.0.1", "--dhcp-option=121,10.20.0.0/16,10.9.0.7,0.0.0.0/0,10.9.0.1")  # fmt: skip
    state = lab.start().until(lambda state: addresses(state, "dhcp") and state.dns and active(state))
    assert state.ntp == ("10.9.0.1",)
    assert state.dns == ("10.9.0.1",)
    assert [nic.mtu for nic in state.nics] == [1400]
    routes = lab.within(lab.box, "ip", "-4", "route")
    assert "default via 10.9.0.1 dev eth0 proto static" in routes
    assert "10.20.0.0/16 via 10.9.0.7 dev eth0" in routes
    assert "nameserver 10.9.0.1\n" in (lab.folder / "run/resolv.conf").read_text()


def test_router_advertisements_alone_are_enough(lab: Lab) -> None:
    lab.dnsmasq(
        lab.router(), "--enable-ra", "--dhcp-range=fd00:9::,ra-only", "--dhcp-option=option6:dns-server,[fd00:9::1]"
    )
    state = lab.start().until(lambda state: addresses(state, "ra") and state.dns and active(state))
    assert state.uplinks[0].gateway6.startswith("fe80::")
    assert state.dns == ("fd00:9::1",)


def test_cable_is_pulled_and_comes_back(lab: Lab) -> None:
    router = lab.router()
    lab.dnsmasq(router, RANGE)
    watch = lab.start()
    before = addresses(watch.until(lambda state: addresses(state, "dhcp") and active(state)), "dhcp")
    lab.cable(router, plugged=False)
    state = watch.until(lambda state: not active(state))
    assert state.uplinks[0].reason == "no cable"
    assert addresses(state, "dhcp") == before  # connections survive
    lab.cable(router, plugged=True)
    state = watch.until(active)
    assert addresses(state, "dhcp") == before


def test_flapping_ends_well(lab: Lab) -> None:
    router = lab.router()
    lab.dnsmasq(router, RANGE)
    watch = lab.start()
    watch.until(lambda state: addresses(state, "dhcp"))
    for _ in range(10):
        lab.cable(router, plugged=False)
        lab.cable(router, plugged=True)
    state = watch.until(
        lambda state: active(state) and addresses(state, "dhcp") and state.nics[0].carrier_changes >= 20
    )
    assert lab.hw is not None
    assert lab.hw.poll() is None
    assert state.uplinks[0].alive


def test_silent_server_leads_to_a_link_local_address_until_it_speaks(lab: Lab) -> None:
    router = lab.router()
    watch = lab.start()
    watch.until(lambda state: any(one.startswith("169.254.") for one in addresses(state, "link-local")))
    watch.until(lambda state: state.settled)
    lab.dnsmasq(router, RANGE)
    watch.send(Renew())
    state = watch.until(lambda state: addresses(state, "dhcp"))
    watch.until(lambda state: not any(one.startswith("169.254.") for one in addresses(state, "link-local")))
    assert addresses(state, "dhcp")[0].startswith("10.9.0.")


def test_address_that_somebody_has_is_declined(lab: Lab) -> None:
    router = lab.router()
    lab.within(router, *["ip", "addr", "add", "10.9.0.50/24", "dev", "lan0"])
    lab.dnsmasq(router, "--dhcp-range=10.9.0.50,10.9.0.50,2m")
    state = lab.start().until(lambda state: any("is used by" in note.text for note in state.notes))
    assert not addresses(state, "dhcp")
    assert "DHCPDECLINE" in (lab.folder / "dnsmasq.log").read_text()


def test_router_comes_back_with_another_network(lab: Lab) -> None:
    router = lab.router()
    server = lab.dnsmasq(router, RANGE)
    watch = lab.start()
    watch.until(lambda state: addresses(state, "dhcp"))
    lab.cable(router, plugged=False)
    server.terminate()
    server.wait(10)
    (lab.folder / f"leases-{router}").unlink()
    lab.within(router, *["ip", "addr", "replace", "10.77.0.1/24", "dev", "lan0"])
    lab.within(router, *["ip", "addr", "del", "10.9.0.1/24", "dev", "lan0"])
    lab.cable(router, plugged=True)
    lab.dnsmasq(router, "--dhcp-range=10.77.0.50,10.77.0.99,2m")
    state = watch.until(
        lambda state: any(one.startswith("10.77.0.") for one in addresses(state, "dhcp")) and active(state), 60
    )
    assert len(addresses(state, "dhcp")) == 1
    assert state.uplinks[0].gateway == "10.77.0.1"


def test_two_uplinks_one_fails_and_recovers(lab: Lab) -> None:
    first, second = lab.router(0), lab.router(1)
    lab.dnsmasq(first, RANGE)
    lab.dnsmasq(second, "--dhcp-range=10.9.1.50,10.9.1.99,2m")
    watch = lab.start()
    state = watch.until(lambda state: len([one for one in state.uplinks if one.alive]) == 2)
    assert active(state) == "eth0"
    # The cable stays, but nobody is there: what a switch between us and the router looks like.
    lab.within(first, *["ip", "link", "set", "lan0", "arp", "off"])
    state = watch.until(lambda state: active(state) == "eth1", 60)
    assert "does not answer" in next(one for one in state.uplinks if one.nic == "eth0").reason
    assert "dev eth1" in lab.within(lab.box, *["ip", "route", "get", "192.0.2.1"])
    lab.within(first, *["ip", "link", "set", "lan0", "arp", "on"])
    watch.until(lambda state: active(state) == "eth0", 60)
    assert "dev eth0" in lab.within(lab.box, *["ip", "route", "get", "192.0.2.1"])
    lab.cable(first, plugged=False)
    watch.until(lambda state: active(state) == "eth1")
    assert "dev eth1" in lab.within(lab.box, *["ip", "route", "get", "192.0.2.1"])


def test_a_silent_ipv6_router_gives_way_to_one_that_speaks(lab: Lab) -> None:
    first, second = lab.router(0), lab.router(1)
    for number, pid in enumerate((first, second)):
        lab.dnsmasq(pid, "--enable-ra", f"--dhcp-range=fd00:{number + 9}::,ra-only", "--ra-param=lan0,high,10,600")
    watch = lab.start()
    state = watch.until(lambda state: len([one for one in state.uplinks if one.alive and one.gateway6]) == 2, 60)
    assert active(state) == "eth0"
    # It says nothing more and answers nothing; the kernel's route by it holds for ten minutes.
    lab.within(
        first,
        "nft",
        "add table inet silence; add chain inet silence out { type filter hook output priority 0; policy drop; }",
    )
    watch.until(lambda state: active(state) == "eth1", 60)
    assert "dev eth1" in lab.within(lab.box, *["ip", "-6", "route", "get", "2001:db8::1"])
    lab.within(first, "nft", "delete table inet silence")
    watch.until(lambda state: active(state) == "eth0", 60)
    assert "dev eth0" in lab.route_of("2001:db8::1", "eth0")


LOSS = 0.3


def test_two_bad_lines_are_no_dead_ones(lab: Lab) -> None:
    """Addresses come all the same, and no uplink fails for lost packets."""
    for number in (0, 1):
        pid, _ = lab.bad_line(LOSS, number)
        lab.dnsmasq(pid, f"--dhcp-range=10.9.{number}.50,10.9.{number}.99,2m", "--enable-ra",
                    f"--dhcp-range=fd00:{number + 9}::,ra-only", "--ra-param=lan0,high,10,600")  # fmt: skip
    watch = lab.start()
    for nic in ("eth0", "eth1"):
        watch.until(lambda state: addresses(state, "dhcp", nic) and addresses(state, "ra", nic), 120)  # noqa: B023
    watch.until(lambda state: len([one for one in state.uplinks if one.alive]) == 2)
    failed = watch.never(lambda state: not all(one.alive for one in state.uplinks), STEADY_S)
    assert not failed, failed
    assert active(watch.state) == "eth0"
    assert min(cable.lost for cable in lab.cables) > 10
    lab.cables[0].loss = 1.0
    watch.until(lambda state: active(state) == "eth1", 60)
    lab.cables[0].loss = LOSS
    watch.until(lambda state: active(state) == "eth0", 90)


def test_search_domains_are_those_of_lease_and_router(lab: Lab) -> None:
    lab.dnsmasq(lab.router(), RANGE, "--domain=office.example", "--enable-ra", "--dhcp-range=fd00:9::,ra-only",
                "--dhcp-option=option6:domain-search,six.example")  # fmt: skip
    lab.start().until(lambda state: len(state.search) == 2)
    assert "search office.example six.example\n" in (lab.folder / "run/resolv.conf").read_text()


def test_a_search_list_of_the_lease_counts_more_than_its_domain(lab: Lab) -> None:
    """dnsmasq writes names that share an end with pointers."""
    names = ["office.example", "lab.office.example", "far.lab.office.example", "other.example"]
    lab.dnsmasq(lab.router(), RANGE, "--domain=else.example", f"--dhcp-option=option:domain-search,{','.join(names)}")
    assert lab.start().until(lambda state: bool(state.search)).search == tuple(names)


RIVAL = """
import socket, sys, time
from zeroconf import ServiceInfo, Zeroconf
name, address, own = sys.argv[1:]
packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
info = ServiceInfo("_rival._tcp.local.", f"{name}._rival._tcp.local.", 9, addresses=[packed], server=f"{name}.local.")
Zeroconf([own]).register_service(info)
time.sleep(600)
"""


def test_somebody_who_comes_with_our_name_keeps_it_or_not(lab: Lab) -> None:
    router = lab.router()
    lab.dnsmasq(router, RANGE)
    watch = lab.start()
    watch.until(lambda state: state.mdns_name == "box.local")
    weak = lab.background(router, sys.executable, "-c", RIVAL, "box", "10.9.0.1", "10.9.0.1", log="rival.log")
    state = watch.until(lambda state: any("says that it is box.local" in note.text for note in state.notes))
    assert state.mdns_name == "box.local"
    weak.kill()
    lab.background(router, sys.executable, "-c", RIVAL, "box", "fec0::1", "10.9.0.1", log="rival.log")
    watch.until(lambda state: state.mdns_name == "box-2.local")


def test_drift_is_repaired(lab: Lab) -> None:
    lab.dnsmasq(lab.router(), RANGE)
    watch = lab.start()
    address = addresses(watch.until(lambda state: addresses(state, "dhcp") and active(state)), "dhcp")[0]
    lab.within(lab.box, *f"ip addr del {address} dev eth0".split())
    lab.within(lab.box, *["ip", "addr", "add", "10.66.0.1/24", "dev", "eth0"])
    monitor = "\n".join(["import subprocess as s, time", "end = time.monotonic() + 10", "while time.monotonic() < end:",
                         " a = s.run(['ip', 'a', 'show', 'eth0'], capture_output=True, text=True).stdout",
                         " r = s.run(['ip', 'r'], capture_output=True, text=True).stdout",
                         f" if '{address}' in a and '10.66' not in a and 'default' in r: raise SystemExit(0)",
                         "raise SystemExit(a + r)"])  # fmt: skip
    lab.within(lab.box, sys.executable, "-c", monitor)


def test_firewall_opens_what_listens(lab: Lab) -> None:
    router = lab.router()
    lab.dnsmasq(router, RANGE)
    watch = lab.start()
    host = addresses(watch.until(lambda state: addresses(state, "dhcp") and active(state)), "dhcp")[0].partition("/")[0]
    serve = "import socket; s = socket.create_server(('', 25)); print('up', flush=True)\nwhile True: s.accept()"
    server = lab.background(lab.box, sys.executable, "-c", serve, log="serve.log")
    connect = f"import socket; socket.create_connection(('{host}', 25), 1)"
    again = (
        "import time\nfor _ in range(40):\n try:\n  "
        + connect
        + "; break\n except OSError: pass\nelse: raise SystemExit(1)"
    )
    with pytest.raises(AssertionError):
        lab.within(router, sys.executable, "-c", connect)
    watch.send(Listeners(ports=(25,)))
    lab.within(router, sys.executable, "-c", again)
    assert server.poll() is None


def test_stopped_process_leaves_the_network_up_and_the_next_one_goes_on(lab: Lab) -> None:
    lab.dnsmasq(lab.router(), RANGE)
    watch = lab.start()
    before = addresses(watch.until(lambda state: addresses(state, "dhcp") and active(state)), "dhcp")
    watch.close()
    assert lab.hw is not None
    lab.hw.send_signal(signal.SIGTERM)
    assert lab.hw.wait(10) == 0
    assert before[0] in lab.within(lab.box, *["ip", "addr", "show", "eth0"])
    assert "default" in lab.within(lab.box, *["ip", "route"])
    state = lab.start().until(lambda state: addresses(state, "dhcp") and active(state))
    assert addresses(state, "dhcp") == before


def test_reload_takes_all_or_nothing(lab: Lab) -> None:
    lab.router()
    watch = lab.start()
    watch.until(lambda state: state.nics)
    assert lab.hw is not None
    lab.config.write_text('[network.nics.eth0]\naddresses = ["10.9.0.5/24"]\ngatewy = "10.9.0.1"\n')
    lab.hw.send_signal(signal.SIGHUP)
    state = watch.until(lambda state: any(note.source == "configuration" for note in state.notes))
    note = next(note for note in state.notes if note.source == "configuration")
    assert "gatewy" in note.text
    assert f"{lab.config}:3" in note.text
    assert not addresses(state, "static")
    lab.config.write_text('[network.nics.eth0]\naddresses = ["10.9.0.5/24"]\ngateway = "10.9.0.1"\n')
    lab.hw.send_signal(signal.SIGHUP)
    state = watch.until(lambda state: addresses(state, "static") and active(state))
    assert addresses(state, "static") == ["10.9.0.5/24"]
    assert not [note for note in state.notes if note.source == "configuration"]


def test_memory_at_rest(lab: Lab) -> None:
    lab.dnsmasq(lab.router(), RANGE)
    lab.start().until(lambda state: state.mdns_name == "box.local")
    assert lab.hw is not None
    rollup = Path(f"/proc/{lab.hw.pid}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss < 32 * 1024, rollup
