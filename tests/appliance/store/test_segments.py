"""Segment files: records, lanes, syncs that fail, damage, compaction."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from appliance.errors import NotFoundError, StoreError, StoreFullError
from appliance.store import Account, Database, Store, compaction, messages, segments
from appliance.store.mailboxes import delete_mailbox
from appliance.store.segments import LARGE_RECORD, Segments
from tests.appliance.store.samples import PREFIX, accept, box, message, rows, swept


@pytest.fixture
def files(tmp_path: Path) -> Segments:
    return Segments(tmp_path / "segments")


def test_records_are_read_back(files: Segments) -> None:
    one = files.append([b"first", b"", b" record"])
    two = files.append([memoryview(b"second")])
    assert (one.segment, one.position, one.length) == (1, 0, 12)
    assert two.position == 16 + 12
    assert files.sync([one, two]) == set()
    assert files.read(1, one.position, one.length) == b"first record"
    assert files.read(1, two.position, two.length) == b"second"


def test_many_chunks_and_short_writes(files: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, chunks, at: real(fd, [memoryview(chunks[0])[:7]], at))
    chunks = [bytes([number]) * (number % 20) for number in range(256)]
    extent = files.append(chunks)
    assert files.read(extent.segment, extent.position, extent.length) == b"".join(chunks)


def test_damage_is_found(files: Segments) -> None:
    extent = files.append([b"some octets"])
    path = files.path(1)
    for at in range(len(path.read_bytes())):
        good = path.read_bytes()
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(StoreError, match="damaged"):
            files.read(1, extent.position, extent.length)
        path.write_bytes(good)
    for position, length in ((0, 10), (0, 12), (1, 11), (5000, 3)):
        with pytest.raises(StoreError, match="damaged"):
            files.read(1, position, length)
    with pytest.raises(NotFoundError):
        files.read(9, 0, 1)


def test_large_records_have_their_own_file_and_are_synced_at_once(files: Segments) -> None:
    small, large = files.append([b"small"]), files.append([b"x" * LARGE_RECORD])
    assert (small.segment, small.synced) == (1, False)
    assert (large.segment, large.synced) == (2, True)
    assert files.append([b"small"]).segment == 1


def test_a_full_file_is_followed_by_the_next(files: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 60)
    extents = [files.append([b"x" * 30]) for _ in range(3)]
    assert [extent.segment for extent in extents] == [1, 1, 2]
    assert files.sync(extents) == set()
    assert files.idle_numbers() == []  # not done yet
    for extent in extents:
        files.done(extent)
    assert files.idle_numbers() == [1]


def test_the_last_file_is_continued_by_the_next_run_but_no_number_is_given_twice(tmp_path: Path) -> None:
    first = Segments(tmp_path / "s")
    one = first.append([b"one"])
    first.done(one)
    first.close()
    second = Segments(tmp_path / "s")
    assert second.idle_numbers() == []
    two = second.append([b"two"])
    assert (two.segment, two.position) == (1, 16 + 3)
    third = Segments(tmp_path / "s")  # while another one has the file
    assert third.append([b"three"]).segment == 2
    assert Segments(tmp_path / "other", highest=7).append([b"x"]).segment == 8


def test_a_file_in_use_is_neither_compacted_nor_removed(tmp_path: Path) -> None:
    first = Segments(tmp_path / "s")
    first.done(first.append([b"one"]))
    assert first.idle_numbers() == []
    assert not first.remove(1)
    first.close()
    second = Segments(tmp_path / "s")
    second.done(second.append([b"x" * LARGE_RECORD]))  # the other lane is open already
    assert second.idle_numbers() == []  # small records will go on in the file of the run before
    assert not second.remove(1)
    on_its_way = second.append([b"two"])
    second.retire()
    assert on_its_way.segment == 1
    assert second.idle_numbers() == [2]
    assert not second.remove(1)  # it has no row yet
    second.done(on_its_way)
    assert second.idle_numbers() == [1, 2]
    assert second.remove(1)


def test_a_sync_that_failed_is_never_asked_again(files: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    extents = [files.append([b"x"]), files.append([b"y"])]
    calls = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        assert files.sync(extents[:1]) == {1}
    assert files.sync(extents[1:]) == {1}  # the disk works again, but these octets are lost
    assert len(calls) == 1
    after = files.append([b"z"])
    assert after.segment == 2
    assert files.sync([after]) == set()


def test_errors_come_in_words(files: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, error in ((errno.ENOSPC, StoreFullError), (errno.EIO, StoreError)):

        def fail(*_: object, number: int = number) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", fail)
            with pytest.raises(error) as caught:
                files.append([b"x"])
            assert type(caught.value) is error
    assert files._in_flight == {}


def test_a_backup_holds_the_files(files: Segments) -> None:
    files.done(files.append([b"x"]))
    files.retire()
    with files.hold():
        assert not files.remove(1)
    assert files.remove(1)
    assert files.numbers() == []


async def test_compaction_keeps_what_lives_and_gives_back_the_rest(store: Store, ana: Account) -> None:
    for number in range(8):
        await accept(store, message(number, 100_000 if number % 2 else 900_000), ana)
    inbox = box(store, ana)
    await store.write(lambda db: messages.expunge(db, inbox.id, [1, 2, 3, 4, 5, 6], deleted_only=False))
    before = store._segments.numbers()
    with store.hold_segments():
        await store.tidy(everything=True)
        assert set(before) < set(store._segments.numbers())
    await store.tidy(everything=True)
    assert not set(before) & set(store._segments.numbers())
    found = await store.load_many(rows(store, inbox))
    assert [bytes(one) for one in found] == [
        PREFIX + bytes(message(6, 900_000)),
        PREFIX + bytes(message(7, 100_000)),
    ]
    await store.write(lambda db: messages.expunge(db, inbox.id, None, deleted_only=False))
    await store.tidy(everything=True)
    assert store._segments.numbers() == []


async def test_files_that_are_mostly_alive_are_left(store: Store, ana: Account) -> None:
    for number in range(3):
        await accept(store, message(number, 100_000), ana)
    inbox = box(store, ana)
    await store.write(lambda db: messages.expunge(db, inbox.id, [1], deleted_only=False))
    store._segments.retire()
    await store.tidy()
    assert store._segments.numbers() == [1]


async def test_where_all_room_counts_a_third_that_is_dead_is_given_back_step_by_step(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        await accept(store, message(number, 100_000), ana)
    inbox = box(store, ana)
    await store.write(lambda db: messages.expunge(db, inbox.id, [1], deleted_only=False))
    old = rows(store, inbox)
    sizes: list[int] = []
    real = store._segments.cut

    def cut(number: int, end: int) -> bool:
        done = real(number, end)
        sizes.append(store._segments.path(number).stat().st_size)
        return done

    monkeypatch.setattr(store._segments, "cut", cut)
    monkeypatch.setattr(store._segments, "free_octets", lambda: 2000)  # no room for two texts at a time
    await store.tidy(everything=True)
    assert len(sizes) == 2
    assert sizes[0] > sizes[1]
    assert store._segments.numbers() == [2]
    found = await store.load_many(old)
    assert [bytes(one) for one in found] == [PREFIX + bytes(message(number, 100_000)) for number in (1, 2, 3)]


def test_whoever_looks_behind_the_cut_is_told_that_it_was_moved(tmp_path: Path) -> None:
    files = Segments(tmp_path / "segments", highest=0)
    extents = [files.append([bytes([letter]) * 1000]) for letter in b"ab"]
    for extent in extents:
        files.done(extent)
    files.retire()
    with files.hold():
        assert not files.cut(1, extents[1].position)
    assert files.cut(1, extents[1].position)
    assert bytes(files.read(1, extents[0].position, 1000)) == b"a" * 1000
    with pytest.raises(NotFoundError, match="moved"):
        files.read(1, extents[1].position, 1000)


async def test_a_reader_follows_a_text_that_is_moved(store: Store, ana: Account) -> None:
    await accept(store, message(1, 100_000), ana)
    await accept(store, message(2, 100_000), ana, mailbox="x")
    await store.write(lambda db: delete_mailbox(db, ana.id, "x"))
    await swept(store, left=1)
    [row] = rows(store, box(store, ana))
    real = store._segments.read
    moved: list[int] = []

    def read(segment: int, position: int, length: int, *, at_once: bool) -> memoryview:
        if not moved:
            moved.append(segment)
            store._segments.path(segment).rename(store.folder / "aside")
            raise NotFoundError("gone while we looked")
        (store.folder / "aside").rename(store._segments.path(segment)) if (store.folder / "aside").exists() else None
        return real(segment, position, length, at_once=at_once)

    store._segments.read = read  # type: ignore[method-assign]
    assert bytes((await store.load_many([row]))[0]) == PREFIX + bytes(message(1, 100_000))


async def test_a_damaged_text_is_an_error_not_a_wrong_message(store: Store, ana: Account) -> None:
    done = await accept(store, message(1, 100_000), ana)
    path = store._segments.path(1)
    octets = bytearray(path.read_bytes())
    octets[5000] ^= 1
    path.write_bytes(octets)
    with pytest.raises(StoreError, match="damaged"):
        await store.load(done.body_id)


async def test_a_database_that_is_mostly_free_is_made_smaller(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FREE_BYTES", 50_000)
    monkeypatch.setattr(compaction, "STEP_PAGES", 50)
    await accept(store, message(0, 3000), ana)
    await asyncio.gather(*(accept(store, message(number, 20_000), ana) for number in range(1, 20)))
    await store.tidy()
    inbox = box(store, ana)
    before = (store.folder / "mail.db").stat().st_size
    await store.write(lambda db: messages.expunge(db, inbox.id, list(range(2, 21)), deleted_only=False))
    await store.tidy()
    await store.tidy()  # the file is cut by the checkpoint that follows
    assert (store.folder / "mail.db").stat().st_size < before / 2
    [found] = await store.load_many(rows(store, inbox))
    assert bytes(found) == PREFIX + bytes(message(0, 3000))


async def test_where_room_is_short_no_text_is_moved_from_a_file_that_cannot_be_given_back(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        await accept(store, message(number, 100_000), ana)
    await store.write(lambda db: messages.expunge(db, box(store, ana).id, [1], deleted_only=False))
    monkeypatch.setattr(compaction, "SHORT_BYTES", 1 << 60)
    with store.hold_segments():
        await store.tidy(everything=True)
    assert store._segments.numbers() == [1]
    await store.tidy(everything=True)
    assert store._segments.numbers() == [2]


async def test_pages_are_cut_off_as_the_room_for_the_log_allows(store: Store, ana: Account) -> None:
    await asyncio.gather(*(accept(store, message(number, 20_000), ana) for number in range(10)))
    await store.write(lambda db: messages.expunge(db, box(store, ana).id, None, deleted_only=False))
    await swept(store)

    def free_pages(db: Database) -> int:
        return int(db.execute("PRAGMA freelist_count").fetchone()[0])

    def shrink(room: int) -> bool:
        return store._call_writer(lambda db: compaction.shrink(db, room), outside=True)

    before = store.peek(free_pages)
    assert not await store._on_thread(lambda: shrink(compaction.SHRINK_COST - 1))
    assert await store._on_thread(lambda: shrink(10 * compaction.SHRINK_COST))
    assert before - store.peek(free_pages) == 10
