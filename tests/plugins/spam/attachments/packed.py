"""Archives and documents that no program here can make: RAR of both versions, OLE2 files."""

from __future__ import annotations

import struct


def vint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _block_5(kind: int, body: bytes, extra: bytes = b"", data: bytes = b"") -> bytes:
    flags = (1 if extra else 0) | (2 if data else 0)
    head = vint(kind) + vint(flags) + (vint(len(extra)) if extra else b"") + (vint(len(data)) if data else b"")
    whole = head + body + extra
    return b"\0\0\0\0" + vint(len(whole)) + whole + data


def rar5(*names: str, size: int = 7, encrypted: bool = False, hidden: bool = False) -> bytes:
    out = b"Rar!\x1a\x07\x01\0"
    if hidden:
        return out + _block_5(4, b"\0\0\x0f" + b"s" * 16) + b"\x55" * 200
    out += _block_5(1, vint(0))
    extra = vint(2) + b"\x03x" + (vint(3) + b"\x01\0\0" if encrypted else b"")
    for name in names:
        raw = name.encode()
        body = vint(6) + vint(size) + vint(0x20) + b"time" + b"crc!" + vint(0x180) + vint(1) + vint(len(raw)) + raw
        out += _block_5(2, body, extra, b"packed")
    return out + _block_5(5, vint(0))


def rar4(*names: str, size: int = 7, encrypted: bool = False, hidden: bool = False) -> bytes:
    out = b"Rar!\x1a\x07\0" + struct.pack("<HBHH", 0, 0x73, 0x80 if hidden else 0, 13) + b"\0" * 6
    if hidden:
        return out + b"\x55" * 200
    for name in names:
        raw, flags = name.encode("ascii", "replace"), 0x8000 | (4 if encrypted else 0)
        if not name.isascii():  # mode 2: each letter with both octets
            raw += b"\0\0"
            for start in range(0, len(name), 4):
                group = name[start : start + 4]
                raw += bytes((0b10101010,)) + group.encode("utf-16-le")
            flags |= 0x200
        head = struct.pack("<IIBIIBBHI", 6, size, 2, 0, 0, 29, 0x33, len(raw), 0x20) + raw
        out += struct.pack("<HBHH", 0, 0x74, flags, 7 + len(head)) + head + b"packed"
    return out + struct.pack("<HBHH", 0, 0x7B, 0x4000, 7)


def ole(*names: str, directory_sectors: int = 1) -> bytes:
    """A file of sectors of 512 octets: the table in sector 0, the directory from sector 1 on."""
    entries = b"".join(
        name.encode("utf-16-le").ljust(64, b"\0") + struct.pack("<HB", 2 * len(name) + 2, 1) + b"\0" * 61
        for name in ("Root Entry", *names)
    )
    chain = [0xFFFFFFFD, *range(2, directory_sectors + 1), 0xFFFFFFFE]
    table = struct.pack(f"<{len(chain)}I", *chain).ljust(512, b"\xff")
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + b"\0" * 10
    head += struct.pack("<II", 1, 1) + b"\0" * 16 + struct.pack("<II", 0xFFFFFFFE, 0)
    head += struct.pack("<I", 0).ljust(109 * 4, b"\xff")
    return head + table + entries.ljust(512 * directory_sectors, b"\0")
