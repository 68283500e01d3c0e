"""How the board does: temperature, under-voltage, throttling; and the notes that follow.

The firmware's `get_throttled` is in sysfs on Raspberry Pi's own kernel only. The voltage alarm of the mainline driver
`raspberrypi-hwmon` is the second source; a kernel that has neither tells nothing, and that is said, not guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from hw.messages import Note, Vitals
from hw.part import Report

LOOK_EVERY_S = 60.0
TOO_HOT_C = 80.0  # from here on a Raspberry Pi slows down
COOLER_C = 3.0  # changes below this are not reported
THROTTLED = "sys/devices/platform/soc*/soc*:firmware/get_throttled"
THERMAL = "sys/class/thermal/thermal_zone*/temp"
HWMON = "sys/class/hwmon/hwmon*"
_FLAGS = ("undervoltage", "frequency_capped", "throttled", "hot")  # bits 0 to 3; 16 to 19: since the start


class VitalsWatch:
    """The part "vitals"."""

    name = "vitals"

    def __init__(self, root: Path = Path("/"), *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._root = root
        self._sleep = sleep

    async def run(self, report: Report) -> None:
        """Look once a minute until cancelled."""
        told = Vitals()
        notes: tuple[Note, ...] = ()
        while True:
            found = read_vitals(self._root, told)
            if differs(told, found):
                report(found)
                told = found
            if (now := notes_of(found)) != notes:
                report(now)
                notes = now
            await self._sleep(LOOK_EVERY_S)


def read_vitals(root: Path, before: Vitals) -> Vitals:
    """Read what the kernel tells. What was seen before since the start stays seen."""
    temperature = next(
        (value / 1000 for path in sorted(root.glob(THERMAL)) if (value := _number(path)) is not None), None
    )
    flags: dict[str, bool] = {}
    known = False
    bits = next((value for path in root.glob(THROTTLED) if (value := _number(path, 16)) is not None), None)
    if bits is not None:
        known = True
        flags = {name: bool(bits >> place & 1) for place, name in enumerate(_FLAGS)}
        flags |= {f"{name}_seen": bool(bits >> 16 + place & 1) for place, name in enumerate(_FLAGS)}
    elif (alarm := _voltage_alarm(root)) is not None:
        known = True
        flags = {"undervoltage": alarm, "undervoltage_seen": alarm or before.undervoltage_seen}
    return Vitals(temperature_c=temperature, known=known, **flags)


def differs(before: Vitals, after: Vitals) -> bool:
    """Whether the difference is worth telling: anything but a breath of warmth."""
    old, new = before.temperature_c, after.temperature_c
    if old is None or new is None:
        if old is not new:
            return True
    elif abs(old - new) >= COOLER_C:
        return True
    return msgspec.structs.replace(before, temperature_c=None) != msgspec.structs.replace(after, temperature_c=None)


def notes_of(vitals: Vitals) -> tuple[Note, ...]:
    """What a person should do about it. Pure."""
    notes = []
    if vitals.undervoltage:
        notes.append(("error", "The power supply is too weak just now: mail may be lost. Use the board's own supply."))
    elif vitals.undervoltage_seen:
        notes.append(("warning", "The power supply was too weak since the start. Use the board's own supply."))
    if vitals.hot or (vitals.temperature_c or 0) >= TOO_HOT_C:
        notes.append(("warning", f"The board is at {TOO_HOT_C:.0f} °C or more and slows down. Give it air."))
    elif vitals.throttled:
        notes.append(("warning", "The board is slowed down by its firmware."))
    return tuple(Note(source="vitals", level=level, text=text) for level, text in notes)  # type: ignore[arg-type]


def _voltage_alarm(root: Path) -> bool | None:
    for folder in sorted(root.glob(HWMON)):
        try:
            if (folder / "name").read_text().strip() == "rpi_volt":
                return (folder / "in0_lcrit_alarm").read_text().strip() == "1"
        except OSError:
            continue
    return None


def _number(path: Path, base: int = 10) -> int | None:
    try:
        return int(path.read_text().strip(), base)
    except (OSError, ValueError):
        return None
