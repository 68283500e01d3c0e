"""Servers that mean harm or make no sense: each costs a bounded time and memory, and mail waits or goes elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.smtpclient import Hop, HopError, SmtpClient, Timeouts, TlsPolicy, reach
from tests.appliance.smtpclient.fake_server import FULL, Authority, FakeServer, plain_contexts, running

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

AUTHORITY = Authority()
PATIENT = Timeouts(*(60.0,) * 11)
QUICK = Timeouts(*(0.5,) * 11)  # where the outcome is the same however long it takes
MESSAGE = Message.parse(b"Subject: hello\r\n\r\nbody\r\n")
EHLO = b"250-evil.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
MIB = 1 << 20


@contextlib.asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[int]:
    """A server whose connections are one script each; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=MIB)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(
    port: int, tls: TlsPolicy = "off", contexts: object = plain_contexts, timeouts: Timeouts = PATIENT
) -> SmtpClient:
    hop = Hop(host="evil.example", port=port, own_name="me.example", tls=tls, timeouts=timeouts)
    clients = reach(hop, ["127.0.0.1"], contexts)  # type: ignore[arg-type]
    try:
        return await anext(clients)
    finally:
        await clients.aclose()


async def refused(
    talk: Talk, tls: TlsPolicy = "off", contexts: object = plain_contexts, timeouts: Timeouts = PATIENT
) -> str:
    """What becomes of a connection to such a server: always a temporary failure of the host."""
    async with serving(talk) as port:
        with pytest.raises(HopError) as caught:
            (await connect(port, tls, contexts, timeouts)).abort()
    assert caught.value.reply.temporary
    return str(caught.value.reply)


def says(*pieces: bytes, wait: bool = True) -> Talk:
    """Say all pieces at once without being asked, then listen."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if wait:
            await reader.read(-1)

    return talk


def endless(piece: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(piece)
            await writer.drain()

    return talk


@pytest.mark.parametrize(
    "greeting",
    [
        b"\r\n",
        b"220\r\n220\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"* OK IMAP4rev1 ready\r\n",
        b"+OK POP3 ready\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",  # TLS where none was asked for
        b"\xff\xfb\x01 220 hello\r\n",
        b"220 hello\n",
        b"220 hel\rlo\r\n",
        b"220-hello\r\n554 no\r\n",
        b"999 hello\r\n",
        b"022 hello\r\n",
        b"220\x00hello\r\n",
        b"354 go on\r\n",
        b"250 ok\r\n",
    ],
)
async def test_bad_greetings(greeting: bytes) -> None:
    assert (await refused(says(greeting), timeouts=QUICK))[:3] in ("451", "450", "454")


async def test_a_server_that_greets_twice_has_answered_what_was_not_asked() -> None:
    assert "not asked for" in await refused(says(b"220 hello\r\n250 ok\r\n"))


@pytest.mark.parametrize("piece", [b"220-more\r\n" * 100, b"2" * 65536, b"\r\n" * 1000, b"220-" + b"x" * 500 + b"\r\n"])
async def test_an_endless_reply_is_cut_short(piece: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = await asyncio.wait_for(refused(endless(piece)), 60)
    assert words.startswith("451 4.5.0")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize("verb", [b"EHLO", b"MAIL", b"DATA"])
async def test_a_reply_line_of_ten_megabytes_is_cut_short(verb: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            if line.startswith(verb):
                writer.write(b"250-" + b"x" * (10 * MIB) + b"\r\n250 ok\r\n")
                await writer.drain()
            else:
                writer.write(b"250 ok\r\n" if b"EHLO" in line else b"354 go\r\n" if b"DATA" in line else b"250 ok\r\n")

    words = await sent(talk)
    assert "reply line too long" in words


async def sent(talk: Talk) -> str:
    """What becomes of one message: the failure of the host, or the outcome."""
    async with serving(talk) as port:
        try:
            client = await connect(port)
            [outcome] = await client.send(
                Envelope(Address("ana", "me.example")), [Recipient(Address("a", "b.example"))], MESSAGE
            )
        except HopError as error:
            return str(error.reply)
        client.abort()
        return f"{outcome.status}: {outcome.reply}"


async def test_a_reply_in_single_octets_is_as_good_as_any() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def trickle(data: bytes) -> None:
            for octet in data:
                writer.write(bytes((octet,)))
                await writer.drain()
                await asyncio.sleep(0)

        await trickle(b"220-hello\r\n220 there\r\n")
        text = False
        while line := await reader.readline():
            if text:
                text = line != b".\r\n"
                if not text:
                    await trickle(b"250-2.0.0 it\r\n250 2.0.0 is stored\r\n")
                continue
            text = line == b"DATA\r\n"
            await trickle(
                b"354 go\r\n" if text else b"250-evil.example\r\n250 ok\r\n" if b"EHLO" in line else b"250 ok\r\n"
            )

    assert await sent(talk) == "delivered: 250 2.0.0 it\nis stored"


async def test_a_reply_that_trickles_for_ever_has_its_time() -> None:
    """The clock runs for the whole reply: a line every now and then does not wind it up again."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.05)
            if writer.is_closing():
                return

    words = await asyncio.wait_for(refused(talk, timeouts=QUICK), 60)
    assert words.startswith("451 4.")


@pytest.mark.parametrize("tls", ["opportunistic", "required", "verified"])
@pytest.mark.parametrize(
    "injected", [b"250 ok\r\n", b"250-evil.example\r\n250 AUTH PLAIN\r\n", b"\r\n", b"2", b"535 5.7.8 no\r\n"]
)
async def test_replies_before_tls_are_not_taken_into_it(tls: TlsPolicy, injected: bytes) -> None:
    """STARTTLS injection, seen from the client: what came in clear must not answer commands sent inside TLS."""
    server = FakeServer((*FULL, "STARTTLS"), tls=AUTHORITY.server("evil.example"), inject_before_tls=injected)
    async with running(server):
        with pytest.raises(HopError) as caught:
            await connect(server.port, tls, AUTHORITY.client)
    assert caught.value.reply.temporary
    assert server.verbs == [["EHLO", "STARTTLS"]]
    assert server.messages == []


async def test_replies_before_commands_deliver_nothing() -> None:
    """All answers at once, before anything was asked: a message must not count as delivered by them."""
    answers = b"220 hello\r\n" + EHLO + b"250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 stored\r\n"
    assert "not asked for" in await refused(says(answers))


async def test_a_verdict_before_the_text_is_no_verdict() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go\r\n250 2.0.0 stored\r\n")  # before it can have anything
                continue
            writer.write(b"250 ok\r\n")

    assert (await sent(talk)).startswith(("451 4.5.0", "deferred"))


@pytest.mark.parametrize("last", ["220 hello", "EHLO", "MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("end", [b"", b"421 4.3.2 bye\r\n", b"25", b"250-no end\r\n", b"junk\r\n"])
async def test_a_line_that_breaks_anywhere_delivers_nothing(last: str, end: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = "220 hello"
        while True:
            if said.startswith(last):
                writer.write(end)
                return
            if said in ("220 hello", "DATA"):
                writer.write(b"220 hello\r\n" if said != "DATA" else b"354 go\r\n")
            elif said.split(" ")[0] in ("EHLO", "MAIL", "RCPT", "."):
                writer.write(b"250 ok\r\n")
            said = (await reader.readuntil(b"\r\n")).decode().rstrip("\r\n")

    words = await sent(talk)
    assert words.startswith(("4", "deferred: 4")), words


async def test_tls_that_never_finishes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.connection.HANDSHAKE_S", 0.3)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            writer.write(b"220 go\r\n" if line.startswith(b"STARTTLS") else EHLO)
            if line.startswith(b"STARTTLS"):
                await reader.read(-1)

    for tls in ("required", "verified"):
        assert "no handshake within" in await refused(talk, tls, AUTHORITY.client)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "junk",
    [b"\x00" * 100, b"250 ok\r\n" * 10, b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x03\xff\xff" + bytes(70_000)],
)
async def test_tls_that_is_none_ends(junk: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            if line.startswith(b"STARTTLS"):
                writer.write(b"220 go\r\n")
                await writer.drain()
                await reader.read(1)  # of the client's first handshake message
                writer.write(junk)
                await writer.drain()
                await reader.read(-1)
            else:
                writer.write(EHLO)

    assert (await refused(talk, "required", AUTHORITY.client)).startswith("451 4.7.5")


@pytest.mark.parametrize(
    "offer",
    [
        b"250-" + b"X" * 400 + b"\r\n",
        b"250-\xff\xfe\r\n",
        b"250-SIZE 99999999999999999999\r\n",
        b"250-SIZE -1\r\n",
        b"250-AUTH " + b"A " * 200 + b"\r\n",
    ],
)
async def test_strange_extensions_do_no_harm(offer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        text = False
        while line := await reader.readline():
            if text:
                text = line != b".\r\n"
                if not text:
                    writer.write(b"250 stored\r\n")
                continue
            text = line == b"DATA\r\n"
            writer.write(
                b"250-evil\r\n" + offer + b"250 OK\r\n" if b"EHLO" in line else b"354 go\r\n" if text else b"250 ok\r\n"
            )

    assert (await sent(talk)).startswith(("delivered", "451 4.5.0"))
