"""The server side of IMAP as a machine without I/O: bytes in, commands out (RFC 3501 sections 2.2 and 7.5). Pure.

A command is collected until it is complete, its literals included; every limit is checked before the bytes it is
about are awaited. What becomes of a literal that is not wanted depends on its kind: a synchronising one is never
sent once the command is answered, a non-synchronising one (RFC 7888) comes anyway and is thrown away as it comes.
The messages of APPEND are not collected but handed out in pieces, and so are the parts of those that it joins.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from appliance.errors import ProtocolError
from plugins.imap4.protocol_append import AppendEnd as AppendEnd
from plugins.imap4.protocol_append import Appending, AppendUrl, PartsEnd, Step
from plugins.imap4.protocol_append import AppendMessage as AppendMessage
from plugins.imap4.protocol_command import Command, State
from plugins.imap4.protocol_deflate import Inflater
from plugins.imap4.protocol_grammar import APPEND_STATES, parse_command
from plugins.imap4.protocol_parse import Cursor, GrammarError
from plugins.imap4.protocol_respond import untagged

MAX_LINE = 64 * 1024  # octets of one line, CRLF included
MAX_COMMAND = 64 * 1024  # octets of one command with its literals, before login
MAX_COMMAND_AFTER = 256 * 1024  # the same after login; messages do not count
MAX_LITERAL = 8 * 1024  # octets of one literal before login
MAX_LITERAL_AFTER = 64 * 1024
MAX_LITERAL_MINUS = 4096  # octets of a literal that comes unasked before login: LITERAL- (RFC 7888 section 5)
MAX_CHUNK = 256 * 1024  # octets of one piece of a message
MAX_DISCARD = 256 * 1024 * 1024  # octets of unwanted literals thrown away in one command; more closes the connection

CONTINUE = b"+ OK\r\n"

# What a browser that was lured here sends first. Its next lines would be what the lurer wants us to hear.
_HTTP = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH"})

_MARKER = re.compile(rb"\{(\d+)(\+?)\}\Z")
_APPEND = re.compile(rb"[^ ]++ (APPEND|(?:UID )?REPLACE)(?: |\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Continue:
    """The client waits for leave to send a literal: write `CONTINUE`."""


@dataclass(frozen=True, slots=True)
class BadCommand:
    """Answer `tag BAD text`. `tag` is `*` where the command has none."""

    tag: bytes
    text: str
    too_big: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """The line that was asked for by `expect_line`, without CRLF."""

    data: bytes


@dataclass(frozen=True, slots=True)
class MessageChunk:
    """The next octets of the announced message; `last` with the last of them."""

    data: bytes
    last: bool


Event = Command | Continue | BadCommand | Line | AppendMessage | MessageChunk | AppendUrl | PartsEnd | AppendEnd


class ImapServer:
    """Collects commands and knows what the bytes that come next are.

    `state` is set by the session: it decides what is permitted and how much is read; so is `utf8`, see `Cursor`. While
    a message announced by AppendMessage is neither taken nor refused, `next_event` returns None.
    """

    __slots__ = (
        "_appending",
        "_buffer",
        "_collected",
        "_discarded",
        "_ending",
        "_inflater",
        "_is_coming",
        "_left",
        "_read",
        "_scanned",
        "_steps",
        "closed",
        "state",
        "utf8",
    )

    def __init__(self) -> None:
        self.state = State.NOT_AUTHENTICATED
        self.utf8 = False
        self.closed = False
        self._buffer = bytearray()
        self._scanned = 0  # where to look for the next line end
        self._collected = bytearray()  # what came before the current line of the same command
        self._left = 0  # octets of the current literal that have not come yet
        self._discarded = 0
        self._inflater: Inflater | None = None
        self._ending: Inflater | None = None  # its stream is over, but for the mark of that
        self._is_coming = False  # the announced message, whether it is wanted or not
        self._appending: Appending | None = None
        self._steps: deque[Step] = deque()  # of the APPEND under way, still to be handed out
        self._read: _State = _command_line

    # ── the contract of machines ──────────────────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes) -> None:
        """Take bytes from the wire."""
        if self._inflater is not None:
            self._inflater.receive(data)
            return
        if self._ending is not None:
            data = self._rest(self._ending, data)
        self._buffer += data

    def _rest(self, ending: Inflater, data: bytes) -> bytes:
        try:
            data = ending.tail(data)
        except ValueError as error:
            raise self._fatal(f"Compressed data are damaged: {error}") from error
        if data:
            self._ending = None
        return data

    def next_event(self) -> Event | None:
        """Return the next event, or None when it first needs bytes or an answer. Raises ProtocolError."""
        while not self.closed:
            read = self._read
            event = read(self)
            if event is not None:
                return event
            if self._read is read and not self._inflate():  # no other state was entered: more bytes are needed
                return None
        return None

    def _inflate(self) -> bool:
        """Unpack some of what came compressed. False if there is nothing. Raises ProtocolError."""
        if self._inflater is None:
            return False
        try:
            data = self._inflater.next()
        except ValueError as error:
            raise self._fatal(f"Compressed data are damaged: {error}") from error
        self._buffer += data
        return bool(data)

    def start_compression(self) -> None:
        """Take all that comes from now on for DEFLATE. Raises ProtocolError if something came already (RFC 4978)."""
        if self._buffer:
            raise self._fatal("Data pipelined after COMPRESS")
        self._inflater = Inflater()

    def stop_compression(self) -> None:
        """Take all that comes from now on as it is: compression ends behind UNAUTHENTICATE (RFC 8437 section 4.1).

        Raises ProtocolError if more came through it.
        """
        if self._inflater is None:
            return
        if self._buffer:
            raise self._fatal("Data compressed behind UNAUTHENTICATE")
        self._ending, self._inflater = self._inflater, None
        self.receive(self._ending.unread())

    @property
    def is_compressed(self) -> bool:
        """Whether compression has begun."""
        return self._inflater is not None

    def start_tls(self) -> None:
        """Enter TLS. Raises ProtocolError if commands came in clear behind STARTTLS."""
        # They are not authenticated; keeping them would let an attacker put commands into the session (CVE-2011-0411).
        if self._buffer:
            raise self._fatal("Data pipelined after STARTTLS")

    # ── for sessions ──────────────────────────────────────────────────────────────────────────────────────────────

    def expect_line(self) -> None:
        """Read the next line as it stands: an answer within AUTHENTICATE, or DONE."""
        self._read = _plain_line

    def take_message(self) -> bytes:
        """Let the announced message come. Returns what is to be written first."""
        self._check_waiting()
        self._read = _message
        return b"" if self._is_coming else CONTINUE

    def refuse_message(self) -> None:
        """Do without the announced message and the rest of its command; the session answers NO or BAD."""
        self._check_waiting()
        size = self._left
        self._next_command()
        if self._is_coming:
            self._discard(size)

    def _check_waiting(self) -> None:
        if self._read is not _undecided:
            raise RuntimeError("no message was announced")

    # ── pieces shared by the states ───────────────────────────────────────────────────────────────────────────────

    def _line(self) -> bytes | None:
        """Take a line off the buffer, without CRLF; None until it is complete.

        Raises ProtocolError if it is too long or holds a bare CR or LF, for nobody knows then where the next command
        or literal begins; GrammarError on NUL.
        """
        end = self._buffer.find(b"\n", self._scanned) + 1
        if (end or len(self._buffer)) > MAX_LINE:
            raise self._fatal("Line too long", "TOOBIG")
        if not end:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._scanned = 0
        if not line.endswith(b"\r\n") or line.count(b"\r") != 1:
            raise self._fatal("A CR or LF that is no line end")
        if b"\0" in line:
            raise GrammarError("NUL in a line")
        return line[:-2]

    def _fatal(self, text: str, code: str = "") -> ProtocolError:
        self.closed = True
        self._buffer.clear()
        return ProtocolError(text[:1].lower() + text[1:], reply=untagged("BYE", text, code))

    def _next_command(self) -> None:
        self._collected = bytearray()
        self._appending = None
        self._steps.clear()
        self._discarded = 0
        self._read = _command_line

    def _tag(self, line: bytes) -> bytes:
        """The tag of the command that `line` belongs to."""
        if self._appending is not None and self._appending.tag:
            return self._appending.tag
        return tag_of(bytes(self._collected) or line)

    def _bad(self, text: str, line: bytes = b"") -> BadCommand:
        tag = self._tag(line)
        self._next_command()
        return BadCommand(tag, text)

    def _discard(self, size: int) -> None:
        """Throw away the next octets and what belongs to the same command after them."""
        self._discarded += size
        if self._discarded > (MAX_DISCARD if self.state else MAX_COMMAND):
            raise self._fatal("Literal too long", "TOOBIG")
        self._left = size
        self._read = _unwanted


_State = Callable[[ImapServer], Event | None]


# ── the states: each is a function that takes what it can from the buffer ─────────────────────────────────────────────


def _command_line(machine: ImapServer) -> Event | None:
    """A line of a command: the last one, or one that ends with a literal's announcement."""
    try:
        line = machine._line()
    except GrammarError as error:
        return machine._bad(str(error))
    if line is None:
        return None
    marker = _MARKER.search(line, max(0, len(line) - 24)) if line.endswith(b"}") else None
    if marker is None:
        return _complete(machine, line)
    machine._is_coming = bool(marker[2])
    size = int(marker[1])
    if size > MAX_LITERAL_MINUS and machine._is_coming and not machine.state:
        return _refused(machine, line, size, "literal too long", too_big=True)
    if _is_append(machine, line):
        return _append_line(machine, line, line[: marker.start()], size)
    return _literal_announced(machine, line, size)


def _complete(machine: ImapServer, line: bytes) -> Event | None:
    if _is_append(machine, line):
        return _append_line(machine, line, line, None)
    data = bytes(machine._collected) + line
    machine._next_command()
    if not data:
        return BadCommand(b"*", "empty line")
    if len(data) > _max_command(machine):
        return BadCommand(tag_of(data), "command too long", too_big=True)
    try:
        return parse_command(data, machine.state, utf8=machine.utf8)
    except GrammarError as error:
        tag = tag_of(data)
        if tag in _HTTP:
            raise machine._fatal("This is no web server") from error
        return BadCommand(tag, str(error))


def _literal_announced(machine: ImapServer, line: bytes, size: int) -> Event | None:
    total = len(machine._collected) + len(line) + 2 + size
    if size > (MAX_LITERAL_AFTER if machine.state else MAX_LITERAL) or total > _max_command(machine):
        return _refused(machine, line, size, "literal too long", too_big=True)
    machine._collected += line + b"\r\n"
    machine._left = size
    machine._read = _literal
    return None if machine._is_coming else Continue()


def _refused(machine: ImapServer, line: bytes, size: int, text: str, *, too_big: bool = False) -> BadCommand:
    """Answer BAD before the literal is awaited, and see to it that its octets are not taken for commands."""
    tag = machine._tag(line)
    machine._next_command()
    if machine._is_coming:
        machine._discard(size)
    return BadCommand(tag, text, too_big)


def _literal(machine: ImapServer) -> Event | None:
    """The octets of a literal that is part of the command."""
    if len(machine._buffer) < machine._left:
        return None
    machine._collected += machine._buffer[: machine._left]
    del machine._buffer[: machine._left]
    machine._read = _command_line
    return None


def _unwanted(machine: ImapServer) -> Event | None:
    """Octets of a literal that was refused but comes all the same."""
    count = min(machine._left, len(machine._buffer))
    del machine._buffer[:count]
    machine._left -= count
    if machine._left == 0:
        machine._read = _unwanted_line
    return None


def _unwanted_line(machine: ImapServer) -> Event | None:
    """A line of a command that was answered already."""
    try:
        line = machine._line()
    except GrammarError:
        line = b""  # it was to be thrown away anyway
    if line is None:
        return None
    marker = _MARKER.search(line, max(0, len(line) - 24)) if line.endswith(b"}") else None
    if marker is not None and marker[2]:
        machine._discard(int(marker[1]))
    else:
        machine._next_command()
    return None


def _plain_line(machine: ImapServer) -> Event | None:
    """A line that is no command. Afterwards commands come again, unless one more line is expected."""
    try:
        line = machine._line()
    except GrammarError:
        line = b"\0"  # neither base64 nor DONE
    if line is None:
        return None
    machine._next_command()
    return Line(line)


# ── APPEND ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_append(machine: ImapServer, line: bytes) -> bool:
    """Whether a line belongs to a command that is not collected, but handed out step by step."""
    if machine._appending is not None:
        return True
    verb = _APPEND.match(machine._collected or line)
    return verb is not None and machine.state in APPEND_STATES[verb[1].decode().upper()]


def _append_line(machine: ImapServer, line: bytes, text: bytes, size: int | None) -> Event | None:
    """A line of APPEND; `text` is what stands before the literal that it announces, of `size` octets."""
    if len(machine._collected) + len(line) > _max_command(machine):
        error = "command too long"
        return machine._bad(error, line) if size is None else _refused(machine, line, size, error, too_big=True)
    appending = machine._appending or Appending()
    try:
        found = appending.read(bytes(machine._collected) + text, size, utf8=machine.utf8)
    except GrammarError as error:
        return machine._bad(str(error), line) if size is None else _refused(machine, line, size, str(error))
    if found is None:
        assert size is not None
        return _literal_announced(machine, line, size)
    machine._appending, machine._steps = found
    machine._collected = bytearray()
    machine._left = size or 0
    return _step(machine)


def _step(machine: ImapServer) -> Event | None:
    """The next step of the line that was read; the last one leads on."""
    step = machine._steps.popleft()
    if type(step) is AppendMessage:
        machine._read = _undecided
    elif type(step) is AppendEnd:
        machine._next_command()
    else:
        machine._read = _step
    return step


def _undecided(machine: ImapServer) -> Event | None:
    """The session has not said yet whether it wants the message."""
    return None


def _message(machine: ImapServer) -> Event | None:
    """The octets of a message that is wanted."""
    count = min(machine._left, len(machine._buffer), MAX_CHUNK)
    if count == 0 and machine._left:
        return None
    with memoryview(machine._buffer) as view:
        chunk = bytes(view[:count])
    del machine._buffer[:count]
    machine._left -= count
    if machine._left == 0:
        machine._read = _command_line
    return MessageChunk(chunk, last=machine._left == 0)


def _max_command(machine: ImapServer) -> int:
    return MAX_COMMAND_AFTER if machine.state else MAX_COMMAND


def tag_of(data: bytes) -> bytes:
    """The tag that a command begins with, or `*` if that cannot be told."""
    cursor = Cursor(data)
    try:
        tag = cursor.tag()
    except GrammarError:
        return b"*"
    return tag if cursor.peek() in {b" ", b""} else b"*"
