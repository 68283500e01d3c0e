"""Python's poplib over real sockets: the listener, TLS, the store and the login all together."""

import asyncio
import contextlib
import hashlib
import poplib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme

from appliance.config import Bind
from appliance.listener import Listener
from appliance.tls import Certificates, TlsConfig
from plugins.pop3.config import Pop3Config
from plugins.pop3.listeners import listeners
from tests.plugins.pop3.office import ANA, DOTS, HELLO, LONG, LUIS, Office, office
from tests.ports import free_ports

T = TypeVar("T")
LARGE = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n.\r\n") * 50_000


class Served:
    """An office whose two ports are open."""

    def __init__(self, here: Office, running: list[Listener], ports: list[int], authority: trustme.CA) -> None:
        self.here = here
        self.running = running
        self.port, self.tls_port = ports
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)

    async def client(self, work: Callable[[Any], T], *, tls: bool = False) -> T:
        """Run `work` with a poplib client, on a thread as it blocks."""

        def run() -> T:
            if tls:
                pop: poplib.POP3 = poplib.POP3_SSL("localhost", self.tls_port, timeout=60, context=self.context)
            else:
                pop = poplib.POP3("localhost", self.port, timeout=60)
            try:
                return work(pop)
            finally:
                pop.close()

        return await asyncio.to_thread(run)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def served(tmp_path: Path, authority: trustme.CA) -> AsyncIterator[Served]:
    pair = authority.issue_cert("localhost")
    pair.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    tls = TlsConfig(certificate=tmp_path / "pair.pem", key=tmp_path / "pair.pem")
    ports = free_ports(2)
    config = Pop3Config(listen=(Bind("127.0.0.1", ports[0]),), listen_tls=(Bind("127.0.0.1", ports[1]),))
    async with office(tmp_path / "data", config) as here:
        certificates = Certificates(lambda: tls, lambda: "mail.palomar.test", tmp_path / "data")
        certificates.load()
        here.core.certificates = certificates
        async with contextlib.AsyncExitStack() as stack:
            running = listeners(here.core, here.locks)
            for service in running:
                ready = asyncio.Event()
                task = asyncio.create_task(service.run(ready.set))
                stack.push_async_callback(asyncio.wait, [task])
                stack.callback(task.cancel)
                await ready.wait()
            yield Served(here, running, ports, authority)


def log_in(pop: poplib.POP3, name: str = ANA) -> poplib.POP3:
    pop.user(name)
    pop.pass_("palomar")
    return pop


def joined(answer: tuple[bytes, list[bytes], int]) -> bytes:
    return b"".join(line + b"\r\n" for line in answer[1])


@pytest.mark.parametrize("tls", [False, True])
async def test_a_whole_session(served: Served, tls: bool) -> None:
    await served.here.put(HELLO, DOTS, LONG, LARGE)

    def work(pop: poplib.POP3) -> list[bytes]:
        capabilities = pop.capa()
        assert capabilities["UIDL"] == []
        assert ("STLS" in capabilities) is not tls
        assert ("SCRAM-SHA-256-PLUS" in capabilities["SASL"]) is tls
        log_in(pop)
        assert pop.stat() == (4, sum(map(len, (HELLO, DOTS, LONG, LARGE))))
        assert pop.list(2) == b"+OK 2 %d" % len(DOTS)
        assert [joined(pop.retr(number)) for number in (1, 2, 3)] == [HELLO, DOTS + b"\r\n", LONG]
        assert hashlib.sha256(joined(pop.retr(4))).digest() == hashlib.sha256(LARGE).digest()
        assert joined(pop.top(3, 2)) == b"Subject: long\r\n\r\nline 1\r\nline 2\r\n"
        pop.dele(1)
        pop.rset()
        pop.dele(2)
        assert pop.noop() == b"+OK"
        ids = pop.uidl()[1]
        pop.quit()
        return ids

    ids = await served.client(work, tls=tls)
    again = await served.client(lambda pop: log_in(pop).uidl()[1], tls=tls)
    assert [one.partition(b" ")[2] for one in again] == [one.partition(b" ")[2] for one in ids]


async def test_stls(served: Served) -> None:
    def work(pop: poplib.POP3) -> str:
        pop.stls(served.context)
        assert "STLS" not in pop.capa()
        assert pop.utf8() == b"+OK UTF-8 it is"
        return log_in(pop).quit().decode()

    assert await served.client(work) == "+OK Goodbye"


async def test_apop(served: Served) -> None:
    assert await served.client(lambda pop: pop.apop(LUIS, "palomar")) == b"+OK 0 messages (0 octets)"
    with pytest.raises(poplib.error_proto, match="AUTH"):
        await served.client(lambda pop: pop.apop(ANA, "palomar"))


async def test_a_lost_connection_frees_the_mailbox_and_deletes_nothing(served: Served) -> None:
    await served.here.put(HELLO)

    def lose(pop: poplib.POP3) -> None:
        log_in(pop).dele(1)
        with (
            contextlib.closing(poplib.POP3("localhost", served.port, timeout=60)) as second,
            pytest.raises(poplib.error_proto, match="IN-USE"),
        ):
            log_in(second)

    await served.client(lose)
    async with asyncio.timeout(60):
        while len(served.here.locks):
            await asyncio.sleep(0)
    assert await served.client(lambda pop: log_in(pop).stat()) == (1, len(HELLO))


async def test_a_client_that_reads_nothing_holds_little_memory(served: Served) -> None:
    await served.here.put(LARGE)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"USER ana@palomar.test\r\nPASS palomar\r\n" + b"RETR 1\r\n" * 50)
    answered = b""
    while b"Subject: large" not in answered:
        answered += await reader.read(65536)
    for _ in range(200):  # turns of the loop in which the server could run ahead
        await asyncio.sleep(0)
    waiting = sum(
        connection._transport.get_write_buffer_size()
        for listener in served.running
        for connection in listener.connections
    )
    assert waiting < 1_000_000
    writer.close()
    await writer.wait_closed()
