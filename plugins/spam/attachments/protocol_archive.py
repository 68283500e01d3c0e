"""The names in a ZIP archive, from its directory alone: nothing is unpacked (PKWARE's APPNOTE 4.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from appliance.errors import ApplianceError

MAX_ENTRIES = 10_000
MAX_NAME = 1024
MAX_COMMENT = 65_535
BOMB_OCTETS = 512 << 20  # that an archive may claim to become
BOMB_RATIO = 200  # and by how much it may grow, from where that matters

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")
_END_MARK, _ENTRY_MARK = b"PK\x05\x06", b"PK\x01\x02"


class ArchiveError(ApplianceError):
    """There is no archive that could be listed. The text is a sentence's second half."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What an archive says it holds. `size` is what its files would have together."""

    names: tuple[str, ...]
    encrypted: bool
    size: int
    packed: int
    hidden: bool = False  # the names are encrypted, too

    @property
    def is_bomb(self) -> bool:
        """Whether unpacking it would be unwise."""
        return self.size > BOMB_OCTETS or (self.size > 16 << 20 and self.size > BOMB_RATIO * max(1, self.packed))


def list_zip(data: bytes) -> Listing:
    """Read the directory at the end of a ZIP file. Raises ArchiveError for what is none or has too many entries."""
    at = data.rfind(_END_MARK, max(0, len(data) - MAX_COMMENT - _END.size))
    if at < 0 or at + _END.size > len(data):
        raise ArchiveError("has no directory")
    _, _, _, _, count, length, start, _ = _END.unpack_from(data, at)
    if count > MAX_ENTRIES:
        raise ArchiveError(f"has more than {MAX_ENTRIES} entries")
    # Programs look for it before its end, or where it says that it stands; something may stand before the archive.
    place = at - length if data.startswith(_ENTRY_MARK, max(0, at - length)) else start
    names, encrypted, size, packed = list[str](), False, 0, 0
    # The count may lie: some programs show all entries that are there.
    while len(names) < count or data.startswith(_ENTRY_MARK, place, at):
        if len(names) >= MAX_ENTRIES:
            raise ArchiveError(f"has more than {MAX_ENTRIES} entries")
        if place < 0 or place + _ENTRY.size > at:
            raise ArchiveError("has a directory that is cut off")
        fields = _ENTRY.unpack_from(data, place)
        if fields[0] != _ENTRY_MARK:
            raise ArchiveError("has a directory that is none")
        flags, packed_size, full_size = fields[5], fields[10], fields[11]
        name_length, extra, comment = fields[12], fields[13], fields[14]
        name = data[place + _ENTRY.size : place + _ENTRY.size + min(name_length, MAX_NAME)]
        names.append(name.decode("utf-8", "replace"))
        encrypted = encrypted or bool(flags & 1)
        size, packed = size + full_size, packed + packed_size
        place += _ENTRY.size + name_length + extra + comment
    return Listing(tuple(names), encrypted, size, packed)
