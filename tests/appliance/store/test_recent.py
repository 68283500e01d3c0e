"""Short bodies that were read lately are kept, few octets of them, and come back as they are."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path

import pytest

from appliance.errors import NotFoundError
from appliance.mail.message import Message
from appliance.store import Account, Database, MessageRow, Store, recent
from appliance.store.bodies import StoredBody, prepare
from appliance.store.database import connect
from appliance.store.messages import expunge, list_rows
from appliance.store.readers import Readers
from appliance.store.recent import RecentBodies
from appliance.store.segments import Segments
from appliance.store.texts import RAW, Place
from tests.appliance.store.samples import PREFIX, accept, box, message


def body(octets: int) -> StoredBody:
    return StoredBody(b"", Place(RAW, octets, None, 0, octets, bytes(octets)), b"")


def test_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "LIMIT", 3 * (1000 + recent._OVERHEAD))
    kept, bodies = RecentBodies(), {number: body(1000) for number in range(5)}
    for number in range(3):
        kept.keep((number, 1), bodies[number])
        kept.keep((number, 1), bodies[number])
    assert kept.get((0, 1)) is bodies[0]
    kept.keep((3, 1), bodies[3])
    assert [kept.get((number, 1)) is bodies[number] for number in range(4)] == [True, False, True, True]
    assert kept.get((0, 2)) is None


def test_of_a_long_text_a_short_stretch_is_kept(tmp_path: Path) -> None:
    """It costs no more than that, and what is compressed in its row."""
    segments = Segments(tmp_path / "segments")
    text = random.Random(1).randbytes(100_000).hex().encode()
    prepared = prepare(Message(b"Subject: long\r\n\r\n", text), segments)
    assert prepared.extent is not None
    where = prepared.extent.segment, prepared.extent.position
    long = StoredBody(b"header", Place(prepared.codec, len(text), *where, prepared.stored, None), b"")
    assert long.cost == 6 + recent.STRETCH
    assert body(recent.SHORT + 1).cost == recent.STRETCH + recent.SHORT + 1
    for start, end in ((100, 200), (110, 190), (100, 200), (100, 201), (0, len(text)), (100, 201), (7, 7)):
        assert b"".join(long.stretch(segments, start, end)) == text[start:end]
    segments.path(where[0]).unlink()
    segments._descriptors.clear()
    assert b"".join(long.stretch(segments, 150, 200)) == text[150:200]
    with pytest.raises(NotFoundError):
        long.stretch(segments, 90, 200)
    segments.close()


@pytest.mark.parametrize("octets", [300, 10_000, 100_000])
async def test_the_second_read_is_like_the_first(store: Store, ana: Account, octets: int) -> None:
    sent = message(1, octets)
    await accept(store, sent, ana)
    inbox = box(store, ana)
    size = len(sent.text)
    for start, end in ((0, size), (5, 9), (0, size), (0, 0), (size, size), (size - 1, size)):
        [found] = await store.read(lambda db: list(store.found_in(db, inbox.id, 1, 9)))
        assert found.header == PREFIX + sent.header
        assert (found.text_size, found.row.size) == (size, len(PREFIX) + sent.size)
        assert found.structure == sent.structure
        assert b"".join(store.stretch_in(found, start, end)) == bytes(sent.text[start:end])
    await store.write(lambda db: expunge(db, inbox.id, None, deleted_only=False))
    assert await store.read(lambda db: list(store.found_in(db, inbox.id, 1, 9))) == []


async def test_a_text_that_was_moved_since_it_was_kept_is_found_where_it_lies(store: Store, ana: Account) -> None:
    for number in range(1, 5):
        await accept(store, message(number, 100_000), ana)
    inbox = box(store, ana)

    def texts(db: Database) -> list[bytes]:
        found = store.found_in(db, inbox.id, 2, 4)
        return [b"".join(store.stretch_in(one, 0, one.text_size)) for one in found]

    before = await store.read(texts)
    assert before == [message(number, 100_000).text for number in range(2, 5)]
    for _ in range(2):
        await store.write(lambda db: expunge(db, inbox.id, [1], deleted_only=False))
        await store.tidy(everything=True)
        assert await store.read(texts) == before
        store._segments.retire()
    assert store._segments.numbers() == [2]


async def test_whoever_reads_while_texts_are_moved_comes_to_the_end(store: Store, ana: Account) -> None:
    for number in range(1, 5):
        await accept(store, message(number, 100_000), ana)
    inbox = box(store, ana)
    await store.write(lambda db: expunge(db, inbox.id, [1], deleted_only=False))
    begun, moved = threading.Event(), threading.Event()
    real = store._readers.settle

    def settle(limit_s: float) -> None:  # the moves are committed now
        moved.set()
        real(limit_s)

    store._readers.settle = settle  # type: ignore[method-assign]

    def texts(db: Database) -> list[bytes]:
        rows = [MessageRow(*row) for row in list_rows(db, inbox.id)]  # the snapshot is of before
        begun.set()
        assert moved.wait(60)
        return [bytes(one.text) for one in store.load_in(db, rows)]

    reading = asyncio.ensure_future(store.read(texts))
    assert await store._on_thread(lambda: begun.wait(60))
    await store.tidy(everything=True)
    assert await reading == [message(number, 100_000).text for number in range(2, 5)]
    assert store._segments.numbers() == [2]


def test_waiting_for_readers_ends_in_time(tmp_path: Path) -> None:
    connect(tmp_path / "mail.db", cache_kib=100).close()
    found = Readers(tmp_path / "mail.db")
    found.read(lambda _: found.settle(0.01))  # it would wait for itself
    found.settle(60)
    found.close()
