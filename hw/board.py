"""What the board is and how it does, from the files of the kernel and the Pi's firmware.

Every file is read below `root`, so that a folder of files can stand in for a board. What cannot be read is unknown,
never an error: this must work on boards that nobody has seen yet.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from hw.messages import Board, Vitals

ROOT = Path("/")
MAX_FILE = 65_536
UNKNOWN_MODEL = "unknown board"

# Fields of a Pi's new-style revision code, and what they stand for.
_NEW_STYLE, _MEMORY_SHIFT, _TYPE_SHIFT = 1 << 23, 20, 4
_SMALLEST_MIB = 256
_FAMILIES = {
    0x04: "pi2",
    0x08: "pi3",
    0x0D: "pi3-plus",
    0x0E: "pi3a-plus",
    0x10: "cm3-plus",
    0x0A: "cm3",
    0x11: "pi4",
    0x12: "zero2w",
    0x13: "pi400",
    0x14: "cm4",
    0x15: "cm4s",
    0x17: "pi5",
    0x18: "cm5",
    0x19: "pi500",
    0x1A: "cm5",
}
# By `compatible` of the device tree, where there is no revision code: QEMU, and kernels without the firmware's node.
_COMPATIBLE = {
    "raspberrypi,2-model-b": "pi2",
    "raspberrypi,3-model-b": "pi3",
    "raspberrypi,3-model-b-plus": "pi3-plus",
    "raspberrypi,3-model-a-plus": "pi3a-plus",
    "raspberrypi,3-compute-module": "cm3",
    "raspberrypi,model-zero-2-w": "zero2w",
    "raspberrypi,4-model-b": "pi4",
    "raspberrypi,400": "pi400",
    "raspberrypi,4-compute-module": "cm4",
    "raspberrypi,4-compute-module-s": "cm4s",
    "raspberrypi,5-model-b": "pi5",
    "raspberrypi,5-compute-module": "cm5",
    "raspberrypi,500": "pi500",
    "linux,dummy-virt": "virt",
}
# get_throttled of the firmware: bit, and the bit 16 places above is "at any time since the start".
_THROTTLED_BITS = {"undervoltage": 0, "frequency_capped": 1, "throttled": 2, "hot": 3}
_SEEN = 16
_GET_THROTTLED = 0x0003_0046  # mailbox property tag
_IOCTL_PROPERTY = 0xC008_6400  # _IOWR(100, 0, char *) on 64-bit machines
_RESPONSE_OK = 0x8000_0000


def read_board(root: Path = ROOT) -> Board:
    """Model, family, serial number, revision, memory and clock of the board."""
    tree = root / "proc" / "device-tree"
    revision = _revision(root)
    return Board(
        model=_text(tree / "model") or _pc_model(root) or UNKNOWN_MODEL,
        family=family_of(revision, _texts(tree / "compatible"), has_dmi=bool(_pc_model(root))),
        serial=_serial(root),
        revision=f"{revision:x}" if revision else "",
        memory_mib=memory_of(revision) or _visible_memory(root),
        has_rtc=any((root / "sys/class/rtc").glob("rtc*")),
        has_wifi=any((root / "sys/class/net").glob("*/phy80211")),
    )


def family_of(revision: int, compatible: tuple[str, ...] = (), *, has_dmi: bool = False) -> str:
    """The short name of a kind of board: `pi4`, `zero2w`, `virt`, `pc`; `unknown` for what is none of ours."""
    if revision & _NEW_STYLE and (known := _FAMILIES.get(revision >> _TYPE_SHIFT & 0xFF)):
        return known
    for name in compatible:
        if name in _COMPATIBLE:
            return _COMPATIBLE[name]
    return "pc" if has_dmi else "unknown"


def memory_of(revision: int) -> int:
    """The memory in MiB that a Pi's revision code tells, 0 where it does not."""
    return _SMALLEST_MIB << (revision >> _MEMORY_SHIFT & 0x7) if revision & _NEW_STYLE else 0


def _revision(root: Path) -> int:
    """The firmware's own word in the device tree, else the line of /proc/cpuinfo."""
    raw = _bytes(root / "proc/device-tree/system/linux,revision")
    if len(raw) == 4:
        return int.from_bytes(raw, "big")
    text = _cpuinfo(root, "Revision")
    try:
        return int(text, 16) if text else 0
    except ValueError:
        return 0


def _serial(root: Path) -> str:
    device_tree = _text(root / "proc/device-tree/serial-number")
    return device_tree or _cpuinfo(root, "Serial") or _text(root / "sys/class/dmi/id/product_serial")


def _cpuinfo(root: Path, key: str) -> str:
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() == key:
            return value.strip()
    return ""


def _pc_model(root: Path) -> str:
    dmi = root / "sys/class/dmi/id"
    return " ".join(part for part in (_text(dmi / "sys_vendor"), _text(dmi / "product_name")) if part)


def _visible_memory(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        parts = line.split()
        if parts[:1] == ["MemTotal:"] and len(parts) > 1 and parts[1].isdigit():
            return int(parts[1]) // 1024
    return 0


# ── how it does ───────────────────────────────────────────────────────────────────────────────────────────────────


def read_vitals(root: Path = ROOT) -> Vitals:
    """Temperature and power. `known` is False where neither firmware nor kernel tell about the power."""
    celsius = _temperature(root)
    word = _throttled_file(root)
    if word is None:
        word = _throttled_mailbox(root)
    if word is not None:
        return vitals_of(word, celsius)
    low = _low_voltage_alarm(root)
    if low is not None:
        return Vitals(temperature_c=celsius, known=True, undervoltage=low, undervoltage_seen=low)
    return Vitals(temperature_c=celsius)


def vitals_of(word: int, celsius: float | None = None) -> Vitals:
    """The firmware's `get_throttled`, decoded."""
    flags = {name: bool(word >> bit & 1) for name, bit in _THROTTLED_BITS.items()}
    flags |= {f"{name}_seen": bool(word >> (bit + _SEEN) & 1) for name, bit in _THROTTLED_BITS.items()}
    return Vitals(temperature_c=celsius, known=True, **flags)


def _temperature(root: Path) -> float | None:
    """The processor's thermal zone; the first zone where none says that it is the processor's."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    zones.sort(key=lambda zone: not _text(zone / "type").startswith(("cpu", "x86_pkg")))
    for zone in zones:
        text = _text(zone / "temp")
        if text.lstrip("-").isdigit():
            return int(text) / 1000
    return None


def _throttled_file(root: Path) -> int | None:
    """The file of Raspberry Pi's own kernels."""
    text = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        return int(text, 16) if text else None
    except ValueError:
        return None


def _low_voltage_alarm(root: Path) -> bool | None:
    """The alarm of raspberrypi-hwmon, in kernels that have it; it knows about the present only."""
    for sensor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(sensor / "name") == "rpi_volt":
            return _text(sensor / "in0_lcrit_alarm") == "1"
    return None


def _throttled_mailbox(root: Path) -> int | None:
    try:
        device = os.open(root / "dev/vcio", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return ask_mailbox(lambda message: fcntl.ioctl(device, _IOCTL_PROPERTY, message, True))
    finally:
        os.close(device)


def ask_mailbox(ioctl: Callable[[bytearray], object]) -> int | None:
    """Ask the firmware for `get_throttled` by its property interface; None if it does not know."""
    # Size, request; then one tag: its number, room for the answer, length asked, value; and the end tag.
    message = bytearray(struct.pack("=7I", 28, 0, _GET_THROTTLED, 4, 0, 0, 0))
    try:
        ioctl(message)
    except OSError:
        return None
    _, code, _, _, _, value, _ = struct.unpack("=7I", message)
    return int(value) if code == _RESPONSE_OK else None


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE)
    except OSError:  # not there, or the driver has no answer just now
        return b""


def _text(path: Path) -> str:
    """A file's text without the NUL of device trees and the end of the line."""
    return _bytes(path).decode("utf-8", "replace").strip("\0\n\r \t")


def _texts(path: Path) -> tuple[str, ...]:
    """A device tree's list of strings, each ended by a NUL."""
    return tuple(one for one in _bytes(path).decode("utf-8", "replace").split("\0") if one)
