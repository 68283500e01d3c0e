"""The panel of the disk: order the moment of a cut, wait for it, see what it would leave, let it pass or cut."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

# 64-bit numbers; cutdisk.c has the same list. The second row is the disk's.
_ORDER, _WRITES, _FLUSHES, _HELD, _FROM, _TO, _RELEASE, _COPY, _LIE, _LOSE_ALL = range(10)
_FROZEN, _COPIED, _LOST = 10, 11, 12
_NUMBERS = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When the disk shall stand still, counted from the order on. `str` says it in words."""

    writes: int = 0
    """In the so-manieth write, before it is answered."""
    flushes: int = 0
    """In the so-manieth flush, before it is done."""
    held: int = 0
    """But not before so many writes are not flushed."""
    area: tuple[int, int] = (0, 1 << 63)
    """Only writes count that begin here: first byte, first byte behind it."""

    def __str__(self) -> str:
        kind = f"write {self.writes}" if self.writes else f"flush {self.flushes}"
        return f"{kind}, {self.held} held" if self.held else kind


@dataclass(frozen=True, slots=True)
class Loss:
    """What a cut takes."""

    held: int = 0  # writes that no flush had covered when power went …
    whole: int = 0  # … of these: kept,
    torn: int = 0  # kept in part,
    dropped: int = 0  # gone
    lost_bytes: int = 0


class Panel:
    """The numbers that we and the plugin share."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8 * _NUMBERS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8 * _NUMBERS)

    def close(self) -> None:
        """Let go of it."""
        self._map.close()

    def order(self, moment: Moment) -> None:
        """Order the next moment. One at a time: one that has not come yet is forgotten."""
        for place, value in (
            (_WRITES, moment.writes),
            (_FLUSHES, moment.flushes),
            (_HELD, moment.held),
            (_FROM, moment.area[0]),
            (_TO, moment.area[1]),
        ):
            self._put(place, value)
        self._put(_ORDER, self._get(_ORDER) + 1)

    @property
    def is_still(self) -> bool:
        """Whether the disk stands still in the moment that was ordered."""
        return 0 != self._get(_ORDER) == self._get(_FROZEN) != self._get(_RELEASE)

    def release(self) -> None:
        """Let the disk go on, as if nothing had happened."""
        self._put(_RELEASE, self._get(_FROZEN))

    def lie(self, every: int, *, loses_all: bool) -> None:
        """Let every so-manieth flush be answered and not done, and a cut take all that is held, or a random part."""
        self._put(_LOSE_ALL, int(loses_all))
        self._put(_LIE, every)

    def want_loss(self) -> None:
        """Let a disk that stands still bring on its `copy` what a cut would leave of the file."""
        self._put(_COPY, self._get(_COPY) + 1)

    @property
    def has_lost(self) -> bool:
        """Whether that is done."""
        return self._get(_COPY) == self._get(_COPIED)

    @property
    def loss(self) -> Loss:
        """The tally of the last loss on the copy."""
        return Loss(*(self._get(_LOST + place) for place in range(5)))

    def _get(self, place: int) -> int:
        value: int = struct.unpack_from("<Q", self._map, 8 * place)[0]
        return value

    def _put(self, place: int, value: int) -> None:
        struct.pack_into("<Q", self._map, 8 * place, value)
