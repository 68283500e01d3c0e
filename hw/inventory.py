"""The network interfaces as /sys tells of them, below a root that tests can put elsewhere.

The running process learns links from netlink (`hw.linkread`), and asks here only for what netlink does not tell:
driver, bus, place and speed. First boot and tests read whole interfaces from here.
"""

from __future__ import annotations

from pathlib import Path

from hw.nics import NO_MAC, Bus, Kind, Nic, is_onboard, natural
from hw.wanted import Inventory

ROOT = Path("/")
_ETHERNET = "1"  # ARPHRD_ETHER of <linux/if_arp.h>
_IFF_UP = 0x1
_BUSES: dict[str, Bus] = {"usb": "usb", "pci": "pci", "platform": "platform", "sdio": "sdio", "mmc": "sdio"}
# Of the links that software makes, those that stand for a cable: tests in network namespaces use them.
_LIKE_CABLES = frozenset({"", "veth"})


def read_inventory(root: Path = ROOT, *, family: str = "unknown") -> Inventory:
    """Every interface but the loopback."""
    return Inventory(nics=tuple(read_nics(root)), family=family)


def read_nics(root: Path = ROOT) -> list[Nic]:
    """Every interface but the loopback, sorted by name; those that go meanwhile are left out."""
    folder = root / "sys/class/net"
    names = sorted((path.name for path in folder.glob("*")), key=natural) if folder.is_dir() else []
    return [nic for name in names if name != "lo" and (nic := read_nic(name, root)) is not None]


def read_nic(name: str, root: Path = ROOT) -> Nic | None:
    """One interface, None if there is none of that name."""
    folder = root / "sys/class/net" / name
    if not folder.is_dir():
        return None
    driver, bus, path = device(name, root)
    carrier = _is_ready(folder)
    return Nic(
        name=name,
        index=_number(folder / "ifindex") or 0,
        kind=kind(name, root),
        driver=driver,
        bus=bus,
        path=path,
        mac=_mac(folder),
        up=bool((_flags(folder)) & _IFF_UP),
        carrier=carrier,
        carrier_changes=_number(folder / "carrier_changes") or 0,
        speed_mbps=speed(name, root) if carrier else None,
        full_duplex=duplex(name, root) if carrier else None,
        mtu=_number(folder / "mtu") or 1500,
        onboard=is_onboard(driver, bus, path),
    )


def device(name: str, root: Path = ROOT) -> tuple[str, Bus, str]:
    """Driver, bus and place on the bus of a NIC; empty for what is no hardware."""
    place = root / "sys/class/net" / name / "device"
    try:
        path = place.resolve(strict=True)
        driver = (place / "driver").resolve(strict=True).name
        subsystem = (place / "subsystem").resolve(strict=True).name
    except OSError:
        return "", "none", ""
    if subsystem.startswith("virtio"):
        return driver, "virtio", path.name
    return driver, _BUSES.get(subsystem, "none"), path.name


def kind(name: str, root: Path = ROOT) -> Kind:
    """What sort of link it is."""
    folder = root / "sys/class/net" / name
    if _read(folder / "type") != _ETHERNET:
        return "other"
    made = _devtype(folder)
    if made == "vlan":
        return "vlan"
    if made == "bridge" or (folder / "bridge").is_dir():
        return "bridge"
    if made == "wlan" or is_wifi(name, root):
        return "wifi"
    return "ethernet" if (folder / "device").exists() or made in _LIKE_CABLES else "other"


def is_wifi(name: str, root: Path = ROOT) -> bool:
    """Whether a radio is behind it."""
    folder = root / "sys/class/net" / name
    return (folder / "phy80211").exists() or (folder / "wireless").is_dir()


def speed(name: str, root: Path = ROOT) -> int | None:
    """Mb/s of the link, None while it is not known."""
    found = _number(root / "sys/class/net" / name / "speed")
    return found if found is not None and 0 < found < 2**31 else None


def duplex(name: str, root: Path = ROOT) -> bool | None:
    """Whether the link is full duplex, None while it is not known."""
    return {"full": True, "half": False}.get(_read(root / "sys/class/net" / name / "duplex"))


def _is_ready(folder: Path) -> bool:
    """Carrier and operstate (RFC 2863) together: a Wi-Fi link has carrier before it is let in."""
    return _read(folder / "carrier") == "1" and _read(folder / "operstate") in {"up", "unknown", ""}


def _flags(folder: Path) -> int:
    text = _read(folder / "flags")
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _mac(folder: Path) -> str:
    text = _read(folder / "address").lower()
    return "" if text == NO_MAC else text


def _devtype(folder: Path) -> str:
    for line in _read(folder / "uevent").splitlines():
        if line.startswith("DEVTYPE="):
            return line.removeprefix("DEVTYPE=")
    return ""


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(4096).strip()
    except OSError:  # not there; or no carrier, which drivers answer by EINVAL
        return ""
