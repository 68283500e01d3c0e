"""The one thread that writes mail.db: what waits is settled together, by one transaction and one sync."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from appliance.errors import StoreError, StoreFullError
from appliance.store.bodies import pack_short
from appliance.store.database import Database, primary_code
from appliance.store.deposit import Deposit, deposit_group
from appliance.store.link import FatalError, Link, is_fatal
from appliance.store.model import Notice
from appliance.store.segments import Segments
from appliance.store.space import Space
from appliance.store.sweep import sweep
from appliance.store.wal import CAP_BYTES, Log

MAX_GROUP = 500  # jobs of one transaction
MAX_GROUP_OCTETS = 16 << 20  # of new mail in one transaction
GATHER_FROM_S = 0.002  # a commit that takes longer is worth waiting for company; an SSD's is not
GATHER_SLACK = 1.5  # times the time in which the company should come, and
LEAST_GATHER_S = 0.001  # more
LONGEST_GATHER_S = 0.015
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Job:
    """One closure or deposit that waits for its commit. `outside` runs between transactions (checkpoints)."""

    future: asyncio.Future[Any]
    run: Callable[[Database], Any] | None = None
    deposit: Deposit | None = None
    origin: object = None
    octets: int = 0  # new mail; such jobs need room beside the reserve
    deposits: Sequence[Deposit] = ()  # what the closure stores, for the sync of their large texts
    outside: bool = False
    at: float = 0.0  # when it was handed over, on the monotonic clock

    @property
    def bodies(self) -> Sequence[Deposit]:
        """Everything the job stores."""
        return (self.deposit,) if self.deposit is not None else self.deposits


Outcome: TypeAlias = tuple[Job, Any, BaseException | None]


class Writer:
    """Runs jobs in groups and tells the loop of the outcomes, the changes first."""

    def __init__(
        self,
        path: Path,
        segments: Segments,
        space: Space,
        wal: Log,
        *,
        now: Callable[[], float],
        publish: Callable[[list[Notice], bool], None],
        reopened: Callable[[], None],
    ) -> None:
        self._link = Link(path, now=now, reopened=reopened)
        self._segments = segments
        self._space = space
        self._wal = wal
        self._publish = publish
        self._queue: queue.SimpleQueue[Sequence[Job] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._backlog: deque[Job] = deque()  # taken from the queue, perhaps too many for one group
        self._stopping = False
        self._garbage = True  # there may be some from the run before
        self._unswept = False  # there is some that could not be removed: the next job tries again
        self._company = 0  # jobs that were under way at once lately: who may come if we wait
        self._gap_s = 0.0  # between two jobs of a group, as they came lately
        self.groups = 0

    @property
    def last_commit(self) -> float:
        """When the last transaction ended, on the monotonic clock."""
        return self._link.last_commit

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread; outcomes go to `loop`."""
        self._loop = loop
        self._thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, jobs: Sequence[Job]) -> None:
        """Hand over jobs, from any thread. Their futures belong to the loop."""
        now = time.monotonic()
        for job in jobs:
            job.at = now
        self._queue.put(jobs)

    def stop(self) -> None:
        """Finish what waits, then end the thread and close the connection."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._link.close()

    # ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        while not self._stopping or self._backlog:
            if jobs := self._collect():
                self._settle(jobs)
                self._take_in()
                self._learn(jobs)
            elif not self._stopping:
                self._sweep()

    def _collect(self) -> list[Job]:
        """Everything that waits, up to the limits of a group. Nothing if there is garbage to sweep, or at the end."""
        self._take_in()
        if not self._backlog and not self._stopping and not self._garbage:
            self._receive(self._queue.get())
        if self._backlog:
            self._gather()
            self._take_in()
        jobs: list[Job] = []
        octets = 0
        while self._backlog and len(jobs) < MAX_GROUP and octets < MAX_GROUP_OCTETS:
            jobs.append(self._backlog.popleft())
            octets += jobs[-1].octets
        return jobs

    def _gather(self) -> None:
        """On a slow disk wait a little for those whom the group before has just answered.

        Without this, clients that send one message after the other fall into two halves that take turns, and every
        sync serves only half of them. But where taking in the rest takes longer than a sync, turns are better: then
        one half is taken in while the other is synced.
        """
        expected_s = (min(self._company, MAX_GROUP) - len(self._backlog)) * self._gap_s
        if self._link.commit_s < GATHER_FROM_S or expected_s > self._link.commit_s:
            return
        give_up_at = time.monotonic() + min(expected_s * GATHER_SLACK + LEAST_GATHER_S, LONGEST_GATHER_S)
        while len(self._backlog) < min(self._company, MAX_GROUP) and not self._stopping:
            left = give_up_at - time.monotonic()
            if left <= 0:
                return
            try:
                self._receive(self._queue.get(timeout=left))
            except queue.Empty:
                return

    def _learn(self, jobs: Sequence[Job]) -> None:
        """Note how many come together, and how close."""
        self._company = max(len(jobs) + len(self._backlog), self._company * 3 // 4)
        if len(jobs) > 1:
            self._gap_s += ((jobs[-1].at - jobs[0].at) / (len(jobs) - 1) - self._gap_s) / 4

    def _take_in(self) -> None:
        """Take from the queue what is there now."""
        while not self._stopping:
            try:
                self._receive(self._queue.get_nowait())
            except queue.Empty:
                return

    def _receive(self, jobs: Sequence[Job] | None) -> None:
        if jobs is None:
            self._stopping = True
        else:
            self._backlog.extend(jobs)

    def _settle(self, jobs: list[Job]) -> None:
        outcomes: list[Outcome] = []
        changes: list[Notice] = []
        touched = False
        try:
            outside = [job for job in jobs if job.outside]
            given_up = [job for job in jobs if not job.outside and job.future.cancelled()]
            outcomes += [(job, None, StoreError("given up")) for job in given_up]
            self._hold_cap()
            pack_short(one.body for job in jobs for one in job.bodies)
            inside = self._admitted([job for job in jobs if not job.outside and job not in given_up], outcomes)
            if inside and self._opened(inside, outcomes):
                done, changes, touched = self._transact(inside)
                outcomes += done
            outcomes += [self._aside(job) for job in outside]
        except Exception as error:
            log.exception("the store's writer met an error that it does not know")
            settled = {job for job, _, _ in outcomes}
            outcomes += [(job, None, StoreError(f"not stored: {error}")) for job in jobs if job not in settled]
            self._link.close()
        self._report(outcomes, changes, touched)
        if self._unswept and self._link.db is not None:
            self._garbage, self._unswept = True, False

    def _hold_cap(self) -> None:
        """Stand still while the log is at its cap: the checkpoint beside us does not keep up."""
        if self._wal.filled >= CAP_BYTES:
            self._carry_over()

    def _carry_over(self) -> None:
        if self._link.db is None:
            return
        try:
            self._wal.checkpoint(self._link.db)
        except sqlite3.Error as error:
            log.error("the log cannot be carried over: %s", error)
            self._given_up(error)

    def _given_up(self, error: BaseException) -> bool:
        """The connection is given up; on a full disk removals get the reserve. Whether it was that."""
        self._link.close()
        full = primary_code(error) == sqlite3.SQLITE_FULL
        if full:
            self._space.release()
        return full

    def _admitted(self, jobs: list[Job], outcomes: list[Outcome]) -> list[Job]:
        """The jobs that may go on: new mail needs room, and its large texts must be on the disk before the commit."""
        extents = [one.body.extent for job in jobs for one in job.bodies if one.body.extent is not None]
        failed = self._segments.sync(extents) if extents else set()
        octets = sum(job.octets for job in jobs)
        full: StoreFullError | None = None
        if octets:
            try:
                self._admit(octets)
            except StoreFullError as error:
                full = error
        if full is None and not failed:
            return jobs
        admitted = []
        for job in jobs:
            if full is not None and job.octets:
                outcomes.append((job, None, full))
            elif any(one.body.extent is not None and one.body.extent.segment in failed for one in job.bodies):
                outcomes.append((job, None, StoreError("not stored: the disk failed to write a large text")))
            else:
                admitted.append(job)
        return admitted

    def _admit(self, octets: int) -> None:
        """Raise StoreFullError if so much new mail does not fit, beside what the log still is to carry over.

        The log is not let grow into a debt that only the reserve could pay.
        """
        if self._wal.filled and not self._space.fits(octets, self._wal.filled):
            self._carry_over()
        self._space.admit(octets, self._wal.filled)

    def _transact(self, jobs: list[Job]) -> tuple[list[Outcome], list[Notice], bool]:
        """One transaction for all. If one job fails they are run again, each in a savepoint of its own."""
        try:
            try:
                return self._commit(jobs, self._together)
            except FatalError:
                raise
            except Exception as error:  # noqa: BLE001  # it is the answer of whoever caused it
                if len(jobs) == 1:
                    return _all(jobs, error), [], False
                log.debug("a group of %d is run again one by one: %s", len(jobs), error)
            return self._commit(jobs, self._singly)
        except FatalError as error:
            return self._after_failure(jobs, error)
        except sqlite3.Error as error:  # another process holds the database locked
            return _all(jobs, error), [], False

    def _after_failure(self, jobs: list[Job], error: FatalError) -> tuple[list[Outcome], list[Notice], bool]:
        """Nothing of the group counts. The connection is given up; on a full disk removals get the reserve."""
        log.error("the store's transaction failed: %s", error)
        self._link.close()
        if not error.full:
            return _all(jobs, StoreError(f"not stored: {error}")), [], False
        self._space.release()
        outcomes = _all([job for job in jobs if job.octets], StoreFullError("the disk is full"))
        rest = [job for job in jobs if not job.octets]
        if not rest or not self._opened(rest, outcomes):
            return outcomes, [], False
        try:
            done, changes, touched = self._commit(rest, self._singly)
            return outcomes + done, changes, touched
        except FatalError as again:
            self._link.close()
            return outcomes + _all(rest, StoreFullError(f"the disk is full: {again}")), [], False

    def _commit(
        self, jobs: list[Job], run: Callable[[Database, list[Job]], list[Outcome]]
    ) -> tuple[list[Outcome], list[Notice], bool]:
        def noted(db: Database) -> tuple[list[Outcome], Database]:
            return run(db, jobs), db

        outcomes, db = self._link.commit(noted)
        self.groups += 1
        self._garbage |= db.garbage
        if db.removed:
            self._space.removed()
        self._wal.grew(sum(one.body.logged for job in jobs for one in job.bodies), self._link.rows)
        return outcomes, db.changes, db.directory_touched

    def _together(self, db: Database, jobs: list[Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        mail = [job for job in jobs if job.deposit is not None]
        if mail:
            answers = deposit_group(db, [job.deposit for job in mail if job.deposit is not None])
            outcomes += [_answered(job, answer) for job, answer in zip(mail, answers, strict=True)]
        for job in jobs:
            if job.run is not None:
                db.origin = job.origin
                outcomes.append((job, job.run(db), None))
                db.origin = None
        return outcomes

    def _singly(self, db: Database, jobs: list[Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for job in jobs:
            noted = len(db.changes), db.garbage, db.directory_touched
            db.execute("SAVEPOINT job")
            try:
                outcomes += self._together(db, [job])
                db.execute("RELEASE job")
            except Exception as error:
                if not db.in_transaction or is_fatal(error):
                    raise
                db.execute("ROLLBACK TO job")
                db.execute("RELEASE job")
                del db.changes[noted[0] :]
                db.garbage, db.directory_touched = noted[1:]
                outcomes.append((job, None, _in_words(error)))
        return outcomes

    def _aside(self, job: Job) -> Outcome:
        """Run a job between transactions."""
        if job.run is None or not self._link.usable() or self._link.db is None:
            return job, None, StoreError("the store is closed after a disk error")
        try:
            return job, job.run(self._link.db), None
        except StoreError as error:
            return job, None, error
        except sqlite3.Error as error:
            full = self._given_up(error)
            return job, None, StoreFullError("the disk is full") if full else StoreError(str(error))

    def _sweep(self) -> None:
        """Remove one portion of what nobody refers to any more; called when nothing else waits."""
        self._garbage = False
        if self._link.db is None:
            self._unswept = True
            return
        try:
            _, changes, _ = self._commit([], lambda db, _: self._swept(db))
        except Exception as error:
            log.exception("dead rows could not be removed")
            self._unswept = True
            if isinstance(error, FatalError):
                self._link.close()
                if error.full:
                    self._space.release()
            return
        self._report([], changes, False)

    def _swept(self, db: Database) -> list[Outcome]:
        db.garbage = sweep(db)
        return []

    def _report(self, outcomes: list[Outcome], changes: list[Notice], touched: bool) -> None:
        for job, _, _ in outcomes:
            for one in job.bodies:
                if one.body.extent is not None:
                    self._segments.done(one.body.extent)
        if (outcomes or changes) and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._deliver, outcomes, changes, touched)

    def _deliver(self, outcomes: list[Outcome], changes: list[Notice], touched: bool) -> None:
        """On the loop: first the watchers, then those who wait."""
        if changes or touched:
            self._publish(changes, touched)
        for job, result, error in outcomes:
            if job.future.done():
                continue  # whoever waited was cancelled
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)

    def _opened(self, jobs: list[Job], outcomes: list[Outcome]) -> bool:
        """Whether there is a connection; without one the jobs get their answer."""
        if self._link.usable():
            return True
        outcomes += _all(jobs, StoreError("the store is closed after a disk error"))
        return False


def _all(jobs: Sequence[Job], error: BaseException) -> list[Outcome]:
    """The same answer for all."""
    return [(job, None, _in_words(error)) for job in jobs]


def _in_words(error: BaseException) -> BaseException:
    """SQLite's own errors leave the store as StoreError; what a closure raises leaves as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    wrapped = StoreError(f"not stored: {error}")
    wrapped.__cause__ = error
    return wrapped


def _answered(job: Job, answer: Any) -> Outcome:
    return (job, None, answer) if isinstance(answer, BaseException) else (job, answer, None)
