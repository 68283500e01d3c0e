"""Logins that are carried to a server, what it is told of the client, and octets both ways."""

from __future__ import annotations

import asyncio
from binascii import a2b_base64, b2a_base64
from pathlib import Path
from typing import Any

import pytest

from appliance.wire.sasl.scram import SHA256
from appliance.wire.sasl.scram_client import ScramClient
from tests.appliance.certificates import client_context
from tests.plugins.proxy.inner import ANA, PASSWORD, FakeInner, proxy, running

PATIENCE_S = 60.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

RIGHT = b2a_base64(f"\0{ANA}\0{PASSWORD}".encode(), newline=False)
WRONG = b2a_base64(f"\0{ANA}\0wrong".encode(), newline=False)
STRANGER = b2a_base64(b"\0luis@c.test\0secret", newline=False)

# What a client says to log in; the answers below are the beginnings of the last lines.
LOGINS: dict[str, list[tuple[bytes, ...]]] = {
    "imap": [
        (b"a LOGIN %b {13+}" % ANA.encode(), PASSWORD.encode()),
        (b'a login "%b" "%b"' % (ANA.encode(), PASSWORD.encode()),),
        (b"a AUTHENTICATE PLAIN " + RIGHT,),
        (b"a AUTHENTICATE PLAIN", RIGHT),
        (b"a AUTHENTICATE LOGIN", *(b2a_base64(one.encode(), newline=False) for one in (ANA, PASSWORD))),
    ],
    "pop3": [
        (b"USER " + ANA.encode(), b"PASS " + PASSWORD.encode()),
        (b"AUTH PLAIN " + RIGHT,),
        (b"AUTH PLAIN", RIGHT),
    ],
    "submission": [
        (b"EHLO me.test", b"AUTH PLAIN " + RIGHT),
        (b"EHLO me.test", b"AUTH PLAIN", RIGHT),
    ],
}  # fmt: skip
IN = {"imap": b"a OK [CAPABILITY IMAP4rev1] in", "pop3": b"+OK in", "submission": b"235 2.7.0 in"}
OUT = {"imap": b"a NO [AUTHENTICATIONFAILED]", "pop3": b"-ERR [AUTH]", "submission": b"535 5.7.8 "}
LATER = {"imap": b"a NO [UNAVAILABLE]", "pop3": b"-ERR [SYS/TEMP]", "submission": b"454 4.7.0 "}
ONE = {"imap": b"a AUTHENTICATE PLAIN ", "pop3": b"AUTH PLAIN ", "submission": b"AUTH PLAIN "}


async def answered(streams: Streams, beginning: bytes) -> bytes:
    """Read lines until one begins so."""
    async with asyncio.timeout(PATIENCE_S):
        while line := await streams[0].readline():
            if line.startswith(beginning):
                return line
    raise AssertionError(f"closed before {beginning!r}")


async def greeted(streams: Streams, kind: str) -> None:
    await streams[0].readline()
    if kind == "submission":
        streams[1].write(b"EHLO me.test\r\n")
        await answered(streams, b"250 ")


@pytest.mark.parametrize(("kind", "lines"), [(kind, lines) for kind, logins in LOGINS.items() for lines in logins])
async def test_a_login_is_carried_to_the_server(tmp_path: Path, kind: str, lines: tuple[bytes, ...]) -> None:
    async with running(FakeInner(kind)) as inner, proxy(tmp_path, inner) as outer:
        reader, writer = await outer.dial()
        writer.writelines(line + b"\r\n" for line in lines)
        writer.write(b"first\r\n")  # pipelined behind the login: it goes on too
        await answered((reader, writer), IN[kind])
        writer.write(b"second\r\n")
        assert [await reader.readline() for _ in range(2)] == [b"echo first\r\n", b"echo second\r\n"]
        (client,) = inner.clients
        assert client is not None
        assert (client.peer_ip, client.peer_port, client.tls) == (*writer.get_extra_info("sockname"), False)
        if kind == "submission":
            assert inner.heard[0] == b"EHLO me.test\r\n"


@pytest.mark.parametrize("kind", LOGINS)
async def test_scram_goes_through_and_the_password_does_not(tmp_path: Path, kind: str) -> None:
    async with running(FakeInner(kind)) as inner, proxy(tmp_path, inner) as outer:
        streams = await outer.dial()
        await greeted(streams, kind)
        exchange = ScramClient(SHA256, ANA, PASSWORD, b"client-nonce")
        mechanism = ONE[kind].replace(b"PLAIN", b"SCRAM-SHA-256")
        streams[1].write(mechanism + b2a_base64(exchange.step(None) or b"", newline=False) + b"\r\n")
        while not exchange.done:
            line = await streams[0].readline()
            prefix = b"334 " if kind == "submission" else b"+ "
            assert line.startswith(prefix), line
            answer = exchange.step(a2b_base64(line.removeprefix(prefix)))
            streams[1].write(b2a_base64(answer or b"", newline=False) + b"\r\n")
        await answered(streams, IN[kind])
        assert b"SCRAM-SHA-256" in inner.heard


@pytest.mark.parametrize("kind", LOGINS)
async def test_wrong_passwords_and_strangers_hear_the_same(tmp_path: Path, kind: str) -> None:
    async with running(FakeInner(kind)) as inner, proxy(tmp_path, inner) as outer:
        for message in (WRONG, STRANGER, b2a_base64(b"\0ana@sub.b.test\0x", newline=False)):
            streams = await outer.dial()
            await greeted(streams, kind)
            streams[1].write(ONE[kind] + message + b"\r\n")
            await answered(streams, OUT[kind])
            streams[1].close()
        assert len(inner.clients) == 1


async def test_guessing_is_held_back_here(tmp_path: Path) -> None:
    async with running(FakeInner("imap")) as inner, proxy(tmp_path, inner) as outer:
        expected = [OUT["imap"], OUT["imap"], LATER["imap"]]
        for number, beginning in enumerate(expected):
            streams = await outer.dial()
            guess = b2a_base64(f"\0{ANA}\0guess {number}".encode(), newline=False)
            streams[1].write(ONE["imap"] + guess + b"\r\n")
            await answered(streams, beginning)
            streams[1].close()
        assert len(inner.clients) == 2  # the third did not get so far


@pytest.mark.parametrize("kind", LOGINS)
@pytest.mark.parametrize("fault", ["away", "busy", "impostor", "nonsense"])
async def test_a_server_that_cannot_be_used(tmp_path: Path, kind: str, fault: str) -> None:
    greeting = {
        "busy": {"imap": b"* BYE busy", "pop3": b"-ERR busy", "submission": b"421 busy"}[kind],
        "nonsense": b"\0",
    }
    terms: dict[str, Any] = {"fingerprints": ("ab" * 32,)} if fault == "impostor" else {}
    async with running(FakeInner(kind, greeting=greeting.get(fault, b""))) as inner:
        port = {f"{kind}_port": 1} if fault == "away" else {}
        async with proxy(tmp_path, inner, **terms, **port) as outer:
            streams = await outer.dial()
            await greeted(streams, kind)
            streams[1].write(ONE[kind] + RIGHT + b"\r\n")
            await answered(streams, LATER[kind])
        assert inner.heard in ([], [b"EHLO me.test\r\n"])  # no password has reached it


async def test_without_the_header_nobody_is_told_of(tmp_path: Path) -> None:
    async with running(FakeInner("pop3", headers=False)) as inner, proxy(tmp_path, inner, send_proxy=False) as outer:
        streams = await outer.dial()
        streams[1].write(b"AUTH PLAIN " + RIGHT + b"\r\n")
        await answered(streams, b"+OK in")


STARTTLS = {"imap": (b"t STARTTLS", b"t OK"), "pop3": (b"STLS", b"+OK Begin"), "submission": (b"STARTTLS", b"220 ")}


@pytest.mark.parametrize("kind", LOGINS)
async def test_starttls(tmp_path: Path, kind: str) -> None:
    async with running(FakeInner(kind)) as inner, proxy(tmp_path, inner) as outer:
        reader, writer = await outer.dial()
        command, beginning = STARTTLS[kind]
        await greeted((reader, writer), kind)
        writer.write(command + b"\r\n")
        await answered((reader, writer), beginning)
        await writer.start_tls(client_context(), server_hostname="outer.test")
        if kind == "submission":
            writer.write(b"EHLO me.test\r\n")
        writer.write(ONE[kind] + RIGHT + b"\r\n")
        await answered((reader, writer), IN[kind])
        assert [client.tls for client in inner.clients if client is not None] == [True]


@pytest.mark.parametrize("kind", LOGINS)
async def test_what_is_said_behind_starttls_ends_it(tmp_path: Path, kind: str) -> None:
    async with running(FakeInner(kind)) as inner, proxy(tmp_path, inner) as outer:
        reader, writer = await outer.dial()
        writer.write(STARTTLS[kind][0] + b"\r\n" + ONE[kind] + RIGHT + b"\r\n")
        async with asyncio.timeout(PATIENCE_S):
            said = await reader.read()
        assert STARTTLS[kind][1] not in said.partition(b"\r\n")[2]
        assert inner.clients == []


IDLE = {
    "imap": [(b"a CAPABILITY", b"* CAPABILITY IMAP4rev1"), (b"a NOOP", b"a OK"), (b"a SELECT x", b"a BAD"),
             (b'a ID ("x" {1+}', b""), (b"y)", b"* ID"), (b"what", b"* BAD"), (b"a LOGIN x", b"a BAD"),
             (b"a AUTHENTICATE CRAM-MD5", b"a NO [CANNOT]"), (b"a LOGOUT", b"* BYE")],
    "pop3": [(b"CAPA", b"SASL SCRAM-SHA-256 PLAIN LOGIN"), (b"AUTH", b"PLAIN"), (b"STAT", b"-ERR"),
             (b"PASS x", b"-ERR"), (b"AUTH CRAM-MD5", b"-ERR"), (b"QUIT", b"+OK Goodbye")],
    "submission": [(b"AUTH PLAIN", b"503"), (b"EHLO a b", b"501"), (b"EHLO me", b"250 AUTH SCRAM-SHA-256"),
                   (b"MAIL FROM:<>", b"530"), (b"NOOP", b"250"), (b"AUTH CRAM-MD5", b"504"), (b"QUIT", b"221")],
}  # fmt: skip


@pytest.mark.parametrize("kind", LOGINS)
async def test_what_may_be_said_before_the_login(tmp_path: Path, kind: str) -> None:
    async with running(FakeInner(kind)) as inner, proxy(tmp_path, inner) as outer:
        streams = await outer.dial()
        for command, beginning in IDLE[kind]:
            streams[1].write(command + b"\r\n")
            if beginning:
                await answered(streams, beginning)
        async with asyncio.timeout(PATIENCE_S):
            await streams[0].read()  # it hangs up
        assert inner.clients == []


async def test_nobody_talks_for_ever(tmp_path: Path) -> None:
    limits = {"max_commands": 3, "login_timeout": 1.0}
    async with running(FakeInner("pop3")) as inner, proxy(tmp_path, inner, limits=limits) as outer:
        for said in (b"NOOP\r\n" * 5, b""):
            reader, writer = await outer.dial()
            writer.write(said)
            async with asyncio.timeout(PATIENCE_S):
                assert (await reader.read()).endswith(b"-ERR Too many commands or failures before the login\r\n")


async def test_a_side_that_does_not_read_is_not_read_from(tmp_path: Path) -> None:
    async with running(FakeInner("pop3")) as inner, proxy(tmp_path, inner) as outer:
        reader, writer = await outer.dial()
        writer.write(b"AUTH PLAIN " + RIGHT + b"\r\n")
        await answered((reader, writer), b"+OK in")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        line = b"x" * 8190 + b"\r\n"
        sent = 0
        while writer.transport.get_write_buffer_size() < 1 << 20:  # type: ignore[attr-defined]
            writer.write(line)
            sent += 1
            await asyncio.sleep(0)
            assert sent < 10_000, "80 MB went somewhere"
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(sent):
                assert len(await reader.readline()) == len(line) + 5
        assert len(inner.heard) == sent + 1


async def test_the_servers_last_words_reach_a_client_that_says_no_more(tmp_path: Path) -> None:
    async with running(FakeInner("pop3")) as inner, proxy(tmp_path, inner) as outer:
        reader, writer = await outer.dial()
        writer.write(b"AUTH PLAIN " + RIGHT + b"\r\nlast\r\nBYE\r\n")
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.read()).endswith(b"echo last\r\necho BYE\r\n")
        assert not inner.open_now


async def test_a_client_that_goes_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(FakeInner("imap")) as inner, proxy(tmp_path, inner) as outer:
        reader, writer = await outer.dial()
        writer.write(ONE["imap"] + RIGHT + b"\r\n")
        await answered((reader, writer), IN["imap"])
        writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while inner.open_now or outer.listener.connections:
                await asyncio.sleep(0.01)


async def test_a_shutdown_ends_sessions_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(FakeInner("imap")) as inner:
        async with proxy(tmp_path, inner) as outer:
            streams = await outer.dial()
            streams[1].write(ONE["imap"] + RIGHT + b"\r\n")
            await answered(streams, IN["imap"])
        assert "cut off" not in caplog.text  # it did not wait until the grace was over
        assert await streams[0].read() == b""
