"""Boards as the kernel shows them: what the files below /proc and /sys hold on each, made in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hw.inventory import read_nics
from hw.nics import Bus, Nic


@dataclass(frozen=True, kw_only=True)
class Port:
    """A NIC of a board: `place` is the folder of its device, the last part being its place on the bus."""

    name: str
    driver: str
    bus: str
    place: str
    mac: str
    wifi: bool = False
    carrier: bool = True
    speed: int = 1000


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A board, and what is expected of it."""

    name: str
    model: str
    compatible: tuple[str, ...]
    revision: int = 0
    family: str
    memory_mib: int
    ports: tuple[Port, ...]
    buses: dict[str, Bus] = field(default_factory=dict)
    onboard: tuple[str, ...] = ()
    rtc: bool = False
    cpuinfo_only: bool = False
    dmi: tuple[str, str] | None = None


def eth(driver: str, bus: str, place: str, mac: str, *, name: str = "eth0", speed: int = 1000) -> Port:
    return Port(name=name, driver=driver, bus=bus, place=place, mac=mac, speed=speed)


def wlan(place: str = "devices/platform/soc/mmc1/mmc1:0001/mmc1:0001:1", mac: str = "dc:a6:32:00:00:02") -> Port:
    return Port(name="wlan0", driver="brcmfmac", bus="sdio", place=place, mac=mac, wifi=True, carrier=False)


USB_STICK = eth("r8152", "usb", "devices/usb2/2-1/2-1:1.0", "00:e0:4c:00:00:09", name="eth1")
LAN9514 = eth("smsc95xx", "usb", "devices/usb1/1-1/1-1.1/1-1.1:1.0", "b8:27:eb:00:00:01", speed=100)
LAN7515 = eth("lan78xx", "usb", "devices/usb1/1-1/1-1.1/1-1.1.1/1-1.1.1:1.0", "b8:27:eb:00:00:03")
GENET = eth("bcmgenet", "platform", "devices/platform/scb/fd580000.ethernet", "dc:a6:32:00:00:01")
RP1 = eth("macb", "platform", "devices/platform/axi/1000120000.pcie/1f00100000.ethernet", "2c:cf:67:00:00:01")
VIRTIO = eth("virtio_net", "virtio", "devices/platform/4010000000.pcie/0000:00:01.0/virtio0", "52:54:00:12:34:56")
QEMU_USB = eth("cdc_ether", "usb", "devices/usb1/1-1/1-1.1/1-1.1:1.0", "52:54:00:12:34:57", speed=0)
PC_NIC = eth("e1000e", "pci", "devices/pci0000:00/0000:00:1f.6", "3c:97:0e:00:00:01", name="eno1")

SAMPLES = (
    Sample(
        name="Pi 3B",
        model="Raspberry Pi 3 Model B Rev 1.2",
        compatible=("raspberrypi,3-model-b", "brcm,bcm2837"),
        revision=0xA02082,
        family="pi3",
        memory_mib=1024,
        ports=(LAN9514, wlan()),
        onboard=("eth0", "wlan0"),
    ),
    Sample(
        name="Pi 3B+",
        model="Raspberry Pi 3 Model B Plus Rev 1.3",
        compatible=("raspberrypi,3-model-b-plus", "brcm,bcm2837"),
        revision=0xA020D3,
        family="pi3-plus",
        memory_mib=1024,
        ports=(LAN7515, wlan()),
        onboard=("eth0", "wlan0"),
    ),
    Sample(
        name="Pi 3B+ with a stick",
        model="Raspberry Pi 3 Model B Plus Rev 1.3",
        compatible=("raspberrypi,3-model-b-plus",),
        revision=0xA020D3,
        family="pi3-plus",
        memory_mib=1024,
        ports=(
            LAN7515,
            eth("smsc95xx", "usb", "devices/usb1/1-1/1-1.1/1-1.1.3/1-1.1.3:1.0", "00:80:0f:00:00:01", name="eth1"),
        ),
        onboard=("eth0",),
    ),
    Sample(
        name="Zero 2 W",
        model="Raspberry Pi Zero 2 W Rev 1.0",
        compatible=("raspberrypi,model-zero-2-w", "brcm,bcm2837"),
        revision=0x902120,
        family="zero2w",
        memory_mib=512,
        ports=(wlan(),),
        onboard=("wlan0",),
    ),
    Sample(
        name="Zero 2 W with a stick",
        model="Raspberry Pi Zero 2 W Rev 1.0",
        compatible=("raspberrypi,model-zero-2-w",),
        revision=0x902120,
        family="zero2w",
        memory_mib=512,
        ports=(wlan(), eth("r8152", "usb", "devices/usb1/1-1/1-1:1.0", "00:e0:4c:00:00:01")),
        onboard=("wlan0",),
    ),
    Sample(
        name="Pi 4B",
        model="Raspberry Pi 4 Model B Rev 1.4",
        compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
        revision=0xC03114,
        family="pi4",
        memory_mib=4096,
        ports=(GENET, wlan()),
        onboard=("eth0", "wlan0"),
    ),
    Sample(
        name="Pi 4B with a stick",
        model="Raspberry Pi 4 Model B Rev 1.5",
        compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
        revision=0xD03115,
        family="pi4",
        memory_mib=8192,
        ports=(GENET, USB_STICK, wlan()),
        onboard=("eth0", "wlan0"),
    ),
    Sample(
        name="Pi 400",
        model="Raspberry Pi 400 Rev 1.0",
        compatible=("raspberrypi,400", "brcm,bcm2711"),
        revision=0xC03130,
        family="pi400",
        memory_mib=4096,
        ports=(GENET, wlan()),
        onboard=("eth0", "wlan0"),
    ),
    Sample(
        name="CM4",
        model="Raspberry Pi Compute Module 4 Rev 1.1",
        compatible=("raspberrypi,4-compute-module", "brcm,bcm2711"),
        revision=0xB03141,
        family="cm4",
        memory_mib=2048,
        ports=(GENET,),
        onboard=("eth0",),
        cpuinfo_only=True,
    ),
    Sample(
        name="Pi 5",
        model="Raspberry Pi 5 Model B Rev 1.0",
        compatible=("raspberrypi,5-model-b", "brcm,bcm2712"),
        revision=0xD04170,
        family="pi5",
        memory_mib=8192,
        ports=(RP1, wlan()),
        onboard=("eth0", "wlan0"),
        rtc=True,
    ),
    Sample(
        name="QEMU virt",
        model="linux,dummy-virt",
        compatible=("linux,dummy-virt",),
        family="virt",
        memory_mib=970,
        ports=(VIRTIO,),
        onboard=("eth0",),
        rtc=True,
    ),
    Sample(
        name="QEMU raspi3b",
        model="Raspberry Pi 3 Model B",
        compatible=("raspberrypi,3-model-b", "brcm,bcm2837"),
        family="pi3",
        memory_mib=970,
        ports=(QEMU_USB,),
    ),
    Sample(
        name="PC",
        model="LENOVO 20ARS0LV00",
        compatible=(),
        family="pc",
        memory_mib=970,
        ports=(PC_NIC,),
        onboard=("eno1",),
        rtc=True,
        dmi=("LENOVO", "20ARS0LV00"),
    ),
)


def make(sample: Sample, root: Path) -> Path:
    """Write the board's files below `root`."""
    if sample.dmi:
        write(root, "sys/class/dmi/id/sys_vendor", f"{sample.dmi[0]}\n")
        write(root, "sys/class/dmi/id/product_name", f"{sample.dmi[1]}\n")
    else:
        write(root, "proc/device-tree/model", f"{sample.model}\0")
        write(root, "proc/device-tree/compatible", "".join(f"{one}\0" for one in sample.compatible))
    write(root, "proc/meminfo", "MemTotal:         993280 kB\nMemFree:          1 kB\n")
    if sample.revision and sample.cpuinfo_only:
        write(
            root,
            "proc/cpuinfo",
            f"Hardware\t: BCM2835\nRevision\t: {sample.revision:x}\nSerial\t\t: 10000000abcdef01\n",
        )
    elif sample.revision:
        write(root, "proc/device-tree/serial-number", "10000000abcdef01\0")
        write(root, "proc/device-tree/system/linux,revision", sample.revision.to_bytes(4, "big"))
    if sample.rtc:
        (root / "sys/class/rtc/rtc0").mkdir(parents=True)
    loopback = root / "sys/class/net/lo"
    loopback.mkdir(parents=True)
    write(root, "sys/class/net/lo/type", "772\n")
    for index, port in enumerate(sample.ports, 2):
        make_port(root, port, index)
    return root


def make_port(root: Path, port: Port, index: int = 2) -> None:
    """Write one NIC as drivers show it: its files, its device, and the links to driver and bus."""
    place = root / "sys" / port.place
    place.mkdir(parents=True, exist_ok=True)
    for what, name in (("driver", port.driver), ("subsystem", port.bus)):
        target = root / "sys" / "bus" / port.bus / ("drivers" if what == "driver" else "of") / name
        target.mkdir(parents=True, exist_ok=True)
        (place / what).symlink_to(target)
    folder = root / "sys/class/net" / port.name
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(place)
    files = {
        "type": "1",
        "ifindex": str(index),
        "address": port.mac,
        "flags": "0x1003",
        "carrier": "1" if port.carrier else "0",
        "carrier_changes": "2",
        "operstate": "up" if port.carrier else "down",
        "mtu": "1500",
        "speed": str(port.speed or -1),
        "duplex": "full",
        "uevent": f"DEVTYPE=wlan\nINTERFACE={port.name}" if port.wifi else f"INTERFACE={port.name}",
    }
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    if port.wifi:
        (folder / "phy80211").mkdir()


def write(root: Path, name: str, content: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def nics(name: str, root: Path) -> tuple[Nic, ...]:
    """The interfaces of the sample of that name."""
    (sample,) = [one for one in SAMPLES if one.name == name]
    return tuple(read_nics(make(sample, root)))
