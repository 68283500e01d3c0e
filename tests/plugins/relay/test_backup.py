"""Mail for a primary server that is away: it waits for weeks, and is tried the moment the server greets again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.queue.schedule import Schedule
from appliance.store.queuedesk import Selection
from plugins.relay.backup import BackupTransport
from plugins.relay.config import RelayConfig
from tests.appliance.smtpclient.fake_core import make_core
from tests.appliance.smtpclient.fake_server import FakeServer, always, running

MESSAGE = Message.parse(b"Subject: hello\r\n\r\nbody\r\n")
ROUTE = Route("backup", "[127.0.0.1]", "off")
PROBE_S = 0.02


class FakeQueue:
    """Notes whose mail is to be tried."""

    def __init__(self) -> None:
        self.retried: list[str] = []
        self.something = asyncio.Event()

    @property
    def desk(self) -> FakeQueue:
        return self

    async def retry(self, chosen: Selection) -> int:
        self.retried += chosen.domains
        self.something.set()
        return 1


class Backup:
    def __init__(self, folder: Path, port: int, **settings: float) -> None:
        config = RelayConfig(port=port, families="ipv4", **{"backup_probe": PROBE_S, **settings})  # type: ignore[arg-type]
        self.core = make_core(folder, "", config)
        self.queue = FakeQueue()
        self.core.queue = self.queue  # type: ignore[assignment]
        self.transport = BackupTransport(self.core)

    async def send(self, *domains: str) -> list[Outcome]:
        to = [Recipient(Address("a", domain)) for domain in domains or ("kept.test",)]
        return await self.transport.deliver(Envelope(Address("ana", "me.test")), to, MESSAGE, ROUTE)


@pytest.fixture
async def server() -> FakeServer:
    """A server whose port is known, and that is away."""
    async with running(FakeServer()) as made:
        pass
    return made


async def test_mail_is_tried_when_the_server_greets_again(tmp_path: Path, server: FakeServer) -> None:
    backup = Backup(tmp_path, server.port)
    try:
        assert {outcome.status for outcome in await backup.send("kept.test", "also.test")} == {"deferred"}
        server.script = always(CONNECT="421 not yet")
        async with running(server, "127.0.0.1"):
            async with asyncio.timeout(60):
                while not server.sessions:  # asked, and told that it is too early
                    await asyncio.sleep(PROBE_S)
            assert backup.queue.retried == []
            server.script = always()
            async with asyncio.timeout(60):
                await backup.queue.something.wait()
            assert backup.queue.retried == ["also.test", "kept.test"]
            (outcome,) = await backup.send()
            assert outcome.status == "delivered"
    finally:
        await backup.transport.close()


async def test_without_a_probe_nobody_is_asked(tmp_path: Path, server: FakeServer) -> None:
    backup = Backup(tmp_path, server.port, backup_probe=0)
    await backup.send()
    assert len(asyncio.all_tasks()) == 1
    await backup.transport.close()


async def test_a_server_that_refuses_is_there(tmp_path: Path) -> None:
    async with running(FakeServer(script=always(RCPT="550 5.1.1 unknown"))) as server:
        backup = Backup(tmp_path, server.port)
        (outcome,) = await backup.send()
        assert outcome.status == "failed"
        assert len([task for task in asyncio.all_tasks() if "_probe" in repr(task)]) == 0
        await backup.transport.close()


async def test_closing_ends_the_probe(tmp_path: Path, server: FakeServer) -> None:
    backup = Backup(tmp_path, server.port, backup_probe=3600)
    await backup.send()
    await backup.transport.close()
    assert len(asyncio.all_tasks()) == 1


async def test_mail_waits_for_weeks(tmp_path: Path) -> None:
    backup = Backup(tmp_path, 25, backup_max_age_days=21.0, backup_warn_after_hours=0.0)
    schedule = backup.transport.schedule(ROUTE, Schedule())
    assert not schedule.expired(20 * 86_400)
    assert schedule.expired(21 * 86_400)
    assert not schedule.warns(20 * 86_400, False)
    assert schedule.pause_s(1) == Schedule().pause_s(1)
