"""A small SMTP and LMTP server for tests: it does what it is told, records what it hears, and can misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import trustme

from appliance.errors import ApplianceError
from appliance.wire.sasl.prepare import saslprep
from appliance.wire.sasl.scram import SHA256, ScramVerifier
from appliance.wire.sasl.scram_client import ScramClient
from appliance.wire.smtp import unstuff

FULL = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
DROP = "DROP"  # as a reply: close at once
SILENCE = "SILENCE"  # as a reply: say nothing

Script = Callable[[str, str], str | None]


def always(**replies: str) -> Script:
    """A script that gives these verbs these replies."""

    def script(verb: str, argument: str) -> str | None:
        return replies.get(verb)

    return script


USUAL = always()


@dataclass
class Stored:
    """One message that the server took."""

    mail: str
    recipients: list[str]
    data: bytes
    tls: bool


@dataclass
class FakeServer:
    """`script(verb, argument)` gives a reply instead of the usual one, or None. Verbs: CONNECT, EHLO, …, TEXT."""

    extensions: Sequence[str] = FULL
    script: Script = USUAL
    lmtp: bool = False
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    inject_before_tls: bytes = b""
    port: int = 0
    sessions: list[list[str]] = field(default_factory=list)
    messages: list[Stored] = field(default_factory=list)
    open_now: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_now += 1
        try:
            await _Session(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, _DroppedError, ssl.SSLError):
            pass  # the other side, or the script, has had enough
        finally:
            self.open_now -= 1
            writer.close()

    @property
    def commands(self) -> list[str]:
        """Everything heard, over all sessions."""
        return [line for session in self.sessions for line in session]

    @property
    def verbs(self) -> list[list[str]]:
        return [[line.split(" ")[0] for line in session] for session in self.sessions]


class _DroppedError(Exception):
    pass


class _Session:
    def __init__(self, server: FakeServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.heard: list[str] = []
        server.sessions.append(self.heard)
        self.mail, self.recipients, self.chunks = "", [], b""
        self.tls = server.implicit_tls

    async def run(self) -> None:
        await self.say(self.server.script("CONNECT", "") or "220 fake.example ESMTP")
        while True:
            line = (await self.reader.readline()).decode()
            if not line:
                return
            assert line.endswith("\r\n"), line
            self.heard.append(line[:-2])
            verb, _, argument = line[:-2].partition(" ")
            verb = verb.upper()
            scripted = self.server.script(verb, argument)
            if verb == "BDAT":
                await self.bdat(argument, scripted)
            elif scripted is not None:
                await self.say(scripted)
            else:
                await getattr(self, f"do_{verb.lower()}")(argument)
            if verb == "QUIT":
                return

    async def say(self, reply: str) -> None:
        if reply == DROP:
            raise _DroppedError
        if reply != SILENCE:
            self.writer.write(reply.encode() + b"\r\n")
            await self.writer.drain()

    async def do_ehlo(self, argument: str) -> None:
        names = [name for name in self.server.extensions if not (self.tls and name == "STARTTLS")]
        lines = ["fake.example", *names]
        await self.say("\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]))

    do_lhlo = do_ehlo

    async def do_helo(self, argument: str) -> None:
        await self.say("250 fake.example")

    async def do_starttls(self, argument: str) -> None:
        self.writer.write(b"220 go\r\n" + self.server.inject_before_tls)
        await self.writer.start_tls(self.server.tls)
        self.tls = True

    async def do_mail(self, argument: str) -> None:
        self.mail, self.recipients, self.chunks = argument, [], b""
        await self.say("250 2.1.0 ok")

    async def do_rcpt(self, argument: str) -> None:
        self.recipients.append(argument)
        await self.say("250 2.1.5 ok")

    async def do_rset(self, argument: str) -> None:
        self.mail, self.recipients = "", []
        await self.say("250 2.0.0 ok")

    async def do_quit(self, argument: str) -> None:
        await self.say("221 2.0.0 bye")

    async def do_data(self, argument: str) -> None:
        if not self.recipients:
            await self.say("503 5.5.1 no recipients")
            return
        await self.say("354 go")
        data = b""
        while True:
            line = await self.reader.readline()
            if not line:
                raise _DroppedError
            assert line.endswith(b"\r\n"), line
            if line == b".\r\n":
                break
            data += line
        await self.store(unstuff(data))

    async def bdat(self, argument: str, scripted: str | None) -> None:
        size, last = int(argument.split(" ")[0]), argument.endswith("LAST")
        self.chunks += await self.reader.readexactly(size)
        if scripted is not None:
            await self.say(scripted)
        elif not self.recipients:
            await self.say("503 5.5.1 no recipients")
        elif last:
            await self.store(self.chunks)
        else:
            await self.say("250 ok")

    async def store(self, data: bytes) -> None:
        verdicts = [
            self.server.script("TEXT", recipient) or "250 2.0.0 stored"
            for recipient in (self.recipients if self.server.lmtp else [""])
        ]
        if any(verdict.startswith("2") for verdict in verdicts):
            self.server.messages.append(Stored(self.mail, self.recipients, data, self.tls))
        for verdict in verdicts:
            await self.say(verdict)
        self.mail, self.recipients, self.chunks = "", [], b""

    async def do_auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism == "PLAIN":
            good = base64.b64decode(initial) == b"\0ana\0secret"
        elif mechanism == "LOGIN":
            good = (await self.ask("VXNlcm5hbWU6"), await self.ask("UGFzc3dvcmQ6")) == (b"ana", b"secret")
        else:
            good = await self.scram(base64.b64decode(initial))
        await self.say("235 2.7.0 welcome" if good else "535 5.7.8 no")

    async def ask(self, challenge: str) -> bytes:
        await self.say(f"334 {challenge}")
        line = (await self.reader.readline()).rstrip(b"\r\n")
        self.heard.append("…")
        return base64.b64decode(line)

    async def scram(self, first: bytes) -> bool:
        """The server's half of RFC 5802, written out once more so that both halves are not one mistake."""
        bare = first.split(b",", 2)[2]
        header = first[: -len(bare)]
        verifier = ScramVerifier.make(SHA256, saslprep("secret"), b"salt", 4096)
        nonce = bare.split(b"r=")[1] + b"more"
        challenge = b"r=%b,s=%b,i=4096" % (nonce, base64.b64encode(b"salt"))
        final = await self.ask(base64.b64encode(challenge).decode())
        unproven, _, proof = final.rpartition(b",p=")
        assert base64.b64decode(unproven.split(b",")[0][2:]).startswith(header)
        message = b",".join([bare, challenge, unproven])
        signature = SHA256.mac(verifier.stored_key, message)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if SHA256.digest(key) != verifier.stored_key:
            return False
        proof_of_server = SHA256.mac(verifier.server_key, message)
        if self.server.script("PROOF", "") == "wrong":
            proof_of_server = bytes(32)
        await self.ask(base64.b64encode(b"v=" + base64.b64encode(proof_of_server)).decode())
        return True


@contextlib.asynccontextmanager
async def running(server: FakeServer, host: str = "127.0.0.1") -> AsyncIterator[FakeServer]:
    """Listen on the server's port, or on a free one."""
    tls = server.tls if server.implicit_tls else None
    listener = await asyncio.start_server(server.serve, host, server.port, ssl=tls, limit=1 << 20)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


class Authority:
    """A certificate authority, servers that it vouches for, and clients that trust it."""

    def __init__(self) -> None:
        self.ca = trustme.CA()

    def server(self, name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(name).configure_cert(context)
        return context

    def client(self, verify: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if verify:
            self.ca.configure_trust(context)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def plain_contexts(verify: bool) -> ssl.SSLContext:
    """For hops that never come to TLS."""
    raise ApplianceError("no TLS was expected here")


__all__ = [
    "DROP",
    "FULL",
    "SILENCE",
    "Authority",
    "FakeServer",
    "ScramClient",
    "Stored",
    "always",
    "plain_contexts",
    "running",
]
