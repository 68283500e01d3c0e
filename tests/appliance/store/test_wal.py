"""The log: checkpoints beside the writer, its cap, and cutting it when idle."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from threading import Event

import pytest

from appliance.errors import StoreError
from appliance.store import Account, Store, keeper, wal, writer
from appliance.store.database import connect
from appliance.store.wal import Log
from tests.appliance.store.samples import accept, box, message, uids


async def test_a_checkpoint_lets_the_log_start_anew(store: Store, ana: Account) -> None:
    for number in range(30):
        await accept(store, message(number, 5000), ana)
    assert store._wal.filled > 30 * 5000
    size = store._wal.file_bytes()
    await store._on_thread(store._keeper.checkpoint)
    assert store._wal.filled == 0
    for number in range(10):
        await accept(store, message(number, 5000), ana)
    assert store._wal.file_bytes() == size  # written over from its start
    assert len(uids(store, box(store, ana))) == 40


async def test_tidying_cuts_the_log(store: Store, ana: Account) -> None:
    await accept(store, message(1), ana)
    assert store._wal.file_bytes() > 0
    size = store._wal.file_bytes()
    await store.tidy()
    assert (store._wal.filled, store._wal.file_bytes()) == (0, size)
    await store.tidy(everything=True)
    assert store._wal.file_bytes() == 0


async def test_a_full_log_calls_for_a_checkpoint(store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "CHECKPOINT_BYTES", 200_000)
    called = []
    real = store._upkeep.checkpoint

    def checkpoint(truncate: bool) -> bool:
        called.append(truncate)
        return real(truncate)

    monkeypatch.setattr(store._upkeep, "checkpoint", checkpoint)
    for number in range(60):
        await accept(store, message(number, 5000), ana)
    for _ in range(1000):
        if called:
            break
        await store.write(lambda _: None)
    assert called
    assert called[0] is False


async def test_at_its_cap_the_writer_carries_the_log_over_itself(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CAP_BYTES", 100_000)
    for number in range(60):
        await accept(store, message(number, 5000), ana)
        assert store._wal.filled < 200_000
    assert store._wal.file_bytes() < 400_000


async def test_a_reader_of_long_ago_holds_the_log_but_no_delivery(store: Store, ana: Account) -> None:
    await accept(store, message(1), ana)
    old = connect(store.folder / "mail.db", cache_kib=100, read_only=True)
    old.execute("BEGIN")
    assert old.execute("SELECT count(*) FROM message").fetchone() == (1,)
    await accept(store, message(2), ana)
    assert not await store._on_thread(store._keeper.checkpoint)
    await accept(store, message(3), ana)
    assert old.execute("SELECT count(*) FROM message").fetchone() == (1,)
    old.execute("COMMIT")
    old.close()
    assert await store._on_thread(store._keeper.checkpoint)


async def test_an_idle_store_cuts_a_large_log(store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "TRUNCATE_BYTES", 10_000)
    for number in range(5):
        await accept(store, message(number, 5000), ana)
    await store._on_thread(store._keeper._idle)
    assert store._wal.file_bytes() > 0  # not idle yet
    monkeypatch.setattr(keeper, "IDLE_S", 0.0)
    await store._on_thread(store._keeper._idle)
    assert store._wal.file_bytes() == 0


def test_the_files_size_corrects_the_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "mail.db", Event())
    group = 1000 + 3 * wal.ROW_OVERHEAD + wal.GROUP_OVERHEAD
    log.grew(1000, 3)
    assert log.filled == group
    (tmp_path / "mail.db-wal").write_bytes(b"x" * 900_000)
    log.grew(1000, 3)
    assert log.filled == 900_000
    log.grew(1000, 3)
    assert log.filled == 900_000 + group


async def test_the_log_is_made_long_with_zeros_and_still_says_the_same(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "CHECKPOINT_BYTES", 3 << 20)
    await accept(store, message(1), ana)
    filled = store._wal.filled
    steps = 0
    while await store._on_thread(store._upkeep.extend):
        steps += 1
    assert steps == 3
    size = store._wal.file_bytes()
    assert size >= 3 << 20
    for number in range(2, 20):
        await accept(store, message(number), ana)
    assert store._wal.file_bytes() == size
    assert filled < store._wal.filled < 20 * filled
    copy = store.folder.with_name("copy")
    shutil.copytree(store.folder, copy, ignore=shutil.ignore_patterns("*-shm"))  # as a killed process leaves it
    again = Store.open(copy, reserve_bytes=0)
    assert uids(again, box(again, ana)) == list(range(1, 20))
    again._shut_down()


def test_a_log_left_by_a_crash_is_carried_over_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mail.db-wal").write_bytes(b"x" * 5000)
    called = Event()
    assert not Log(tmp_path / "mail.db", called).due
    assert not called.is_set()
    monkeypatch.setattr(wal, "CHECKPOINT_BYTES", 5000)
    assert Log(tmp_path / "mail.db", called).due
    assert called.is_set()


async def test_a_log_that_cannot_be_made_long_leaves_the_writer_at_work(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    real = os.pwrite
    await accept(store, message(1, 3000), ana)
    monkeypatch.setattr(wal.os, "pwrite", full)
    db = store._writer._link.db
    with pytest.raises(StoreError, match="No space left"):
        await store._on_thread(store._upkeep.extend)
    assert store._writer._link.db is db
    size = store._wal.file_bytes()
    monkeypatch.setattr(wal.os, "pwrite", lambda fd, data, at: real(fd, data[:5000], at))
    with pytest.raises(StoreError, match="No space left"):
        await store._on_thread(store._upkeep.extend)
    assert store._wal.file_bytes() == size  # the last room of the disk is given back
    await accept(store, message(2, 3000), ana)


async def test_housekeeping_opens_the_store_again_when_no_mail_does(store: Store, ana: Account) -> None:
    await accept(store, message(1, 3000), ana)
    store._writer._link.close()  # as after a disk error; mail is refused before it comes to the writer's transaction
    await store._on_thread(lambda: store._upkeep.checkpoint(True))
    assert store._writer._link.db is not None
    assert uids(store, box(store, ana)) == [1]
