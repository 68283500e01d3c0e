"""The names in a 7z archive, from its directory (7zFormat.txt of the LZMA SDK). Files are never unpacked.

The directory itself is mostly packed by LZMA: it is unpacked up to MAX_DIRECTORY, with as little memory.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from plugins.spam.attachments.protocol_archive import MAX_ENTRIES, MAX_NAME, ArchiveError, Listing

MARK = b"7z\xbc\xaf\x27\x1c"
MAX_DIRECTORY = 4 << 20  # octets, packed or not
MAX_CODERS = 32
MAX_FOLDERS = MAX_ENTRIES
MAX_PACKED_TWICE = 4  # directories of directories

_START = struct.Struct("<QQI")
_AES, _LZMA, _LZMA2, _COPY = b"\x06\xf1\x07\x01", b"\x03\x01\x01", b"\x21", b"\x00"
_END, _HEADER, _PROPERTIES, _MORE, _STREAMS, _FILES = range(6)
_PACK, _UNPACK, _SUBSTREAMS, _SIZE, _CRC, _FOLDER, _CODERS_SIZE, _COUNTS = range(6, 14)
_NAMES, _PACKED_HEADER = 0x11, 0x17


def list_7z(data: bytes) -> Listing:
    """Read the directory. Raises ArchiveError for what is none, is cut off, or is too large."""
    if not data.startswith(MARK) or len(data) < 32:
        raise ArchiveError("is no 7z archive")
    offset, size, _ = _START.unpack_from(data, 12)
    if not size:
        return Listing((), False, 0, 0)
    try:
        directory = _slice(data, 32 + offset, size)
        for _ in range(MAX_PACKED_TWICE):
            reader = _Reader(directory)
            kind = reader.number()
            if kind == _HEADER:
                return reader.directory()
            if kind != _PACKED_HEADER:
                break
            streams = reader.streams()
            if streams.encrypted:
                return Listing((), True, 0, len(data), hidden=True)
            directory = _unpacked(data, streams)
    except (struct.error, IndexError):
        raise ArchiveError("has a directory that is cut off") from None
    raise ArchiveError("has a directory that is none")


@dataclass(slots=True)
class _Coder:
    method: bytes
    properties: bytes
    inputs: int
    outputs: int


@dataclass(slots=True)
class _Streams:
    """Where packed data lies, and how it was packed. `sizes` are those of all folders, their coders' in a row."""

    position: int
    packed: list[int]
    folders: list[list[_Coder]]
    sizes: list[list[int]]
    checked: list[bool]  # folders that have a checksum of their own

    @property
    def encrypted(self) -> bool:
        return any(coder.method == _AES for folder in self.folders for coder in folder)


def _slice(data: bytes, start: int, size: int) -> bytes:
    if size > MAX_DIRECTORY:
        raise ArchiveError("has a directory that is too large")
    if start + size > len(data):
        raise ArchiveError("has a directory that is cut off")
    return data[start : start + size]


def _unpacked(data: bytes, streams: _Streams) -> bytes:
    """The directory, if it is packed as 7-Zip does it: by one coder."""
    if len(streams.folders) != 1 or len(streams.folders[0]) != 1 or len(streams.packed) != 1:
        raise ArchiveError("has a directory that is packed in an unknown way")
    coder, size = streams.folders[0][0], streams.sizes[0][-1]
    packed = _slice(data, 32 + streams.position, streams.packed[0])
    if size > MAX_DIRECTORY:
        raise ArchiveError("has a directory that is too large")
    if coder.method == _COPY:
        return packed
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_filter(coder, size)])
        return unpacker.decompress(packed, max_length=size)
    except (lzma.LZMAError, ValueError, EOFError):
        raise ArchiveError("has a directory that cannot be unpacked") from None


def _filter(coder: _Coder, size: int) -> dict[str, int]:
    """The coder's settings, with no more memory than the directory can need."""
    needed = max(4096, size)
    if coder.method == _LZMA and len(coder.properties) == 5:
        packed, dictionary = coder.properties[0], int.from_bytes(coder.properties[1:], "little")
        rest, lc = divmod(packed, 9)
        pb, lp = divmod(rest, 5)
        if pb <= 4 and lc + lp <= 4:
            return {
                "id": lzma.FILTER_LZMA1,
                "dict_size": max(4096, min(dictionary, needed)),
                "lc": lc,
                "lp": lp,
                "pb": pb,
            }
    if coder.method == _LZMA2 and len(coder.properties) == 1:
        return {"id": lzma.FILTER_LZMA2, "dict_size": needed}
    raise ArchiveError("has a directory that is packed in an unknown way")


class _Reader:
    """Goes through one directory; every count is checked against what is left of it."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def octets(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise IndexError
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """A number whose first octet tells how many follow."""
        first, mask, value = self.byte(), 0x80, 0
        for place in range(8):
            if not first & mask:
                return value | (first & mask - 1) << 8 * place
            value |= self.byte() << 8 * place
            mask >>= 1
        return value

    def count(self, most: int) -> int:
        number = self.number()
        if number > most:
            raise ArchiveError(f"has more than {most} entries")
        return number

    def _digests(self, count: int) -> list[bool]:
        """Skip the checksums of so many things; which of them have one."""
        if self.byte():
            defined = [True] * count
        else:
            bits = self.octets((count + 7) // 8)
            defined = [bool(bits[place // 8] & 0x80 >> place % 8) for place in range(count)]
        self.octets(4 * sum(defined))
        return defined

    # ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────

    def directory(self) -> Listing:
        names: Sequence[str] = ()
        streams = _Streams(0, [], [], [], [])
        while (kind := self.number()) != _END:
            if kind == _PROPERTIES:
                while self.number() != _END:
                    self.octets(self.number())
            elif kind == _MORE:
                self.streams()
            elif kind == _STREAMS:
                streams = self.streams()
            elif kind == _FILES:
                names = self._files()
            else:
                raise ArchiveError("has a directory that is none")
        size = sum(sizes[-1] for sizes in streams.sizes if sizes)
        return Listing(tuple(names), streams.encrypted, size, sum(streams.packed))

    def _files(self) -> Sequence[str]:
        count, names = self.count(MAX_ENTRIES), list[str]()
        while (kind := self.number()) != _END:
            data = self.octets(self.number())
            if kind == _NAMES:
                if data[0]:
                    raise ArchiveError("keeps its names elsewhere")
                names = [name[:MAX_NAME] for name in data[1:].decode("utf-16-le", "replace").split("\0")][:count]
        return names

    # ── how it is packed ──────────────────────────────────────────────────────────────────────────────────────────

    def streams(self) -> _Streams:
        streams = _Streams(0, [], [], [], [])
        while (kind := self.number()) != _END:
            if kind == _PACK:
                self._pack(streams)
            elif kind == _UNPACK:
                self._unpack(streams)
            elif kind == _SUBSTREAMS:
                self._substreams(streams)
            else:
                raise ArchiveError("has a directory that is none")
        return streams

    def _pack(self, streams: _Streams) -> None:
        streams.position = self.number()
        count = self.count(MAX_ENTRIES)
        while (kind := self.number()) != _END:
            if kind == _SIZE:
                streams.packed = [self.number() for _ in range(count)]
            elif kind == _CRC:
                self._digests(count)
            else:
                raise ArchiveError("has a directory that is none")

    def _unpack(self, streams: _Streams) -> None:
        while (kind := self.number()) != _END:
            if kind == _FOLDER:
                count = self.count(MAX_FOLDERS)
                if self.byte():
                    raise ArchiveError("keeps its directory elsewhere")
                streams.folders = [self._folder() for _ in range(count)]
            elif kind == _CODERS_SIZE:
                streams.sizes = [
                    [self.number() for coder in folder for _ in range(coder.outputs)] for folder in streams.folders
                ]
            elif kind == _CRC:
                streams.checked = self._digests(len(streams.folders))
            else:
                raise ArchiveError("has a directory that is none")

    def _folder(self) -> list[_Coder]:
        coders = []
        for _ in range(self.count(MAX_CODERS)):
            flags = self.byte()
            method = self.octets(flags & 0xF)
            inputs, outputs = (self.count(MAX_CODERS), self.count(MAX_CODERS)) if flags & 0x10 else (1, 1)
            properties = self.octets(self.number()) if flags & 0x20 else b""
            coders.append(_Coder(method, properties, inputs, outputs))
        inputs, outputs = sum(coder.inputs for coder in coders), sum(coder.outputs for coder in coders)
        for _ in range(2 * max(0, outputs - 1)):  # pairs of bound streams
            self.number()
        packed = inputs - max(0, outputs - 1)
        if packed > 1:
            for _ in range(packed):
                self.number()
        return coders

    def _substreams(self, streams: _Streams) -> None:
        """Counts, sizes and checksums of the files in each folder, of which nothing is needed but their end."""
        counts = [1] * len(streams.folders)
        while (kind := self.number()) != _END:
            if kind == _COUNTS:
                counts = [self.count(MAX_ENTRIES) for _ in streams.folders]
                if sum(counts) > MAX_ENTRIES:
                    raise ArchiveError(f"has more than {MAX_ENTRIES} entries")
            elif kind == _SIZE:
                for _ in range(sum(max(0, count - 1) for count in counts)):
                    self.number()
            elif kind == _CRC:
                checked = streams.checked or [False] * len(counts)
                known = [count == 1 and has for count, has in zip(counts, checked, strict=True)]
                self._digests(sum(count for count, done in zip(counts, known, strict=True) if not done))
            else:
                raise ArchiveError("has a directory that is none")
