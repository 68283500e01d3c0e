"""How the board does while it runs: temperature, under-voltage, throttling; and the notes that follow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from hw.board import read_vitals
from hw.messages import Note, Vitals
from hw.part import Report

LOOK_EVERY_S = 60.0
TOO_HOT_C = 80.0  # from here on a Raspberry Pi slows down
COOLER_C = 3.0  # changes below this are not reported


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
            found = remembering(told, read_vitals(self._root))
            if differs(told, found):
                report(found)
                told = found
            if (now := notes_of(found)) != notes:
                report(now)
                notes = now
            await self._sleep(LOOK_EVERY_S)


def remembering(before: Vitals, found: Vitals) -> Vitals:
    """What was found, with what had been seen before: not every source keeps that itself."""
    return msgspec.structs.replace(found, undervoltage_seen=found.undervoltage_seen or before.undervoltage_seen)


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
