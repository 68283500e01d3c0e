"""The names in a RAR archive of version 4 or 5, from its headers alone: nothing is unpacked (RAR's technote.txt).

Headers stand before each file's data; the walk goes from one to the next, and each step is checked to go forward.
"""

from __future__ import annotations

import struct

from plugins.spam.attachments.protocol_archive import MAX_ENTRIES, MAX_NAME, ArchiveError, Listing

MARK_4, MARK_5 = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"
MAX_HEADER = 1 << 16  # octets of one header; real ones have a hundred
_CUT = "has headers that are cut off"

_MAIN_4, _FILE_4, _END_4 = 0x73, 0x74, 0x7B
_BLOCK_4 = struct.Struct("<HBHH")
_ENTRY_4 = struct.Struct("<IIBIIBBHI")
_FILE_5, _CRYPT_5, _END_5 = 2, 4, 5


def list_rar(data: bytes) -> Listing:
    """Read the headers. Raises ArchiveError for what is none, has no files, or too many.

    Of an archive that is cut off or damaged the names before that place are listed: programs unpack these, too.
    """
    walk = _list_5 if data.startswith(MARK_5) else _list_4 if data.startswith(MARK_4) else None
    if walk is None:
        raise ArchiveError("is no RAR archive")
    found = _Found()
    try:
        found.hidden = walk(data, found)
    except (struct.error, IndexError):
        found.hidden = False
    if not found.names and not found.hidden:
        raise ArchiveError(_CUT)
    return Listing(tuple(found.names), found.encrypted or found.hidden, found.size, found.packed, hidden=found.hidden)


class _Found:
    """What the walk has met so far."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.encrypted = self.hidden = False
        self.size = self.packed = 0

    def add(self, name: str, size: int, packed: int) -> None:
        if len(self.names) >= MAX_ENTRIES:
            raise ArchiveError(f"has more than {MAX_ENTRIES} entries")
        self.names.append(name)
        self.size, self.packed = self.size + size, self.packed + packed


# ── version 5 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _list_5(data: bytes, found: _Found) -> bool:
    """Whether the headers are encrypted."""
    place = len(MARK_5)
    while place < len(data):
        length, start = _number(data, place + 4)
        end = start + length
        if not 0 < length <= MAX_HEADER or end > len(data):
            raise IndexError
        kind, at = _number(data, start)
        if kind == _CRYPT_5:
            return True
        if kind == _END_5:
            break
        flags, at = _number(data, at)
        extra, at = _number(data, at) if flags & 1 else (0, at)
        packed, at = _number(data, at) if flags & 2 else (0, at)
        if kind == _FILE_5:
            _file_5(data, at, end, end - extra, packed, found)
        place = end + packed
    return False


def _file_5(data: bytes, at: int, end: int, extra: int, packed: int, found: _Found) -> None:
    flags, at = _number(data, at)
    size, at = _number(data, at)
    _, at = _number(data, at)  # attributes
    at += 4 * bool(flags & 2) + 4 * bool(flags & 4)  # time, checksum
    for _ in range(2):  # compression, host
        _, at = _number(data, at)
    length, at = _number(data, at)
    found.add(
        data[at : min(at + length, at + MAX_NAME, end)].decode("utf-8", "replace"), 0 if flags & 8 else size, packed
    )
    while at < extra < end:  # records: size, type, …
        length, kind_at = _number(data, extra)
        if length and _number(data, kind_at)[0] == 1:
            found.encrypted = True
        extra = kind_at + length


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits an octet, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        octet = data[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise IndexError  # it never ends


# ── version 4 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _list_4(data: bytes, found: _Found) -> bool:
    """Whether the headers are encrypted."""
    place = len(MARK_4)
    while place + _BLOCK_4.size <= len(data):
        _, kind, flags, length = _BLOCK_4.unpack_from(data, place)
        if length < _BLOCK_4.size or place + length > len(data):
            raise IndexError
        if kind == _END_4:
            break
        if kind == _MAIN_4 and flags & 0x80:
            return True
        if kind == _FILE_4:
            packed = _file_4(data, place + _BLOCK_4.size, place + length, flags, found)
        else:
            packed = struct.unpack_from("<I", data, place + _BLOCK_4.size)[0] if flags & 0x8000 else 0
        place += length + packed
    return False


def _file_4(data: bytes, at: int, end: int, flags: int, found: _Found) -> int:
    packed, size, _, _, _, _, _, length, _ = _ENTRY_4.unpack_from(data, at)
    at += _ENTRY_4.size
    if flags & 0x100:
        high_packed, high_size = struct.unpack_from("<II", data, at)
        packed, size, at = packed | high_packed << 32, size | high_size << 32, at + 8
    name = data[at : min(at + length, at + MAX_NAME, end)]
    plain, separator, packed_name = name.partition(b"\0")
    found.encrypted = found.encrypted or bool(flags & 4)
    text = _unicode(plain, packed_name) if flags & 0x200 and separator else name.decode("utf-8", "replace")
    found.add(text.replace("\\", "/"), size, packed)
    return int(packed)


def _unicode(plain: bytes, packed: bytes) -> str:
    """A name in the packed form that stands behind the plain one; what is cut off is left out."""
    out, place, bits, flags = bytearray(), 1, 0, 0
    try:
        high = packed[0]
        while place < len(packed) and len(out) < 2 * MAX_NAME:
            if not bits:
                flags, bits, place = packed[place], 8, place + 1
            bits -= 2
            mode, octet = flags >> bits & 3, packed[place]
            place += 1
            if mode < 2:
                out += bytes((octet, high * mode))
            elif mode == 2:
                out += bytes((octet, packed[place]))
                place += 1
            else:
                change, top = (packed[place], high) if octet & 0x80 else (0, 0)
                place += octet >> 7
                start = len(out) // 2
                for letter in plain[start : start + (octet & 0x7F) + 2]:
                    out += bytes((letter + change & 0xFF, top))
    except IndexError:
        pass  # the end of the name is missing, and what came until then is it
    return out.decode("utf-16-le", "replace")
