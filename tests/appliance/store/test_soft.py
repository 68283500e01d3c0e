"""soft.db: useful when it works, harmless when it does not."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.store import Database, Migration
from appliance.store import soft as soft_code
from appliance.store.soft import SoftStore


class Seconds:
    at = 0.0

    def __call__(self) -> float:
        return self.at


def make_notes(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE note (text TEXT)")


NOTES = (Migration("test.m001_note", make_notes),)


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
async def soft(tmp_path: Path, clock: Seconds) -> AsyncIterator[SoftStore]:
    opened = SoftStore(tmp_path / "soft.db", clock=clock)
    opened.add(NOTES)
    yield opened
    await opened.close()


def add(db: Database) -> int:
    db.execute("INSERT INTO note VALUES ('x')")
    return 1


def notes(db: Database) -> int:
    (number,) = db.execute("SELECT count(*) FROM note").fetchone()
    return int(number)


async def test_writes_and_reads(soft: SoftStore, tmp_path: Path) -> None:
    assert not (tmp_path / "soft.db").exists()
    assert await soft.write(add) == 1
    assert await soft.read(notes) == 1
    soft.add(NOTES)
    soft.add([Migration("test.m002_other", lambda db: db.execute("CREATE TABLE other (a)"))])  # type: ignore[arg-type]
    assert await soft.read(lambda db: db.execute("SELECT count(*) FROM other").fetchone()) == (0,)


async def test_an_error_is_none_and_pauses(soft: SoftStore, clock: Seconds) -> None:
    assert await soft.write(lambda db: db.execute("INSERT INTO missing_table VALUES (1)")) is None
    assert await soft.write(add) is None
    clock.at += soft_code.RETRY_S
    assert await soft.write(add) == 1


async def test_what_the_closure_raises_comes_out_and_nothing_stays(soft: SoftStore) -> None:
    def fail(db: Database) -> None:
        add(db)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await soft.write(fail)
    assert await soft.read(notes) == 0


@pytest.mark.parametrize("damage", ["whole", "page"])
async def test_a_damaged_file_is_put_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "soft.db"
    before = SoftStore(path)
    before.add(NOTES)
    await before.write(add)
    await before.close()
    octets = bytearray(path.read_bytes())
    octets[0 if damage == "whole" else 1024 :] = b"garbage " * (len(octets) // 8)
    path.write_bytes(octets)
    after = SoftStore(path)
    after.add(NOTES)
    await after.write(add)
    assert await after.write(add) == 1
    assert await after.read(notes) in (1, 2)
    assert (tmp_path / "soft.db.damaged").exists()
    await after.close()


async def test_a_folder_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    soft = SoftStore(tmp_path / "gone" / "soft.db")
    soft.add(NOTES)
    assert await soft.write(add) is None
    assert await soft.read(notes) is None
    await soft.close()


async def test_the_log_is_carried_over(soft: SoftStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_code, "CHECKPOINT_BYTES", 10_000)
    for _ in range(30):
        await soft.write(add)
    assert (tmp_path / "soft.db-wal").stat().st_size <= 12_000


async def test_nothing_is_written_where_room_is_short_but_all_can_be_read(tmp_path: Path, clock: Seconds) -> None:
    room = [True]
    soft = SoftStore(tmp_path / "soft.db", clock=clock, has_room=lambda: room[0])
    soft.add(NOTES)
    assert await soft.write(add) == 1
    room[0] = False
    assert await soft.write(add) is None
    assert await soft.read(notes) == 1
    room[0] = True
    assert await soft.write(add) is None  # not asked again so soon
    clock.at += soft_code.RETRY_S
    assert await soft.write(add) == 1
    await soft.close()
