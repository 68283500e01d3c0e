"""A small office for the POP3 tests: a real store, the real Authenticator, and a connection in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from appliance.auth import AuthConfig, Authenticator, Credential, make_credentials
from appliance.config import CoreConfig, Settings
from appliance.connection import WAKE, Connection, ConnectionLostError, IdleTimeoutError
from appliance.core import Core
from appliance.errors import ProtocolError
from appliance.mail.message import Message
from appliance.mail.session import TlsInfo
from appliance.store import Store
from appliance.store.accounts import create_account, credentials_of
from appliance.store.mailboxes import get_mailbox
from plugins.pop3.config import Pop3Config
from plugins.pop3.lock import Locks
from plugins.pop3.protocol import Pop3Server
from plugins.pop3.schema import MIGRATIONS
from plugins.pop3.session import Pop3Session

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
EPOCH = 1_700_000_000
STRONG = make_credentials("palomar")
WEAK = make_credentials("palomar", weak=True)

HELLO = b"Subject: hello\r\n\r\nHello\r\n"
DOTS = b"Subject: dots\r\n\r\n.\r\n..two\r\nno dot\r\n.end"
LONG = b"Subject: long\r\n\r\n" + b"".join(b"line %d\r\n" % n for n in range(1, 6))


class Office:
    """Store, accounts and core. `luis` has opted in to weak mechanisms."""

    def __init__(self, store: Store, config: Pop3Config) -> None:
        self.store = store
        self.expunged: list[tuple[str, str, Sequence[int]]] = []
        self.slept: list[float] = []
        self.locks = Locks()
        self.weak = True
        self.down = False
        self.auth = Authenticator(
            lambda: AuthConfig(channel_binding=True),
            find=self.find,
            verify_external=self.verify,
            secret=b"s" * 32,
            weak_in_use=lambda: self.weak,
            sleep=self.sleep,
        )
        dispatch: Any = SimpleNamespace(message_expunged=self.note_expunged)
        certificates: Any = SimpleNamespace(login_context=lambda: None)
        nothing: Any = None
        settings = Settings.of(config, CoreConfig(hostname="mail.palomar.test"))
        self.core = Core(
            settings, store, dispatch, self.auth, certificates, nothing, nothing, nothing, nothing, lambda: EPOCH
        )

    async def find(self, *, login: str) -> Sequence[Credential] | None:
        if self.down:
            raise OSError("no accounts today")
        found = self.store.peek(lambda db: credentials_of(db, login))
        return [Credential(one.kind, one.account, one.login, one.data, one.label) for one in found] or None

    async def verify(self, *, login: str, password: str) -> str | None:
        return "ghost" if (login, password) == ("ghost", "palomar") else None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def note_expunged(self, *, account: str, mailbox: str, uids: Sequence[int]) -> None:
        self.expunged.append((account, mailbox, uids))

    def inbox(self, account: str = ANA) -> int:
        found = self.store.directory.account(account)
        assert found is not None
        mailbox = self.store.peek(lambda db: get_mailbox(db, found.id, "INBOX"))
        assert mailbox is not None
        return mailbox.id

    async def put(self, *messages: bytes, account: str = ANA) -> list[int]:
        items = [(Message.parse(message), 0, (), EPOCH) for message in messages]
        return await self.store.append(self.inbox(account), items)

    def session(self, wire: Wire) -> Pop3Session:
        connection: Any = wire
        return Pop3Session(self.core, connection, self.locks)

    async def play(self, data: bytes, size: int = 65536, **options: Any) -> bytes:
        """Send `data` in pieces of `size` octets and return all that is answered."""
        wire = Wire([data[start : start + size] for start in range(0, len(data), size)], **options)
        await wire.serve(self.session(wire))
        return bytes(wire.out)


@contextlib.asynccontextmanager
async def office(folder: Path, config: Pop3Config | None = None) -> AsyncIterator[Office]:
    """Open an office in an empty folder, or again where one was."""
    store = Store.open(folder, migrations=MIGRATIONS, reserve_bytes=0, now=lambda: EPOCH)
    await store.start()
    try:
        if store.directory.account(ANA) is None:
            await store.write(lambda db: create_account(db, ANA, STRONG))
            await store.write(lambda db: create_account(db, LUIS, WEAK, weak_mechanisms=True))
        yield Office(store, config or Pop3Config())
    finally:
        await store.close()


class Wire:
    """A connection in memory: gives out pieces of a script and keeps what is written.

    A piece may be a callable, called when the session has come to wait, an exception to raise, or WAKE.
    """

    facts = Connection.facts
    via, tls_at_proxy = "", False

    def __init__(self, script: Iterable[object], *, peer_ip: str = "127.0.0.1", tls: TlsInfo | None = None) -> None:
        self.script = list(script)
        self.machine = Pop3Server()
        self.id = "1"
        self.peer_ip, self.peer_port = peer_ip, 50000
        self.local_ip, self.local_port = "127.0.0.1", 110
        self.tls = tls
        self.stopping = False
        self.loop = asyncio.get_running_loop()
        self.out = bytearray()
        self.drained = 0
        self.aborted = False
        self.timeouts: list[float] = []

    def stop(self) -> None:
        self.stopping = True
        self.script.insert(0, WAKE)

    async def next_event(self, timeout: float) -> object:
        self.timeouts.append(timeout)
        while (event := self.machine.next_event()) is None:
            if self.aborted or not self.script:
                raise ConnectionLostError("closed by the peer")
            piece = self.script.pop(0)
            if piece is WAKE:
                return WAKE
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, bytes):
                self.machine.receive(piece)
            else:
                assert callable(piece)
                outcome = piece()
                if outcome is not None:
                    await outcome
        return event

    def write(self, data: bytes) -> None:
        self.out += data

    async def drain(self) -> None:
        self.drained += 1
        if self.aborted:
            raise ConnectionLostError("the peer has gone")

    async def start_tls(self, context: object) -> TlsInfo:
        self.machine.start_tls()
        self.tls = TlsInfo("TLSv1.3", "x", 256, binding=b"hash of the certificate")
        return self.tls

    def abort(self) -> None:
        self.aborted = True

    async def serve(self, session: Pop3Session) -> None:
        """Run a session as the listener does."""
        try:
            await session.run()
        except ProtocolError as error:
            self.write(error.reply)
        except (ConnectionLostError, IdleTimeoutError):
            self.aborted = True
