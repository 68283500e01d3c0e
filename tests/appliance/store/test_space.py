"""Room on the disk: the reserve, refusing new mail, and going on by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.errors import StoreFullError
from appliance.store import Account, Store, keeper, messages
from appliance.store.accounts import create_account
from appliance.store.space import MARGIN, SPARE, WRITTEN_PER_OCTET, Space
from tests.appliance.store.samples import accept, box, message, uids

RESERVE = 2 << 20


class Free:
    """The octets that are free on the disk."""

    def __init__(self, octets: int) -> None:
        self.octets = octets

    def __call__(self) -> int:
        return self.octets


def test_the_reserve_is_taken_from_the_disk(tmp_path: Path) -> None:
    space = Space(tmp_path, RESERVE)
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVE
    space.admit(1000)
    assert space.release()
    assert not space.release()
    assert (tmp_path / "reserve").stat().st_blocks == 0
    assert Space(tmp_path, RESERVE).release()  # it was taken again at the start


def test_mail_needs_room_beside_the_reserve(tmp_path: Path) -> None:
    free = Free(1 << 30)
    space = Space(tmp_path, RESERVE, free=free)
    free.octets = MARGIN + WRITTEN_PER_OCTET * 1000
    space.admit(1000)
    assert not space.refusing
    with pytest.raises(StoreFullError):
        space.admit(1001)
    assert space.refusing
    space.admit(1000)
    assert not space.refusing


def test_a_disk_that_another_program_has_filled_gets_the_reserve_at_the_start(tmp_path: Path) -> None:
    assert Space(tmp_path, RESERVE).has_reserve
    free = Free(0)
    space = Space(tmp_path, RESERVE, free=free)
    assert (tmp_path / "reserve").stat().st_blocks == 0
    assert not space.has_reserve
    with pytest.raises(StoreFullError):
        space.admit(1)
    free.octets = 1 << 30
    space.admit(1)
    assert space.has_reserve


def test_a_reserve_that_was_given_away_comes_back_first(tmp_path: Path) -> None:
    free = Free(1 << 30)
    space = Space(tmp_path, RESERVE, free=free)
    space.release()
    free.octets = RESERVE + 2 * MARGIN
    with pytest.raises(StoreFullError):
        space.admit(1)
    assert (tmp_path / "reserve").stat().st_size == 0
    free.octets = RESERVE + 2 * MARGIN + WRITTEN_PER_OCTET * 1
    space.admit(1)
    assert (tmp_path / "reserve").stat().st_size == RESERVE


def test_a_start_on_a_full_disk_takes_no_reserve_and_no_mail(tmp_path: Path) -> None:
    free = Free(1000)
    space = Space(tmp_path, RESERVE, free=free)
    assert not (tmp_path / "reserve").exists()
    assert space.refusing  # nobody needs to be refused for it to be known
    with pytest.raises(StoreFullError):
        space.admit(1)
    free.octets = 1 << 30
    space.admit(1)


def test_room_that_came_back_is_seen_without_another_message(tmp_path: Path) -> None:
    free = Free(1 << 30)
    space = Space(tmp_path, RESERVE, free=free)
    free.octets = MARGIN
    with pytest.raises(StoreFullError):
        space.admit(1000)
    free.octets = MARGIN + WRITTEN_PER_OCTET * 1000 - 1
    space.look()
    assert space.refusing
    free.octets += 1
    space.look()
    assert not space.refusing
    free.octets = 0
    space.look()  # nobody was refused
    assert not space.refusing


def test_mail_needs_room_beside_what_the_log_owes(tmp_path: Path) -> None:
    free = Free(MARGIN + WRITTEN_PER_OCTET * 1000 + 500)
    space = Space(tmp_path, 0, free=free)
    space.admit(1000, 500)
    assert not space.fits(1000, 501)
    with pytest.raises(StoreFullError):
        space.admit(1000, 501)


def test_what_mail_does_not_need_stops_before_mail_does(tmp_path: Path) -> None:
    free = Free(1 << 30)
    space = Space(tmp_path, RESERVE, free=free)
    free.octets = SPARE + 1000
    assert space.spares(1000)
    assert not space.spares(1001)
    space.admit(WRITTEN_PER_OCTET * 1000)
    space.release()
    assert not space.spares()


def test_housekeeping_is_called_when_mail_is_refused_and_when_some_is_removed_meanwhile(tmp_path: Path) -> None:
    free = Free(1 << 30)
    space = Space(tmp_path, RESERVE, free=free)
    space.removed()
    assert not space.take_removed()
    assert not space.housekeeping.is_set()
    free.octets = MARGIN
    with pytest.raises(StoreFullError):
        space.admit(1)
    assert space.housekeeping.is_set()
    space.housekeeping.clear()
    with pytest.raises(StoreFullError):
        space.admit(1)
    assert not space.housekeeping.is_set()
    space.removed()
    assert space.housekeeping.is_set()
    assert space.take_removed()
    assert not space.take_removed()


def test_mail_is_refused_once_the_reserve_is_given_away(tmp_path: Path) -> None:
    free = Free(1 << 30)
    space = Space(tmp_path, RESERVE, free=free)
    free.octets = MARGIN
    assert space.release()
    assert space.refusing
    assert space.housekeeping.is_set()


class Disk:
    """The octets that a folder leaves of a disk."""

    def __init__(self, folder: Path, octets: int) -> None:
        self._folder = folder
        self._octets = octets

    def __call__(self) -> int:
        return self._octets - sum(path.stat().st_size for path in self._folder.rglob("*.seg"))


async def test_removed_mail_becomes_room_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "TICK_S", 3600.0)
    disk = Disk(tmp_path / "data", MARGIN + (4 << 20))
    store = Store.open(tmp_path / "data", reserve_bytes=0, free=disk)
    await store.start()
    ana: Account = await store.write(lambda db: create_account(db, "ana@palomar.test"))
    taken = 0
    with pytest.raises(StoreFullError):
        while True:
            await accept(store, message(taken, 400_000), ana)
            taken += 1
    assert taken > 3
    assert store.refusing_mail
    await store.write(lambda db: messages.expunge(db, box(store, ana).id, [1, 2, 3], deleted_only=False))
    async with asyncio.timeout(60):
        while store.refusing_mail:
            await asyncio.sleep(0.01)
    await accept(store, message(taken, 400_000), ana)
    assert uids(store, box(store, ana)) == [*range(4, taken + 2)]
    await store.close()


async def test_the_log_pays_its_debt_before_mail_is_refused(tmp_path: Path) -> None:
    free = Free(1 << 30)
    store = Store.open(tmp_path / "data", reserve_bytes=0, free=free)
    await store.start()
    ana: Account = await store.write(lambda db: create_account(db, "ana@palomar.test"))
    await accept(store, message(1, 20_000), ana)
    owed = store._wal.filled
    assert owed > 20_000
    free.octets = MARGIN + WRITTEN_PER_OCTET * 4000 + owed // 2
    await accept(store, message(2, 3000), ana)
    assert store._wal.filled < owed // 2
    await store.close()


async def test_the_search_index_and_traces_take_no_room_that_mail_needs(tmp_path: Path) -> None:
    free = Free(1 << 30)
    store = Store.open(tmp_path / "data", reserve_bytes=0, free=free)
    index = store.open_soft("index.db")
    free.octets = SPARE - 1
    assert await index.write(lambda _: 1) is None
    assert await store.soft.write(lambda _: 1) is None
    assert not (tmp_path / "data" / "index.db").exists()
    await index.close()
    await store.soft.close()


async def test_the_log_is_not_made_long_where_room_is_short(tmp_path: Path) -> None:
    free = Free(1 << 30)
    store = Store.open(tmp_path / "data", reserve_bytes=0, free=free)
    await store.start()
    await store.write(lambda db: create_account(db, "ana@palomar.test"))
    size = store._wal.file_bytes()
    free.octets = SPARE + keeper.LONG_LOG_ROOM - 1
    assert not await store._on_thread(store._keeper._extend)
    assert store._wal.file_bytes() == size
    free.octets += 1
    assert await store._on_thread(store._keeper._extend)
    assert store._wal.file_bytes() > size
    await store.close()


async def test_the_store_refuses_mail_and_resumes_by_itself(tmp_path: Path) -> None:
    free = Free(1 << 30)
    store = Store.open(tmp_path / "data", reserve_bytes=RESERVE, free=free)
    await store.start()
    ana: Account = await store.write(lambda db: create_account(db, "ana@palomar.test"))
    inbox = box(store, ana)
    await accept(store, message(1), ana)
    free.octets = 0
    for size in (200, 100_000):
        with pytest.raises(StoreFullError):
            await accept(store, message(2, size), ana)
        with pytest.raises(StoreFullError):
            await store.append(inbox.id, [(message(2, size), 0, (), 1)])
    assert store.refusing_mail
    assert await store.write(lambda db: messages.set_flags(db, inbox.id, None, add=8)) == (3, [(1, 8)])
    assert await store.write(lambda db: messages.expunge(db, inbox.id)) == [1]
    free.octets = 1 << 30
    await accept(store, message(3), ana)
    assert not store.refusing_mail
    assert uids(store, inbox) == [2]
    await store.close()
