"""The store: what the appliance keeps, behind one object. Everything in it is either on the disk or not promised."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from appliance.errors import NotFoundError, StoreError
from appliance.mail.envelope import Envelope
from appliance.mail.message import Message, Part
from appliance.store import bodies
from appliance.store.bodies import Found, Opened, PreparedBody
from appliance.store.changes import Changes
from appliance.store.database import WRITER_CACHE_KIB, Database, connect
from appliance.store.deposit import Deposit, deposit_group
from appliance.store.directory import Directory
from appliance.store.history import mend_history
from appliance.store.keeper import Keeper
from appliance.store.known import KnownMailboxes
from appliance.store.mailboxes import mailbox_by_id
from appliance.store.messages import expunge
from appliance.store.model import Accepted, Alongside, Filing, Mailbox, MessageRow, Notice, QueueWish
from appliance.store.readers import Readers
from appliance.store.recent import RecentBodies
from appliance.store.schema import MIGRATIONS, Migration, check_format, migrate
from appliance.store.segments import Segments
from appliance.store.shortcut import Shortcut
from appliance.store.soft import SoftStore
from appliance.store.space import RESERVE_BYTES, Space
from appliance.store.stored import StoredMessage
from appliance.store.upkeep import Upkeep
from appliance.store.wal import Log
from appliance.store.writer import Job, Writer

MAX_WAITING_OCTETS = 64 << 20  # of mail that waits for its commit; whoever brings more has to wait
MAX_WAITING_JOBS = 5000
PREPARERS = 2  # threads that compress and write out large texts

T = TypeVar("T")
log = logging.getLogger(__name__)


class Store:
    """One data folder. Open it, `start()` it on a running loop, `close()` it."""

    def __init__(
        self,
        folder: Path,
        segments: Segments,
        space: Space,
        *,
        compress: bool,
        now: Callable[[], float],
    ) -> None:
        """Use `open`."""
        self.folder = folder
        self.now = now
        self.first_new_body = 1  # bodies from this id on came after the store was opened
        self.changes = Changes()
        path = folder / "mail.db"
        self._compress = compress
        self._segments = segments
        self._space = space
        self.soft = self.open_soft("soft.db")  # trace, statistics: never in mail's way
        self._readers = Readers(path)
        self._shortcut = Shortcut(self._readers.peek)
        self._wal = Log(path, space.housekeeping)
        self.directory = Directory(self._readers.peek)
        self._writer = Writer(
            path, segments, space, self._wal, now=now, publish=self._publish, reopened=self._readers.renew
        )
        self._recent = RecentBodies()
        self._known = KnownMailboxes(self._readers.peek, lambda: self._writer.groups)
        self._upkeep = Upkeep(segments, self._readers, self._wal, self._call_writer)
        self._keeper = Keeper(
            path,
            self._wal,
            space,
            last_commit=lambda: self._writer.last_commit,
            upkeep=self._upkeep,
        )
        # Apart from the readers, so that large mail on a slow disk leaves them their threads; few: each holds a text.
        self._preparers = ThreadPoolExecutor(PREPARERS, thread_name_prefix="store-preparer")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: list[Job] = []
        self._waiting_jobs = 0
        self._waiting_octets = 0
        self._room = asyncio.Event()
        self._closed = False

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        migrations: Sequence[Migration] = (),
        compress: bool = True,
        now: Callable[[], float] = time.time,
        reserve_bytes: int = RESERVE_BYTES,
        free: Callable[[], int] | None = None,
    ) -> Store:
        """Open a data folder, or make it; bring its tables up to date.

        `migrations` are those of plugins, after our own. `free` tells the octets that are free on the disk. Raises
        StoreError, in words for an administrator, if the folder cannot be used.
        """
        path = folder / "mail.db"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            space = Space(folder, reserve_bytes, free=free)
            db = connect(path, cache_kib=WRITER_CACHE_KIB)
            try:
                check_format(db)
                migrate(db, [*MIGRATIONS, *migrations], now=now)
                mend_history(db)
                (highest,) = db.execute("SELECT ifnull(max(segment), 0) FROM extent").fetchone()
                segments = Segments(folder / "segments", highest=highest)
                store = cls(folder, segments, space, compress=compress, now=now)
                store.first_new_body = db.execute("SELECT ifnull(max(id), 0) + 1 FROM body").fetchone()[0]
                return store
            finally:
                db.close()
        except OSError as error:
            raise StoreError(f"the data folder {folder} cannot be used: {error}") from error
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error

    async def start(self) -> None:
        """Start the writer and the housekeeping. The loop that runs now is the store's loop."""
        self._loop = asyncio.get_running_loop()
        self._writer.start(self._loop)
        self._keeper.start()

    def open_soft(self, name: str) -> SoftStore:
        """A file for what may be lost, in the data folder. It is opened at its first use, and takes no mail's room."""
        return SoftStore(self.folder / name, has_room=self._space.spares)

    def get_ready(self) -> None:
        """Prepare for the first clients, in the background (`Readers.warm_up`): for whoever is going to serve some."""
        self._readers.warm_up()

    @property
    def quiet_s(self) -> float:
        """Seconds since the last commit."""
        return time.monotonic() - self._writer.last_commit

    async def close(self) -> None:
        """Finish what waits, carry the log over, and close everything."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._keeper.stop)  # it may wait for the writer
        self._flush()
        self._closed = True
        await loop.run_in_executor(None, self._shut_down)
        await self.soft.close()

    def _shut_down(self) -> None:
        """The writer's connection goes last: SQLite carries the log over when it closes, which may take a while."""
        self._keeper.stop()
        self._preparers.shutdown(wait=True)
        self._readers.close()
        self._writer.stop()
        self._segments.close()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    def peek(self, fn: Callable[[Database], T]) -> T:
        """Run a short indexed look-up on the event loop itself. Never bodies, never many rows."""
        return self._readers.peek(fn)

    def mailbox(self, account_id: int, name: str) -> Mailbox | None:
        """One mailbox by its name, or None, also for a name that no mailbox can have. On the event loop."""
        return self._known.get(account_id, name)

    def at_once(self, fn: Callable[[Database], T]) -> T | None:
        """Run `fn` on the event loop if that is quick, for one short message: None says that `read` has to do it.

        `fn` must be able to run again, and loads texts with `at_once` only. It may see several states.
        """
        return self._shortcut.take(fn)

    async def read(self, fn: Callable[[Database], T]) -> T:
        """Run `fn` on a reader thread, in one consistent view. It must finish with all rows before it returns."""
        return await self._on_thread(lambda: self._readers.read(fn))

    async def load(self, body_id: int, filing_id: int | None = None) -> Message:
        """One stored message, with the filing's own header lines in front if a filing is given.

        Raises NotFoundError, or StoreError if it is damaged.
        """
        found = self.at_once(lambda db: bodies.load(db, self._segments, body_id, filing_id, at_once=True))
        return found if found is not None else (await self._load([(body_id, filing_id)]))[0]

    async def load_many(self, rows: Sequence[MessageRow], *, headers_only: bool = False) -> list[Message]:
        """Several messages by one hop to a thread. The caller bounds how many octets it asks for at once.

        Raises NotFoundError if one of them was expunged meanwhile.
        """
        if headers_only:
            return await self.read(lambda db: self.load_in(db, rows, headers_only=True))
        return await self._load([(row.body_id, row.filing_id) for row in rows])

    @contextlib.asynccontextmanager
    async def reading(self, body_id: int, filing_id: int | None = None) -> AsyncIterator[StoredMessage]:
        """One stored message whose text is read piece by piece within the block: what a large one costs is bounded.

        Raises NotFoundError, or StoreError if it is damaged; so does reading it.
        """
        work = asyncio.ensure_future(self._open_body(body_id, filing_id))
        try:
            opened = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(_close_opened)
            raise
        try:
            yield StoredMessage(opened, self._on_thread)
        finally:
            opened.close()

    async def _open_body(self, body_id: int, filing_id: int | None) -> Opened:
        def run(db: Database) -> Opened:
            return bodies.open_body(db, self._segments, body_id, filing_id)

        try:
            return await self.read(run)
        except NotFoundError:
            return await self.read(run)  # see `_load`

    def load_in(self, db: Database, rows: Sequence[MessageRow], *, headers_only: bool = False) -> list[Message]:
        """`load_many` for use inside `read`, on its thread: for whoever loads and scans in one hop."""
        if headers_only:
            return [bodies.load_header(db, row.body_id, row.filing_id) for row in rows]
        return [bodies.load(db, self._segments, row.body_id, row.filing_id) for row in rows]

    def found_in(self, db: Database, mailbox_id: int, first_uid: int, last_uid: int) -> Iterator[Found]:
        """The messages of a range of uids, ascending, each looked up when it is asked for: for use inside `read`."""
        return bodies.found_in(db, self._recent, mailbox_id, first_uid, last_uid)

    def stretch_in(self, found: Found, start: int, end: int, *, at_once: bool = False) -> list[bytes | memoryview]:
        """Octets of the text of one message of `found_in`, in pieces, for use inside `read`, or `at_once`.

        Raises NotFoundError if compaction has moved its text since the snapshot: then another `read` finds it.
        """
        return found.stretch(self._segments, start, end, at_once=at_once)

    async def each(
        self,
        rows: Sequence[MessageRow],
        fn: Callable[[Database, MessageRow, Message], T],
        *,
        reach: Callable[[Part], int] | None = None,
    ) -> list[T | None]:
        """Run `fn` on each stored message on a reader thread, and return what it returns, in the order of `rows`.

        Only one message is in memory at a time, so `fn` must not keep it. None stands for one expunged meanwhile.
        `reach` tells, from the structure, how many octets of the text are needed; the rest is not even unpacked.
        """

        def one(db: Database, place: int) -> T:
            row = rows[place]
            if reach is None:
                return fn(db, row, bodies.load(db, self._segments, row.body_id, row.filing_id))
            return fn(db, row, bodies.load_start(db, self._segments, row.body_id, row.filing_id, reach))

        return await self._each(len(rows), one)

    async def each_body(
        self, body_ids: Sequence[int], fn: Callable[[int, Message], T], *, reach: Callable[[Part], int]
    ) -> list[T | None]:
        """`each` for bodies by their ids, without any filing's own header lines."""

        def one(db: Database, place: int) -> T:
            body_id = body_ids[place]
            return fn(body_id, bodies.load_start(db, self._segments, body_id, None, reach))

        return await self._each(len(body_ids), one)

    async def _each(self, count: int, one: Callable[[Database, int], T]) -> list[T | None]:
        def run(db: Database, chosen: Sequence[int]) -> list[tuple[int, T]]:
            found = []
            for place in chosen:
                with contextlib.suppress(NotFoundError):
                    found.append((place, one(db, place)))
            return found

        results: dict[int, T] = {}
        for _ in range(2):  # compaction may have moved a text between the look at the row and at the file
            missing = [place for place in range(count) if place not in results]
            if missing:
                results.update(await self.read(lambda db, missing=missing: run(db, missing)))  # type: ignore[misc]
        return [results.get(place) for place in range(count)]

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, fn: Callable[[Database], T], *, origin: object = None) -> T:
        """Run `fn` on the writer thread, and return when its transaction is on the disk.

        Others share the transaction. `fn` takes at most about 20 ms, touches nothing but `db`, and may be run again
        if one of the others failed. What it raises is raised here, and nothing of it stays. `origin` goes into the
        change notices.
        """
        future: asyncio.Future[T] = self._future()
        await self._submit(Job(future, run=fn, origin=origin))
        return future.result()

    async def accept(
        self,
        message: Message,
        filings: Sequence[Filing],
        wishes: Sequence[QueueWish],
        envelope: Envelope | None,
        *,
        trace_id: str,
        internal_at: int | None = None,
        settles: Sequence[int] = (),
        also: Sequence[Alongside] = (),
    ) -> Accepted:
        """Take responsibility for a message: file it, queue it, both in one transaction. After this, say 250.

        `settles` are queue entries that end by this, in the same transaction, and `also` other messages that are stored
        in it. Raises StoreFullError (452), QuotaError
        (552), NotFoundError for an account that is gone or an entry that is settled, StoreError; nothing is stored
        then.
        """
        at = int(self.now()) if internal_at is None else internal_at
        if also or any(filing.variant is not None for filing in filings):
            return await self._accept_several(message, filings, wishes, envelope, trace_id, at, settles, also)

        def job(body: PreparedBody, future: asyncio.Future[Accepted]) -> Job:
            deposit = Deposit(body, at, filings, wishes, envelope, trace_id, settles)
            return Job(future, deposit=deposit, octets=body.size)

        # What is only sent on is not looked at by part; what is held, perhaps.
        described = bool(filings) or any(wish.hold for wish in wishes)
        return await self._deposit([message], lambda made, future: job(made[0], future), described=described)

    async def append(
        self,
        mailbox_id: int,
        items: Sequence[tuple[Message, int, tuple[str, ...], int]],
        origin: object = None,
        replaces: tuple[int, int] | None = None,
    ) -> list[int]:
        """Add messages (message, flags, keywords, internal date) to a mailbox, all or none; returns their uids.

        The message that they replace, given by mailbox id and uid, is removed in the same transaction. Raises
        NotFoundError, also if that is gone, QuotaError, StoreFullError, StoreError.
        """

        def job(made: list[PreparedBody], future: asyncio.Future[list[int]]) -> Job:
            def run(db: Database) -> list[int]:
                mailbox = mailbox_by_id(db, mailbox_id)
                if mailbox is None:
                    raise NotFoundError(f"no mailbox {mailbox_id}")
                if replaces is not None and not expunge(db, replaces[0], [replaces[1]], deleted_only=False):
                    raise NotFoundError("the message that was to be replaced is gone")
                deposits = [
                    Deposit(body, at, (Filing(mailbox.account_id, mailbox.name, b"", flags, keywords),))
                    for body, (_, flags, keywords, at) in zip(made, items, strict=True)
                ]
                uids = []
                for answer in deposit_group(db, deposits):
                    if isinstance(answer, StoreError):
                        raise answer
                    uids.append(answer.filed[0].uid)
                return uids

            carried = [Deposit(body, 0) for body in made]
            return Job(future, run=run, origin=origin, octets=sum(body.size for body in made), deposits=carried)

        return await self._deposit([message for message, _, _, _ in items], job)

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def refusing_mail(self) -> bool:
        """Whether the disk is so full that new mail was refused last."""
        return self._space.refusing

    @contextlib.contextmanager
    def hold_segments(self) -> Iterator[None]:
        """While held, no segment file is removed. A backup snapshots mail.db first, then copies what that names."""
        with self._segments.hold():
            yield

    async def tidy(self, *, everything: bool = False) -> None:
        """Carry the log over and give room back now, instead of when idle.

        `everything`: the log's own room and the current segment files too.
        """
        await self._on_thread(lambda: self._upkeep.tidy(everything))

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _accept_several(
        self,
        message: Message,
        filings: Sequence[Filing],
        wishes: Sequence[QueueWish],
        envelope: Envelope | None,
        trace_id: str,
        at: int,
        settles: Sequence[int],
        also: Sequence[Alongside],
    ) -> Accepted:
        """`accept` of several bodies in one transaction: filings with a message of their own, or messages alongside."""
        shared = [filing for filing in filings if filing.variant is None]
        own = [filing for filing in filings if filing.variant is not None]
        messages = [filing.variant for filing in own if filing.variant is not None]
        if shared or wishes:
            messages.append(message)
        count = len(messages)

        def job(made: list[PreparedBody], future: asyncio.Future[Accepted]) -> Job:
            deposits = [Deposit(body, at, (filing,)) for body, filing in zip(made, own, strict=False)]
            if shared or wishes:
                deposits.insert(0, Deposit(made[count - 1], at, shared, wishes, envelope, trace_id))
            deposits[0] = replace(deposits[0], settles=settles)
            deposits += [
                Deposit(body, at, one.filings, one.wishes, one.envelope, one.trace_id)
                for body, one in zip(made[count:], also, strict=True)
            ]

            def run(db: Database) -> Accepted:
                answers = deposit_group(db, deposits)
                accepted = []
                for answer in answers:
                    if isinstance(answer, StoreError):
                        raise answer
                    accepted.append(answer)
                filed = tuple(one for answer in accepted[:count] for one in answer.filed)
                return Accepted(accepted[0].body_id, filed, accepted[0].queue_id, tuple(accepted[count:]))

            return Job(future, run=run, octets=sum(body.size for body in made), deposits=deposits)

        return await self._deposit([*messages, *(one.message for one in also)], job)

    def _future(self) -> asyncio.Future[T]:
        if self._loop is None or self._closed:
            raise StoreError("the store is closed" if self._closed else "the store is not started")
        return self._loop.create_future()

    async def _on_thread(self, fn: Callable[[], T]) -> T:
        loop = self._loop or asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers.pool, fn)

    async def _deposit(
        self,
        messages: Sequence[Message],
        job: Callable[[list[PreparedBody], asyncio.Future[T]], Job],
        *,
        described: bool = True,
    ) -> T:
        """Prepare messages, here if they are small, else on a thread, and let the writer store them."""
        future: asyncio.Future[T] = self._future()
        if sum(len(message.text) for message in messages) < bodies.OFF_LOOP:
            prepared = self._prepare(messages, described)
        else:
            work = asyncio.get_running_loop().run_in_executor(self._preparers, self._prepare, messages, described)
            try:
                prepared = await asyncio.shield(work)
            except asyncio.CancelledError:
                work.add_done_callback(self._given_up)
                raise
        await self._submit(job(prepared, future))
        return future.result()

    def _prepare(self, messages: Sequence[Message], described: bool) -> list[PreparedBody]:
        """Describe, compress and write out. If one fails, the places of the others are given up."""
        made: list[PreparedBody] = []
        try:
            for message in messages:
                if len(message.text) >= bodies.OFF_LOOP:
                    self._space.admit(len(message.text))
                made.append(bodies.prepare(message, self._segments, compress=self._compress, described=described))
        except BaseException:
            self._release(made)
            raise
        return made

    def _given_up(self, work: asyncio.Future[list[PreparedBody]]) -> None:
        """Whoever wanted the messages stored was cancelled while a thread prepared them."""
        if not work.cancelled() and work.exception() is None:
            self._release(work.result())

    def _release(self, prepared: Sequence[PreparedBody]) -> None:
        """These texts get no row: compaction may have their room."""
        for body in prepared:
            if body.extent is not None:
                self._segments.done(body.extent)

    async def _submit(self, job: Job) -> None:
        """Hand a job to the writer and wait until it is settled."""
        try:
            if self._closed:
                raise StoreError("the store is closed")
            while self._waiting_octets > MAX_WAITING_OCTETS or self._waiting_jobs >= MAX_WAITING_JOBS:
                self._room.clear()
                await self._room.wait()
        except (asyncio.CancelledError, StoreError):
            self._release([one.body for one in job.bodies])
            raise
        self._waiting_jobs += 1
        self._waiting_octets += job.octets
        if not self._inbox:
            # One hand-over for all that this turn of the loop brings: larger groups, fewer switches.
            assert self._loop is not None
            self._loop.call_soon(self._flush)
        self._inbox.append(job)
        try:
            await job.future
        finally:
            self._waiting_jobs -= 1
            self._waiting_octets -= job.octets
            self._room.set()

    def _flush(self) -> None:
        if self._inbox:
            self._writer.put(self._inbox)
            self._inbox = []

    def _publish(self, changes: list[Notice], directory_touched: bool) -> None:
        if directory_touched:
            self.directory.invalidate()
        self.changes.publish(changes)

    async def _load(self, wanted: Sequence[tuple[int, int | None]]) -> list[Message]:
        def run(db: Database) -> list[Message]:
            return [bodies.load(db, self._segments, *one) for one in wanted]

        try:
            return await self.read(run)
        except NotFoundError:
            return await self.read(run)  # compaction may have moved a text between the look at the row and at the file

    def _call_writer(self, fn: Callable[[Database], T], *, outside: bool = False) -> T:
        """Run `fn` on the writer from another thread than the loop's, and wait."""
        if self._loop is None:
            raise StoreError("the store is not started")

        async def run() -> T:
            future: asyncio.Future[T] = self._future()
            await self._submit(Job(future, run=fn, outside=outside))
            return future.result()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()


def _close_opened(work: asyncio.Future[Opened]) -> None:
    """Whoever wanted to read was cancelled while a thread opened it."""
    if not work.cancelled() and work.exception() is None:
        work.result().close()
