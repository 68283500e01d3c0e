"""A small office with a door, and strangers who talk to it over a connection in lock-step. Its clock stands still."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from appliance.config import CoreConfig, Settings
from appliance.connection import ConnectionLostError
from appliance.core import Core
from appliance.dispatch import HookFailedError
from appliance.hookspecs import hookimpl
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply
from appliance.queue.desk import QueueDesk
from appliance.queue.destinations import InHand
from appliance.smtpclient import HopError
from appliance.store import Store
from appliance.stress import Stress
from plugins.door import Keeping
from plugins.door.callout import Callout
from plugins.door.config import DoorConfig, OutboundConfig
from plugins.door.door import Door
from plugins.door.outbound import Outbound
from plugins.door.senders import Senders
from plugins.mda.config import MdaConfig
from plugins.smtp.config import SmtpConfig
from plugins.smtp.protocol import SmtpServer
from plugins.smtp.session import SmtpSession
from tests.appliance.office import Office, office
from tests.plugins.smtp.fake import FakeConnection, Turn

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
HELLO = b"EHLO load.test\r\n"
MAIL = b"MAIL FROM:<a@sender.test>\r\n"
TEXT = b"Subject: hello\r\n\r\ntext\r\n.\r\n"


class Clock:
    """Seconds that pass when a test says so; what sleeps is noted, and takes no time."""

    def __init__(self) -> None:
        self.at = 1_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class FakeQueue:
    """A queue whose next hops answer by address: unknown@ is not known, busy@ cannot be asked, closed@ not at all.

    Who asks for shy@ is not let ask.
    """

    def __init__(self, store: Store) -> None:
        self.asked: list[str] = []
        self.down = False
        self.reread = 0  # how often commands have changed the queue
        nobody: Any = None
        self.desk = QueueDesk(
            store, attempts=nobody, bounces=nobody, hand=InHand, changed=self._changed, now=lambda: 1_000_000.0
        )

    def _changed(self) -> None:
        self.reread += 1

    async def call_out(self, recipient: Recipient, route: Any) -> Reply:
        self.asked.append(str(recipient.address))
        local = recipient.address.local
        if local == "shy":
            raise HopError(Reply(550, "5.7.1", "no null senders here"), peer="inner.test")
        if local == "closed":
            raise HookFailedError("a plugin failed", Reply(451, "4.3.0", "no"))
        if self.down or local == "busy":
            return Reply(451, "4.4.1", "later")
        return Reply(550, "5.1.1", "who?") if local.startswith("unknown") else Reply(250, "2.1.5", "ok")


class Outside:
    """Stands in for the relay role."""

    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        return Route("relay", recipient.address.domain)


class DoorPlugin:
    """The plugin with a clock of the test's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @hookimpl
    def hooks(self, core: Core) -> Sequence[object]:
        self.door = Door(core, clock=self._clock, sleep=self._clock.sleep)
        self.callout = Callout(core, clock=self._clock)
        self.outbound = Outbound(core)
        return [self.door, Senders(core), self.callout, self.outbound, Keeping(self.door, self.outbound)]


class House:
    """The office, its clock, and its door."""

    def __init__(self, made: Office, clock: Clock, plugin: DoorPlugin) -> None:
        self.office = made
        self.clock = clock
        self.plugin = plugin
        self.door = plugin.door
        self.queue: FakeQueue = made.core.queue  # type: ignore[assignment]

    def stress(self) -> None:
        """Let the MX port be nearly full from now on."""
        stress = Stress("smtp", 1)
        stress.note(1)
        listener: Any = SimpleNamespace(name="smtp", stress=stress)
        self.office.core.listeners = [listener]

    async def talk(
        self, *bursts: bytes, peer: str = "192.0.2.7", early: bytes = b"", gone: bool = False, role: str = "mx"
    ) -> FakeConnection:
        """One whole connection; the peer leaves when it has said its bursts."""
        connection = FakeConnection(SmtpServer(100_000), [Turn(burst) for burst in bursts])
        connection.peer_ip, connection.early = peer, early
        if gone:
            connection.quiet = lost  # type: ignore[method-assign]
        with contextlib.suppress(ConnectionLostError):
            await SmtpSession(self.office.core, connection, role).run()  # type: ignore[arg-type]
        await self.office.core.dispatch.settle()
        return connection

    async def codes(self, *bursts: bytes, **facts: Any) -> list[str]:
        """The codes of all answers of one connection, the greeting's first."""
        said = b"".join((await self.talk(*bursts, **facts)).answers)
        return [line[:3].decode() for line in said.splitlines() if line[3:4] == b" "]


async def lost(seconds: float) -> bool:
    raise ConnectionLostError("gone")


@contextlib.asynccontextmanager
async def house(folder: Path, *, outbound: OutboundConfig | None = None, **settings: Any) -> AsyncIterator[House]:
    """An office of palomar.test whose door has these settings."""
    clock = Clock()
    plugin = DoorPlugin(clock)
    config = CoreConfig(hostname="mail.palomar.test", domains=("palomar.test",), data=folder)
    async with office(folder, ("door", plugin), ("outside", Outside()), config=config) as made:
        made.core.settings = Settings.of(
            config, MdaConfig(), SmtpConfig(), DoorConfig(**settings), outbound or OutboundConfig()
        )
        made.core.queue = FakeQueue(made.store)  # type: ignore[assignment]
        made.core.now = clock
        yield House(made, clock, plugin)


def rcpt(*locals_: str, domain: str = "palomar.test") -> bytes:
    return b"".join(f"RCPT TO:<{local}@{domain}>\r\n".encode() for local in locals_)
