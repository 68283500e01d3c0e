"""Two offices in one process, the one with the mailboxes and the one before it, joined by TLS over the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from appliance.config import Bind, CoreConfig, Settings
from appliance.listener import Listener
from appliance.mail.address import Address
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply
from appliance.smtpclient.binding import server_end_point
from appliance.store.queuedesk import Selection
from appliance.tlslink import NamedObject, ServerContext
from plugins.mda.config import MdaConfig
from plugins.peers.caller import Callers
from plugins.peers.config import Before, Behind, PeersConfig
from plugins.peers.guard import Guard
from plugins.peers.receiver import listener
from plugins.peers.schema import Kept, kept_lists, m001_lists
from tests.appliance.certificates import authority
from tests.appliance.office import Office, office
from tests.ports import free_ports

SECRET = "a-secret-that-both-of-them-know"
PRIMARY = "mail.palomar.test"
NOW = 1_800_000_000.0
LOOK_S = 0.1


def bound_context() -> ServerContext:
    """A server's context with a certificate of its own, and the binding to it."""
    made = authority().issue_cert("backup.test")
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = NamedObject
    made.configure_cert(context)
    context.binding = server_end_point(ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode()))
    return context


def client_context(verify: bool) -> ssl.SSLContext:
    assert not verify
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class FakeQueue:
    def __init__(self) -> None:
        self.desk = self
        self.retried: list[str] = []

    async def retry(self, selection: Selection) -> int:
        self.retried += selection.domains
        return 0


@dataclass
class Outer:
    """The office before: its parts, and what to ask of it."""

    office: Office
    guard: Guard
    queue: FakeQueue
    listener: Listener
    port: int
    now: float = NOW
    services: list[asyncio.Task[None]] = field(default_factory=list)

    def configure(self, *behind: Behind, **settings: Any) -> None:
        peers = PeersConfig(listen=(Bind("127.0.0.1", self.port),), behind=behind, **settings)
        core = CoreConfig(hostname="backup.test", domains=("backup.test",))
        self.office.core.settings = Settings.of(core, MdaConfig(), peers)

    async def rcpt(self, address: str) -> Reply | None:
        recipient = Recipient(Address.parse(address))
        if await self.guard.own_recipient(recipient) is None:
            return None
        return await self.guard.smtp_recipient(recipient) or Reply(250, "2.1.5", "taken")

    async def kept(self) -> list[Kept]:
        return await self.office.store.read(kept_lists)


@dataclass
class Pair:
    inner: Office
    outer: Outer
    caller: asyncio.Task[None] | None = None

    def call(self, **settings: Any) -> None:
        """Let the inner office call the outer one from now on."""
        before = Before(**{"host": "127.0.0.1", "port": self.outer.port, "secret": SECRET, **settings})
        core = self.inner.core.settings[CoreConfig]
        self.inner.core.settings = Settings.of(core, MdaConfig(), PeersConfig(before=(before,), look=LOOK_S))
        self.caller = asyncio.create_task(Callers(self.inner.core).run(lambda: None))

    async def hang_up(self) -> None:
        assert self.caller is not None
        self.caller.cancel()
        await asyncio.wait([self.caller])


def behind(**settings: Any) -> Behind:
    return Behind(**{"name": PRIMARY, "recipients": ("palomar.test",), "secret": SECRET, **settings})


@contextlib.asynccontextmanager
async def outer(folder: Path) -> AsyncIterator[Outer]:
    config = CoreConfig(hostname="backup.test", domains=("backup.test",))
    async with office(folder, config=config) as made:
        await made.store.write(m001_lists)
        context = bound_context()
        core = made.core
        core.certificates = SimpleNamespace(server_context=lambda: context, expiring=list)  # type: ignore[assignment]
        core.queue = queue = FakeQueue()  # type: ignore[assignment]
        core.settings = Settings.of(config, MdaConfig(), PeersConfig())
        one = Outer(made, Guard(core), queue, listener(core), free_ports(1)[0])
        core.now = lambda: one.now
        one.configure(behind())
        ready = asyncio.Event()
        running = asyncio.create_task(one.listener.run(ready.set))
        await ready.wait()
        yield one
        running.cancel()
        await asyncio.wait([running])


@contextlib.asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    (folder / "inner").mkdir()
    (folder / "outer").mkdir()
    config = CoreConfig(hostname=PRIMARY, domains=("palomar.test",), data=folder / "inner")
    async with office(folder / "inner", config=config) as inner, outer(folder / "outer") as before:

        async def addresses(name: str) -> list[str]:
            return [name]

        inner.core.resolver = SimpleNamespace(addresses=addresses)  # type: ignore[assignment]
        inner.core.certificates = SimpleNamespace(client_context=client_context, expiring=list)  # type: ignore[assignment]
        made = Pair(inner, before)
        yield made
        if made.caller is not None:
            await made.hang_up()


async def until(condition: Any, what: str) -> None:
    """Wait until an awaited condition holds."""
    try:
        async with asyncio.timeout(60):
            while not await condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None
