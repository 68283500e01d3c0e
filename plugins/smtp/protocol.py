"""The server side of SMTP and LMTP as a machine without I/O (RFC 5321, 2033, 3030, 4954).

`receive(data)` takes bytes, `next_event()` gives one event at a time, and the session that answers it says what the
next bytes are: a command (the rule), a line of an AUTH exchange, or the text behind 354. BDAT chunks are recognised
here, since their octets must be taken off the wire whatever the answer is.

How line ends are treated decides whether SMTP smuggling works, so nothing is guessed:

- A command line ends in CRLF. A CR or LF anywhere else makes it unknowable where the next command begins: 500, and
  the connection is closed.
- A message ends in CRLF . CRLF and in nothing else. One that holds a bare CR or LF is read to that end, so that the
  dialogue stays in step, and refused with 554 5.6.0. No form of it is stored or passed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.errors import ProtocolError
from appliance.mail.reply import Reply
from appliance.wire.smtp import find_dots, unstuff

MAX_COMMAND = 1000  # octets with CRLF; RFC 5321 section 4.5.3.1.4 asks for 512
MAX_MAIL_RCPT = 2048  # the same for MAIL and RCPT, which extensions make longer (RFC 3461, 6531, 4954)
MAX_LINE = 12288  # octets of AUTH and of a line of its exchange (RFC 4954 section 4); the bound for every line
MAX_TEXT_LINE = 65536  # octets with CRLF; section 4.5.3.1.6 asks for 1000, but generators of HTML do not care
MAX_DISCARDED = 16 * 1024 * 1024  # octets over the size limit that are read to answer politely; then we hang up
MAX_SIZE_DIGITS = 12  # of a BDAT size

_LIMITS = {b"MAIL": MAX_MAIL_RCPT, b"RCPT": MAX_MAIL_RCPT, b"AUTH": MAX_LINE}
_STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONE_CR = re.compile(rb"\r[^\n]")  # much quicker than _STRAY
_ORDINARY = bytes(octet for octet in range(256) if octet not in b"\r\n\0")
_BDAT = re.compile(rf"(\d{{1,{MAX_SIZE_DIGITS}}})(?: +(LAST))?", re.ASCII | re.IGNORECASE)

TOO_BIG = Reply(552, "5.3.4", "The message is larger than this server takes")
STRAY_LINE_END = Reply(554, "5.6.0", "The message holds a CR or LF that is no line end")
NUL_IN_MESSAGE = Reply(554, "5.6.0", "The message holds a NUL octet")
LONG_LINE = Reply(554, "5.6.0", f"The message holds a line of more than {MAX_TEXT_LINE} octets")
LONG_COMMAND = Reply(500, "5.5.2", "Line too long")
NUL_IN_COMMAND = Reply(500, "5.5.2", "NUL in a command")
NOT_UTF8 = Reply(500, "5.5.2", "The command is neither ASCII nor UTF-8")


@dataclass(slots=True)
class Command:
    """One command: the verb in upper case and what follows the space behind it, without trailing spaces."""

    verb: str
    argument: str


@dataclass(slots=True)
class Chunk:
    """A BDAT command (RFC 3030 section 2). Its octets follow as BodyChunk events, then BodyEnd."""

    size: int
    last: bool


@dataclass(slots=True)
class BadLine:
    """A line that ends where it should but is no command. It is answered with `reply`."""

    reply: Reply


@dataclass(slots=True)
class AuthLine:
    """One line of an AUTH exchange, still in base64."""

    data: bytes


@dataclass(slots=True)
class BodyChunk:
    """Octets of the message, dots removed. Where they are cut means nothing."""

    data: bytes


@dataclass(slots=True)
class BodyEnd:
    """The end of the text, or of one BDAT chunk. `fault` refuses the message for what it is."""

    last: bool
    fault: Reply | None


Event = Command | Chunk | BadLine | AuthLine | BodyChunk | BodyEnd


class SmtpServer:
    """One connection's machine. `max_size` and `max_discarded` are in octets; `max_size` may change between messages.

    Raises ProtocolError, with the last reply to send, when the dialogue cannot go on; and then for ever.
    """

    __slots__ = (
        "_auth",
        "_binary",
        "_buffer",
        "_chunk",
        "_discarding",
        "_ended",
        "_failure",
        "_fault",
        "_held",
        "_in_text",
        "_last",
        "_line",
        "_max_discarded",
        "_position",
        "_read",
        "_size",
        "closed",
        "max_size",
    )

    def __init__(self, max_size: int, *, max_discarded: int = MAX_DISCARDED) -> None:
        self.max_size = max_size
        self.closed = False
        self._max_discarded = max_discarded
        self._buffer = b""
        self._position = 0  # of the first octet that no event has told of
        self._failure: ProtocolError | None = None
        self._auth = False  # the next line belongs to an AUTH exchange
        self._in_text = False  # behind 354
        self._chunk = -1  # octets of the BDAT chunk still to come; -1: none is open
        self._last = False  # that chunk is the message's last
        self._binary = False  # its octets are no lines
        self._fault: Reply | None = None  # why the message is refused
        self._begin()

    # ── what the session calls ────────────────────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes) -> None:
        """Take bytes from the wire."""
        rest = self._buffer[self._position :]
        self._buffer = rest + data if rest else data
        self._position = 0

    def next_event(self) -> Event | None:
        """Return the next event, or None when it first needs bytes. Raises ProtocolError."""
        if self._failure is not None:
            raise self._failure
        try:
            if self._in_text:
                return self._next_in_text()
            if self._chunk >= 0:
                return self._next_in_chunk()
            return self._next_line()
        except ProtocolError as error:
            self._failure = error
            self.closed = True
            raise

    @property
    def pending(self) -> bool:
        """Whether bytes have come that no event has told of."""
        return self._position < len(self._buffer)

    def begin_message(self, *, binary: bool = False) -> None:
        """Forget the octets and faults of the message before: a transaction begins.

        A `binary` message may hold any octets, and comes by BDAT only (RFC 3030 section 3).
        """
        self._begin()
        self._binary = binary

    def expect_text(self) -> None:
        """The answer is 354: what follows is the message, with dots, up to CRLF . CRLF."""
        self._begin()
        self._in_text = True

    def expect_auth(self) -> None:
        """The answer is 334: the next line is the client's response."""
        self._auth = True

    def discard(self) -> None:
        """Give out no more octets of the text or chunk that is being read; only its end."""
        self._discarding = True

    def start_tls(self) -> None:
        """Forget the dialogue in clear (RFC 3207 section 4.2). Raises ProtocolError if bytes are buffered."""
        # Bytes sent before the handshake are not authenticated. Keeping them would let an attacker on the wire put
        # commands into the TLS session (CVE-2011-0411).
        if self.pending:
            self.closed = True
            raise ProtocolError("data pipelined after STARTTLS")
        self._begin()

    # ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _next_line(self) -> Event | None:
        buffer, start = self._buffer, self._position
        end = buffer.find(b"\n", start)
        if buffer.startswith(b"\x16\x03", start):
            raise _hang_up(Reply(500, "5.5.2", "A TLS handshake without STARTTLS on a port that begins in clear"))
        if (end if end >= 0 else len(buffer)) - start >= MAX_LINE:
            raise _hang_up(LONG_COMMAND)
        if end < 0:
            return None
        line = buffer[start : end - 1] if end > start else b"\r"
        if b"\r" in line or buffer[end - 1] != 13:
            raise _hang_up(Reply(500, "5.5.2", "A CR or LF that is no line end"))
        self._position = end + 1
        if self._auth:
            self._auth = False
            return AuthLine(line)
        if len(line) + 2 > MAX_COMMAND and len(line) + 2 > _LIMITS.get(line[:4].upper(), MAX_COMMAND):
            return BadLine(LONG_COMMAND)
        if b"\0" in line:
            return BadLine(NUL_IN_COMMAND)
        try:
            verb, _, argument = line.decode().partition(" ")
        except UnicodeDecodeError:
            return BadLine(NOT_UTF8)
        verb = verb.upper()
        argument = argument.rstrip(" ")
        return Command(verb, argument) if verb != "BDAT" else self._open_chunk(argument)

    def _open_chunk(self, argument: str) -> Chunk:
        found = _BDAT.fullmatch(argument)
        if found is None:
            # Without a size nobody knows where the chunk ends and the next command begins.
            raise _hang_up(Reply(501, "5.5.4", "BDAT needs a size in octets"))
        size, last = int(found[1]), found[2] is not None
        if size > self.max_size + self._max_discarded:
            raise _hang_up(TOO_BIG)
        self._chunk, self._last = size, last
        if self._fault is None and self._size + size > self.max_size:
            self._fault = TOO_BIG
        return Chunk(size, last)

    # ── text ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        self._size = 0  # octets of the message so far, dots removed
        self._read = 0  # octets of it that were taken off the wire
        self._line = 0  # octets of the line that is not finished
        self._held = b""  # a CR that may be followed by LF in the next chunk
        self._fault = None
        self._discarding = False
        self._ended = False

    def _next_in_text(self) -> Event | None:
        buffer, start = self._buffer, self._position
        if self._ended:
            return self._end_text(start)
        if self._fault is not None or self._discarding:
            return self._skip_text()
        # Outside of a refused message `start` is always the start of a line.
        if buffer.startswith(b".\r\n", start):
            return self._end_text(start + 3)
        end, stuffed = find_dots(buffer, start)
        if end < 0:
            cut = buffer.rfind(b"\r\n", start) + 2
            if cut < 2:
                return self._check_unfinished()
        else:
            cut = end + 2
        text = unstuff(buffer[start:cut]) if stuffed else buffer[start:cut]
        fault = self._check(text)
        if fault is not None:
            self._fault = fault
            return self._skip_text()
        self._position = cut if end < 0 else cut + 3
        self._ended = end >= 0
        self._read += self._position - start
        return BodyChunk(text)

    def _check_unfinished(self) -> Event | None:
        """Judge a line whose end has not come."""
        start = self._position
        dot = self._buffer.startswith(b".", start)
        if len(self._buffer) - start - dot <= MAX_TEXT_LINE:
            return None
        self._fault = self._first_fault(self._buffer[start + dot :])
        return self._skip_text()

    def _skip_text(self) -> Event | None:
        """Look for nothing but the end."""
        buffer, start = self._buffer, self._position
        if self._line == 0 and buffer.startswith(b".\r\n", start):
            return self._end_text(start + 3)
        end = buffer.find(b"\r\n.\r\n", start)
        stop = end + 5 if end >= 0 else max(start, len(buffer) - 4)
        self._read += stop - start
        if self._read > self.max_size + self._max_discarded:
            raise _hang_up(self._fault or TOO_BIG)
        if end >= 0:
            return self._end_text(stop)
        if stop > start:
            self._line = 1  # what is kept may begin anywhere in a line
        self._position = stop
        return None

    def _end_text(self, position: int) -> BodyEnd:
        self._position = position
        self._in_text = False
        fault = self._fault
        self._begin()
        return BodyEnd(True, fault)

    # ── chunks ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _next_in_chunk(self) -> Event | None:
        if self._chunk == 0:
            return self._end_chunk()
        start = self._position
        data = self._buffer[start : start + self._chunk]
        if not data:
            return None
        self._position += len(data)
        self._chunk -= len(data)
        if self._fault is not None or self._discarding:
            return self._next_in_chunk()
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") and not self._binary else b""
        data = data[: len(data) - len(self._held)]
        self._fault = self._check(data)
        if self._fault is not None or not data:
            return self._next_in_chunk()
        return BodyChunk(data)

    def _end_chunk(self) -> Event:
        last = self._last
        if last and self._fault is None and not self._discarding:
            if self._held:
                self._fault = STRAY_LINE_END
            elif self._line and not self._binary:
                # Every message here ends in CRLF, as one sent by DATA cannot but do.
                self._line = 0
                return BodyChunk(b"\r\n")
        self._chunk = -1
        self._discarding = False
        fault = self._fault
        if last:
            self._begin()
        return BodyEnd(last, fault)

    # ── what a message may hold ───────────────────────────────────────────────────────────────────────────────────

    def _check(self, data: bytes) -> Reply | None:
        """Count `data`, the next octets of the message, and return why it is refused."""
        if self._binary:
            self._size += len(data)
            return TOO_BIG if self._size > self.max_size else None
        marks = data.translate(None, _ORDINARY)
        lines = len(marks) // 2
        if (
            marks != b"\r\n" * lines
            or _LONE_CR.search(data)  # that CR and LF take turns does not tell that they stand together
            or self._size + len(data) > self.max_size
            or self._long_line(data) >= 0
        ):
            return self._first_fault(data)
        self._size += len(data)
        self._line = len(data) - data.rfind(b"\n") - 1 if lines else self._line + len(data)
        return None

    def _long_line(self, data: bytes) -> int:
        """Where the first line passes the limit, or -1. It jumps from line end to line end, a limit's length apart."""
        start = -self._line
        while len(data) - start > MAX_TEXT_LINE:
            end = data.rfind(b"\n", max(start, 0), start + MAX_TEXT_LINE) + 1
            if end == 0:
                return start + MAX_TEXT_LINE
            start = end
        return -1

    def _first_fault(self, data: bytes) -> Reply:
        """The fault that comes first in `data`, so that the answer does not depend on how TCP cut the bytes."""
        found = []
        if self._size + len(data) > self.max_size:
            found.append((self.max_size - self._size, TOO_BIG))
        if (long_line := self._long_line(data)) >= 0:
            found.append((long_line, LONG_LINE))
        if stray := _STRAY.search(data):
            found.append((stray.start(), STRAY_LINE_END))
        if (nul := data.find(b"\0")) >= 0:
            found.append((nul, NUL_IN_MESSAGE))
        return min(found, key=lambda fault: fault[0])[1]


def _hang_up(reply: Reply) -> ProtocolError:
    return ProtocolError(reply.text, reply=bytes(reply))
