"""Lines until the login, octets afterwards: either side of a connection that is passed on, without I/O.

Before the login only CRLF ends a line, so that both servers see the same commands; a literal of IMAP (RFC 9051 section
4.3) is read as octets when the dialogue asks for that.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.errors import ProtocolError
from appliance.wire.sasl.lines import MAX_LINE as MAX_SASL_LINE

MAX_LINE = MAX_SASL_LINE + 256  # octets: a SASL message, or AUTHENTICATE with one
MAX_LITERAL = 4096  # octets of a name or a password


@dataclass(slots=True)
class Line:
    """One line without its CRLF."""

    data: bytes


@dataclass(slots=True)
class Octets:
    """As many octets as were asked for, or after the login whatever there is."""

    data: bytes


Event = Line | Octets


class LineMachine:
    """One connection's machine. Raises ProtocolError when it cannot go on, and then for ever."""

    __slots__ = ("_buffer", "_failure", "_passing", "_wanted", "closed")

    def __init__(self) -> None:
        self.closed = False
        self._buffer = bytearray()
        self._failure: ProtocolError | None = None
        self._wanted = -1  # octets of a literal; -1: a line
        self._passing = False

    def receive(self, data: bytes) -> None:
        """Take bytes from the wire."""
        self._buffer += data

    def expect(self, count: int) -> None:
        """The next event is that many octets. Raises ProtocolError above MAX_LITERAL."""
        if count > MAX_LITERAL:
            raise self._fail("literal too long")
        self._wanted = count

    def pass_on(self) -> None:
        """The login is done: from now on, what comes is passed on as it is."""
        self._passing = True

    def next_event(self) -> Event | None:
        """Return the next line or octets, or None when it first needs bytes. Raises ProtocolError."""
        if self._failure is not None:
            raise self._failure
        if self._passing:
            return Octets(self._take(len(self._buffer))) if self._buffer else None
        if self._wanted >= 0:
            if len(self._buffer) < self._wanted:
                return None
            count, self._wanted = self._wanted, -1
            return Octets(self._take(count))
        end = self._buffer.find(b"\n")
        if (end + 1 or len(self._buffer)) > MAX_LINE:
            raise self._fail("line too long")
        if end < 0:
            return None
        line = self._take(end + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            raise self._fail("a CR, LF or NUL that is no line end")
        return Line(line[:-2])

    def start_tls(self) -> None:
        """Begin anew over TLS. Raises ProtocolError if bytes are buffered: who sent them is unknown (CVE-2011-0411)."""
        if self._buffer:
            raise self._fail("data pipelined after STARTTLS")

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fail(self, text: str) -> ProtocolError:
        self.closed = True
        self._failure = ProtocolError(text)
        return self._failure
