"""How large an image says it is, from its first octets, before anything decodes it: PNG, JPEG, GIF, WebP, BMP. Pure.

Formats that hide their size, or whose decoders have the worse history (TIFF, JPEG 2000, SVG), are none here.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MAX_MARKERS = 1000  # segments of a JPEG, blocks of a GIF, before its size is known

_PNG, _GIF, _BMP, _JPEG = b"\x89PNG\r\n\x1a\n", (b"GIF87a", b"GIF89a"), b"BM", b"\xff\xd8\xff"
_NO_FRAME = frozenset((0xC4, 0xC8, 0xCC))  # between the start-of-frame markers, and none


class Size(NamedTuple):
    """Width and height in pixels; of an animation, `frames` of them are decoded."""

    width: int
    height: int
    frames: int = 1

    @property
    def pixels(self) -> int:
        """Of all frames together."""
        return self.width * self.height * self.frames


def image_size(data: bytes) -> Size | None:
    """What the header of an image says, or None for what is no image of these formats or says nothing sound."""
    try:
        size = _size(data)
    except (struct.error, IndexError):
        return None
    return size if size is not None and size.width > 0 and size.height > 0 else None


def _size(data: bytes) -> Size | None:
    if data.startswith(_PNG):
        return Size(*struct.unpack_from(">II", data, 16)) if data[12:16] == b"IHDR" else None
    if data.startswith(_JPEG):
        return _of_jpeg(data)
    if data.startswith(_GIF):
        return _of_gif(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _of_webp(data)
    if data.startswith(_BMP) and 40 <= struct.unpack_from("<I", data, 14)[0] <= 124:
        width, height = struct.unpack_from("<ii", data, 18)
        return Size(width, abs(height))  # a negative height is one from the top
    return None


def _of_jpeg(data: bytes) -> Size | None:
    place = 2
    for _ in range(MAX_MARKERS):
        while data[place + 1] == 0xFF:  # fill octets
            place += 1
            if place + 1 >= len(data):
                return None
        marker = data[place + 1]
        if data[place] != 0xFF or marker in (0xD9, 0xDA):
            return None  # the picture begins without a frame
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return Size(width, height)
        place += (
            2 if 0xD0 <= marker <= 0xD8 or marker == 1 else 2 + max(2, struct.unpack_from(">H", data, place + 2)[0])
        )
    return None


def _of_gif(data: bytes) -> Size | None:
    """The largest of all frames and their number: a decoder makes them all."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place, frames = 13 + _table(flags), 0
    for _ in range(MAX_MARKERS):
        kind = data[place]
        if kind == 0x3B:
            return Size(width, height, max(1, frames))
        if kind == 0x2C:
            one_width, one_height, flags = struct.unpack_from("<HHB", data, place + 5)
            width, height, frames = max(width, one_width), max(height, one_height), frames + 1
            place = _after_blocks(data, place + 11 + _table(flags))
        elif kind == 0x21:
            place = _after_blocks(data, place + 2)
        else:
            return None
    return None


def _table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, place: int) -> int:
    while length := data[place]:
        place += 1 + length
    return place + 1


def _of_webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & 2:
            return None  # an animation, whose frames say more
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Size(width, height) if len(data) >= 30 else None
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return Size(width & 0x3FFF, height & 0x3FFF)
    return None
