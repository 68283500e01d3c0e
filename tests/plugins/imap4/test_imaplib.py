"""Python's imaplib over real sockets: both ports, STARTTLS, and the whole life of a message."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme

from appliance.config import Bind
from appliance.tls import Certificates, TlsConfig
from plugins.imap4.config import Imap4Config
from tests.plugins.imap4.office import ANA, Office, office
from tests.ports import free_ports

T = TypeVar("T")
MESSAGE = b"From: ana@palomar.test\r\nSubject: from imaplib\r\n\r\nText\r\n"


class Served:
    """An office whose two ports are open."""

    def __init__(self, here: Office, ports: list[int], authority: trustme.CA) -> None:
        self.here = here
        self.port, self.tls_port = ports
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)

    async def client(self, work: Callable[[Any], T], *, tls: bool = False) -> T:
        """Run `work` with an imaplib client, on a thread as it blocks."""

        def run() -> T:
            if tls:
                imap: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                    "localhost", self.tls_port, ssl_context=self.context, timeout=60
                )
            else:
                imap = imaplib.IMAP4("localhost", self.port, timeout=60)
            try:
                return work(imap)
            finally:
                with contextlib.suppress(OSError):  # logged out already
                    imap.shutdown()

        return await asyncio.to_thread(run)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    certificates = Certificates(lambda: TlsConfig(certificate=certificate, key=key), lambda: "localhost", tmp_path)
    certificates.load()
    ports = free_ports(2)
    config = Imap4Config(listen=(Bind("127.0.0.1", ports[0]),), listen_tls=(Bind("127.0.0.1", ports[1]),))
    async with office(tmp_path, config, certificates) as here:
        yield Served(here, ports, authority)


@pytest.mark.parametrize("tls", [False, True])
async def test_the_life_of_a_message(served: Served, tls: bool) -> None:
    def work(imap: imaplib.IMAP4) -> None:
        assert imap.login(ANA, "palomar")[0] == "OK"
        assert imap.create("work")[0] == "OK"
        assert imap.append("work", r"(\Seen)", None, MESSAGE)[0] == "OK"  # type: ignore[arg-type]
        assert imap.select("work") == ("OK", [b"1"])
        assert imap.search(None, "SUBJECT", "imaplib", "SEEN") == ("OK", [b"1"])
        status, [(head, octets), tail] = imap.fetch("1", "(UID BODY[])")  # type: ignore[misc]
        assert (status, head, octets, tail) == ("OK", b"1 (UID 1 BODY[] {%d}" % len(MESSAGE), MESSAGE, b")")
        assert imap.store("1", "+FLAGS", r"(\Deleted)")[0] == "OK"
        assert imap.copy("1", "Archive")[0] == "OK"
        assert imap.expunge() == ("OK", [b"1"])
        assert imap.uid("search", "ALL") == ("OK", [b""])  # type: ignore[call-overload]
        assert imap.status("Archive", "(MESSAGES)") == ("OK", [b"Archive (MESSAGES 1)"])
        assert imap.logout()[0] == "BYE"

    await served.client(work, tls=tls)


async def test_starttls(served: Served) -> None:
    def work(imap: imaplib.IMAP4) -> None:
        assert "STARTTLS" in imap.capabilities
        assert imap.starttls(served.context)[0] == "OK"
        assert "STARTTLS" not in imap.capabilities
        assert "AUTH=SCRAM-SHA-256" in imap.capabilities
        assert imap.login(ANA, "palomar")[0] == "OK"
        with pytest.raises(imaplib.IMAP4.error):
            imap._simple_command("STARTTLS")  # type: ignore[attr-defined]

    await served.client(work)


async def test_commands_behind_starttls_are_not_carried_over(served: Served) -> None:
    def attack() -> bytes:
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as sock:
            sock.recv(4096)
            sock.sendall(b"a STARTTLS\r\nb NOOP\r\n")
            data = b""
            while piece := sock.recv(4096):
                data += piece
            return data

    answer = await asyncio.to_thread(attack)
    assert answer == b"* BYE Data pipelined after STARTTLS\r\n"


async def test_garbage_is_answered_or_the_connection_closed(served: Served) -> None:
    def throw(data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as sock:
            sock.recv(4096)
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
            return answer

    tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n"
    assert await asyncio.to_thread(throw, tls_hello) == b"* BAD NUL in a line\r\n"
    assert await asyncio.to_thread(throw, b"\0" * 1000 + b"\n") == b"* BYE A CR or LF that is no line end\r\n"
    assert await asyncio.to_thread(throw, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b"* BYE This is no web server\r\n"
    assert await asyncio.to_thread(throw, b"a" * 200_000) == b"* BYE [TOOBIG] Line too long\r\n"
