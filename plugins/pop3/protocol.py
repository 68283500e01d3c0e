"""The server side of POP3 as a machine without I/O (RFC 1939, RFC 2449, RFC 5034).

`receive(data)` takes bytes, `next_event()` gives one command at a time, and the session that answers it says when the
next line belongs to an AUTH exchange. Only CRLF ends a line; a CR, LF or NUL anywhere else ends the connection, since
nobody knows then where the next command begins.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.errors import ProtocolError
from appliance.wire.sasl.lines import MAX_LINE as MAX_AUTH_DATA

MAX_COMMAND = 2048  # octets with CRLF; RFC 2449 section 4 asks for 255, passwords of 1024 octets for more
MAX_AUTH_LINE = MAX_AUTH_DATA + 64  # of AUTH with its initial response, and of a line of its exchange

LONG_LINE = b"-ERR Line too long\r\n"
STRAY_LINE_END = b"-ERR Lines end in CRLF and hold no other CR, LF or NUL\r\n"
TLS_IN_CLEAR = b"-ERR This port begins in clear: use STLS, or the port for POP3 over TLS\r\n"
EARLY_BYTES = b"-ERR Data pipelined after STLS\r\n"


@dataclass(slots=True)
class Command:
    """One command: the keyword in upper case, and the octets behind the space that follows it."""

    verb: str
    argument: bytes


@dataclass(slots=True)
class AuthLine:
    """One line of an AUTH exchange, still in base64."""

    data: bytes


Event = Command | AuthLine


class Pop3Server:
    """One connection's machine. Raises ProtocolError, with the last response, when it cannot go on; then for ever."""

    __slots__ = ("_auth", "_buffer", "_failure", "_position", "closed")

    def __init__(self) -> None:
        self.closed = False
        self._buffer = b""
        self._position = 0  # of the first octet that no event has told of
        self._failure: ProtocolError | None = None
        self._auth = False  # the next line belongs to an AUTH exchange

    def receive(self, data: bytes) -> None:
        """Take bytes from the wire."""
        rest = self._buffer[self._position :]
        self._buffer = rest + data if rest else data
        self._position = 0

    def next_event(self) -> Event | None:
        """Return the next command or AUTH line, or None when it first needs bytes. Raises ProtocolError."""
        if self._failure is not None:
            raise self._failure
        buffer, start = self._buffer, self._position
        if buffer.startswith(b"\x16\x03", start):
            raise self._fail("a TLS handshake without STLS", TLS_IN_CLEAR)
        end = buffer.find(b"\n", start)
        if end < 0:
            # The line is not over: judge its length by the octets that are there and the "\n" that must follow.
            self._check_length(buffer[start : start + 5], len(buffer) - start + 1)
            return None
        line = buffer[start : end - 1] if end > start else b""
        self._check_length(line, end + 1 - start)
        if buffer[end - 1 : end + 1] != b"\r\n" or end == start or b"\r" in line or b"\0" in line:
            raise self._fail("a CR, LF or NUL that is no line end", STRAY_LINE_END)
        self._position = end + 1
        if self._auth:
            self._auth = False
            return AuthLine(line)
        verb, _, argument = line.partition(b" ")
        return Command(verb.upper().decode("ascii", "replace"), argument)

    @property
    def pending(self) -> bool:
        """Whether bytes have come that no event has told of."""
        return self._position < len(self._buffer)

    def expect_auth(self) -> None:
        """The answer is a challenge: the next line is the client's response to it."""
        self._auth = True

    def start_tls(self) -> None:
        """Begin anew over TLS (RFC 2595 section 4). Raises ProtocolError if bytes are buffered."""
        # Bytes sent before the handshake are not authenticated. Keeping them would let an attacker on the wire put
        # commands into the TLS session (CVE-2011-0411).
        if self.pending:
            raise self._fail("data pipelined after STLS", EARLY_BYTES)
        self._auth = False

    def _check_length(self, line: bytes, size: int) -> None:
        limit = MAX_AUTH_LINE if self._auth or line[:5].upper() == b"AUTH " else MAX_COMMAND
        if size > limit:
            raise self._fail("line too long", LONG_LINE)

    def _fail(self, text: str, reply: bytes) -> ProtocolError:
        self.closed = True
        self._failure = ProtocolError(text, reply=reply)
        return self._failure
