"""Read the board tables, and see whether a kernel drives what a board cannot do without."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


class BoardError(Exception):
    """A board table is wrong. The text names file and key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """One row. The names in the tables are these fields."""

    name: str
    title: str
    imager_tags: tuple[str, ...]
    """The Raspberry Pi Imager's names of boards that take this image."""
    device_trees: tuple[str, ...]
    """Files of the packaged kernel; the first is the one QEMU gets."""
    firmware: tuple[str, ...] = ()
    """First stages on the boot partition."""
    needs: dict[str, str]
    """What it cannot do without, in words → a modalias that some driver of the kernel must match."""
    qemu_machine: str = ""
    """QEMU's machine that boots the image as this board does."""
    memory_mib: int = 512


def read_boards(folder: Path = FOLDER) -> list[Board]:
    """All boards, by file name. Raises BoardError."""
    return [_read(path) for path in sorted(folder.glob("*.toml"))]


def undriven(board: Board, modules: Path) -> list[str]:
    """Which of the board's needs no driver matches. `modules` is `/usr/lib/modules/RELEASE` after depmod."""
    patterns = list(aliases(modules))
    return [what for what, alias in board.needs.items() if not any(_matches(alias, each) for each in patterns)]


def aliases(modules: Path) -> Iterator[str]:
    """Alias patterns of the modules and of what is built in."""
    for line in (modules / "modules.alias").read_text().splitlines():
        if line.startswith("alias "):
            yield line.split()[1]
    for entry in (modules / "modules.builtin.modinfo").read_bytes().split(b"\0"):
        _, _, field = entry.partition(b".")
        if field.startswith(b"alias="):
            yield field.removeprefix(b"alias=").decode()


def _matches(alias: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(alias, pattern)


def _read(path: Path) -> Board:
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"{path}: {error}") from error
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    try:
        return Board(name=path.stem, **values)
    except TypeError as error:
        raise BoardError(f"{path}: {error}") from error
