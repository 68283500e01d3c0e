"""The writer: groups, failing jobs, failing disks, and coming back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from appliance.errors import ExistsError, StoreError, StoreFullError
from appliance.store import Account, Change, Database, Store, accounts, database, link, messages, queue, writer
from appliance.store import store as store_code
from appliance.store.accounts import create_account
from appliance.store.mailboxes import create_mailbox, take_uids
from appliance.store.writer import Job
from tests.appliance.store.invariants import check_invariants
from tests.appliance.store.samples import ENVELOPE, accept, box, count, message, swept, uids, wish


class Disk:
    """A disk that fails when it is told to: the next statements that begin with `at` raise `code`."""

    def __init__(self) -> None:
        self.at = ""
        self.code = 0
        self.times = 0
        self.connections = 0

    def fail(self, at: str, code: int, times: int = 1) -> None:
        self.at, self.code, self.times = at, code, times

    def check(self, statement: str) -> None:
        if self.times and statement.startswith(self.at):
            self.times -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.code
            raise error


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def frail(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """A store whose writer's connection fails with the disk."""

    class FrailDatabase(Database):
        def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
            disk.check(statement)
            return super().execute(statement, *parameters)  # type: ignore[arg-type]

        def executemany(self, statement: str, rows: object) -> sqlite3.Cursor:
            disk.check(statement)
            return super().executemany(statement, rows)  # type: ignore[arg-type]

    def connect(path: Path, **options: object) -> Database:
        disk.connections += 1
        with monkeypatch.context() as patch:
            patch.setattr(database, "Database", FrailDatabase)
            return database.connect(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(link, "connect", connect)
    opened = Store.open(tmp_path / "data", reserve_bytes=1 << 20, free=lambda: 1 << 30)
    await opened.start()
    yield opened
    await opened.read(check_invariants)
    await opened.close()


async def test_what_waits_is_settled_by_one_transaction(store: Store, ana: Account) -> None:
    groups = store._writer.groups
    await asyncio.gather(*(accept(store, message(number), ana) for number in range(50)))
    assert store._writer.groups == groups + 1
    assert uids(store, box(store, ana)) == list(range(1, 51))


async def test_a_failing_job_takes_nobody_along_and_leaves_nothing(store: Store, ana: Account) -> None:
    heard: list[Change] = []
    store.changes.subscribe(None, heard.append)
    inbox = box(store, ana)
    runs = []

    def good(db: Database) -> str:
        runs.append("good")
        create_mailbox(db, ana.id, "good")
        return "made"

    def bad(db: Database) -> None:
        create_mailbox(db, ana.id, "bad")
        first, modseq, account_id = take_uids(db, inbox.id, 1, unseen=0, octets=0)
        db.changed(inbox.id, account_id, modseq, added=(first,))
        accounts.add_domain(db, "bad.example")
        raise ExistsError("bad luck")

    results = await asyncio.gather(
        accept(store, message(1), ana), store.write(bad), store.write(good), return_exceptions=True
    )
    assert isinstance(results[1], ExistsError)
    assert results[2] == "made"
    assert runs == ["good", "good"] or runs == ["good"]  # closures are re-runnable
    assert store.peek(lambda db: db.execute("SELECT name FROM mailbox WHERE name IN ('good', 'bad')").fetchall()) == [
        ("good",)
    ]
    assert [one.added for one in heard] == [(1,)]
    assert store.directory.domain("bad.example") is None
    assert uids(store, inbox) == [1]


async def test_an_sql_mistake_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no such table"):
        await store.write(lambda db: db.execute("INSERT INTO missing_table VALUES (1)"))
    with pytest.raises(StoreError, match="no such table"):
        await store.read(lambda db: db.execute("SELECT * FROM missing_table"))
    with pytest.raises(StoreError, match="no such table"):
        store.peek(lambda db: db.execute("SELECT * FROM missing_table"))
    with pytest.raises(StoreError, match="readonly"):
        await store.read(lambda db: db.execute("DELETE FROM account"))


async def test_watchers_hear_in_order_before_the_writer_is_answered(store: Store, ana: Account) -> None:
    order: list[object] = []
    inbox = box(store, ana)
    store.changes.subscribe(inbox.id, lambda change: order.append(change.modseq))

    async def flag(bit: int) -> None:
        modseq, _ = await store.write(lambda db: messages.set_flags(db, inbox.id, None, add=bit))
        order.append(("done", modseq))

    await accept(store, message(), ana)
    await asyncio.gather(flag(1), flag(2), flag(4))
    assert order == [2, 3, 4, 5, ("done", 3), ("done", 4), ("done", 5)]


async def test_a_watcher_that_fails_disturbs_nobody(store: Store, ana: Account) -> None:
    heard: list[Change] = []

    def fail(_: Change) -> None:
        raise RuntimeError("watcher")

    inbox = box(store, ana)
    end = store.changes.subscribe(inbox.id, fail)
    store.changes.subscribe(inbox.id, heard.append)
    await accept(store, message(), ana)
    end()
    end()
    await accept(store, message(), ana)
    assert [one.added for one in heard] == [(1,), (2,)]


async def test_a_cancelled_caller_does_not_stop_the_others(store: Store, ana: Account) -> None:
    task = asyncio.ensure_future(store.write(lambda db: create_mailbox(db, ana.id, "x")))
    await asyncio.sleep(0)
    task.cancel()
    await accept(store, message(), ana)
    assert uids(store, box(store, ana)) == [1]


async def test_a_store_that_is_not_started_or_closed_says_so(tmp_path: Path) -> None:
    opened = Store.open(tmp_path / "data", reserve_bytes=0)
    with pytest.raises(StoreError, match="not started"):
        await opened.write(lambda _: None)
    await opened.start()
    names = [f"u{number}@palomar.test" for number in range(3)]
    pending = [asyncio.ensure_future(opened.write(partial(create_account, name=name))) for name in names]
    await asyncio.sleep(0)
    await opened.close()
    assert len({account.id for account in await asyncio.gather(*pending)}) == 3  # what waited was finished
    with pytest.raises(StoreError, match="closed"):
        opened.peek(lambda _: None)
    with pytest.raises(StoreError, match="closed"):
        await opened.write(lambda _: None)
    again = Store.open(tmp_path / "data", reserve_bytes=0)
    assert len(again.peek(accounts.list_accounts)) == 3
    await again.start()
    await again.close()


@pytest.mark.parametrize("at", ["COMMIT", "INSERT INTO body", "BEGIN"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_CORRUPT])
async def test_after_a_disk_error_nothing_counts_and_the_connection_is_replaced(
    frail: Store, disk: Disk, at: str, code: int
) -> None:
    ana = await frail.write(lambda db: create_account(db, "ana@palomar.test"))
    await accept(frail, message(1), ana)
    connections = disk.connections
    disk.fail(at, code)
    failed = await asyncio.gather(
        *(accept(frail, message(number), ana) for number in range(2, 6)), return_exceptions=True
    )
    assert all(type(one) is StoreError for one in failed)
    assert uids(frail, box(frail, ana)) == [1]
    await accept(frail, message(7), ana)
    assert disk.connections == connections + 1
    assert uids(frail, box(frail, ana)) == [1, 2]


async def test_while_the_store_cannot_be_opened_again_writers_get_words_and_readers_go_on(
    frail: Store, disk: Disk
) -> None:
    ana = await frail.write(lambda db: create_account(db, "ana@palomar.test"))
    disk.fail("COMMIT", sqlite3.SQLITE_IOERR)
    with pytest.raises(StoreError):
        await accept(frail, message(), ana)
    disk.fail("INSERT INTO meta", sqlite3.SQLITE_IOERR, times=1)  # the probe
    for _ in range(2):  # the second is not even tried: it is too soon
        with pytest.raises(StoreError, match="closed after a disk error"):
            await accept(frail, message(), ana)
    assert frail.peek(accounts.list_accounts) == [ana]
    assert await frail.read(accounts.list_accounts) == [ana]
    frail._writer._link._reopen_at = 0.0
    await accept(frail, message(), ana)
    assert uids(frail, box(frail, ana)) == [1]


async def test_a_store_that_lost_what_it_promised_stays_closed(frail: Store, disk: Disk) -> None:
    ana = await frail.write(lambda db: create_account(db, "ana@palomar.test"))
    await accept(frail, message(), ana)
    frail._writer._link._witness = (box(frail, ana).id, 999)
    disk.fail("COMMIT", sqlite3.SQLITE_IOERR)
    for _ in range(2):
        with pytest.raises(StoreError):
            await accept(frail, message(), ana)
    frail._writer._link._witness = None
    frail._writer._link._reopen_at = 0.0
    await accept(frail, message(), ana)


@pytest.mark.parametrize("at", ["COMMIT", "INSERT INTO body"])
async def test_on_a_full_disk_mail_is_refused_and_removals_work(frail: Store, disk: Disk, at: str) -> None:
    ana = await frail.write(lambda db: create_account(db, "ana@palomar.test"))
    inbox = box(frail, ana)
    done = await frail.accept(message(), [], [wish()], ENVELOPE, trace_id="t")
    await accept(frail, message(1), ana)
    disk.fail(at, sqlite3.SQLITE_FULL)
    settled = queue.settle
    answers = await asyncio.gather(
        accept(frail, message(2), ana),
        frail.write(lambda db: messages.expunge(db, inbox.id, None, deleted_only=False)),
        frail.write(lambda db: settled(db, queue.entry_ids_of(db, done.queue_id or 0))),
        frail.append(inbox.id, [(message(3), 0, (), 1)]),
        return_exceptions=True,
    )
    assert type(answers[0]) is StoreFullError
    assert list(answers[1:3]) == [[1], 1]
    assert type(answers[3]) is StoreFullError
    assert count(frail, "body") == 0
    assert (frail.folder / "reserve").stat().st_size == 0  # given to the removals


async def test_no_group_holds_more_than_its_limits(store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_GROUP", 3)
    groups = store._writer.groups
    await asyncio.gather(*(accept(store, message(number), ana) for number in range(8)))
    assert store._writer.groups == groups + 3
    monkeypatch.setattr(writer, "MAX_GROUP", 500)
    monkeypatch.setattr(writer, "MAX_GROUP_OCTETS", 5000)
    await asyncio.gather(*(accept(store, message(number, 3000), ana) for number in range(4)))
    assert store._writer.groups == groups + 3 + 2


async def test_who_gives_up_while_waiting_leaves_nothing(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept(store, message(1, 100_000), ana)
    monkeypatch.setattr(store_code, "MAX_WAITING_JOBS", 0)
    task = asyncio.ensure_future(accept(store, message(2, 100_000), ana))
    while store._room.is_set():  # it is prepared, and waits for its turn
        await asyncio.sleep(0)
    assert store._segments._in_flight
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    monkeypatch.setattr(store_code, "MAX_WAITING_JOBS", 100)
    await store.write(lambda _: None)
    assert store._segments._in_flight == {}
    assert uids(store, box(store, ana)) == [1]


async def test_who_brings_too_much_has_to_wait(store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_code, "MAX_WAITING_OCTETS", 5000)
    tasks = [asyncio.ensure_future(accept(store, message(number, 3000), ana)) for number in range(6)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store._waiting_jobs == 2
    await asyncio.gather(*tasks)
    assert len(uids(store, box(store, ana))) == 6
    assert store._waiting_octets == store._waiting_jobs == 0


async def test_a_full_disk_met_between_transactions_gives_removals_the_reserve(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data", reserve_bytes=1 << 20)
    await store.start()

    def grow(db: Database) -> None:
        db.execute("PRAGMA max_page_count=1")  # the real error: no page more than there are
        db.execute("CREATE TABLE more AS SELECT zeroblob(100000)")

    with pytest.raises(StoreFullError):
        await store._on_thread(lambda: store._call_writer(grow, outside=True))
    assert not store._space.has_reserve
    assert store.refusing_mail
    await store.close()


async def test_what_could_not_be_swept_is_swept_after_the_next_job(store: Store, ana: Account) -> None:
    await accept(store, message(1), ana)
    writer = store._writer

    def give_up(_: Database) -> None:
        writer._link.close()  # as after a disk error, between the removal and the sweeping

    inbox = box(store, ana)
    await asyncio.gather(
        store.write(lambda db: messages.expunge(db, inbox.id, None, deleted_only=False)),
        store._submit(Job(store._future(), run=give_up, outside=True)),
    )
    await swept(store)
    assert count(store, "filing") == 0
