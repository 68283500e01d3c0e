from __future__ import annotations

import asyncio
import contextlib
import errno
import imaplib
import logging
import os
import smtplib
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from appliance import connection as connection_module
from appliance import listener as module
from appliance import proxies
from appliance.config import Bind
from appliance.connection import WAKE, ConnectError, Connection, ConnectionLostError, connect
from appliance.errors import ConfigError
from appliance.listener import Limits, Listener, close_spare, inherited_sockets, peer_key
from appliance.proxies import TrustedProxies
from appliance.tlslink import TlsError
from tests.appliance.certificates import client_context, server_context
from tests.appliance.fake_wire import LineMachine
from tests.ports import free_port

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's coroutine on each of the two loops, for 20 s at most."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def go(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(coroutine, 60))

    return go


class OneContext:
    """Certificates with a single one."""

    def server_context(self) -> ssl.SSLContext:
        return server_context()


async def echo(connection: Connection) -> None:
    """Answer as an SMTP and IMAP server would just far enough for their clients."""
    connection.write(b"220 echo ready\r\n")
    while True:
        event = await connection.next_event(10)
        if event is WAKE:
            if connection.stopping:
                connection.write(b"421 bye\r\n")
                return
            continue
        tag, _, _ = event.partition(b" ")
        tag = tag.upper()
        if tag == b"EHLO":
            tls = b"" if connection.tls else b"250-STARTTLS\r\n"
            connection.write(b"250-echo\r\n" + tls + b"250 SIZE\r\n")
        elif tag == b"STARTTLS":
            connection.write(b"220 go ahead\r\n")
            await connection.start_tls(server_context())
        elif tag == b"QUIT":
            connection.write(b"221 bye\r\n")
            return
        elif event == b"CRASH":
            raise RuntimeError("a bug in a session")
        else:
            connection.write(b"250 " + event + b"\r\n")


async def imap(connection: Connection) -> None:
    connection.write(b"* OK ready\r\n")
    while True:
        tag, verb, *_ = (await connection.next_event(10)).split()
        if verb == b"CAPABILITY":
            connection.write(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n")
        if verb == b"LOGOUT":
            connection.write(b"* BYE\r\n")
        connection.write(tag + b" OK done\r\n")
        if verb == b"STARTTLS":
            await connection.start_tls(server_context())
        if verb == b"LOGOUT":
            return


@contextlib.asynccontextmanager
async def listening(
    serve: Callable[[Connection], Awaitable[None]] = echo, **named: Any
) -> AsyncIterator[tuple[Listener, int]]:
    port = free_port()
    listener = Listener("smtp", lambda: [Bind("127.0.0.1", port)], machine=LineMachine, serve=serve, **named)
    ready = asyncio.Event()
    task = asyncio.create_task(listener.run(ready.set))
    await ready.wait()
    try:
        yield listener, port
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not listener.connections


async def client(port: int, **named: Any) -> Connection:
    return await connect("127.0.0.1", port, LineMachine(), timeout=5, **named)


def test_a_dialogue_and_an_orderly_end(run: Run) -> None:
    async def main() -> None:
        async with listening() as (listener, port):
            peer = await client(port)
            assert peer.peer_port == port
            assert await peer.next_event(5) == b"220 echo ready"
            peer.write(b"a\r\nb\r\n")
            assert [await peer.next_event(5) for _ in "ab"] == [b"250 a", b"250 b"]
            [server_side] = listener.connections
            assert server_side.peer_ip == "127.0.0.1"
            peer.write(b"QUIT\r\n")
            assert await peer.next_event(5) == b"221 bye"
            with pytest.raises(ConnectionLostError):
                await peer.next_event(5)
            await peer.close()

    run(main())


def test_stopping_says_goodbye_to_idle_sessions(run: Run) -> None:
    async def main() -> None:
        async with listening() as (listener, port):
            peers = [await client(port) for _ in range(3)]
            for peer in peers:
                await peer.next_event(5)
            listener.begin_stop()
            assert [await peer.next_event(5) for peer in peers] == [b"421 bye"] * 3
            with pytest.raises(ConnectError, match="refused"):
                await client(port)
            for peer in peers:
                await peer.close()

    run(main())


def test_a_session_that_outstays_its_grace_is_cut_off(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn(connection: Connection) -> None:
        while True:
            await connection.next_event(1000)

    async def main() -> None:
        async with listening(stubborn, limits=Limits(grace_s=0.05)) as (listener, port):
            peer = await client(port)
            while not listener.connections:
                await asyncio.sleep(0)
        with pytest.raises(ConnectionLostError):
            await peer.next_event(5)
        await peer.close()

    run(main())
    assert "1 session(s) cut off" in caplog.text


def test_one_broken_session_is_logged_and_others_go_on(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with listening() as (_, port):
            broken, sound = await client(port), await client(port)
            broken.write(b"CRASH\r\n")
            await broken.next_event(5)
            with pytest.raises(ConnectionLostError):
                await broken.next_event(5)
            sound.write(b"still there\r\n")
            await sound.next_event(5)
            assert await sound.next_event(5) == b"250 still there"
            await broken.close()
            await sound.close()

    run(main())
    assert "session of 127.0.0.1 failed" in caplog.text
    assert "a bug in a session" in caplog.text


def test_a_broken_protocol_is_answered_even_though_the_peer_still_talks(run: Run) -> None:
    async def main() -> None:
        async with listening() as (_, port):
            peer = await client(port)
            await peer.next_event(5)
            peer.write(b"BAD\r\n" + b"x" * 200_000)
            assert await peer.next_event(5) == b"500 bad"
            await peer.close()

    run(main())


def test_peers_beyond_the_limits_are_told_so(run: Run) -> None:
    async def main() -> None:
        limits = Limits(max_connections=3, max_per_peer=2)
        async with listening(limits=limits, busy_reply=b"421 busy\r\n") as (listener, port):
            kept = [await client(port) for _ in range(2)]
            for peer in kept:
                await peer.next_event(5)
            third = await client(port)
            assert await third.next_event(5) == b"421 busy"
            assert listener.refused == 1
            kept[0].write(b"QUIT\r\n")
            await kept[0].next_event(5)
            while len(listener.connections) > 1:
                await asyncio.sleep(0)
            fourth = await client(port)
            assert await fourth.next_event(5) == b"220 echo ready"
            for peer in (*kept, third, fourth):
                await peer.close()

    run(main())


def test_stress_begins_and_ends_with_the_crowd(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    woken = 0

    async def patient(connection: Connection) -> None:
        nonlocal woken
        connection.write(b"220 ready\r\n")
        while (event := await connection.next_event(10)) is WAKE:
            woken += 1
        assert event == b"QUIT"

    async def main() -> None:
        async with listening(patient, limits=Limits(stress=4)) as (listener, port):
            kept = []
            for count in range(1, 6):
                kept.append(await client(port))
                await kept[-1].next_event(5)
                assert listener.stress.on is (count >= 4)
            for left in (4, 3, 2):
                peer = kept.pop()
                peer.write(b"QUIT\r\n")
                await peer.close()
                while len(listener.connections) > left or listener.stress.on is (left < 3):
                    await asyncio.sleep(0)
            for peer in kept:
                await peer.close()

    run(main())
    assert woken >= 3  # those that were waiting when it began
    assert [line.message.partition(":")[2].split()[:2] for line in caplog.records] == [
        ["stress", "at"],
        ["stress", "is"],
    ]


def test_a_peer_is_waited_with(run: Run) -> None:
    """Silence, a word too early, a farewell, and a shutdown."""
    found: list[object] = []

    async def waiting(connection: Connection) -> None:
        while found == [True, b"a", False, b"b", "lost"] and not connection._eof:
            await asyncio.sleep(0)  # this one has gone before anybody waits with it
        try:
            found.append(await connection.quiet(0.05 if not found else 10))
        except ConnectionLostError:
            found.append("lost")
            return
        connection.write(b"220 ready\r\n")
        found.append(await connection.next_event(10))

    async def main() -> None:
        async with listening(waiting) as (listener, port):
            patient = await client(port)
            assert await patient.next_event(5) == b"220 ready"
            patient.write(b"a\r\n")
            await patient.close()
            hasty = await client(port)
            hasty.write(b"b\r\n")
            assert await hasty.next_event(5) == b"220 ready"
            await hasty.close()
            gone = await client(port)
            await gone.close()
            while len(found) < 5:
                await asyncio.sleep(0)
            gone = await client(port)
            await gone.close()
            while len(found) < 6:
                await asyncio.sleep(0)
            late = await client(port)
            while not listener.connections:
                await asyncio.sleep(0)
            listener.begin_stop()
            assert await late.next_event(5) == b"220 ready"
            await late.close()

    run(main())
    assert found == [True, b"a", False, b"b", "lost", "lost", True, WAKE]


def test_starttls_with_the_standard_clients(run: Run) -> None:
    def talk_smtp(port: int) -> str:
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
            smtp.starttls(context=client_context())
            smtp.ehlo()
            assert not smtp.has_extn("starttls")
            assert smtp.docmd("x" * 5000)[0] == 250
            return str(smtp.sock.version())  # type: ignore[union-attr]

    def talk_imap(port: int) -> str:
        with imaplib.IMAP4("127.0.0.1", port, timeout=60) as imap4:
            imap4.starttls(client_context())
            return imap4.noop()[0]

    async def main() -> None:
        async with listening() as (_, port):
            assert (await asyncio.to_thread(talk_smtp, port)).startswith("TLSv1.")
        async with listening(imap) as (_, port):
            assert await asyncio.to_thread(talk_imap, port) == "OK"

    run(main())


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client_over_implicit_and_started_tls(run: Run, version: str) -> None:
    async def s_client(port: int, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-quiet", "-crlf", version, "-connect", f"127.0.0.1:{port}", *arguments),
            stdin=-1,
            stdout=-1,
            stderr=-1,
        )
        out, _ = await process.communicate(b"NOOP\nQUIT\n")
        return out.decode()

    async def main() -> None:
        async with listening() as (_, port):
            assert "250 NOOP\r\n221 bye" in await s_client(port, "-starttls", "smtp")
        async with listening(implicit_tls=True, certificates=OneContext()) as (_, port):
            assert "220 echo ready\r\n250 NOOP\r\n221 bye" in await s_client(port)

    run(main())


def test_both_sides_are_ours(run: Run) -> None:
    async def main() -> None:
        async with listening(implicit_tls=True, certificates=OneContext()) as (listener, port):
            peer = await client(port, tls=client_context())
            assert await peer.next_event(5) == b"220 echo ready"
            [server_side] = listener.connections
            assert server_side.tls is not None
            assert peer.tls is not None
            assert server_side.tls.cipher == peer.tls.cipher
            peer.write(b"y" * 500_000 + b"\r\n")
            assert len(await peer.next_event(5)) == 500_004
            await peer.close()
        async with listening() as (_, port):
            peer = await client(port)
            assert await peer.next_event(5) == b"220 echo ready"
            peer.write(b"STARTTLS\r\n")
            assert await peer.next_event(5) == b"220 go ahead"
            await peer.start_tls(client_context(), server_hostname="localhost")
            peer.write(b"z\r\n")
            assert await peer.next_event(5) == b"250 z"
            await peer.close()

    run(main())


def test_commands_slipped_in_behind_starttls_are_refused(run: Run) -> None:
    async def main() -> None:
        async with listening() as (_, port):
            peer = await client(port)
            await peer.next_event(5)
            peer.write(b"STARTTLS\r\nRSET\r\n")
            assert await peer.next_event(5) == b"220 go ahead"
            assert await peer.next_event(5) == b"501 early"
            with pytest.raises(ConnectionLostError):
                await peer.next_event(5)
            await peer.close()

    run(main())


def test_answers_to_a_half_closed_tls_peer_still_go_out(run: Run) -> None:
    async def main() -> None:
        async with listening(implicit_tls=True, certificates=OneContext()) as (_, port):
            peer = await client(port, tls=client_context())
            await peer.next_event(5)
            peer.write(b"one\r\ntwo\r\n")
            peer._flush()
            assert peer._link is not None
            peer._link.close()
            peer._send_cipher(peer._link)
            assert [await peer.next_event(5) for _ in range(2)] == [b"250 one", b"250 two"]
            await peer.close()

    run(main())


def test_garbage_instead_of_a_handshake_ends_that_connection_only(run: Run) -> None:
    async def main() -> None:
        async with listening(implicit_tls=True, certificates=OneContext()) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"EHLO plain.example\r\n" * 10)
            assert await reader.read(100) == b""
            writer.close()
            peer = await client(port, tls=client_context())
            assert await peer.next_event(5) == b"220 echo ready"
            await peer.close()

    run(main())


def test_a_handshake_that_never_comes_has_an_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_S", 0.05)

    async def main() -> None:
        async with listening(implicit_tls=True, certificates=OneContext()) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read(100) == b""
            writer.close()

    run(main())


def test_what_a_client_meets_is_told_in_words(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ConnectError, match="refused"):
            await client(free_port())
        async with listening() as (_, port):
            with pytest.raises(TlsError):  # a plain server's greeting is no handshake
                await client(port, tls=client_context())
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectError, match="no answer within"):
            await connect("127.0.0.1", silent.getsockname()[1], LineMachine(), timeout=0.05, tls=client_context())

    run(main())


def test_a_unix_socket_is_for_this_group_and_goes_with_its_listener(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"

    async def main() -> None:
        listener = Listener("lmtp", lambda: [Bind(str(path), 0)], machine=LineMachine, serve=echo)
        for _ in range(2):  # the second time a dead socket lies in the way
            listener.open_sockets()
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            ready = asyncio.Event()
            task = asyncio.create_task(listener.run(ready.set))
            await ready.wait()
            reader, writer = await asyncio.open_unix_connection(str(path))
            assert await reader.readline() == b"220 echo ready\r\n"
            [server_side] = listener.connections
            assert server_side.peer_ip == ""
            other = Listener("other", lambda: [Bind(str(path), 0)], machine=LineMachine, serve=echo)
            with pytest.raises(ConfigError, match="in use"):
                other.open_sockets()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            writer.close()
            assert not path.exists()
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))

    run(main())


def test_every_port_in_use_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = [first.getsockname()[1], second.getsockname()[1], free_port()]
        listener = Listener(
            "imap", lambda: [Bind("127.0.0.1", port) for port in ports], machine=LineMachine, serve=echo
        )
        with pytest.raises(ConfigError) as caught:
            listener.open_sockets()
        assert [problem.setting for problem in caught.value.problems] == ["imap.listen"] * 2
        for port, problem in zip(ports, caught.value.problems, strict=False):
            assert f"127.0.0.1:{port}" in problem.text
            assert problem.remedy
        listener.close_sockets()


def test_reload_opens_new_addresses_and_keeps_sessions_of_old_ones(run: Run) -> None:
    async def main() -> None:
        ports = [free_port()]
        listener = Listener("smtp", lambda: [Bind("127.0.0.1", p) for p in ports], machine=LineMachine, serve=echo)
        ready = asyncio.Event()
        task = asyncio.create_task(listener.run(ready.set))
        await ready.wait()
        old = await client(ports[0])
        await old.next_event(5)
        gone, ports[0] = ports[0], free_port()
        await listener.reload()
        assert listener.addresses == [f"127.0.0.1:{ports[0]}"]
        new = await client(ports[0])
        assert await new.next_event(5) == b"220 echo ready"
        with pytest.raises(ConnectError):
            await client(gone)
        old.write(b"here\r\n")
        assert await old.next_event(5) == b"250 here"
        await old.close()
        await new.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    run(main())


class ExhaustedSocket:
    """A listening socket for which the system has no descriptor left."""

    def __init__(self) -> None:
        self.accepts = 0
        self.real = socket.create_server(("127.0.0.1", 0))

    def fileno(self) -> int:
        return self.real.fileno()

    def accept(self) -> None:
        self.accepts += 1
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def close(self) -> None:
        self.real.close()


def test_without_descriptors_it_rests_instead_of_spinning(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ACCEPT_PAUSE_S", 0.05)
    exhausted = ExhaustedSocket()
    accepts = exhausted.accepts

    async def main() -> None:
        async with listening() as (listener, _):
            listener._sockets["systemd:0"] = exhausted  # type: ignore[assignment]
            listener._watch()
            with socket.create_connection(exhausted.real.getsockname()):
                while exhausted.accepts < accepts + 3:  # it rests three times, then could go on
                    await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR):
        run(main())
    assert exhausted.accepts < accepts + 6
    assert "Too many open files" in caplog.text
    exhausted.close()


def test_sockets_from_systemd_are_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_inherited", {})
    handed = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    first = max(sock.fileno() for sock in handed) + 10
    for number, sock in enumerate(handed):
        os.dup2(sock.fileno(), first + number)
    monkeypatch.setattr(module, "FIRST_SYSTEMD_FD", first)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "smtp:imap"}
    found = inherited_sockets(environ)
    assert {name: [sock.getsockname() for sock in socks] for name, socks in found.items()} == {
        "smtp": [handed[0].getsockname()],
        "imap": [handed[1].getsockname()],
    }
    assert environ == {}
    assert inherited_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "9"}) is found
    listener = Listener("imap", lambda: [Bind("127.0.0.1", 1)], machine=LineMachine, serve=echo)
    listener.open_sockets()
    assert listener.addresses == ["systemd:0"]
    listener.close_sockets()
    listener.open_sockets()  # a restarted service gets it again
    assert listener.addresses == ["systemd:0"]
    port = found["smtp"][0].getsockname()[1]
    handed.pop(0).close()
    assert close_spare({"imap"}) == ["smtp"]  # its role is off: nobody shall wait there for an answer
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for sock in (*handed, *(sock for socks in found.values() for sock in socks)):
        sock.close()


def test_a_trusted_proxy_tells_who_is_behind_it(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Version 1 and 2, before TLS too; its clients are counted one by one, and nobody else is believed."""
    seen: list[tuple[str, str, bool, bool]] = []

    async def tell(connection: Connection) -> None:
        facts = connection.facts("test")
        seen.append((facts.peer_ip, facts.via, facts.loopback, facts.private))
        await echo(connection)

    async def ask(port: int, header: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(header + b"QUIT\r\n")
        text = b""
        with contextlib.suppress(ConnectionResetError):  # the octets that it did not want were not read
            text = await reader.read()
        writer.close()
        return text

    async def main() -> None:
        async with listening(tell, limits=Limits(max_per_peer=1), busy_reply=b"421 busy\r\n") as (listener, port):
            assert await ask(port, b"") == b"220 echo ready\r\n221 bye\r\n"
            listener.proxies = TrustedProxies(["127.0.0.0/8"])
            said = b"PROXY TCP4 192.0.2.%d 198.51.100.1 5 25\r\n"
            assert (await ask(port, said % 1)).startswith(b"220 echo ready")
            local = b"PROXY TCP4 127.0.0.1 127.0.0.1 5 25\r\n"
            assert (await ask(port, local)).startswith(b"220 echo ready")
            assert (await ask(port, b"PROXY UNKNOWN\r\n")).startswith(b"220 echo ready")
            sealed = b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x14" + bytes(range(8)) + b"\0\1\0\2 \x00\x05\x01\0\0\0\0"
            assert (await ask(port, sealed)).startswith(b"220 echo ready")
            assert await ask(port, b"EHLO who.needs.proxies\r\n") == b""
            first = await asyncio.open_connection("127.0.0.1", port)
            first[1].write(said % 9)
            assert await first[0].readline() == b"220 echo ready\r\n"
            assert await ask(port, said % 9) == b"421 busy\r\n"
            assert (await ask(port, said % 8)).startswith(b"220 echo ready")
            first[1].close()

    run(main())
    assert seen[:5] == [
        ("127.0.0.1", "", True, True),
        ("192.0.2.1", "127.0.0.1", False, False),
        ("127.0.0.1", "127.0.0.1", False, False),  # a proxy's word makes nobody local
        ("127.0.0.1", "", True, True),
        ("0.1.2.3", "127.0.0.1", False, True),
    ]
    assert "no PROXY header" in caplog.text


def test_a_proxy_that_says_nothing_is_let_go(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(proxies, "HEADER_S", 0.05)

    async def main() -> None:
        async with listening(echo) as (listener, port):
            listener.proxies = TrustedProxies(["127.0.0.1"])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"PROXY TCP4 ")
            assert await reader.read() == b""
            writer.close()

    run(main())
    assert "no PROXY header within" in caplog.text


def test_implicit_tls_without_certificates_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="certificates"):
        Listener("imaps", list, machine=LineMachine, serve=echo, implicit_tls=True)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_a_host_is_counted_once_however_many_addresses_it_draws(address: str, key: str) -> None:
    assert peer_key(address) == key


def test_proxies_may_be_trusted_at_some_ports_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        proxies = TrustedProxies(["192.0.2.0/24"], [one.getsockname()[1]])
        assert [proxies.trusts("192.0.2.7", sock) for sock in (one, other)] == [True, False]
        assert TrustedProxies(["192.0.2.0/24"]).trusts("192.0.2.7", other)
        assert not proxies.trusts("198.51.100.7", one)
