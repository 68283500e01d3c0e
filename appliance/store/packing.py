"""zstd with contexts of each thread's own: to make one takes longer than to unpack a short message with it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import zstandard

from appliance.errors import StoreError

LEVEL = 1  # prose of 4 KiB shrinks to 41 % in 20 µs; level 2 takes a fifth longer and gains nothing, 3 one per cent
QUICK_LEVEL = -1  # only what was there before is left out; letters stay as they are
QUICK_PAYS = 95  # per cent of the octets that are left by it at most, where there is more to gain

_UNKNOWN = -1  # what zstandard says of a frame that does not tell how long its text is


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self.quick_packer = zstandard.ZstdCompressor(level=QUICK_LEVEL, write_checksum=True)
        self.unpacker = zstandard.ZstdDecompressor()


_contexts = _Contexts()


def packed(octets: bytes | memoryview) -> bytes:
    """One frame that tells its size and carries a checksum. Any thread; it does not hold up the others."""
    return _contexts.packer.compress(octets)


def packed_each(texts: Sequence[bytes]) -> list[bytes]:
    """`packed` for each text, while the interpreter is let go of only once."""
    if len(texts) == 1:
        return [packed(texts[0])]
    frames = _contexts.packer.multi_compress_to_buffer(list(texts))
    return [frames[number].tobytes() for number in range(len(frames))]


def packed_attachment(octets: bytes | memoryview) -> bytes:
    """`packed`, but what repeats nothing stays as it is: base64 of a photo or an archive.

    Shorter codes for its 64 letters would save a quarter, and make it take nine times as long to read.
    """
    frame = _contexts.quick_packer.compress(octets)
    return packed(octets) if len(frame) * 100 <= len(octets) * QUICK_PAYS else frame


def unpacked(frame: bytes | memoryview, size: int) -> bytes:
    """The `size` octets of a frame. Raises StoreError if it is damaged, or holds more or less: no more is unpacked."""
    try:
        found = zstandard.frame_content_size(frame)
        if found not in (size, _UNKNOWN):
            raise StoreError(f"there are {found} octets of text instead of {size}")
        octets = _contexts.unpacker.decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise StoreError(f"the text is damaged: {error}") from error
    if len(octets) != size:
        raise StoreError(f"there are {len(octets)} octets of text instead of {size}")
    return octets
