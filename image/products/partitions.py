"""The image's partition table, and the places of the image that nobody reads."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from image.products.bmap import Extent

SECTOR = 512
SLOT_HEAD = 1 << 20
"""So much of an empty slot is written as zeros: the boot loader must find no older file system there."""


class TableError(ValueError):
    """The image has no partition table of ours."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One primary partition, in bytes."""

    number: int  # 1..4
    kind: int  # the MBR's type
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def read_partitions(image: Path) -> list[Partition]:
    """The primary partitions of an MBR, in order of number. Raises TableError."""
    with image.open("rb") as stream:
        head = stream.read(SECTOR)
    if len(head) < SECTOR or head[510:] != b"\x55\xaa":
        raise TableError(f"{image.name}: no MBR")
    found = []
    for number in range(1, 5):
        _, kind, start, sectors = struct.unpack_from("<B3xB3xII", head, 446 + 16 * (number - 1))
        if kind:
            found.append(Partition(number, kind, start * SECTOR, sectors * SECTOR))
    size = image.stat().st_size
    for part in found:
        if part.end > size:
            raise TableError(f"{image.name}: partition {part.number} ends at {part.end}, the image at {size}")
    return found


def unused_extents(partitions: list[Partition], slot_size: int) -> list[Extent]:
    """Where a card's old bytes may stay: the gaps between partitions, and slots past what is in them.

    `slot_size` is the length of slot A's image; slot B is empty, but for its head, which must be zero.
    """
    unused = []
    end = SECTOR
    for part in sorted(partitions, key=lambda part: part.start):
        if part.start > end:
            unused.append(Extent(end, part.start))
        end = part.end
    slots = {part.number: part for part in partitions}
    if 2 in slots and slot_size < slots[2].size:
        unused.append(Extent(slots[2].start + slot_size, slots[2].end))
    if 3 in slots:
        unused.append(Extent(slots[3].start + SLOT_HEAD, slots[3].end))
    return unused
