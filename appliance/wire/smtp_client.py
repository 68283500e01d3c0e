"""The client's side of SMTP and LMTP as a machine without I/O (RFC 5321, RFC 2033, RFC 2920, RFC 3030).

Commands go out as bytes from the methods, replies come back as `Answer` events, each matched to the oldest command
that is still unanswered. The machine keeps the order that pipelining demands, and lets no control character into a
command line: what an address or a parameter holds can never become a second command.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from appliance.errors import MessageError, ProtocolError
from appliance.mail.reply import Reply
from appliance.wire.smtp import ReplyReader, parse_extensions

MAX_COMMAND: Final = 4096  # octets; 512 of RFC 5321 section 4.5.3.1.4 and what ORCPT, ENVID and SMTPUTF8 add
MAX_AUTH_LINE: Final = 12288  # octets, RFC 4954 section 4

GREETING: Final = "GREETING"  # the answer to having connected
TEXT: Final = "TEXT"  # the answer to the end of the message text
END_OF_TEXT: Final = b".\r\n"
UNASKED: Final = ""  # a 421 that answers nothing: the server closes

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# A command after which nothing may be sent before its reply is there (RFC 2920 section 3.1).
_SYNCHRONISE = frozenset({GREETING, "EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "DATA", "QUIT", "NOOP", "VRFY"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete reply and the command that it answers: a verb, GREETING, TEXT, or UNASKED."""

    verb: str
    reply: Reply


class ClientMachine:
    """One SMTP or LMTP connection, seen from the client."""

    __slots__ = ("_accepted", "_pending", "_reader", "closed", "extensions", "lmtp", "peer_name")

    def __init__(self, *, lmtp: bool = False) -> None:
        self.lmtp = lmtp
        self.closed = False
        self.extensions: dict[str, str] = {}  # what EHLO announced: upper-case keyword to its parameters
        self.peer_name = ""  # how the server names itself in the answer to EHLO
        self._reader = ReplyReader()
        self._pending: deque[str] = deque((GREETING,))
        self._accepted = 0  # recipients of this transaction that got 2yz

    # ── the contract of machines ──────────────────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes) -> None:
        """Take what the server sent."""
        self._reader.receive(data)

    def next_event(self) -> Answer | None:
        """Return the next complete reply, or None when it needs bytes.

        Raises ProtocolError on what is no reply, passes a limit, or was not asked for.
        """
        if self.closed:
            return None
        try:
            reply = self._reader.next_reply()
        except ProtocolError:
            self.closed = True
            raise
        return None if reply is None else self._answer(reply)

    def start_tls(self) -> None:
        """Forget what was learnt in clear. Raises ProtocolError if bytes came along after the 220 to STARTTLS."""
        # They are not authenticated: keeping them would let an attacker on the wire answer, inside TLS, commands
        # that were never sent in clear ("NO STARTTLS", USENIX Security 2021; RFC 3207 section 4.2).
        if self._reader.pending:
            self.closed = True
            raise ProtocolError("data pipelined after STARTTLS")
        self.extensions = {}
        self.peer_name = ""

    @property
    def premature(self) -> bool:
        """Whether the server has said something although nothing is unanswered: it answers what was not asked yet."""
        return not self._pending and self._reader.pending

    @property
    def unanswered(self) -> int:
        """How many replies are still to come."""
        return len(self._pending)

    # ── what the client says ──────────────────────────────────────────────────────────────────────────────────────

    def command(self, verb: str, argument: str = "") -> bytes:
        """Return a command line to send. `argument` is everything after the verb and its space.

        Raises ValueError on a control character or an over-long line, and when the server's extensions do not allow
        sending the command before earlier ones are answered.
        """
        line = (f"{verb} {argument}" if argument else verb).encode("utf-8")
        if len(line) > (MAX_AUTH_LINE if verb == "AUTH" else MAX_COMMAND):
            raise ValueError(f"{verb} command too long")
        if _CONTROL.search(line):
            raise ValueError(f"control character in {verb} command")
        self._expect(verb)
        if verb == "MAIL":
            self._accepted = 0
        return line + b"\r\n"

    def hello(self, name: str, *, extended: bool = True) -> bytes:
        """EHLO, HELO or LHLO with our own name (RFC 5321 section 4.1.1.1, RFC 2033 section 4.1)."""
        return self.command("LHLO" if self.lmtp else "EHLO" if extended else "HELO", name)

    def respond(self, response: bytes) -> bytes:
        """Answer a 334 challenge; `response` is base64 already, or `*` to give up (RFC 4954 section 4)."""
        if len(response) > MAX_AUTH_LINE:
            raise ValueError("AUTH response too long")
        if _CONTROL.search(response):
            raise ValueError("control character in AUTH response")
        self._expect("AUTH")
        return response + b"\r\n"

    def chunk(self, size: int) -> bytes:
        """BDAT: the whole message follows, `size` octets (RFC 3030 section 2). It is answered as the text is."""
        self._expect("BDAT")
        self._pending.pop()
        self._expect_text()
        return b"BDAT %d LAST\r\n" % size

    def end_of_text(self) -> bytes:
        """The line that ends the text after DATA; LMTP answers it once per accepted recipient (RFC 2033 4.2)."""
        self._expect_text()
        return END_OF_TEXT

    def _expect(self, verb: str) -> None:
        pending = self._pending
        if pending and (pending[-1] in _SYNCHRONISE or "PIPELINING" not in self.extensions):
            raise ValueError(f"{verb} must wait for the reply to {pending[-1]}")
        pending.append(verb)

    def _expect_text(self) -> None:
        self._pending.extend([TEXT] * (self._accepted if self.lmtp else 1))

    # ── what the server says ──────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, reply: Reply) -> Answer:
        if not self._pending:
            self.closed = True
            if reply.code == 421:
                return Answer(UNASKED, reply)
            raise ProtocolError("a reply that was not asked for")
        verb = self._pending.popleft()
        if verb == "RCPT" and reply.positive:
            self._accepted += 1
        elif verb in {"EHLO", "HELO", "LHLO"} and reply.positive:
            self.peer_name = reply.text.split("\n", 1)[0].partition(" ")[0]
            self.extensions = {} if verb == "HELO" else parse_extensions(reply)
        elif reply.code == 421 or (verb == "QUIT" and reply.positive):
            self.closed = True  # RFC 5321 section 3.8: whatever else we sent will not be answered
        return Answer(verb, reply)


# ── the message on the wire ───────────────────────────────────────────────────────────────────────────────────────


def checked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass chunks through. Raises MessageError at a CR or LF that is not part of a CRLF.

    A receiver that takes one for a line end would see commands where we sent text (SMTP smuggling, CVE-2023-51764).
    A chunk never ends between CR and LF afterwards.
    """
    carry = b""
    for piece in chunks:
        chunk = carry + piece if carry else piece
        carry = b""
        if chunk[-1:] == b"\r":
            chunk, carry = chunk[:-1], b"\r"
        pairs = chunk.count(b"\r\n")
        if chunk.count(b"\n") != pairs or chunk.count(b"\r") != pairs:
            raise MessageError("bare CR or LF in the message")
        if chunk:
            yield chunk
    if carry:
        raise MessageError("bare CR or LF in the message")


def stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Make message text fit for DATA: dots doubled at line starts, CRLF at the end (RFC 5321 section 4.5.2).

    Raises MessageError as `checked` does. The line with the lone dot is not part of it.
    """
    start = True
    for chunk in checked(chunks):
        out = chunk.replace(b"\r\n.", b"\r\n..")
        yield b"." + out if start and out[:1] == b"." else out
        start = chunk[-2:] == b"\r\n"
    if not start:
        yield b"\r\n"
