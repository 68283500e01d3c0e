"""The compressed connection: raw DEFLATE both ways (RFC 4978). Pure."""

from __future__ import annotations

import zlib

INFLATE_AT_ONCE = 16 << 10  # octets that are unpacked before what they say is looked at: no bomb gets far
# A small window and hash table: 32 KiB a connection instead of 256, and mail compresses nearly as well.
_WINDOW_BITS = -12
_MEMORY_LEVEL = 5
_LEVEL = 3


class Inflater:
    """What the client sends. Octets wait compressed until they are asked for."""

    __slots__ = ("_stream", "_waiting")

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._waiting = b""

    def receive(self, data: bytes) -> None:
        """Take compressed octets."""
        self._waiting += data

    def next(self) -> bytes:
        """The next INFLATE_AT_ONCE octets at most; empty if more has to come. Raises ValueError if they are damaged."""
        if self._stream.eof and self._waiting:
            raise ValueError("data behind the end of the stream")
        try:
            data = self._stream.decompress(self._waiting, INFLATE_AT_ONCE)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        self._waiting = self._stream.unconsumed_tail or self._stream.unused_data
        return data

    def unread(self) -> bytes:
        """What came and was not unpacked: what stands behind the end of the client's stream, or that end."""
        return self._waiting

    def tail(self, data: bytes) -> bytes:
        """What of `data` is no rest of the client's stream, which is to end with what has come before.

        Only the mark of its end can still come; no octet of that can begin a command. Raises ValueError.
        """
        start = 0
        while start < len(data) and not self._stream.eof and not 0x20 < data[start] < 0x7F:
            try:
                if self._stream.decompress(data[start : start + 1]):
                    raise ValueError("the stream goes on behind its end")
            except zlib.error as error:
                raise ValueError(str(error)) from error
            start += 1
        return data[start:]


class Deflater:
    """What the client receives: each portion can be read when it has come (`Z_SYNC_FLUSH`)."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)

    def encode(self, data: bytes) -> bytes:
        """The compressed form of one portion."""
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
