"""Does this card keep what it is given, and everywhere? Cheap fakes claim more room than they have, or drop writes.

Before the data partition grows, patterns are written all over the room behind it and read back past every cache. What
was there is put back afterwards: on a card that wraps around, it may be our own system.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BLOCK = 64 * 1024
MAX_PLACES = 64  # 4 MiB in all
MIN_ROOM = 4 * 1024 * 1024  # less is not worth growing into
_GIB = 1 << 30
_BLKFLSBUF = 0x1261  # <linux/fs.h>: forget what is cached of a block device
SECTOR = 512


@dataclass(frozen=True, slots=True)
class Room:
    """The part of a disk that no partition uses: `start` up to `end`, in octets."""

    device: Path
    start: int
    end: int

    @property
    def size(self) -> int:
        return max(0, self.end - self.start)


def room_behind(data: Path, sysfs: Path, dev: Path) -> Room | None:
    """The room behind the partition that `data` is mounted from; None where that is no partition."""
    number = os.stat(data).st_dev
    partition = sysfs / f"dev/block/{os.major(number)}:{os.minor(number)}"
    try:
        start, size = (int((partition / name).read_text()) for name in ("start", "size"))
        disk = partition.resolve().parent
        whole = int((disk / "size").read_text())
    except (OSError, ValueError):
        return None
    return Room(dev / disk.name, (start + size) * SECTOR, whole * SECTOR)


def places(room: Room) -> list[int]:
    """Where to write: for every capacity of 2, 4, 8… GiB two places that would be one, the very end, and in between.

    Those are chosen so that a wrap at a power of two stays clear of the first 1.5 GiB, where the system is.
    """
    steps = [0, *(1 << power for power in range(16))]
    chosen = {step * 2 * _GIB + 7 * _GIB // 4 for step in steps}
    chosen |= {room.end - BLOCK, room.start}
    spread = max(BLOCK, room.size // 24)
    chosen |= set(range(room.start, room.end - BLOCK, spread))
    aligned = sorted({place // BLOCK * BLOCK for place in chosen})
    return [place for place in aligned if room.start <= place <= room.end - BLOCK][:MAX_PLACES]


def verdict(room: Room, *, key: bytes, tell: Callable[[str], None] = lambda _: None) -> str:
    """Why this card must not be used, in a sentence; empty if it is what it says. Raises OSError if it cannot be read.

    `key` makes patterns that no earlier check has left there.
    """
    if room.size < MIN_ROOM:
        return ""
    tell("Checking the card.")
    direct = os.O_DIRECT if _takes_direct(room.device) else 0
    descriptor = os.open(room.device, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC | direct)
    before: dict[int, bytes] = {}
    try:
        with mmap.mmap(-1, BLOCK) as page:  # O_DIRECT wants memory at page borders
            where = places(room)
            for place in where:
                before[place] = _read(descriptor, page, place)
            written = []
            try:
                for place in where:
                    written.append(place)
                    _write(descriptor, page, place, _pattern(key, place))
                _forget(descriptor)
                wrong = [place for place in where if _read(descriptor, page, place) != _pattern(key, place)]
            finally:
                for place in reversed(written):
                    with contextlib.suppress(OSError):  # it is refused anyway
                        _write(descriptor, page, place, before[place])
    except OSError as error:
        return f"It fails when it is written to: {error.strerror}."
    finally:
        os.close(descriptor)
    return _words(room, wrong, len(where)) if wrong else ""


def _words(room: Room, wrong: list[int], of: int) -> str:
    claimed = f"{room.end / 1e9:.0f} GB"
    if len(wrong) == of:
        return "It does not keep what is written to it: everything that was tried came back different."
    return f"It says it has {claimed}, but what is written beyond {min(wrong) / 1e9:.1f} GB is not kept."


def _pattern(key: bytes, place: int) -> bytes:
    seed = hashlib.sha256(key + place.to_bytes(8, "big")).digest()
    return seed * (BLOCK // len(seed))


def _read(descriptor: int, page: mmap.mmap, place: int) -> bytes:
    if os.preadv(descriptor, [page], place) != BLOCK:
        return b""
    return page[:]


def _write(descriptor: int, page: mmap.mmap, place: int, data: bytes) -> None:
    page[:] = data.ljust(BLOCK, b"\0")
    if os.pwritev(descriptor, [page], place) != BLOCK:
        raise OSError(5, "a write came to nothing")


def _takes_direct(device: Path) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def _forget(descriptor: int) -> None:
    """Drop what the kernel has in memory, so that the card itself answers."""
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    with contextlib.suppress(OSError):  # not a block device, or not root
        fcntl.ioctl(descriptor, _BLKFLSBUF)
