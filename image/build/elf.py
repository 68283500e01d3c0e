"""Which shared libraries a program of another machine needs: the few ELF fields that say so (64 bit, little endian)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01"  # 64 bit, little endian
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB = 1, 5

LIBRARY_PLACES = ("usr/lib/aarch64-linux-gnu", "usr/lib", "usr/lib64")


class ElfError(Exception):
    """Not a program this reader understands, or a library that is nowhere. The text names it."""


def is_elf(path: Path) -> bool:
    """Whether a file (not a link to one) is a program or library of the kind that this reader understands."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def linked(data: bytes) -> tuple[str | None, list[str]]:
    """The loader's path (None for a library or a static program) and the names of needed libraries.

    Raises ElfError.
    """
    if data[: len(_MAGIC)] != _MAGIC:
        raise ElfError("no 64-bit little-endian ELF file")
    try:
        return _linked(data)
    except (struct.error, ValueError) as error:
        raise ElfError(f"damaged ELF file: {error}") from error


def _linked(data: bytes) -> tuple[str | None, list[str]]:
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    loads, dynamic, loader = [], b"", None
    for number in range(count):
        kind, _, place, address, _, length = struct.unpack_from("<IIQQQQ", data, offset + number * size)
        if kind == _PT_LOAD:
            loads.append((address, place, length))
        elif kind == _PT_DYNAMIC:
            dynamic = data[place : place + length]
        elif kind == _PT_INTERP:
            loader = _text(data, place)
    entries = [struct.unpack_from("<qQ", dynamic, at) for at in range(0, len(dynamic) - 15, 16)]
    tables = [value for tag, value in entries if tag == _DT_STRTAB]
    if not tables:
        return loader, []
    places = [place + tables[0] - address for address, place, length in loads if 0 <= tables[0] - address < length]
    if not places:
        raise ElfError("its names are in no segment")
    strings = places[0]
    return loader, [_text(data, strings + value) for tag, value in entries if tag == _DT_NEEDED]


def _text(data: bytes, place: int) -> str:
    return data[place : data.index(b"\0", place)].decode()


def closure(root: Path, programs: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Every file that `programs` (absolute paths) need to run: (path in the system, file that holds it).

    Symlinks are followed inside `root`. Raises ElfError.
    """
    waiting, seen = list(programs), set()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        path = inside(root, name)
        yield name, path
        try:
            loader, needed = linked(path.read_bytes())
        except ElfError as error:
            raise ElfError(f"{name}: {error}") from error
        waiting += [loader] if loader else []
        waiting += [_library(root, library, name) for library in needed]


def inside(root: Path, name: str) -> Path:
    """The file for an absolute path of the system in `root`, absolute symlinks taken as of that root."""
    path = root
    waiting = [part for part in name.split("/") if part]
    for _ in range(200):
        if not waiting:
            return path
        part = waiting.pop(0)
        step = path.parent if part == ".." else path / part
        if step.is_symlink():
            target = str(step.readlink())
            waiting = [piece for piece in target.split("/") if piece and piece != "."] + waiting
            path = root if target.startswith("/") else path
        elif not step.exists():
            raise ElfError(f"{name} is not in the root")
        else:
            path = step
    raise ElfError(f"{name}: too many symlinks")


def _library(root: Path, library: str, program: str) -> str:
    for place in LIBRARY_PLACES:
        if (root / place / library).exists() or (root / place / library).is_symlink():
            return f"/{place}/{library}"
    raise ElfError(f"{program} needs {library}, which is not in the root")
