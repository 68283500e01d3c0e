"""Reads on the event loop: only what is short and in memory, and not while the disk is slow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from appliance.errors import NotFoundError, StoreError
from appliance.store import Account, Database, Store, shortcut
from appliance.store.database import connect
from appliance.store.segments import MAX_DESCRIPTORS, NotCachedError, Segments
from appliance.store.shortcut import PAUSE, SLOW_S, Shortcut
from tests.appliance.store.samples import PREFIX, accept, box, message, rows

T = TypeVar("T")


class Loop:
    """A loop whose reads take the time, and ask the disk as often, as the test says."""

    def __init__(self, folder: Path) -> None:
        self.now = self.takes = 0.0
        self.blocks = self.asks = 0
        self.db = connect(folder / "a.db", cache_kib=64)
        self.way = Shortcut(self.peek, clock=lambda: self.now, blocks_read=lambda: self.blocks)

    def peek(self, fn: Callable[[Database], T]) -> T:
        self.now += self.takes
        self.blocks += self.asks
        return fn(self.db)

    def works(self) -> bool:
        return self.way.take(lambda _: "read") == "read"


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return Loop(tmp_path)


def test_a_read_that_waited_for_the_disk_closes_the_way_for_a_while(loop: Loop) -> None:
    loop.takes, loop.asks = SLOW_S * 2, 8
    assert loop.works()
    loop.takes = loop.asks = 0
    assert not loop.works()
    loop.now += SLOW_S * 2 * PAUSE * 1.01
    assert loop.works()


def test_waiting_for_the_processor_closes_nothing(loop: Loop) -> None:
    loop.takes = SLOW_S * 5
    assert loop.works()
    assert loop.works()


def test_what_fails_is_left_to_a_thread(loop: Loop) -> None:
    def fail(db: Database) -> str:
        raise NotFoundError("gone")

    assert loop.way.take(fail) is None
    assert loop.works()


@pytest.mark.parametrize(("octets", "quick"), [(300, True), (60_000, True), (100_000, True), (400_000, False)])
async def test_short_messages_are_loaded_without_a_thread(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch, octets: int, quick: bool
) -> None:
    done = await accept(store, message(1, octets), ana)
    [row] = rows(store, box(store, ana))
    hops: list[object] = []
    on_thread = store._on_thread
    monkeypatch.setattr(store, "_on_thread", lambda fn: (hops.append(fn), on_thread(fn))[1])
    assert bytes(await store.load(done.body_id, row.filing_id)) == PREFIX + bytes(message(1, octets))
    assert bytes(await store.load(done.body_id)) == bytes(message(1, octets))
    assert bool(hops) is not quick


async def test_what_is_missing_or_damaged_is_told_as_ever(store: Store, ana: Account) -> None:
    done = await accept(store, message(1, 100_000), ana)
    with pytest.raises(NotFoundError, match="no body"):
        await store.load(done.body_id + 1)
    with pytest.raises(NotFoundError, match="no filing"):
        await store.load(done.body_id, 9999)
    path = store._segments.path(1)
    octets = bytearray(path.read_bytes())
    octets[5000] ^= 1
    path.write_bytes(octets)
    with pytest.raises(StoreError, match=f"body {done.body_id}: .*damaged"):
        await store.load(done.body_id)
    assert shortcut.blocks_read() >= 0


def test_a_record_that_is_not_in_memory_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Segments(tmp_path / "segments")
    extent = files.append([b"some octets"])
    assert files.read(extent.segment, extent.position, extent.length, at_once=True) == b"some octets"
    with pytest.raises(NotCachedError):
        files.read(extent.segment, extent.position, extent.length + 1, at_once=True)
    with pytest.raises(NotCachedError):
        files.read(9, 0, 1, at_once=True)

    def absent(*_: object) -> int:
        raise BlockingIOError(11, "not now")

    monkeypatch.setattr(os, "preadv", absent)
    with pytest.raises(NotCachedError):
        files.read(extent.segment, extent.position, extent.length, at_once=True)
    assert files.read(extent.segment, extent.position, extent.length) == b"some octets"


def test_few_files_stay_open_and_none_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.store.segments.SEGMENT_BYTES", 1)
    files = Segments(tmp_path / "segments")
    extents = [files.append([b"record %d" % number]) for number in range(MAX_DESCRIPTORS * 2)]
    files.sync(extents)
    for extent in extents:
        files.done(extent)
    files.retire()
    before = len(os.listdir("/proc/self/fd"))
    for number, extent in enumerate(extents):
        assert files.read(extent.segment, extent.position, extent.length) == b"record %d" % number
    assert len(os.listdir("/proc/self/fd")) == before + MAX_DESCRIPTORS
    for extent in extents:
        assert files.remove(extent.segment)
        with pytest.raises(NotFoundError):
            files.read(extent.segment, extent.position, extent.length)
    assert len(os.listdir("/proc/self/fd")) == before
