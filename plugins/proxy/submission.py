"""Submission until the login (RFC 6409, RFC 4954), on either side."""

from __future__ import annotations

import re

from appliance.config import CoreConfig
from appliance.errors import ProtocolError
from appliance.wire.sasl.lines import decode_line, encode_line
from plugins.proxy.dialogue import Accepted, Attempt, Refused, Step, Wire, challenge_of, sasl_line

MAX_REPLY_LINES = 100

_REPLY = re.compile(rb"(?P<code>[2-5]\d\d)(?P<more>[ -]?)(?P<text>.*)", re.DOTALL)
_HELLO = re.compile(rb"[!-~]{1,255}")
_OK = b"250 2.0.0 Done"
_LATER = b"530 5.7.0 Log in first"


class SubmissionFront(Wire):
    """See `dialogue.Front`. `hello` is the client's name for itself, which the server is told."""

    hello = b""

    def greet(self) -> None:
        """See `Front.greet`."""
        self.say(b"220 %b ESMTP Palomar" % self._name)

    async def attempt(self) -> Attempt | None:
        """See `Front.attempt`."""
        for _ in range(self.config.max_commands):
            verb, _, argument = (await self.line()).partition(b" ")
            verb, argument = verb.upper(), argument.strip()
            if verb == b"QUIT":
                self.say(b"221 2.0.0 Goodbye")
                return None
            if verb in (b"EHLO", b"HELO"):
                self._greeted(verb, argument)
            elif verb == b"STARTTLS":
                await self._start_tls()
            elif verb == b"AUTH":
                if attempt := self._auth(argument):
                    return attempt
            else:
                self.say(_OK if verb in (b"NOOP", b"RSET") else _LATER)
        self.bye()
        return None

    async def response(self, challenge: bytes) -> bytes:
        """See `Front.response`."""
        self.say(b"334 " + encode_line(challenge))
        return decode_line(await self.line())

    def accept(self, accepted: Accepted) -> None:
        """See `Front.accept`."""
        self.say(b"235 " + accepted.text)

    def refuse(self, refused: Refused) -> None:
        """See `Front.refuse`."""
        self.say((b"454 4.7.0 " if refused.temporary else b"535 5.7.8 ") + refused.text)

    def bye(self) -> None:
        """See `Front.bye`."""
        self.say(b"421 4.7.0 Too many commands or failures before the login")

    @property
    def _name(self) -> bytes:
        return self.core.settings[CoreConfig].hostname.encode()

    def _greeted(self, verb: bytes, argument: bytes) -> None:
        if not _HELLO.fullmatch(argument):
            self.say(b"501 5.5.4 EHLO needs a name")
            return
        self.hello = argument
        if verb == b"HELO":
            self.say(b"250 " + self._name)
            return
        lines = [self._name, b"PIPELINING", b"SIZE %d" % self.config.max_size, b"8BITMIME", b"SMTPUTF8", b"CHUNKING"]
        lines += [b"ENHANCEDSTATUSCODES", b"DSN"]
        if self.connection.tls is None:
            lines.append(b"STARTTLS")
        if self.private:
            lines.append(b"AUTH " + " ".join(self.config.mechanisms).encode())
        for line in lines[:-1]:
            self.say(b"250-" + line)
        self.say(b"250 " + lines[-1])

    async def _start_tls(self) -> None:
        if self.connection.tls is not None:
            self.say(b"503 5.5.1 TLS is active already")
            return
        self.machine.start_tls()
        self.say(b"220 2.0.0 Begin TLS")
        await self.connection.start_tls(self.core.certificates.server_context())
        self.hello = b""

    def _auth(self, argument: bytes) -> Attempt | None:
        mechanism, _, initial = argument.partition(b" ")
        name = mechanism.decode("ascii", "replace").upper()
        if not self.private:
            self.say(b"538 5.7.11 Encryption is required for a login")
        elif not self.hello:
            self.say(b"503 5.5.1 Say EHLO first")
        elif name not in self.config.mechanisms:
            self.say(b"504 5.5.4 This mechanism is not offered")
        else:
            return Attempt(name, decode_line(initial, initial=True) if initial else None)
        return None


class SubmissionBack(Wire):
    """See `dialogue.Back`."""

    def __init__(self, wire: Wire, hello: bytes) -> None:
        super().__init__(wire.core, wire.connection)
        self._hello = hello

    async def begin(self, mechanism: str) -> Step:
        """See `Back.begin`."""
        code, text = await self._reply()
        if code == 220:
            self.say(b"EHLO " + self._hello)
            code, text = await self._reply()
        if code not in (220, 250):
            return Refused(text, temporary=True)
        self.say(b"AUTH " + mechanism.encode())
        return await self._step()

    async def respond(self, response: bytes | None) -> Step:
        """See `Back.respond`."""
        self.say(sasl_line(response))
        return await self._step()

    async def _step(self) -> Step:
        code, text = await self._reply()
        if code == 334:
            return challenge_of(text)
        if code == 235:
            return Accepted(text)
        return Refused(re.sub(rb"^\d\.\d{1,3}\.\d{1,3} ", b"", text), temporary=code < 500)

    async def _reply(self) -> tuple[int, bytes]:
        """One reply: its code and the text of its last line."""
        for _ in range(MAX_REPLY_LINES):
            found = _REPLY.fullmatch(await self.line())
            if found is None:
                raise ProtocolError("a reply that is none")
            if found["more"] != b"-":
                return int(found["code"]), found["text"]
        raise ProtocolError("a reply without end")
