"""Out of the queue into mailboxes: filed once, whatever happens between; traced and told as one message's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import StoreError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.queue.config import QueueConfig
from appliance.queue.runner import QueueRunner
from appliance.store import Filing, QueueEntry, QueueWish
from appliance.store.accounts import delete_account, set_redirect
from appliance.store.queue import list_queue
from plugins.mda.delivery import LocalTransport
from tests.appliance.office import MESSAGE, Office, office, plugin_of
from tests.appliance.queue.office import until

ANA = "ana@palomar.test"
LUIS = "luis@palomar.test"


class Outside:
    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        return Route("relay", recipient.address.domain)


async def queued(o: Office, *addresses: str) -> None:
    recipients = [Recipient(Address.parse(one), frozenset({"SUCCESS", "FAILURE"})) for one in addresses]
    wishes = [QueueWish(one, Route("local", str(one.address))) for one in recipients]
    await o.store.accept(MESSAGE, [], wishes, Envelope(Address.parse(LUIS), recipients), trace_id="its-own")


@asynccontextmanager
async def working(o: Office) -> AsyncIterator[QueueRunner]:
    runner = QueueRunner(
        store=o.store,
        dispatch=o.core.dispatch,
        trace=o.core.trace,
        config=QueueConfig,
        hostname=lambda: "mail.palomar.test",
        submit=o.intake.submit,
    )
    runner.add_transports([LocalTransport(o.core)])
    task = asyncio.create_task(runner.run(lambda: None))
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.wait([task])


async def entries(o: Office) -> list[QueueEntry]:
    return [entry for _, entry in await o.store.read(list_queue)]


async def settled(o: Office) -> None:
    async with asyncio.timeout(60):
        while any(entry.route.transport == "local" and not entry.attempts for entry in await entries(o)):
            await asyncio.sleep(0.001)


async def test_nothing_is_filed_twice_though_the_queue_could_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the filing and what the queue writes about it."""
    async with office(tmp_path) as o:
        await queued(o, ANA, "ana+lists@palomar.test")

        async def broken(*_: Any, **__: Any) -> None:
            raise StoreError("out of order")

        with monkeypatch.context() as patch:
            patch.setattr(o.store, "write", broken)
            async with working(o):
                await until(lambda: sum(row[2] == "delivered" for row in o.trace.rows) == 2)
        assert len(await o.inbox(ANA)) == 2
        assert await entries(o) == []
        async with working(o):
            await asyncio.sleep(0.02)
        assert len(await o.inbox(ANA)) == 2


async def test_what_cannot_be_filed_waits_beside_what_is(tmp_path: Path) -> None:
    async def file_message(account: Any) -> Reply | None:
        return Reply(452, "4.2.2", "full") if account.name == ANA else None

    async with office(tmp_path, ("sieve", plugin_of(file_message=file_message))) as o:
        await queued(o, ANA, LUIS)
        async with working(o):
            await settled(o)
        (entry,) = await entries(o)
        assert (str(entry.recipient.address), entry.attempts, entry.last_reply) == (ANA, 1, "452 4.2.2 full")
        assert len(await o.inbox(LUIS)) == 2  # the message, and the notice that it was delivered to luis


async def test_the_whole_way_is_traced_as_one(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await queued(o, ANA)
        async with working(o):
            await settled(o)
        found = [(who, what) for trace_id, who, what, _ in o.trace.rows if trace_id == "its-own"]
        assert found[:2] == [("intake", "accepted"), ("local", "delivered")]
        assert "queue" not in {row[0] for row in o.trace.rows}


async def test_a_redirect_goes_on_as_the_same_message_and_is_not_told_as_delivered(tmp_path: Path) -> None:
    async with office(tmp_path, ("relay", Outside())) as o:
        await queued(o, ANA)
        await o.store.write(lambda db: set_redirect(db, ANA, "ana@elsewhere.test"))
        async with working(o):
            await settled(o)
            ((message, entry),) = await o.store.read(list_queue)
        assert message.trace_id == "its-own"
        assert (str(entry.recipient.address), entry.route.transport) == ("ana@elsewhere.test", "relay")
        assert entry.recipient.notify == {"SUCCESS", "FAILURE"}
        assert await o.inbox(ANA) == []
        assert await o.inbox(LUIS) == []


async def test_what_a_plugin_throws_away_leaves_the_queue(tmp_path: Path) -> None:
    async def file_message(account: Any) -> list[Filing] | None:
        return [] if account.name == ANA else None

    async with office(tmp_path, ("sieve", plugin_of(file_message=file_message))) as o:
        await queued(o, ANA)
        async with working(o):
            await settled(o)
        assert await entries(o) == []
        assert await o.inbox(ANA) == []
        assert await o.inbox(LUIS) == []  # nor is it told as delivered


async def test_mail_for_an_account_that_is_gone_comes_back(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await queued(o, ANA)
        await o.store.write(lambda db: delete_account(db, ANA))
        async with working(o):
            await settled(o)
        (notice,) = await o.inbox(LUIS)
        assert b"Action: failed" in notice
