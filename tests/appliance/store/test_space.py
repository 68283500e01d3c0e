"""Room on the disk: the reserve, refusing new mail, and going on by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import StoreFullError
from appliance.store import Account, Store, messages
from appliance.store.accounts import create_account
from appliance.store.space import MARGIN, WRITTEN_PER_OCTET, Space
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
