"""Archives for the kernel's initramfs (cpio(5), "New ASCII Format"): all root's, no times, numbers of their own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"


class Member(NamedTuple):
    """One file, folder or symlink (its target is the data)."""

    name: str
    mode: int
    data: bytes


def archive(members: Iterable[Member]) -> bytes:
    """The archive of these members, in their order."""
    packed = [_pack(member, number) for number, member in enumerate(members, 1)]
    return b"".join([*packed, _pack(Member(_TRAILER, 0, b""), 0)])


def plain_files(files: Mapping[str, bytes]) -> bytes:
    """An archive of readable files."""
    return archive(Member(name, stat.S_IFREG | 0o644, data) for name, data in files.items())


def tree(folder: Path) -> Iterator[Member]:
    """All below `folder`, folders before what is in them, sorted by name."""
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            data = os.readlink(path).encode()
        else:
            data = path.read_bytes() if stat.S_ISREG(mode) else b""
        yield Member(str(path.relative_to(folder)), mode, data)


def _pack(member: Member, number: int) -> bytes:
    fields = (number, member.mode, 0, 0, 1, 0, len(member.data), 0, 0, 0, 0, len(member.name.encode()) + 1, 0)
    head = _MAGIC + b"".join(b"%08X" % value for value in fields) + member.name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + member.data + bytes(-len(member.data) % 4)
