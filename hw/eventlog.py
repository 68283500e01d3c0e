r"""The event log that lasts: what the journal (in memory) said at `notice` or worse, compressed, in a bounded ring.

Journald hands its lines to the datagram socket /run/systemd/journal/syslog (`ForwardToSyslog`, RFC 3164 form). That
costs nothing but this socket, where a `journalctl --follow` would keep a second process in memory for ever. Lines are
gathered into blocks of up to 64 KiB, written every 15 minutes, or at once after an error, but then not twice a minute:
a board in trouble must not wear its card out by telling so.

A file is a row of blocks: magic, length, CRC-32, one zstd frame. A block that the power cut short is passed over, and
cut off before the next is written. The oldest file goes when the ring is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import socket
import struct
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zstandard

from hw.messages import Note
from hw.part import Report

log = logging.getLogger(__name__)

SOURCE = Path("/run/systemd/journal/syslog")
BLOCK_OCTETS = 64 << 10  # of text in one block
MAX_LINE = 2048  # octets of one line that are kept
FLUSH_EVERY_S = 900.0
FLUSH_AFTER_ERROR_S = 60.0  # at most one flush for errors within this time
FILE_OCTETS = 4 << 20
RING_OCTETS = 64 << 20
MAX_OCTETS_AN_HOUR = 4 << 20  # of text; what comes beyond is counted and not kept
JOURNALCTL = ("journalctl", "--boot", "--priority=notice", "--lines=1000", "--output=json", "--quiet", "--no-pager")
LOWEST = 5  # notice: RFC 5424 section 6.2.1
WORST_AT_ONCE = 3  # error and worse are flushed soon
LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")

_HEAD = struct.Struct("<4sII")  # magic, octets of the frame, CRC-32 of the frame
_MAGIC = b"PEV1"
_NAME = re.compile(r"events-(\d{8})\.log")
_SYSLOG = re.compile(rb"<(\d{1,3})>(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d )?(.*)", re.DOTALL)
_RECEIVE_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """One line: when it came (epoch seconds), how grave (0 to 7), what was said and by whom."""

    at: int
    priority: int
    text: str

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.at))
        return f"{when} {LEVELS[self.priority]:9} {self.text}"


def parse(datagram: bytes, at: float) -> Event | None:
    """Read what journald forwards; None for what is not grave enough. Anything else than RFC 3164 is kept as it is."""
    found = _SYSLOG.match(datagram)
    priority, text = (int(found[1]) & 7, found[2]) if found else (LOWEST, datagram)
    if priority > LOWEST:
        return None
    line = text[:MAX_LINE].decode("utf-8", "replace").strip()
    clean = "".join(char if char.isprintable() else " " for char in line)
    return Event(int(at), priority, clean) if clean else None


def parse_json(line: bytes) -> Event | None:
    """Read one line of `journalctl -o json`; None where it is none, or not grave enough."""
    try:
        entry = _JOURNAL.decode(line)
        at, priority = int(entry.at) // 1_000_000, int(entry.priority)
    except (msgspec.DecodeError, ValueError):
        return None
    who = f"{entry.identifier or 'kernel'}{f'[{entry.pid}]' if entry.pid else ''}"
    event = parse(f"<{priority & 7}>{who}: {entry.message}".encode(), at)
    return event if 0 <= priority <= LOWEST else None


class _Entry(msgspec.Struct):
    """Fields of a journal entry (systemd.journal-fields(7)). A message that is no text comes as a list of octets."""

    at: str = msgspec.field(name="__REALTIME_TIMESTAMP")
    priority: str = msgspec.field(name="PRIORITY", default=str(LOWEST))
    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    identifier: str | None = msgspec.field(name="SYSLOG_IDENTIFIER", default=None)
    pid: str | None = msgspec.field(name="_PID", default=None)


_JOURNAL = msgspec.json.Decoder(_Entry)


async def journal_of_this_start() -> list[bytes]:
    """What the journal has had to say since the machine was started; empty where there is no journal."""
    try:
        process = await asyncio.create_subprocess_exec(*JOURNALCTL, stdout=asyncio.subprocess.PIPE)
    except OSError as error:
        log.warning("%s: %s", JOURNALCTL[0], error.strerror)
        return []
    octets, _ = await process.communicate()
    return octets.splitlines()


# ── the ring of files ─────────────────────────────────────────────────────────────────────────────────────────────


class Ring:
    """Blocks in files of one folder. Every method raises OSError when the folder cannot be used."""

    def __init__(self, folder: Path, *, file_octets: int = FILE_OCTETS, ring_octets: int = RING_OCTETS) -> None:
        self._folder = folder
        self._file_octets = file_octets
        self._files = max(2, ring_octets // file_octets)
        self._descriptor = -1
        self._size = 0

    def append(self, text: bytes) -> None:
        """Write one block and have it on the medium."""
        frame = zstandard.ZstdCompressor(level=6).compress(text)
        block = _HEAD.pack(_MAGIC, len(frame), zlib.crc32(frame)) + frame
        if self._descriptor < 0 or self._size + len(block) > self._file_octets:
            self._next_file(len(block))
        try:
            os.pwrite(self._descriptor, block, self._size)
            os.fdatasync(self._descriptor)
        except OSError:
            self.close()  # the next one begins at the last whole block again
            raise
        self._size += len(block)

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _next_file(self, needed: int) -> None:
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        files = files_of(self._folder)
        path = files[-1] if files else self._folder / "events-00000001.log"
        size = sum(len(block) for block in _blocks(path)) if files else 0
        if size and size + needed > self._file_octets:
            number = int(path.name[7:15]) + 1
            path, size = self._folder / f"events-{number:08}.log", 0
            for old in files[: max(0, len(files) + 1 - self._files)]:
                old.unlink()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        os.ftruncate(self._descriptor, size)  # a torn block at the end goes
        self._size = size


def files_of(folder: Path) -> list[Path]:
    """The ring's files, the oldest first."""
    try:
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def read(folder: Path) -> Iterator[Event]:
    """All events of a ring, the oldest first. Whatever cannot be read is passed over."""
    unpack = zstandard.ZstdDecompressor()
    for path in files_of(folder):
        for block in _blocks(path):
            with contextlib.suppress(zstandard.ZstdError):
                text = unpack.decompress(block[_HEAD.size :], max_output_size=2 * BLOCK_OCTETS)
                yield from _events(text)


def _blocks(path: Path) -> Iterator[bytes]:
    """The whole blocks of one file, up to the first that is torn."""
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            magic, length, checksum = _HEAD.unpack(head)
            if magic != _MAGIC or length > 2 * BLOCK_OCTETS:
                return
            frame = file.read(length)
            if len(frame) < length or zlib.crc32(frame) != checksum:
                return
            yield head + frame


def _events(text: bytes) -> Iterator[Event]:
    for line in text.decode("utf-8", "replace").splitlines():
        at, _, rest = line.partition(" ")
        priority, _, words = rest.partition(" ")
        if at.isdecimal() and priority in tuple("01234567"):
            yield Event(int(at), int(priority), words)


# ── the part ──────────────────────────────────────────────────────────────────────────────────────────────────────


class EventLog:
    """The part "event log".

    `now` gives epoch seconds, `clock` seconds that only grow, `before` what was said before we came: for tests.
    """

    name = "event log"

    def __init__(
        self,
        folder: Path = Path("/data/log"),
        source: Path = SOURCE,
        *,
        ring: Ring | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        before: Callable[[], Awaitable[Sequence[bytes]]] = journal_of_this_start,
    ) -> None:
        self._before = before
        self._ring = ring or Ring(folder)
        self._source = source
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self._lines: list[bytes] = []
        self._octets = 0
        self._since = 0.0  # when the first line that waits came
        self._grave = False  # whether an error waits
        self._flushed_at = -FLUSH_AFTER_ERROR_S
        self._hour_began = 0.0
        self._hour_octets = 0
        self._dropped = 0
        self._failed = ""

    async def run(self, report: Report) -> None:
        """Take the journal's lines until cancelled; what waits is written then."""
        if not self._source.parent.is_dir():
            report((Note(source=self.name, level="info", text="There is no journal here whose lines could be kept."),))
            await asyncio.get_running_loop().create_future()
        await self._catch_up()
        with _listening(self._source) as source:
            loop = asyncio.get_running_loop()
            loop.add_reader(source, self._receive, source)
            failed = ""
            try:
                while True:
                    await self._sleep(FLUSH_AFTER_ERROR_S / 4)
                    self.tick()
                    if self._failed != failed:
                        failed = self._failed
                        report(self._notes())
            finally:
                loop.remove_reader(source)
                self._receive(source)
                self.flush()
                self._ring.close()

    def take(self, datagram: bytes) -> None:
        """Take one line of the journal."""
        if (event := parse(datagram, self._now())) is not None:
            self.keep(event)

    def keep(self, event: Event) -> None:
        """Keep one event, unless there were too many within the hour."""
        clock = self._clock()
        if clock - self._hour_began >= 3600:
            self._hour_began, self._hour_octets = clock, 0
        line = f"{event.at} {event.priority} {event.text}\n".encode()
        if self._hour_octets + len(line) > MAX_OCTETS_AN_HOUR:
            self._dropped += 1
            return
        if self._dropped:
            self._put(f"{event.at} 4 event log: {self._dropped} lines were too many and are not kept\n".encode())
            self._dropped = 0
        self._hour_octets += len(line)
        self._grave |= event.priority <= WORST_AT_ONCE
        self._put(line)

    async def _catch_up(self) -> None:
        """Once after the machine's start, take what was said before we listened: the kernel's errors are there."""
        done = self._source.with_name(f"{self._source.name}.taken")
        if done.exists():
            return
        for line in await self._before():
            if (event := parse_json(line)) is not None:
                self.keep(event)
        done.touch()

    def _put(self, line: bytes) -> None:
        if self._octets + len(line) > BLOCK_OCTETS:
            self.flush()
        if not self._lines:
            self._since = self._clock()
        self._lines.append(line)
        self._octets += len(line)

    def tick(self) -> None:
        """Write what waits, if it is time."""
        clock = self._clock()
        due = clock - self._since >= FLUSH_EVERY_S
        if self._lines and (due or (self._grave and clock - self._flushed_at >= FLUSH_AFTER_ERROR_S)):
            self.flush()

    def flush(self) -> None:
        """Write what waits. If that cannot be, it is given up: the journal in memory still has it."""
        lines, self._lines, self._octets, self._grave = self._lines, [], 0, False
        self._flushed_at = self._clock()
        if not lines:
            return
        try:
            self._ring.append(b"".join(lines))
            self._failed = ""
        except OSError as error:
            self._failed = error.strerror or str(error)

    def _receive(self, source: socket.socket) -> None:
        for _ in range(1000):
            try:
                self.take(source.recv(MAX_LINE * 2))
            except OSError as error:
                if error.errno not in {errno.EAGAIN, errno.EWOULDBLOCK}:
                    log.warning("%s: %s", self._source, error.strerror)
                return

    def _notes(self) -> tuple[Note, ...]:
        if not self._failed:
            return ()
        text = f"The event log cannot be written ({self._failed}); what happens now is kept in memory only."
        return (Note(source=self.name, level="warning", text=text),)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """The datagram socket at `path`, in place of whatever a dead process left there."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as source:
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        source.bind(str(path))
        path.chmod(0o600)
        try:
            yield source
        finally:
            path.unlink(missing_ok=True)


def main(arguments: list[str], folder: Path = Path("/data/log")) -> int:
    """`palomar-hw log [WORD…]`: print the event log, the lines that have every word."""
    for event in read(Path(arguments.pop(1)) if arguments[:1] == ["--folder"] and len(arguments) > 1 else folder):
        line = str(event)
        if all(word.lower() in line.lower() for word in arguments if word != "--folder"):
            print(line)  # noqa: T201
    return 0
