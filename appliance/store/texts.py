"""Stored texts: how they lie in a row or a file, and how they are read, piece by piece or as a whole.

What a peer that takes its time costs is one piece of the text, not all of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from appliance.errors import StoreError
from appliance.store.frames import FRAME, Frames
from appliance.store.packing import unpacked
from appliance.store.segments import Extent, NotCachedError, Record, Segments

RAW, ZSTD, FRAMES = 0, 1, 2  # `body.codec`: as it is; one zstd frame; several, each unpacked without the others
PIECE = FRAME  # octets of one text that are in memory at once
QUICK = FRAME  # octets of text, unpacked out of as many at most: 0.2 ms, for which no thread is woken
QUICK_PLAIN = 2 * FRAME  # the same where there is little to unpack
QUICK_UNPACKED = 90  # per cent of a text that are stored at least, if there is little
HELD = 1 << 20  # octets of a stored text that are read at once, if all of it is wanted


class Text(Protocol):
    """The text of one body. Reading blocks: it belongs on a reader thread, and to one reader at a time."""

    @property
    def size(self) -> int:
        """Its octets."""

    def piece(self, start: int, end: int) -> bytes:
        """At least one octet, from `start` on; about PIECE at most, none from `end` on. 0 <= start < end <= size.

        Raises StoreError at damage.
        """


class HeldText:
    """A text that is in memory because it is short."""

    __slots__ = ("_octets", "size")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)

    def piece(self, start: int, end: int) -> bytes:
        """See `Text`."""
        return self._octets[start : min(end, start + PIECE)]


class PlainText:
    """A text that lies in a file as it is.

    Whoever reads all of it in order gets the last piece only if the checksum of the whole is right. Other stretches
    go unchecked: to check them, the whole would have to be read.
    """

    __slots__ = ("_crc", "_expected", "_summed", "_take", "size")

    def __init__(self, take: Callable[[int, int], bytes], size: int, crc: int) -> None:
        """`take(start, count)` reads octets, `crc` is the CRC-32 of all of them."""
        self._take = take
        self._expected = crc
        self._crc = self._summed = 0
        self.size = size

    def piece(self, start: int, end: int) -> bytes:
        """See `Text`."""
        end = min(end, start + PIECE)
        octets = self._take(start, end - start)
        if len(octets) != end - start:
            raise StoreError("the end of the text is missing")
        if start == self._summed:
            self._crc, self._summed = zlib.crc32(octets, self._crc), end
            if end == self.size and self._crc != self._expected:
                raise StoreError("the text is damaged")
        return octets


class Place(NamedTuple):
    """Where and how a text is stored: columns of its row."""

    codec: int
    size: int  # octets of the text
    segment: int | None
    position: int
    stored: int  # octets that it takes
    octets: bytes | None  # as stored, if it is in the row

    def open(self, segments: Segments) -> tuple[Text, Record | None]:
        """The text, and what is to be closed after its last piece, if it lies in a file.

        Raises NotFoundError if compaction has moved it, StoreError if it is damaged.
        """
        if self.codec == ZSTD or (self.codec == RAW and self.segment is None):
            return HeldText(bytes(self.short(segments, self.size))), None
        if self.segment is None:
            return self._frames_of_row(), None
        record = segments.record(self.segment, self.position, self.stored)
        try:
            if self.codec == FRAMES:
                return Frames(record.take, self.stored, self.size), record
            if self.stored != self.size:
                raise StoreError(f"there are {self.stored} octets of text instead of {self.size}")
            return PlainText(record.take, self.size, record.crc), record
        except BaseException:
            record.close()
            raise

    def short(self, segments: Segments, wanted: int, *, at_once: bool = False) -> bytes | memoryview:
        """The first `wanted` octets of a text that is stored in one go. Raises as `start` does."""
        octets: bytes | memoryview
        if self.segment is None:
            octets = self.octets or b""
        else:
            octets = segments.read(self.segment, self.position, self.stored, at_once=at_once)
        if self.codec == ZSTD:
            octets = unpacked(octets, self.size)
        elif len(octets) != self.size:
            raise StoreError(f"there are {len(octets)} octets of text instead of {self.size}")
        return octets if wanted == len(octets) else octets[:wanted]

    def start(self, segments: Segments, wanted: int, *, at_once: bool = False) -> bytes | memoryview:
        """The first `wanted` octets of the text, `size` for all. Raises as `open` does.

        `at_once`: raises NotCachedError where that would take long, or where the disk would have to be waited for.
        """
        if at_once:
            self._refuse_unless_quick(wanted)
        if not wanted:
            return b""
        if self.codec != FRAMES:
            return self.short(segments, wanted, at_once=at_once)
        return _gathered(self._frames(segments, whole=wanted == self.size, at_once=at_once), wanted)

    def stretch(self, segments: Segments, start: int, end: int, *, at_once: bool = False) -> list[bytes | memoryview]:
        """The octets from `start` to `end`, in as many pieces as the text is stored in: nothing else is unpacked.

        0 <= start <= end <= size. What lies in a file as it is goes unchecked, unless it is the whole. Raises, and
        `at_once` means, what it does for `start`.
        """
        if at_once:
            self._refuse_unless_quick(end - start)
        if start == end:
            return []
        whole = end - start == self.size
        if self.codec == FRAMES:
            return self._frames(segments, whole=whole, at_once=at_once).stretch(start, end)
        if self.codec == RAW and self.segment is not None and not whole:
            return [self._unchecked(segments, self.segment, start, end, at_once=at_once)]
        octets = self.short(segments, self.size, at_once=at_once)
        return [octets if whole else memoryview(octets)[start:end]]

    def _refuse_unless_quick(self, wanted: int) -> None:
        hardly_packed = self.stored * 100 > self.size * QUICK_UNPACKED
        unpacked_at_least = wanted if self.codec == FRAMES else max(wanted, self.stored)
        if unpacked_at_least > (QUICK_PLAIN if hardly_packed else QUICK):
            raise NotCachedError("too long a text")

    def _unchecked(
        self, segments: Segments, segment: int, start: int, end: int, *, at_once: bool
    ) -> bytes | memoryview:
        if self.stored != self.size:
            raise StoreError(f"there are {self.stored} octets of text instead of {self.size}")
        octets = segments.take(Extent(segment, self.position, self.stored), start, end - start, at_once=at_once)
        if len(octets) != end - start:
            raise StoreError("the end of the text is missing")
        return octets

    def _frames(self, segments: Segments, *, whole: bool, at_once: bool) -> Frames:
        """For whoever takes them now: compaction may remove the file, which makes reading further a NotFoundError.

        Where the `whole` text is wanted, and it is not large, its table is read together with its frames.
        """
        if self.segment is None:
            return self._frames_of_row()
        extent = Extent(self.segment, self.position, self.stored)
        if whole and self.stored <= HELD:
            return _frames_of(segments.take(extent, 0, self.stored, at_once=at_once), self.size)
        return Frames(lambda start, count: segments.take(extent, start, count, at_once=at_once), self.stored, self.size)

    def _frames_of_row(self) -> Frames:
        return _frames_of(self.octets or b"", self.size)


def _frames_of(octets: bytes | memoryview, size: int) -> Frames:
    stored = memoryview(octets)
    return Frames(lambda start, count: stored[start : start + count], len(octets), size)


def _gathered(text: Text, wanted: int) -> bytes | memoryview:
    """The first `wanted` octets, filled into one buffer: joined pieces would take the room twice."""
    first = text.piece(0, wanted)
    if len(first) == wanted:
        return first
    octets = bytearray(wanted)
    octets[: len(first)] = first
    done = len(first)
    while done < wanted:
        piece = text.piece(done, wanted)
        octets[done : done + len(piece)] = piece
        done += len(piece)
    return memoryview(octets).toreadonly()
