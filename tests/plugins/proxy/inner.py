"""A server with mailboxes for the proxy to find: it speaks TLS, checks one password by PLAIN or SCRAM, then echoes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from binascii import a2b_base64, b2a_base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from appliance.auth import AuthConfig, Authenticator
from appliance.config import Bind, CoreConfig, Settings
from appliance.core import Core
from appliance.listener import Listener
from appliance.proxies import read_proxied
from appliance.wire.proxy import Proxied, ProxyError
from appliance.wire.sasl.scram import SHA256, ScramVerifier
from appliance.wire.sasl.scram_server import ScramServer
from appliance.wire.sasl.server import Lookup, Proven, SendChallenge
from plugins.proxy.config import Inner, ProxyConfig
from plugins.proxy.listeners import listeners
from tests.appliance.certificates import authority, server_context
from tests.ports import free_ports

ANA, PASSWORD = "ana@b.test", "correct horse"
VERIFIER = bytes(ScramVerifier.make(SHA256, PASSWORD, b"salt" * 4, 4096))

GREETING = {"imap": b"* OK ready", "pop3": b"+OK ready", "submission": b"220 ready"}
SUCCESS = {"imap": b"p1 OK [CAPABILITY IMAP4rev1] in", "pop3": b"+OK in", "submission": b"235 2.7.0 in"}
FAILURE = {
    "imap": b"p1 NO [AUTHENTICATIONFAILED] no",
    "pop3": b"-ERR [AUTH] no",
    "submission": b"535 5.7.8 no",
}
CHALLENGE = {"imap": b"+ ", "pop3": b"+ ", "submission": b"334 "}


@dataclass
class FakeInner:
    """`greeting` replaces the usual one. `clients` are those that the PROXY headers told of."""

    kind: str
    port: int = 0
    greeting: bytes = b""
    headers: bool = True
    clients: list[Proxied | None] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    open_now: int = 0

    async def serve(self, sock: socket.socket) -> None:
        self.open_now += 1
        try:
            if self.headers:
                self.clients.append(await read_proxied(sock))
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            loop = asyncio.get_running_loop()
            context = server_context("inner.test")
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                await self._serve(reader, writer)
            finally:
                writer.close()
        except (OSError, asyncio.IncompleteReadError, ProxyError):
            sock.close()  # the proxy has had enough
        finally:
            self.open_now -= 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((self.greeting or GREETING[self.kind]) + b"\r\n")
        if not await self._authenticated(reader, writer):
            return
        while line := await reader.readline():
            self.heard.append(line)
            writer.write(b"echo " + line)
            if line == b"BYE\r\n":
                return

    async def _authenticated(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line = await reader.readline()
        if not line:
            return False
        if self.kind == "submission":
            self.heard.append(line)
            writer.write(b"250-inner.test\r\n250 AUTH PLAIN\r\n")
            line = await reader.readline()
        if not line:
            return False
        mechanism = line.split()[-1]
        self.heard.append(mechanism)

        async def ask(challenge: bytes) -> bytes:
            writer.write(CHALLENGE[self.kind] + b2a_base64(challenge, newline=False) + b"\r\n")
            return a2b_base64((await reader.readline()).strip())

        if mechanism == b"PLAIN":
            right = await ask(b"") == f"\0{ANA}\0{PASSWORD}".encode()
        else:
            right = await _scram(ask)
        writer.write((SUCCESS if right else FAILURE)[self.kind] + b"\r\n")
        return right


async def _scram(ask: Any) -> bool:
    exchange = ScramServer(SHA256, b"server-nonce")
    event = exchange.step(await ask(b""))
    assert isinstance(event, Lookup)
    event = exchange.supply(VERIFIER, genuine=event.login == ANA)
    while isinstance(event, SendChallenge):
        event = exchange.step(await ask(event.data))
    return isinstance(event, Proven)


@contextlib.asynccontextmanager
async def running(inner: FakeInner) -> AsyncIterator[FakeInner]:
    tasks: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listening)
            tasks.add(asyncio.create_task(inner.serve(sock)))

    with socket.create_server(("127.0.0.1", inner.port)) as listening:
        listening.setblocking(False)
        inner.port = listening.getsockname()[1]
        tasks.add(asyncio.create_task(accept()))
        try:
            yield inner
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@dataclass
class Proxy:
    """The proxy on a loopback port."""

    core: Core
    listener: Listener
    port: int

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)


@contextlib.asynccontextmanager
async def proxy(
    folder: Path, inner: FakeInner, *, limits: dict[str, Any] | None = None, **terms: Any
) -> AsyncIterator[Proxy]:
    """A proxy before one inner server that has the mailboxes of b.test."""
    ca_file = folder / "ca.pem"
    authority().cert_pem.write_to_path(str(ca_file))
    (port,) = free_ports(1)
    ports = {f"{inner.kind}_port": inner.port}
    server = Inner(**{"host": "inner.test", "accounts": ("b.test",), "ca_file": ca_file, **ports, **terms})
    config = ProxyConfig(**{inner.kind: (Bind("127.0.0.1", port),), "servers": (server,), **(limits or {})})

    async def addresses(name: str) -> list[str]:
        assert name == "inner.test"
        return ["127.0.0.1"]

    nothing: Any = None

    async def nobody(**_: Any) -> None:
        return None

    auth_config = AuthConfig(failure_delay=0.0, peer_failures=3, account_failures=2)
    core = Core(
        settings=Settings.of(CoreConfig(hostname="outer.test"), auth_config, config),
        store=nothing, dispatch=nothing, trace=nothing, intake=nothing, queue=nothing,
        auth=Authenticator(lambda: auth_config, find=nobody, verify_external=nobody, secret=b"s" * 32),
        certificates=SimpleNamespace(server_context=lambda: server_context("outer.test")),  # type: ignore[arg-type]
        resolver=SimpleNamespace(addresses=addresses),  # type: ignore[arg-type]
    )  # fmt: skip
    listener = next(one for one in listeners(core) if one.name == f"proxy-{inner.kind}")
    ready = asyncio.Event()
    task = asyncio.create_task(listener.run(ready.set))
    await ready.wait()
    try:
        yield Proxy(core, listener, port)
    finally:
        task.cancel()
        await asyncio.wait([task])
        core.auth.close()
