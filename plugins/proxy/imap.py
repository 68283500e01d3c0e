"""IMAP until the login (RFC 9051, RFC 4959), on either side."""

from __future__ import annotations

import re
from collections.abc import Sequence

from appliance.errors import ProtocolError
from appliance.wire.sasl.lines import decode_line, encode_line
from plugins.proxy.dialogue import Accepted, Attempt, Refused, Step, Wire, challenge_of, sasl_line
from plugins.proxy.protocol_login import plain

MAX_PIECES = 10  # of one command: lines between literals
MAX_UNTAGGED = 50  # lines of the server that are no answer, before its answer to the login

_COMMAND = re.compile(
    rb'(?P<tag>[^\x00-\x20\x7f(){%*"\\+]{1,100}) (?P<verb>[A-Za-z0-9-]+)(?: (?P<arguments>.*))?', re.DOTALL
)
_LITERAL = re.compile(rb"\{(\d{1,9})([+-]?)\}$")
_STRING = re.compile(rb'"((?:[^"\\]|\\["\\])*)"|([^\x00-\x20\x7f(){%*"\\]+)')
_STATUS = re.compile(rb"(?P<word>OK|NO|BAD)(?: (?P<text>.*))?", re.IGNORECASE | re.DOTALL)

Piece = bytes | tuple[bytes]  # of a line, or a literal as a tuple of one


class ImapFront(Wire):
    """See `dialogue.Front`."""

    tag = b"*"

    def greet(self) -> None:
        """See `Front.greet`."""
        self.say(b"* OK [CAPABILITY %b] Palomar is ready" % self._capabilities())

    async def attempt(self) -> Attempt | None:
        """See `Front.attempt`."""
        for _ in range(self.config.max_commands):
            pieces = await self._command()
            first = pieces[0]
            found = _COMMAND.fullmatch(first) if isinstance(first, bytes) else None
            if found is None:
                self.say(b"* BAD This is no command")
                continue
            self.tag, verb, arguments = found["tag"], found["verb"].upper(), found["arguments"] or b""
            if verb == b"LOGOUT":
                self.say(b"* BYE Goodbye")
                self._answer(b"OK", b"Logged out")
                return None
            if verb == b"STARTTLS":
                await self._start_tls()
            elif verb in (b"AUTHENTICATE", b"LOGIN"):
                by_name = verb == b"LOGIN"
                attempt = self._login([arguments, *pieces[1:]]) if by_name else self._authenticate(arguments)
                if attempt is not None:
                    return attempt
            else:
                self._other(verb)
        self.bye()
        return None

    async def response(self, challenge: bytes) -> bytes:
        """See `Front.response`."""
        self.say(b"+ " + encode_line(challenge))
        return decode_line(await self.line())

    def accept(self, accepted: Accepted) -> None:
        """See `Front.accept`."""
        for line in accepted.before:
            self.say(line)
        self._answer(b"OK", accepted.text)

    def refuse(self, refused: Refused) -> None:
        """See `Front.refuse`."""
        if refused.text.startswith(b"["):
            self._answer(b"NO", refused.text)
            return
        code = b"UNAVAILABLE" if refused.temporary else b"AUTHENTICATIONFAILED"
        self._answer(b"NO", b"[%b] %b" % (code, refused.text))

    def bye(self) -> None:
        """See `Front.bye`."""
        self.say(b"* BYE Too many commands or failures before the login")

    def _answer(self, word: bytes, text: bytes) -> None:
        self.say(b"%b %b %b" % (self.tag, word, text))

    def _capabilities(self) -> bytes:
        words = [b"IMAP4rev1", b"SASL-IR", b"LITERAL-", b"ID"]
        if self.connection.tls is None:
            words.append(b"STARTTLS")
        if self.private:
            words += [b"AUTH=" + name.encode() for name in self.config.mechanisms]
        else:
            words.append(b"LOGINDISABLED")
        return b" ".join(words)

    async def _command(self) -> list[Piece]:
        pieces: list[Piece] = []
        while len(pieces) < 2 * MAX_PIECES:
            line = await self.line()
            marker = _LITERAL.search(line)
            if marker is None:
                return [*pieces, line]
            if not marker[2]:
                self.say(b"+ Go on")
            pieces += [line[: marker.start()], (await self.octets(int(marker[1])),)]
        raise ProtocolError("too many literals")

    async def _start_tls(self) -> None:
        if self.connection.tls is not None:
            self._answer(b"BAD", b"TLS is active already")
            return
        self.machine.start_tls()  # before the OK: to what came behind STARTTLS not even that is due
        self._answer(b"OK", b"Begin TLS negotiation now")
        await self.connection.start_tls(self.core.certificates.server_context())

    def _authenticate(self, arguments: bytes) -> Attempt | None:
        mechanism, _, initial = arguments.partition(b" ")
        name = mechanism.decode("ascii", "replace").upper()
        if not self.private:
            self._answer(b"NO", b"[PRIVACYREQUIRED] Encryption is required for a login")
        elif name not in self.config.mechanisms:
            self._answer(b"NO", b"[CANNOT] This mechanism is not offered")
        else:
            return Attempt(name, decode_line(initial, initial=True) if initial else None)
        return None

    def _login(self, pieces: Sequence[Piece]) -> Attempt | None:
        strings: list[bytes] = []
        for piece in pieces:
            if isinstance(piece, tuple):
                strings += piece
            else:
                strings += [_unquoted(one) for one in _STRING.finditer(piece)]
        if not self.private:
            self._answer(b"NO", b"[PRIVACYREQUIRED] Encryption is required for a login")
        elif len(strings) != 2:
            self._answer(b"BAD", b"LOGIN has a name and a password")
        else:
            return Attempt("PLAIN", plain(*(one.decode("utf-8", "replace") for one in strings)))
        return None

    def _other(self, verb: bytes) -> None:
        if verb == b"CAPABILITY":
            self.say(b"* CAPABILITY " + self._capabilities())
        elif verb == b"ID":
            self.say(b'* ID ("name" "Palomar")')
        elif verb != b"NOOP":
            self._answer(b"BAD", b"Log in first")
            return
        self._answer(b"OK", b"Done")


class ImapBack(Wire):
    """See `dialogue.Back`."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire.core, wire.connection)
        self._before: list[bytes] = []

    async def begin(self, mechanism: str) -> Step:
        """See `Back.begin`."""
        greeting = await self.line()
        if not greeting.upper().startswith(b"* OK"):
            return Refused(b"The server does not serve now", temporary=True)
        self.say(b"p1 AUTHENTICATE " + mechanism.encode())
        return await self._step()

    async def respond(self, response: bytes | None) -> Step:
        """See `Back.respond`."""
        self.say(sasl_line(response))
        return await self._step()

    async def _step(self) -> Step:
        while len(self._before) < MAX_UNTAGGED:
            line = await self.line()
            if line.startswith(b"+"):
                return challenge_of(line[1:])
            if not line.startswith(b"p1 "):
                self._before.append(line)
                continue
            found = _STATUS.fullmatch(line[3:])
            if found is None:
                raise ProtocolError("an answer that is none")
            text = found["text"] or b"Done"
            if found["word"].upper() == b"OK":
                return Accepted(text, self._before)
            return Refused(text, temporary=b"[UNAVAILABLE]" in text.upper())
        raise ProtocolError("too many untagged answers before the login")


def _unquoted(found: re.Match[bytes]) -> bytes:
    return found[2] if found[1] is None else re.sub(rb"\\(.)", rb"\1", found[1])
