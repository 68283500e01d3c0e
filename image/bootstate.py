"""The state of the two slots, `boot.env` on the boot partition: which one starts, and which one is on trial.

The file is 512 bytes for ever, one sector, so that writing it anew is one sector's write: a CRC-32 of the rest, little
endian, then `name=value` texts ended by NUL, filled up with NUL. That is U-Boot's own format (`env import -c`).

A slot that is known as good starts without any write. Only a trial is counted, and counting is the boot loader's:
it lowers `left` and writes before it starts the slot. `gave_up` names a slot that could not be started; the boot
loader and the initramfs set it, and the next good start of the other slot tells about it. Nothing here does I/O.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Literal

Slot = Literal["A", "B"]

SIZE = 512  # bytes of the file; one sector
TRIES = 3  # starts that a slot on trial is given until it is good
SLOTS: tuple[Slot, Slot] = ("A", "B")
PREFIX = "palomar_"  # of the names in the file; they must not meet those of U-Boot


class BootStateError(ValueError):
    """`boot.env` is damaged or says what cannot be. Starting goes on with slot A, then B; an update writes it anew."""


@dataclass(frozen=True, slots=True)
class BootState:
    """What the boot loader is to do. The default is the factory's: A, then B, nothing on trial."""

    first: Slot = "A"
    """The slot known as good, which starts."""
    trial: Slot | None = None
    """The slot to try before `first`, as long as there are tries left."""
    left: int = 0
    """Starts that the trial still has."""
    gave_up: Slot | None = None
    """The slot that could not be started last."""

    def __post_init__(self) -> None:
        if self.trial == self.first:
            raise BootStateError(f"slot {self.first} is good and on trial at once")
        if not 0 <= self.left <= 9:
            raise BootStateError(f"{self.left} tries left, not 0..9")
        if self.trial is None and self.left:
            raise BootStateError(f"{self.left} tries left without a trial")

    @property
    def order(self) -> tuple[Slot, ...]:
        """The slots as the boot loader tries them at the next start."""
        rest: tuple[Slot, ...] = (self.first, other(self.first))
        if self.trial is not None and self.left:
            return (self.trial, self.first)
        return rest

    def try_slot(self, slot: Slot, tries: int = TRIES) -> BootState:
        """Put the slot on trial: it starts at most `tries` times before the good one is taken again."""
        if slot == self.first:
            raise BootStateError(f"slot {slot} is the good one; only the other can be tried")
        return BootState(first=self.first, trial=slot, left=tries)

    def counted(self) -> BootState:
        """What the boot loader writes before it starts the slot on trial."""
        return replace(self, left=self.left - 1) if self.left else self

    def mark_good(self, running: Slot) -> BootState:
        """The running slot has shown that it works: it starts from now on, and no trial is left."""
        return BootState(first=running)

    def give_up(self, slot: Slot) -> BootState:
        """The slot cannot be started: the other one is first from now on."""
        return BootState(first=other(slot), gave_up=slot)

    def encode(self) -> bytes:
        """The file's 512 bytes."""
        values = {"first": self.first, "trial": self.trial or "", "left": str(self.left), "gave_up": self.gave_up or ""}
        # U-Boot drops a variable that is set to nothing, and keeps an older one that is not named; so each is named.
        body = b"".join(f"{PREFIX}{name}={value or 'none'}\0".encode() for name, value in values.items())
        body = body.ljust(SIZE - 4, b"\0")
        return zlib.crc32(body).to_bytes(4, "little") + body


def decode(data: bytes) -> BootState:
    """Read the file. Raises BootStateError; the boot loader then takes A before B, as `BootState()` does."""
    if len(data) != SIZE:
        raise BootStateError(f"boot.env has {len(data)} bytes, not {SIZE}")
    if zlib.crc32(data[4:]) != int.from_bytes(data[:4], "little"):
        raise BootStateError("the checksum of boot.env is wrong")
    text = data[4:].partition(b"\0\0")[0].decode("ascii", "replace")
    values = dict(line.partition("=")[::2] for line in text.split("\0"))
    left = values.get(f"{PREFIX}left", "0")
    if not (left.isascii() and left.isdigit()):
        raise BootStateError(f"boot.env has {left!r} tries left")
    first = _slot(values, "first")
    if first is None:
        raise BootStateError("boot.env names no first slot")
    return BootState(first, _slot(values, "trial"), int(left), _slot(values, "gave_up"))


def other(slot: Slot) -> Slot:
    """The other of the two."""
    return "B" if slot == "A" else "A"


def _slot(values: dict[str, str], name: str) -> Slot | None:
    value = values.get(f"{PREFIX}{name}", "none")
    if value == "none":
        return None
    for slot in SLOTS:
        if value == slot:
            return slot
    raise BootStateError(f"boot.env knows no slot {value!r} ({name})")
