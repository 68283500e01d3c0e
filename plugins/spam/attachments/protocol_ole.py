"""The names in an OLE2 file (Word, Excel, PowerPoint of before 2007, MSI), from its directory alone ([MS-CFB])."""

from __future__ import annotations

import struct

from plugins.spam.attachments.protocol_archive import ArchiveError

MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MAX_ENTRIES = 10_000
MAX_FAT = 4096  # sectors of the table that chains sectors: 256 MiB of file, at least

_IN_HEADER = 109  # numbers of table sectors that stand in the header
_LAST = 0xFFFFFFFA  # numbers from here on are marks
_ENTRY = 128
_MACROS = frozenset(("macros", "vba", "_vba_project", "_vba_project_cur"))
_ENCRYPTED = "encryptedpackage"


def ole_names(data: bytes) -> list[str]:
    """The names of all storages and streams. Raises ArchiveError for what is none or is cut off."""
    if not data.startswith(MARK) or len(data) < 512:
        raise ArchiveError("is no OLE2 file")
    shift = struct.unpack_from("<H", data, 30)[0]
    if shift not in (9, 12):
        raise ArchiveError("has a header that is none")
    sectors = _Sectors(data, shift)
    (first,) = struct.unpack_from("<I", data, 48)
    names = []
    for sector in sectors.chain(first, MAX_ENTRIES * _ENTRY >> shift):
        block = sectors.read(sector)
        for at in range(0, len(block) - _ENTRY + 1, _ENTRY):
            length, kind = struct.unpack_from("<HB", block, at + 64)
            if kind and 2 <= length <= 64:
                names.append(block[at : at + length - 2].decode("utf-16-le", "replace"))
    if not names:
        raise ArchiveError("has no directory")
    return names


def has_macros(names: list[str]) -> bool:
    """Whether a document with these storages and streams brings VBA."""
    return any(name.lower() in _MACROS for name in names)


def is_encrypted(names: list[str]) -> bool:
    """Whether these are what an encrypted document of 2007 or later is wrapped in."""
    return any(name.lower() == _ENCRYPTED for name in names)


class _Sectors:
    """The pieces of the file, and which follows which."""

    def __init__(self, data: bytes, shift: int) -> None:
        self._data, self._shift = data, shift
        self._table = self._tables()

    def read(self, number: int) -> bytes:
        start = number + 1 << self._shift
        return self._data[start : start + (1 << self._shift)]

    def chain(self, number: int, most: int) -> list[int]:
        """The numbers from one on, each once and so many at most."""
        found: dict[int, None] = {}
        while number < _LAST and number not in found and len(found) < most:
            found[number] = None
            number = self._next(number)
        return list(found)

    def _next(self, number: int) -> int:
        place, within = divmod(number, 1 << self._shift - 2)
        if place >= len(self._table):
            return _LAST
        block = self.read(self._table[place])
        return int(struct.unpack_from("<I", block, within * 4)[0]) if len(block) >= within * 4 + 4 else _LAST

    def _tables(self) -> list[int]:
        """The sectors of the table: some are named in the header, more in sectors of their own."""
        numbers = [number for number in struct.unpack_from(f"<{_IN_HEADER}I", self._data, 76) if number < _LAST]
        (more,) = struct.unpack_from("<I", self._data, 68)
        seen = set[int]()
        while more < _LAST and more not in seen and len(numbers) < MAX_FAT:
            seen.add(more)
            block = self.read(more)
            if len(block) < 1 << self._shift:
                break
            *listed, more = struct.unpack(f"<{len(block) // 4}I", block)
            numbers += [number for number in listed if number < _LAST]
        return numbers[:MAX_FAT]
