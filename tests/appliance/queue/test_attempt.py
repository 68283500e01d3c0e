"""What is in memory during attempts is bounded."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.queue import attempt
from appliance.queue.attempt import MessageCache
from appliance.queue.shared import SharedMessages
from appliance.store.queue import queue_counts
from appliance.store.queuedesk import Selection, history_of
from tests.appliance.queue.office import ANA, OK, office, outcome, until, working


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


@dataclass
class TakesItsTime:
    """Reads each message piece by piece, and half way waits until it may go on."""

    name: str = "fake"
    sums: list[int] = field(default_factory=list)
    half_way: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        octets = total = 0
        waited = False
        for piece in message.chunks():
            octets, total = octets + len(piece), zlib.crc32(piece, total)
            if octets > message.size // 2 and not waited:
                waited = True
                self.half_way += 1
                await self.go_on.wait()
        self.sums.append(total)
        return [outcome(one, OK) for one in recipients]


async def test_a_large_message_on_its_way_to_many_takes_no_memory(tmp_path: Path) -> None:
    size = 16 << 20
    async with office(tmp_path) as place:
        raw = bytes(message(size))
        expected = zlib.crc32(raw)
        await place.queue(*(f"a@{number}.test" for number in range(20)), raw=raw)
        del raw
        transport = TakesItsTime()
        gc.collect()
        tracemalloc.start()
        try:
            async with working(place, transport) as runner:
                await until(lambda: transport.half_way == 20)
                assert runner._attempts._mapped.octets == size  # one copy, on the disk
                transport.go_on.set()
                await until(lambda: len(transport.sums) == 20)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert transport.sums == [expected] * 20
        assert peak < size // 4
        assert runner._attempts._mapped.octets == 0
        assert list((tmp_path / "spool").iterdir()) == []


async def test_without_room_on_the_disk_a_large_message_leaves_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "LARGE", 1000)
    async with office(tmp_path) as place:
        (tmp_path / "spool").write_text("no folder")  # so nothing can be put there
        raw = bytes(message(100_000))
        await place.queue("a@b.test", raw=raw)
        async with working(place):
            await until(lambda: place.transport.delivered)
        assert place.transport.delivered == [(["a@b.test"], raw)]


async def test_a_large_message_that_is_gone_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "LARGE", 1)
    async with office(tmp_path) as place:
        await place.queue("a@b.test")
        [gone] = await place.entries()
        await place.store.write(lambda db: db.execute("DELETE FROM body WHERE id = ?", (gone.message_id,)))
        async with working(place):
            await until(lambda: place.store.peek(queue_counts) == (1, 0, 0, 1))
        assert place.transport.delivered == []


async def test_a_copy_is_made_once_and_goes_with_the_last_who_uses_it() -> None:
    made: list[int] = []
    go_on = asyncio.Event()

    async def load(body_id: int) -> Message:
        made.append(body_id)
        await go_on.wait()
        return message(100)

    shared = SharedMessages(load, 150)
    ended: list[str] = []

    async def use(name: str, body_id: int) -> None:
        async with shared.use(body_id, 100):
            ended.append(name)

    first, second, other = (asyncio.ensure_future(use(name, body)) for name, body in (("a", 1), ("b", 1), ("c", 2)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (made, shared.octets) == ([1], 100)  # the other waits for room
    first.cancel()
    await asyncio.wait([first])
    assert shared.octets == 100
    go_on.set()
    await asyncio.gather(second, other)
    assert ended == ["b", "c"]
    assert (made, shared.octets) == ([1, 2], 0)


async def test_a_failure_reaches_all_who_wait_and_is_forgotten_with_them() -> None:
    async def load(body_id: int) -> Message:
        raise StoreError(f"no body {body_id}")

    shared = SharedMessages(load, 1000)

    async def use() -> None:
        async with shared.use(1, 100):
            raise AssertionError("there is nothing to use")

    found = await asyncio.gather(use(), use(), return_exceptions=True)
    assert [type(one) for one in found] == [StoreError, StoreError]
    assert shared.octets == 0
