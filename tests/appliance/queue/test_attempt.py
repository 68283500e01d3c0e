"""What is in memory during attempts is bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.queue import attempt
from appliance.queue.attempt import MessageCache
from appliance.store.queue import queue_counts
from appliance.store.queuedesk import Selection, history_of
from tests.appliance.queue.office import ANA, office, until, working


def message(size: int) -> Message:
    return Message(b"\r\n", b"x" * (size - 2))


def test_the_cache_keeps_the_newest_small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "CACHED_OCTETS", 100)
    monkeypatch.setattr(attempt, "MAX_CACHED", 60)
    cache = MessageCache()
    first, second = message(50), message(50)
    cache.put(1, first)
    cache.put(2, second)
    cache.put(3, message(61))
    cache.put(4, Message(b"\r\n", memoryview(b"mapped")))
    assert [cache.get(number) for number in (1, 2, 3, 4)] == [first, second, None, None]
    cache.put(5, message(10))
    assert cache.get(1) is None
    cache.done(2)
    assert cache.get(2) is None
    assert cache.get(5) is not None


def test_a_message_for_several_destinations_stays_until_the_last() -> None:
    cache = MessageCache()
    cache.put(1, message(10), uses=2)
    cache.done(1)
    assert cache.get(1) is not None
    cache.done(1)
    assert cache.get(1) is None
    cache.done(1)


async def test_only_so_many_octets_are_loaded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "MAX_OCTETS", 1000)
    async with office(tmp_path) as place:
        place.transport.gate.clear()
        for size in (400, 400, 400, 5000):
            await place.queue("a@b.test", raw=bytes(message(size)))
        async with working(place):
            await until(lambda: place.transport.running == 2)
            await asyncio.sleep(0.01)
            assert place.transport.running == 2
            place.transport.gate.set()
            await until(lambda: len(place.transport.delivered) == 4)  # the large one too, alone


async def test_success_notices_for_what_was_filed_at_once(tmp_path: Path) -> None:
    async with office(tmp_path) as place:
        runner = place.runner_for(place.transport)
        to = [Recipient(Address("a", "b.test"), frozenset({"SUCCESS"})), Recipient(Address("c", "b.test"))]
        await runner.tell_delivered(Envelope(Address.parse(ANA)), to, message(100), trace_id="t")
        await runner.tell_delivered(Envelope(Address.parse(ANA)), to[1:], message(100), trace_id="t")
        await runner.tell_delivered(Envelope(None), to, message(100), trace_id="t")
        ((recipient, text),) = place.notices
        assert recipient == ANA
        assert "Action: delivered" in text
        assert "c@b.test" not in text


async def test_a_message_that_is_gone_is_put_aside_and_can_be_bounced(tmp_path: Path) -> None:
    async with office(tmp_path) as place:
        await place.queue("a@b.test")
        await place.queue("b@b.test")
        gone, _ = await place.entries()
        await place.store.write(lambda db: db.execute("DELETE FROM body WHERE id = ?", (gone.message_id,)))
        async with working(place) as runner:
            await until(lambda: place.transport.delivered)
            await until(lambda: place.store.peek(queue_counts) == (1, 0, 0, 1))
            assert place.notices == []
            only = Selection(state="damaged")
            assert await runner.desk.release(only) == 1  # it may have been the disk: tried again, and found as before
            await until(lambda: place.store.peek(queue_counts) == (1, 0, 0, 1))
            assert [event.what for event in place.store.peek(lambda db: history_of(db, gone.id))] == [
                "damaged", "released", "damaged"
            ]  # fmt: skip
            assert await runner.desk.bounce(only, "its text is lost") == 1
        ((recipient, text),) = place.notices
        assert recipient == ANA
        assert "taken the message out of the queue: its text is lost" in " ".join(text.split())
        assert place.transport.recipients == ["b@b.test"]
