"""Long texts in frames: any stretch of one is unpacked without the rest, and nothing is kept between two stretches.

The layout is that of zstd's seekable format: frames one after the other, each with its own checksum, and behind them
a table of their sizes in a frame that other readers skip. `zstd -d` unpacks it like any other file.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from appliance.errors import StoreError
from appliance.store.packing import unpacked

FRAME = 128 << 10  # octets of text in one frame; measured: larger ones save less than 0.1 per cent
MAX_FRAME = 1 << 20  # octets of text that a frame may say it holds

_SKIPPABLE, _SEEKABLE = 0x184D2A5E, 0x8F92EAB1
_HEAD = struct.Struct("<II")  # magic of a frame to skip, octets of the table behind it
_FOOT = struct.Struct("<IBI")  # number of frames, descriptor (0: no checksums in the table), magic
_TAIL = 64  # octets that are read at once: the table of up to five frames


def table(sizes: Sequence[tuple[int, int]]) -> bytes:
    """What follows the frames. `sizes` holds, for each, its octets and those of its text."""
    entries = struct.pack(f"<{2 * len(sizes)}I", *[size for pair in sizes for size in pair])
    return b"".join((_HEAD.pack(_SKIPPABLE, len(entries) + _FOOT.size), entries, _FOOT.pack(len(sizes), 0, _SEEKABLE)))


class Frames:
    """A text of `size` octets that is stored in `stored` octets. `take(start, count)` reads some of the latter."""

    __slots__ = ("_places", "_starts", "_take", "size")

    def __init__(self, take: Callable[[int, int], bytes | memoryview], stored: int, size: int) -> None:
        """Read the table. Raises StoreError if it does not fit, and what `take` raises."""
        self._take = take
        self.size = size
        sizes = _sizes(take, stored)
        self._places = list(accumulate(sizes[::2], initial=0))
        self._starts = list(accumulate(sizes[1::2], initial=0))
        fits = self._starts[-1] == size and 0 not in sizes and max(sizes[1::2], default=0) <= MAX_FRAME
        if not fits or self._places[-1] + len(sizes) * 4 + _HEAD.size + _FOOT.size != stored:
            raise StoreError("the table of frames is damaged")

    def piece(self, start: int, end: int) -> bytes:
        """The octets from `start` on, up to `end` or to the end of their frame. Raises StoreError at damage."""
        number = bisect_right(self._starts, start) - 1
        first, last = self._starts[number : number + 2]
        place, behind = self._places[number : number + 2]
        octets = self._unpacked(number, self._take(place, behind - place))
        return octets if (start, min(end, last)) == (first, last) else octets[start - first : end - first]

    def stretch(self, start: int, end: int) -> list[bytes | memoryview]:
        """The octets from `start` to `end`, a piece from each frame; all that is stored of them is read at once.

        0 <= start < end <= size. Raises StoreError at damage.
        """
        first, behind = bisect_right(self._starts, start) - 1, bisect_left(self._starts, end)
        base = self._places[first]
        stored = memoryview(self._take(base, self._places[behind] - base))
        pieces: list[bytes | memoryview] = [
            self._unpacked(number, stored[self._places[number] - base : self._places[number + 1] - base])
            for number in range(first, behind)
        ]
        if end < self._starts[behind]:
            pieces[-1] = memoryview(pieces[-1])[: end - self._starts[behind]]
        if start > self._starts[first]:
            pieces[0] = memoryview(pieces[0])[start - self._starts[first] :]
        return pieces

    def _unpacked(self, number: int, stored: bytes | memoryview) -> bytes:
        try:
            return unpacked(stored, self._starts[number + 1] - self._starts[number])
        except StoreError as error:
            raise type(error)(f"frame {number}: {error}") from error


def _sizes(take: Callable[[int, int], bytes | memoryview], stored: int) -> tuple[int, ...]:
    """The entries of the table: octets of a frame, octets of its text, and so on."""
    tail = take(max(0, stored - _TAIL), min(stored, _TAIL))
    if len(tail) < _FOOT.size:
        raise StoreError("the table of frames is missing")
    count, descriptor, magic = _FOOT.unpack_from(tail, len(tail) - _FOOT.size)
    length = count * 8 + _FOOT.size
    whole = length + _HEAD.size
    if magic != _SEEKABLE or descriptor or whole > stored:
        raise StoreError("the table of frames is damaged")
    octets = tail[-whole:] if whole <= len(tail) else take(stored - whole, whole)
    if octets[: _HEAD.size] != _HEAD.pack(_SKIPPABLE, length) or len(octets) != whole:
        raise StoreError("the table of frames is damaged")
    return struct.unpack_from(f"<{2 * count}I", octets, _HEAD.size)
