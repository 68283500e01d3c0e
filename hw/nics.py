"""Network interfaces as values: what they are, how they are told apart, and what people call them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["ethernet", "wifi", "vlan", "bridge", "other"]
Bus: TypeAlias = Literal["platform", "usb", "pci", "sdio", "virtio", "none"]

# Drivers of the interfaces that Raspberry Pi boards carry. The older boards have their Ethernet behind a USB hub that
# is soldered on, so the bus alone would take it for a stick in a socket.
ONBOARD_DRIVERS = frozenset({"smsc95xx", "lan78xx", "bcmgenet", "macb", "brcmfmac"})
# Where the soldered-on chips hang: port 1 of the hub at port 1 of the board's only USB bus.
_ONBOARD_USB = re.compile(r"1-1(\.1){1,2}(:1\.0)?$")
NO_MAC = "00:00:00:00:00:00"
_NUMBERS = re.compile(r"(\d+)")


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the kernel, as it is now.

    `carrier` is IFLA_CARRIER or operstate: whether a cable or a radio link is there, never the admin flag `up`.
    `speed_mbps` is None while there is no carrier, or where the driver does not know. `path` is the place of the
    device on its bus (`1-1.3:1.0`, `fd580000.ethernet`), which stays when the board is started again.
    """

    name: str
    index: int = 0
    kind: Kind = "ethernet"
    driver: str = ""
    bus: Bus = "none"
    path: str = ""
    mac: str = ""
    up: bool = False
    carrier: bool = False
    carrier_changes: int = 0
    speed_mbps: int | None = None
    full_duplex: bool | None = None
    mtu: int = 1500
    onboard: bool = False

    @property
    def is_physical(self) -> bool:
        """Whether this is hardware that can reach a network, not a link that software made."""
        return self.kind in {"ethernet", "wifi"}


def is_onboard(driver: str, bus: Bus, path: str) -> bool:
    """Whether the interface is soldered to the board. USB sticks with the same chips are told apart by their place."""
    if bus in {"platform", "pci", "virtio", "sdio"}:
        return True
    return bus == "usb" and driver in ONBOARD_DRIVERS and _ONBOARD_USB.search(path) is not None


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts eth2 before eth10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in _NUMBERS.split(name) if part)


RANKS = ("onboard Ethernet", "Ethernet", "USB Ethernet", "Wi-Fi")


def rank(nic: Nic) -> int:
    """The place among `RANKS`: which kind of interface is the better way out. The smaller the better."""
    if nic.kind == "wifi":
        return 3
    if nic.onboard:
        return 0
    return 2 if nic.bus == "usb" else 1


def ranked(nics: Iterable[Nic]) -> list[Nic]:
    """The same interfaces, the best way out first; equals by the number in their name, then MAC."""
    return sorted(nics, key=lambda nic: (rank(nic), natural(nic.name), nic.mac))


def label(nic: Nic) -> str:
    """What a person would call it: `onboard Ethernet`, `USB Ethernet (r8152)`, `Wi-Fi`."""
    if nic.kind in {"vlan", "bridge", "other"}:
        return {"vlan": "VLAN", "bridge": "bridge", "other": "link"}[nic.kind]
    driver = f" ({nic.driver})" if nic.bus == "usb" and not nic.onboard and nic.driver else ""
    return RANKS[rank(nic)] + driver


def words(nic: Nic) -> str:
    """The label, with what is on the wire: `onboard Ethernet, 1000 Mb/s`, `USB Ethernet (r8152), no cable`."""
    if not nic.carrier:
        return f"{label(nic)}, no {'radio link' if nic.kind == 'wifi' else 'cable'}"
    if nic.speed_mbps:
        return f"{label(nic)}, {nic.speed_mbps} Mb/s{' half duplex' if nic.full_duplex is False else ''}"
    return label(nic)


def normal_mac(text: str) -> str:
    """A MAC address in lower case with colons. Raises ValueError for anything that is not six octets."""
    digits = re.sub(r"[:.\-]", "", text.strip()).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        raise ValueError(f"{text!r} is no MAC address")
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))
