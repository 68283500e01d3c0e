"""POP3 until the login (RFC 1939, RFC 2449, RFC 5034), on either side."""

from __future__ import annotations

from appliance.wire.sasl.lines import decode_line, encode_line
from plugins.proxy.dialogue import Accepted, Attempt, Refused, Step, Wire, challenge_of, sasl_line
from plugins.proxy.protocol_login import plain


class Pop3Front(Wire):
    """See `dialogue.Front`."""

    def greet(self) -> None:
        """See `Front.greet`."""
        self.say(b"+OK Palomar is ready")

    async def attempt(self) -> Attempt | None:
        """See `Front.attempt`."""
        user: bytes | None = None
        for _ in range(self.config.max_commands):
            verb, _, argument = (await self.line()).partition(b" ")
            verb = verb.upper()
            if verb == b"QUIT":
                self.say(b"+OK Goodbye")
                return None
            if verb == b"STLS":
                await self._start_tls()
                user = None
            elif verb in (b"USER", b"AUTH") and not self.private:
                self.say(b"-ERR Encryption is required for a login: use STLS")
            elif verb == b"USER" and argument:
                user = argument
                self.say(b"+OK And the password?")
            elif verb == b"PASS" and user is not None:
                return Attempt("PLAIN", plain(*(one.decode("utf-8", "replace") for one in (user, argument))))
            elif verb == b"AUTH" and argument and (attempt := self._auth(argument)):
                return attempt
            elif verb == b"CAPA" or (verb == b"AUTH" and not argument):
                self._list(verb)
            elif verb != b"AUTH":
                self.say(b"-ERR Log in first")
        self.bye()
        return None

    async def response(self, challenge: bytes) -> bytes:
        """See `Front.response`."""
        self.say(b"+ " + encode_line(challenge))
        return decode_line(await self.line())

    def accept(self, accepted: Accepted) -> None:
        """See `Front.accept`."""
        self.say(b"+OK " + accepted.text)

    def refuse(self, refused: Refused) -> None:
        """See `Front.refuse`."""
        code = b"" if refused.text.startswith(b"[") else b"[SYS/TEMP] " if refused.temporary else b"[AUTH] "
        self.say(b"-ERR " + code + refused.text)

    def bye(self) -> None:
        """See `Front.bye`."""
        self.say(b"-ERR Too many commands or failures before the login")

    async def _start_tls(self) -> None:
        if self.connection.tls is not None:
            self.say(b"-ERR TLS is up already")
            return
        self.machine.start_tls()
        self.say(b"+OK Begin TLS")
        await self.connection.start_tls(self.core.certificates.server_context())

    def _auth(self, argument: bytes) -> Attempt | None:
        mechanism, _, initial = argument.partition(b" ")
        name = mechanism.decode("ascii", "replace").upper()
        if name not in self.config.mechanisms:
            self.say(b"-ERR This mechanism is not offered")
            return None
        return Attempt(name, decode_line(initial, initial=True) if initial else None)

    def _list(self, verb: bytes) -> None:
        mechanisms = [name.encode() for name in self.config.mechanisms] if self.private else []
        if verb == b"AUTH":
            lines = mechanisms
        else:
            lines = [b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING"]
            if mechanisms:
                lines += [b"USER", b"SASL " + b" ".join(mechanisms)]
            if self.connection.tls is None:
                lines.append(b"STLS")
        for line in (b"+OK", *lines, b"."):
            self.say(line)


class Pop3Back(Wire):
    """See `dialogue.Back`."""

    async def begin(self, mechanism: str) -> Step:
        """See `Back.begin`."""
        if not (await self.line()).startswith(b"+OK"):
            return Refused(b"The server does not serve now", temporary=True)
        self.say(b"AUTH " + mechanism.encode())
        return await self._step()

    async def respond(self, response: bytes | None) -> Step:
        """See `Back.respond`."""
        self.say(sasl_line(response))
        return await self._step()

    async def _step(self) -> Step:
        line = await self.line()
        if line.startswith(b"+OK"):
            return Accepted(line[4:])
        if line.startswith(b"+"):
            return challenge_of(line[1:])
        text = line.removeprefix(b"-ERR").strip()
        # RFC 3206: [IN-USE] and [SYS/TEMP] are no word on the password.
        return Refused(text or b"Refused", temporary=text.startswith((b"[SYS/TEMP]", b"[IN-USE]", b"[LOGIN-DELAY]")))
