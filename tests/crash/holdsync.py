"""Power cuts for tests: run a command under `holdsync.c`, kill it, and take back a random part of what was not synced.

See README.md beside this file.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("holdsync.c")
BLOCK = 4096  # octets that reach the disk together: a page of the kernel's cache

_NOTE = struct.Struct("=IIQQQQQQ")
_MAGIC = 0x484F4C44
WRITE, RESIZE, SYNC, CREATE, UNLINK, RENAME, SYNC_ALL, MKDIR, FAILED = range(1, 10)


def build(folder: Path) -> Path:
    """Compile the library into `folder` and return its path. Fails with what to install if there is no compiler."""
    return compiled(SOURCE, folder)


def compiled(source: Path, folder: Path) -> Path:
    """Compile a library for LD_PRELOAD into `folder`."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("the crash test needs a C compiler: apt-get install gcc libc6-dev")
    library = folder / f"{source.stem}.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"{source.name} does not compile (apt-get install libc6-dev?):\n{built.stderr}")
    return library


@dataclass(slots=True)
class Loss:
    """What a power cut took."""

    writes: int = 0  # blocks of writes
    names: int = 0  # creations, removals, renames
    kept: int = 0  # blocks that were not synced and survived all the same


@dataclass(slots=True)
class _Note:
    number: int  # place in the log
    kind: int
    inode: int
    offset: int
    size: int
    old_size: int
    first: bytes
    second: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.first)


@dataclass(slots=True)
class PowerCut:
    """One run of a command with its data in `folder`. Make a new one, with an empty `log` folder, for each run."""

    library: Path
    folder: Path
    log: Path
    sync_us: int = 0
    fail_every: int = 0
    loss: Loss = field(default_factory=Loss)

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment in which the command must run. The folders must be there."""
        self.log.mkdir(parents=True, exist_ok=True)
        return {
            **base,
            "LD_PRELOAD": str(self.library),
            "HOLDSYNC_FOLDER": str(self.folder),
            "HOLDSYNC_LOG": str(self.log),
            "HOLDSYNC_SYNC_US": str(self.sync_us),
            "HOLDSYNC_FAIL_EVERY": str(self.fail_every),
        }

    def recover(self, chance: random.Random) -> Loss:
        """After the kill: bring the folder into a state that a power cut at that moment might have left.

        Names go first: of each folder's unsynced changes a random number of the last ones is undone. Then contents:
        all unsynced writes of a file are undone, and of each block a random number of the first ones is done again.
        """
        notes = list(self._notes())
        synced_at, all_at = _sync_points(notes)
        self._undo_names(notes, synced_at, all_at, chance)
        paths = self._paths()
        of_file: dict[int, list[tuple[int, _Note]]] = defaultdict(list)
        for index, note in enumerate(notes):
            if note.kind in {WRITE, RESIZE, SYNC, FAILED}:
                of_file[note.inode].append((index, note))
        for inode, changes in of_file.items():
            if inode in paths:
                self._redo(paths[inode], _pieces(changes, max(synced_at.get(inode, -1), all_at)), chance)
        for path in self.folder.rglob("*-shm"):
            path.unlink()
        shutil.rmtree(self.log)
        return self.loss

    def _notes(self) -> Iterator[_Note]:
        path = self.log / "log"
        data = path.read_bytes() if path.exists() else b""
        position = number = 0
        while position + _NOTE.size <= len(data):
            magic, kind, inode, offset, size, old_size, first, second = _NOTE.unpack_from(data, position)
            assert magic == _MAGIC, "the log is damaged: did two processes write one file?"
            position += _NOTE.size
            if position + first + second > len(data):
                return  # killed while noting: the change itself was not made yet
            one, other = data[position : position + first], data[position + first : position + first + second]
            number += 1
            yield _Note(number, kind, inode, offset, size, old_size, one, other)
            position += first + second

    def _undo_names(self, notes: list[_Note], synced_at: Mapping[int, int], all_at: int, chance: random.Random) -> None:
        """Undo, newest first, what each folder's random cut takes."""
        open_changes: dict[int, list[int]] = defaultdict(list)
        for index, note in enumerate(notes):
            if note.kind in {CREATE, UNLINK, RENAME, MKDIR} and index > max(synced_at.get(note.offset, -1), all_at):
                open_changes[note.offset].append(index)
        undone = []
        for indexes in open_changes.values():
            undone += indexes[_cut(len(indexes), chance) :]
        for index in sorted(undone, reverse=True):
            self._undo_name(notes[index])
            self.loss.names += 1

    def _undo_name(self, note: _Note) -> None:
        path = Path(os.fsdecode(note.first))
        kept = self.log / str(note.inode)
        if note.kind == MKDIR:
            shutil.rmtree(path, ignore_errors=True)
        elif note.kind == CREATE:
            if path.exists() and path.stat().st_ino == note.inode:
                os.link(path, kept) if not kept.exists() else None
                path.unlink()
        elif note.kind == UNLINK:
            if not path.exists():
                os.link(kept, path)
        elif path.exists() and path.stat().st_ino == note.inode:
            path.rename(os.fsdecode(note.second))
            if note.size:
                os.link(self.log / str(note.size), path)

    def _paths(self) -> dict[int, Path]:
        return {path.stat().st_ino: path for path in self.folder.rglob("*") if path.is_file()}

    def _redo(self, path: Path, pieces: list[_Piece], chance: random.Random) -> None:
        """Undo the changes from the first that may be lost, and do again what is synced and what chance keeps."""
        first = next((index for index, piece in enumerate(pieces) if not piece.synced), len(pieces))
        if first == len(pieces):
            return
        pieces = [piece for piece in pieces if piece.note.number >= pieces[first].note.number]
        content = bytearray(path.read_bytes())
        for note in {id(piece.note): piece.note for piece in reversed(pieces)}.values():
            _undo(content, note)
        open_count = Counter(piece.block for piece in pieces if piece.chance)
        cuts = {block: _cut(count, chance) for block, count in open_count.items()}
        done: Counter[int] = Counter()
        for piece in pieces:
            if piece.chance:
                done[piece.block] += 1
            if piece.synced or (piece.chance and done[piece.block] <= cuts[piece.block]):
                self.loss.kept += piece.chance
                _do(content, piece)
            else:
                self.loss.writes += 1
        path.write_bytes(content)


@dataclass(slots=True)
class _Piece:
    """One block of a write, or a change of size (block -1)."""

    note: _Note
    block: int
    synced: bool
    chance: bool  # neither synced nor dropped by a failed sync


def _pieces(changes: list[tuple[int, _Note]], synced_at: int) -> list[_Piece]:
    """Every block of every write, with what became of it.

    A failed sync drops what it should have written. The page stays in the kernel's cache, though, and reaches the
    disk after all when another write to it makes it dirty again and that one is synced.
    """
    pieces: list[_Piece] = []
    lost: dict[int, list[_Piece]] = defaultdict(list)  # block → what a failed sync has dropped
    dirty: list[_Piece] = []
    for index, note in changes:
        if note.kind == SYNC:
            dirty = []
            continue
        if note.kind == FAILED:
            for piece in dirty:
                piece.synced = piece.chance = False
                lost[piece.block].append(piece)
            dirty = []
            continue
        for block in _blocks(note):
            piece = _Piece(note, block, index < synced_at, index > synced_at)
            for other in lost.pop(block, []):
                other.synced, other.chance = piece.synced, piece.chance
                dirty.append(other)
            pieces.append(piece)
            dirty.append(piece)
    return pieces


def _blocks(note: _Note) -> range | tuple[int]:
    if note.kind == RESIZE:
        return (-1,)
    return range(note.offset // BLOCK, (note.end - 1) // BLOCK + 1)


def _sync_points(notes: list[_Note]) -> tuple[dict[int, int], int]:
    """The index of the last sync of each inode, and of all."""
    synced_at = {note.inode: index for index, note in enumerate(notes) if note.kind == SYNC}
    return synced_at, max((index for index, note in enumerate(notes) if note.kind == SYNC_ALL), default=-1)


def _cut(count: int, chance: random.Random) -> int:
    """How many of `count` changes survive: all, none, or some."""
    choice = chance.random()
    return count if choice < 0.4 else 0 if choice < 0.7 else chance.randint(0, count)


def _undo(content: bytearray, note: _Note) -> None:
    if note.kind == WRITE:
        content[note.offset : note.offset + len(note.second)] = note.second
        del content[note.old_size :]
    else:
        _resize(content, note.old_size)
        content[note.size : note.size + len(note.first)] = note.first


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _do(content: bytearray, piece: _Piece) -> None:
    note = piece.note
    if note.kind == RESIZE:
        _resize(content, note.size)
        return
    start, end = max(note.offset, piece.block * BLOCK), min(note.end, (piece.block + 1) * BLOCK)
    if start < end:
        _resize(content, max(len(content), end))
        content[start:end] = note.first[start - note.offset : end - note.offset]
