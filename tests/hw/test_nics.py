"""Interfaces are told apart, ranked and named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.inventory import read_inventory, read_nic, read_nics
from hw.nics import Bus, Nic, is_onboard, label, natural, normal_mac, rank, ranked, words
from tests.hw.boards import GENET, SAMPLES, Port, Sample, make, make_port, wlan, write


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_interfaces_of_a_board(sample: Sample, tmp_path: Path) -> None:
    found = {nic.name: nic for nic in read_nics(make(sample, tmp_path))}
    assert sorted(found) == sorted(port.name for port in sample.ports)
    for port in sample.ports:
        nic = found[port.name]
        assert (nic.driver, nic.bus, nic.mac) == (port.driver, port.bus, port.mac)
        assert nic.kind == ("wifi" if port.wifi else "ethernet")
        assert nic.carrier == port.carrier
        assert nic.speed_mbps == (port.speed or None if port.carrier else None)
    assert tuple(nic.name for nic in ranked(found.values()) if nic.onboard) == sample.onboard


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_best_way_out_does_not_depend_on_the_order_of_discovery(sample: Sample, tmp_path: Path) -> None:
    found = read_nics(make(sample, tmp_path))
    for seed in range(5):
        assert ranked(random.Random(seed).sample(found, len(found))) == ranked(found)
    assert [rank(nic) for nic in ranked(found)] == sorted(rank(nic) for nic in found)


@pytest.mark.parametrize(
    ("driver", "bus", "path", "onboard"),
    [
        ("bcmgenet", "platform", "fd580000.ethernet", True),
        ("macb", "platform", "1f00100000.ethernet", True),
        ("smsc95xx", "usb", "1-1.1:1.0", True),
        ("lan78xx", "usb", "1-1.1.1:1.0", True),
        ("smsc95xx", "usb", "1-1.3:1.0", False),
        ("lan78xx", "usb", "1-1.1.2:1.0", False),
        ("smsc95xx", "usb", "1-1:1.0", False),
        ("smsc95xx", "usb", "2-1.1:1.0", False),
        ("smsc95xx", "usb", "1-1.11:1.0", False),
        ("r8152", "usb", "1-1.1:1.0", False),
        ("brcmfmac", "sdio", "mmc1:0001:1", True),
        ("e1000e", "pci", "0000:00:1f.6", True),
        ("virtio_net", "virtio", "virtio0", True),
        ("", "none", "", False),
    ],
)
def test_what_is_soldered_on(driver: str, bus: Bus, path: str, onboard: bool) -> None:
    assert is_onboard(driver, bus, path) is onboard


@pytest.mark.parametrize(
    ("nic", "called"),
    [
        (
            Nic(name="eth0", onboard=True, carrier=True, speed_mbps=1000, full_duplex=True),
            "onboard Ethernet, 1000 Mb/s",
        ),
        (
            Nic(name="eth0", onboard=True, carrier=True, speed_mbps=10, full_duplex=False),
            "onboard Ethernet, 10 Mb/s half duplex",
        ),
        (Nic(name="eth0", onboard=True), "onboard Ethernet, no cable"),
        (Nic(name="eth1", bus="usb", driver="r8152", carrier=True), "USB Ethernet (r8152)"),
        (Nic(name="eth1", bus="usb"), "USB Ethernet, no cable"),
        (Nic(name="veth0", carrier=True), "Ethernet"),
        (Nic(name="wlan0", kind="wifi", onboard=True), "Wi-Fi, no radio link"),
        (Nic(name="br0", kind="bridge", carrier=True), "bridge"),
        (Nic(name="office", kind="vlan", carrier=True), "VLAN"),
        (Nic(name="tun0", kind="other"), "link, no cable"),
    ],
)
def test_what_people_call_it(nic: Nic, called: str) -> None:
    assert words(nic) == called
    assert called.startswith(label(nic))


def test_numbers_in_names_count_as_numbers() -> None:
    assert sorted(["eth10", "eth2", "eth1", "wlan0", "eth"], key=natural) == ["eth", "eth1", "eth2", "eth10", "wlan0"]


@given(st.lists(st.text("ab19.-", max_size=6), unique=True))
def test_any_names_have_one_order(names: list[str]) -> None:
    assert sorted(names, key=natural) == sorted(set(names), key=natural)


@pytest.mark.parametrize("text", ["DC:A6:32:01:02:03", "dc-a6-32-01-02-03", "dca6.3201.0203", " dca632010203 "])
def test_macs_in_every_spelling(text: str) -> None:
    assert normal_mac(text) == "dc:a6:32:01:02:03"


@pytest.mark.parametrize("text", ["", "dc:a6:32", "dc:a6:32:01:02:0g", "dc:a6:32:01:02:03:04", "ä" * 12])
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(ValueError, match="no MAC address"):
        normal_mac(text)


# ── from /sys ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_admin_flag_is_no_carrier(tmp_path: Path) -> None:
    make_port(
        tmp_path, Port(name="eth0", driver="x", bus="pci", place="devices/a", mac="02:00:00:00:00:01", carrier=False)
    )
    nic = read_nic("eth0", tmp_path)
    assert nic is not None
    assert (nic.up, nic.carrier, nic.speed_mbps) == (True, False, None)


def test_wifi_is_ready_when_it_is_let_in_and_not_before(tmp_path: Path) -> None:
    make_port(tmp_path, wlan())
    write(tmp_path, "sys/class/net/wlan0/carrier", "1\n")
    write(tmp_path, "sys/class/net/wlan0/operstate", "dormant\n")
    nic = read_nic("wlan0", tmp_path)
    assert nic is not None
    assert not nic.carrier


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"type": "1", "uevent": "DEVTYPE=vlan"}, "vlan"),
        ({"type": "1", "uevent": "DEVTYPE=bridge"}, "bridge"),
        ({"type": "1", "bridge/bridge_id": "8000"}, "bridge"),
        ({"type": "1", "uevent": "DEVTYPE=wlan"}, "wifi"),
        ({"type": "1", "uevent": "INTERFACE=veth0"}, "ethernet"),
        ({"type": "1", "uevent": "DEVTYPE=vxlan"}, "other"),
        ({"type": "65534"}, "other"),
        ({"type": "778"}, "other"),
        ({}, "other"),
    ],
)
def test_kinds_of_links(files: dict[str, str], kind: str, tmp_path: Path) -> None:
    (tmp_path / "sys/class/net/x0").mkdir(parents=True)
    for name, content in files.items():
        write(tmp_path, f"sys/class/net/x0/{name}", f"{content}\n")
    nic = read_nic("x0", tmp_path)
    assert nic is not None
    assert nic.kind == kind


def test_nonsense_in_the_files_is_no_error(tmp_path: Path) -> None:
    make_port(tmp_path, GENET)
    for name in ("ifindex", "flags", "carrier", "carrier_changes", "mtu", "speed", "duplex", "address"):
        write(tmp_path, f"sys/class/net/eth0/{name}", b"\xff\xfe what\n")
    nic = read_nic("eth0", tmp_path)
    assert nic is not None
    assert (nic.index, nic.up, nic.carrier, nic.speed_mbps, nic.mtu) == (0, False, False, None, 1500)


def test_no_interfaces_at_all(tmp_path: Path) -> None:
    assert read_inventory(tmp_path).nics == ()
    assert read_nic("eth0", tmp_path) is None
