"""A small office in one process for tests: a real store, the real intake and MDA, and nothing that listens."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from appliance import hookspecs
from appliance.config import CoreConfig, Settings
from appliance.core import Core
from appliance.dispatch import Dispatch
from appliance.intake import Intake, Transaction, combine
from appliance.loading import register
from appliance.mail.address import Address
from appliance.mail.dsn import Action
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.store import Accepted, MessageRow, QueueWish, Store
from appliance.store.accounts import add_alias, add_domain, create_account
from appliance.store.mailboxes import get_mailbox
from appliance.store.messages import list_rows
from appliance.store.schema import Migration
from plugins import mda
from plugins.mda.config import MdaConfig

MESSAGE = Message.parse(b"From: luis@elsewhere.test\r\nSubject: Hello\r\n\r\nHow are you?\r\n")


class FakeTrace:
    """Keeps what was recorded."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []

    def record(self, trace_id: str, who: str, what: str, detail: str = "", ms: float = 0.0) -> None:
        self.rows.append((trace_id, who, what, detail))


class FakeCertificates:
    """None is about to end."""

    def expiring(self) -> list[str]:
        return []

    def facts(self) -> dict[str, Any]:
        return {}


@dataclass
class Office:
    """The parts, and short ways to use them."""

    core: Core
    trace: FakeTrace
    queued: list[tuple[Accepted, Message]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # recipients of which the sender was told, "expanded" with that word

    @property
    def store(self) -> Store:
        return self.core.store

    @property
    def intake(self) -> Intake:
        return self.core.intake

    async def account(self, name: str, **options: Any) -> None:
        await self.store.write(lambda db: create_account(db, name, [], **options))

    async def domain(self, name: str, **options: Any) -> None:
        await self.store.write(lambda db: add_domain(db, name, **options))

    async def alias(self, name: str, *targets: str) -> None:
        await self.store.write(lambda db: add_alias(db, name, targets))

    def begin(self, sender: str | None = "luis@elsewhere.test", **session: Any) -> Transaction:
        facts = {"id": "s1", "role": "mx", "peer_ip": "192.0.2.7", "helo": "elsewhere.test"} | session
        return self.intake.begin(Session(**facts), Envelope(Address.parse(sender) if sender else None))

    async def rcpt(self, transaction: Transaction, address: str) -> Reply:
        return await self.intake.recipient(transaction, Recipient(Address.parse(address)))

    async def send(self, *addresses: str, message: Message = MESSAGE, **begin: Any) -> Reply:
        """RCPT for each address, then DATA: the first refusal, or the reply to DATA."""
        transaction = self.begin(**begin)
        for address in addresses:
            reply = await self.rcpt(transaction, address)
            if not reply.positive:
                return reply
        return combine(await self.intake.accept(transaction, message))

    async def inbox(self, account: str, mailbox: str = "INBOX") -> list[bytes]:
        """All messages of a mailbox, as a client gets them."""
        one = self.store.directory.account(account)
        assert one is not None
        box = await self.store.read(lambda db: get_mailbox(db, one.id, mailbox))
        if box is None:
            return []
        rows = await self.store.read(lambda db: [MessageRow(*row) for row in list_rows(db, box.id)])
        return [bytes(message) for message in await self.store.load_many(rows)]


@contextlib.asynccontextmanager
async def office(
    folder: Path,
    *plugins: tuple[str, Any],
    config: CoreConfig | None = None,
    migrations: Sequence[Migration] = (),
    **mda_settings: Any,
) -> AsyncIterator[Office]:
    """An office of the domain palomar.test with the accounts ana and luis; `plugins` come before the MDA."""
    manager = pluggy.PluginManager("palomar")
    manager.add_hookspecs(hookspecs)
    for name, plugin in reversed([*plugins, ("mda", mda)]):
        register(manager, name, plugin)
    dispatch = Dispatch(manager)
    config = config or CoreConfig(hostname="mail.palomar.test", domains=("palomar.test",))
    store = Store.open(folder, reserve_bytes=0, migrations=migrations)
    await store.start()
    trace = FakeTrace()
    queued: list[tuple[Accepted, Message]] = []

    def take(
        accepted: Accepted, message: Message, envelope: Envelope, wishes: Sequence[QueueWish], *, trace_id: str
    ) -> None:
        queued.append((accepted, message))

    told: list[str] = []

    async def tell(
        envelope: Envelope,
        recipients: Sequence[Recipient],
        message: Message,
        *,
        trace_id: str,
        action: Action = "delivered",
    ) -> None:
        mark = "" if action == "delivered" else f"{action} "
        told.extend(f"{mark}{recipient.address}" for recipient in recipients)

    unused: Any = None
    core = Core(
        settings=Settings.of(config, MdaConfig(**mda_settings)),
        store=store,
        dispatch=dispatch,
        auth=unused,
        certificates=FakeCertificates(),
        resolver=unused,
        trace=trace,  # type: ignore[arg-type]
        intake=Intake(
            config=config,
            store=store,
            dispatch=dispatch,
            trace=trace,  # type: ignore[arg-type]
            queue_take=take,
            tell_delivered=tell,
        ),
        queue=unused,
    )
    dispatch.attach(core)
    made = Office(core, trace, queued, told)
    try:
        for name in ("ana@palomar.test", "luis@palomar.test"):
            await made.account(name)
        yield made
        await dispatch.settle()
    finally:
        await store.close()


def plugin_of(**hooks: Any) -> Any:
    """A plugin object from functions, each marked as a hook implementation."""

    class Plugin:
        pass

    plugin = Plugin()
    for name, function in hooks.items():
        setattr(plugin, name, hookspecs.hookimpl(function))
    return plugin
