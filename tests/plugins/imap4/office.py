"""A small office for the IMAP tests: a real store, the real Authenticator, real listeners, and a client of our own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nacl.pwhash import argon2id

from appliance.auth import AuthConfig, Authenticator, Credential, make_credentials
from appliance.config import Bind, CoreConfig, Settings
from appliance.core import Core
from appliance.listener import Listener
from appliance.mail.message import Message
from appliance.store import Store
from appliance.store.accounts import create_account, credentials_of
from appliance.store.mailboxes import get_mailbox
from plugins.imap4.config import Imap4Config
from plugins.imap4.listeners import listeners
from plugins.imap4.shared import Shared

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
EPOCH = 1_700_000_000  # 14 November 2023, 22:13:20 UTC
# The weakest argon2id hash that there is: these tests log in thousands of times.
CREDENTIALS = [
    (kind, argon2id.str(b"palomar", opslimit=1, memlimit=8192) if kind == "argon2id" else data)
    for kind, data in make_credentials("palomar")
]

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


class Office:
    """Store, accounts, core and the two listeners."""

    def __init__(self, store: Store, folder: Path, config: Imap4Config, certificates: Any) -> None:
        self.store = store
        self.folder = folder
        self.moved: list[tuple[str, str, str, Sequence[int]]] = []
        self.expunged: list[tuple[str, str, Sequence[int]]] = []
        self.auth = Authenticator(
            lambda: AuthConfig(),
            find=self.find,
            verify_external=self.verify,
            secret=b"s" * 32,
            sleep=self.sleep,
        )
        dispatch: Any = SimpleNamespace(message_moved=self.note_moved, message_expunged=self.note_expunged)
        nothing: Any = None
        self.core = Core(
            settings=Settings.of(config, CoreConfig(hostname="mail.palomar.test", data=folder)),
            store=store,
            dispatch=dispatch,
            auth=self.auth,
            certificates=certificates,
            resolver=nothing,
            trace=nothing,
            intake=nothing,
            queue=nothing,
            now=lambda: EPOCH,
        )
        self.shared = Shared(self.core)
        self.listeners: list[Listener] = listeners(self.shared)
        self.clients: list[Client] = []

    async def find(self, *, login: str) -> Sequence[Credential] | None:
        found = self.store.peek(lambda db: credentials_of(db, login))
        return [Credential(one.kind, one.account, one.login, one.data, one.label) for one in found] or None

    async def verify(self, *, login: str, password: str) -> str | None:
        return None

    async def sleep(self, seconds: float) -> None:
        """Delays after failures are not what these tests are about."""

    def note_moved(self, *, account: str, source: str, target: str, uids: Sequence[int]) -> None:
        self.moved.append((account, source, target, list(uids)))

    def note_expunged(self, *, account: str, mailbox: str, uids: Sequence[int]) -> None:
        self.expunged.append((account, mailbox, list(uids)))

    def mailbox_id(self, name: str = "INBOX", account: str = ANA) -> int:
        found = self.store.directory.account(account)
        assert found is not None
        mailbox = self.store.peek(lambda db: get_mailbox(db, found.id, name))
        assert mailbox is not None
        return mailbox.id

    async def put(self, *messages: bytes, mailbox: str = "INBOX", account: str = ANA, flags: int = 0) -> list[int]:
        items = [(Message.parse(message), flags, (), EPOCH) for message in messages]
        return await self.store.append(self.mailbox_id(mailbox, account), items)

    async def connect(self) -> Client:
        """A connection before login."""
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "imap.sock"), limit=1 << 22)
        client = Client(reader, writer)
        self.clients.append(client)
        client.greeting = await client.line()
        return client

    async def login(self, mailbox: str = "", account: str = ANA) -> Client:
        """A connection that is logged in, and has selected a mailbox if one is named."""
        client = await self.connect()
        await client.ok(f"LOGIN {account} palomar")
        if mailbox:
            await client.ok(f"SELECT {mailbox}")
        return client


class Client:
    """Speaks IMAP in lines. Literals in responses stay part of their line, as they came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting = b""
        self.number = 0

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def line(self) -> bytes:
        """The next response, without its last CRLF. Empty at the end of the connection."""
        async with asyncio.timeout(60):
            line = await self.reader.readline()
            while match := _LITERAL.search(line):
                line += await self.reader.readexactly(int(match[1]))
                line += await self.reader.readline()
        return line.removesuffix(b"\r\n")

    async def command(self, text: str | bytes) -> tuple[list[bytes], bytes]:
        """Send a command and return its untagged responses and the completion without its tag."""
        self.number += 1
        tag = b"t%d" % self.number
        self.send(tag + b" " + (text.encode() if isinstance(text, str) else text) + b"\r\n")
        return await self.until(tag)

    async def until(self, tag: bytes) -> tuple[list[bytes], bytes]:
        untagged: list[bytes] = []
        while not (line := await self.line()).startswith(tag + b" "):
            assert line, f"closed: {untagged}"
            untagged.append(line)
        return untagged, line[len(tag) + 1 :]

    async def ok(self, text: str | bytes) -> list[bytes]:
        """The untagged responses of a command that must succeed."""
        untagged, completion = await self.command(text)
        assert completion.startswith(b"OK"), completion
        return untagged

    async def completion(self, text: str | bytes) -> str:
        """How a command ended."""
        return (await self.command(text))[1].decode()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def office(
    folder: Path,
    config: Imap4Config | None = None,
    certificates: Any = None,
    accounts: Sequence[str] = (ANA, LUIS),
    **options: Any,
) -> AsyncIterator[Office]:
    """Open an office, its ports included; `accounts` are made, none in a folder that has them already."""
    store = Store.open(folder, reserve_bytes=0, now=lambda: EPOCH, **options)
    await store.start()
    for account in accounts:
        await store.write(lambda db, account=account: create_account(db, account, CREDENTIALS))  # type: ignore[misc]
    config = config or Imap4Config(listen=(Bind.parse(f"unix:{folder / 'imap.sock'}"),), listen_tls=())
    if certificates is None:
        certificates = SimpleNamespace(login_context=lambda: None)
    here = Office(store, folder, config, certificates)
    tasks = []
    for listener in here.listeners:
        ready = asyncio.Event()
        tasks.append(asyncio.create_task(listener.run(ready.set)))
        await ready.wait()
    try:
        yield here
    finally:
        for client in here.clients:
            await client.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        here.auth.close()
        await store.close()
