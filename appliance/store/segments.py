"""Append-only files for large texts: one record each, checked by CRC, made durable before the row that names it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from appliance.errors import NotFoundError, StoreError, StoreFullError

SEGMENT_BYTES = 64 << 20  # a file this large gets no further record
LARGE_RECORD = 512 << 10  # octets; from here on a record is synced by the thread that brings it, in a file of its lane
MAX_DESCRIPTORS = 16  # files that stay open for reading: opening one takes as long as reading some KiB of it
MAX_VECTORS = 512  # buffers of one system call, below Linux's IOV_MAX of 1024

_MAGIC = b"PSG1"
_RECORD = struct.Struct(">4sIQ")  # magic, CRC-32 of the octets, their number


class NotCachedError(StoreError):
    """What is asked for may not be in memory, and whoever asks cannot wait for the disk."""


class Extent(msgspec.Struct, frozen=True):
    """Where a record lies: file number, offset of its head, octets after the head."""

    segment: int
    position: int
    length: int
    synced: bool = False


class _File:
    """A segment that still takes records."""

    __slots__ = ("end", "fd", "lock", "number", "poisoned")

    def __init__(self, number: int, fd: int, end: int) -> None:
        self.number = number
        self.fd = fd
        self.end = end
        self.poisoned = False
        self.lock = threading.Lock()  # held during fdatasync, so that its one error is seen by whoever waits for it


class _Descriptor:
    """An open file for reading. It is closed when the last one who reads from it, or keeps it, lets it go."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "fd"):  # else it could not be opened
            close(self.fd)


class Record:
    """A record that is read piece by piece, by whom it is not held in memory.

    Its file stays there until `close`, although the row may be gone or name another place by then. That takes no
    descriptor, so the number of slow readers is not bounded by those.
    """

    __slots__ = ("_extent", "_segments", "crc")

    def __init__(self, segments: Segments, extent: Extent, crc: int) -> None:
        """Made by `Segments.record`. `crc` is the CRC-32 that all octets together must have."""
        self._segments: Segments | None = segments
        self._extent = extent
        self.crc = crc

    def take(self, start: int, count: int) -> bytes:
        """Some octets, unchecked; fewer where the file ends. Raises StoreError."""
        if self._segments is None or not 0 <= start <= start + count <= self._extent.length:
            raise StoreError("no such octets in the record")
        return self._segments._pread(self._extent.segment, self._extent.position + _RECORD.size + start, count)

    def close(self) -> None:
        """Compaction may remove the file. Safe to call twice."""
        segments, self._segments = self._segments, None
        if segments is not None:
            segments._unpin(self._extent.segment)


class Segments:
    """The folder of segment files. All methods may be called from any thread.

    Two lanes take records: small ones wait for the writer's one sync per group, large ones are synced by the thread
    that appends them, in another file, so that the writer never waits for megabytes it did not ask for.
    """

    def __init__(self, folder: Path, *, highest: int = 0) -> None:
        """`highest` is the largest file number that the database names: no number is given twice."""
        self._folder = folder
        self._lock = threading.Lock()
        self._lanes: dict[bool, _File] = {}
        self._open: dict[int, _File] = {}  # lanes, and full files that await their last sync
        self._in_flight: Counter[int] = Counter()
        self._holds = 0
        self._cut: dict[int, int] = {}  # where files end that were cut while the process runs
        self._pins: Counter[int] = Counter()  # records of a file that are read piece by piece
        self._descriptors: dict[int, _Descriptor] = {}  # the oldest first
        created = not folder.exists()
        folder.mkdir(mode=0o700, exist_ok=True)
        if created:
            _sync_folder(folder.parent)
        self._last_number = max([highest, *self.numbers()])
        self._resume = self._last_number  # the last file may still have room

    def numbers(self) -> list[int]:
        """The numbers of all segment files, ascending."""
        return sorted(int(path.stem) for path in self._folder.glob("*.seg") if path.stem.isdigit())

    def free_octets(self) -> int:
        """What is free on the disk."""
        state = os.statvfs(self._folder)
        return state.f_bavail * state.f_frsize

    def path(self, number: int) -> Path:
        """The file of a segment."""
        return self._folder / f"{number:08d}.seg"

    def append(self, chunks: Sequence[bytes | memoryview]) -> Extent:
        """Write one record and say where it lies. `done()` must follow when its row is committed or given up.

        Raises StoreFullError when the disk is full, StoreError when it fails.
        """
        length = sum(map(len, chunks))
        crc = 0
        for chunk in chunks:
            crc = zlib.crc32(chunk, crc)
        large = length >= LARGE_RECORD
        try:
            file, position = self._reserve(_RECORD.size + length, large=large)
        except OSError as error:
            raise _failure(error, "cannot make a segment file") from error
        try:
            _write_all(file.fd, [_RECORD.pack(_MAGIC, crc, length), *chunks], position)
            if large:
                self._sync_file(file)
        except OSError as error:
            self._give_up(file)
            self.done(Extent(file.number, position, length))
            raise _failure(error, f"segment {file.number} cannot be written") from error
        return Extent(file.number, position, length, large)

    def sync(self, extents: Sequence[Extent]) -> set[int]:
        """Make records durable, one fdatasync per file. Returns the numbers of files that failed, now or before.

        A file whose sync has failed is never asked again: the kernel has dropped what it could not write, and a
        second call would lie. Every record of it that is not committed yet is lost.
        """
        failed = set()
        for number in {extent.segment for extent in extents}:
            with self._lock:
                file = self._open.get(number)
            if file is None:
                continue  # full and synced by the group that filled it
            if file.poisoned:
                failed.add(number)
            elif not all(extent.synced for extent in extents if extent.segment == number):
                try:
                    self._sync_file(file)
                except OSError:
                    self._give_up(file)
                    failed.add(number)
        return failed

    def done(self, extent: Extent) -> None:
        """The record's row is committed or given up: from now on compaction may look at its file."""
        with self._lock:
            self._in_flight[extent.segment] -= 1
            if not self._in_flight[extent.segment]:
                del self._in_flight[extent.segment]
                file = self._open.get(extent.segment)
                if file is not None and file not in self._lanes.values():
                    self._close(file)

    def read(self, segment: int, position: int, length: int, *, at_once: bool = False) -> memoryview:
        """The octets of one record. Raises NotFoundError without the file, StoreError if the record is damaged.

        `at_once` is for the event loop: raises NotCachedError instead of waiting for the disk.
        """
        pread = self._pread_at_once if at_once else self._pread
        octets = memoryview(pread(segment, position, _RECORD.size + length))
        return self._checked(octets[: _RECORD.size], octets[_RECORD.size :], segment, position, length)

    def take(self, extent: Extent, start: int, count: int, *, at_once: bool = False) -> bytes | memoryview:
        """Some octets of a record, unchecked, fewer where the file ends: for what carries checksums of its own.

        Raises NotFoundError without the file, StoreError if it cannot be read; NotCachedError if it is to be
        `at_once` and the disk would have to be waited for.
        """
        position = extent.position + _RECORD.size + start
        return (self._pread_at_once if at_once else self._pread)(extent.segment, position, count)

    def record(self, segment: int, position: int, length: int) -> Record:
        """One record to be read piece by piece; it must be closed. Raises as `read` does, for its head alone."""
        with self._lock:
            if not self.path(segment).exists():
                raise NotFoundError(f"segment {segment} is not there")
            self._pins[segment] += 1
        try:
            head = self._pread(segment, position, _RECORD.size)
            if len(head) == _RECORD.size:
                magic, crc, found = _RECORD.unpack(head)
                if (magic, found) == (_MAGIC, length):
                    return Record(self, Extent(segment, position, length), crc)
            raise StoreError(f"the record at {position} of segment {segment} is damaged")
        except BaseException:
            self._unpin(segment)
            raise

    def idle_numbers(self) -> list[int]:
        """Files that take no more records and have none on the way: those that compaction may look at."""
        with self._lock:
            return [number for number in self.numbers() if not self._is_busy(number)]

    def is_held(self, number: int) -> bool:
        """Whether a backup holds the files, or somebody reads from this one: then it cannot be given back now."""
        with self._lock:
            return bool(self._holds) or number in self._pins

    def retire(self) -> None:
        """Let no file take further records, so that all can be compacted."""
        with self._lock:
            lanes, self._lanes = list(self._lanes.values()), {}
            self._resume = 0
            for file in lanes:
                if file.number not in self._in_flight:
                    self._close(file)

    def remove(self, number: int) -> bool:
        """Delete a file that no row names any more. False while a backup holds the files, or a reader this one.

        Neither if it is in use again: a record on its way has no row yet.
        """
        with self._lock:
            if self._holds or number in self._pins or self._is_busy(number):
                return False
            self._cut.pop(number, None)
            self._descriptors.pop(number, None)  # its room is given back when nobody has it open
            self.path(number).unlink(missing_ok=True)
            return True

    def cut(self, number: int, end: int) -> bool:
        """Give back what lies behind `end` of a file, where no row names anything any more. False as for `remove`."""
        with self._lock:
            if self._holds or number in self._pins or self._is_busy(number):
                return False
            self._cut[number] = end  # whoever still looks behind it has an old row: the text was moved
            os.truncate(self.path(number), end)
            return True

    @contextmanager
    def hold(self) -> Iterator[None]:
        """While held, no file is removed: a backup copies what its snapshot of the database names."""
        with self._lock:
            self._holds += 1
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1

    def close(self) -> None:
        """Close the files. Nothing may be on the way."""
        with self._lock:
            for file in list(self._open.values()):
                self._close(file)
            self._lanes.clear()
            self._descriptors.clear()

    def _is_busy(self, number: int) -> bool:
        """Whether records are on their way into a file, or may come: the last file of the run before is continued."""
        return number in self._in_flight or number in self._open or number == self._resume

    def _checked(self, head: memoryview, octets: memoryview, segment: int, position: int, length: int) -> memoryview:
        if head != _RECORD.pack(_MAGIC, zlib.crc32(octets), length) or len(octets) != length:
            raise StoreError(f"the record at {position} of segment {segment} is damaged")
        return octets

    def _pread(self, segment: int, position: int, length: int) -> bytes:
        try:
            descriptor = self._descriptor(segment)  # held until the octets are there: its number is not given anew
            octets = _read_all(descriptor.fd, length, position)
            if len(octets) < length and position + length > self._cut.get(segment, position + length):
                raise NotFoundError(f"what lay at {position} of segment {segment} was moved")
            return octets
        except FileNotFoundError as error:
            raise NotFoundError(f"segment {segment} is not there") from error
        except OSError as error:
            raise StoreError(f"segment {segment} cannot be read: {error}") from error

    def _pread_at_once(self, segment: int, position: int, length: int) -> memoryview:
        octets = bytearray(length)
        try:
            found = os.preadv(self._descriptor(segment).fd, [octets], position, os.RWF_NOWAIT)
        except OSError as error:  # not in memory, or a file system that cannot tell
            raise NotCachedError(f"segment {segment} is not at hand") from error
        if found < length:
            raise NotCachedError(f"some of segment {segment} is not at hand")
        return memoryview(octets).toreadonly()

    def _descriptor(self, segment: int) -> _Descriptor:
        found = self._descriptors.get(segment)
        if found is not None:
            return found
        with self._lock:
            found = self._descriptors.get(segment)
            if found is None:
                found = _Descriptor(self.path(segment))
                while len(self._descriptors) >= MAX_DESCRIPTORS:
                    del self._descriptors[next(iter(self._descriptors))]
                self._descriptors[segment] = found
            return found

    def _unpin(self, segment: int) -> None:
        with self._lock:
            self._pins[segment] -= 1
            if not self._pins[segment]:
                del self._pins[segment]

    def _reserve(self, octets: int, *, large: bool) -> tuple[_File, int]:
        """A place for a record, which nobody else gets."""
        with self._lock:
            file = self._lanes.get(large)
            if file is None or file.poisoned or file.end >= SEGMENT_BYTES:
                if file is not None and file.number not in self._in_flight:
                    self._close(file)
                file = self._lanes[large] = self._next_file(large=large)
                self._open[file.number] = file
            position = file.end
            file.end += octets
            self._in_flight[file.number] += 1
            return file, position

    def _next_file(self, *, large: bool) -> _File:
        if not large and self._resume:
            resumed, self._resume = self._try_resume(self._resume), 0
            if resumed is not None:
                return resumed
        self._last_number += 1
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(self.path(self._last_number), flags, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_folder(self._folder)  # a file whose name is lost is as lost as its octets
        return _File(self._last_number, fd, 0)

    def _try_resume(self, number: int) -> _File | None:
        """Go on in the last file of the run before, unless it is full or another process has it."""
        try:
            fd = os.open(self.path(number), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        end = os.lseek(fd, 0, os.SEEK_END)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            end = SEGMENT_BYTES
        if end >= SEGMENT_BYTES:
            os.close(fd)
            return None
        return _File(number, fd, end)

    def _sync_file(self, file: _File) -> None:
        with file.lock:
            if file.poisoned:
                raise OSError(errno.EIO, "an earlier sync of the file failed")
            try:
                os.fdatasync(file.fd)
            except OSError:
                file.poisoned = True
                raise

    def _give_up(self, file: _File) -> None:
        file.poisoned = True
        with self._lock:
            for large, lane in list(self._lanes.items()):
                if lane is file:
                    del self._lanes[large]

    def _close(self, file: _File) -> None:
        self._open.pop(file.number, None)
        os.close(file.fd)


def _failure(error: OSError, text: str) -> StoreError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError("the disk is full")
    return StoreError(f"{text}: {error}")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, chunks: Sequence[bytes | memoryview], position: int) -> None:
    queue = [memoryview(chunk) for chunk in chunks if len(chunk)]
    while queue:
        written = os.pwritev(fd, queue[:MAX_VECTORS], position)
        position += written
        while queue and written >= len(queue[0]):
            written -= len(queue.pop(0))
        if written:
            queue[0] = queue[0][written:]


def _read_all(fd: int, length: int, position: int) -> bytes:
    found = os.pread(fd, length, position)
    while len(found) < length:
        more = os.pread(fd, length - len(found), position + len(found))
        if not more:
            break
        found += more
    return found
