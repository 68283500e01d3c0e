"""soft.db: what may be lost (trace, greylist, statistics). Whatever happens to it, mail goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from appliance.errors import StoreError
from appliance.store.database import LOOP_CACHE_KIB, Database, connect, primary_code
from appliance.store.schema import Migration, migrate

CHECKPOINT_BYTES = 2 << 20  # of log after which it is carried over, on the same thread
RETRY_S = 30.0  # after a failure, nothing is tried for so long

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

T = TypeVar("T")
log = logging.getLogger(__name__)


class SoftStore:
    """One connection on one thread. Errors are logged and come out as None; a damaged file is put aside."""

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.monotonic, has_room: Callable[[], bool] = lambda: True
    ) -> None:
        """Nothing is opened before the first use. `clock` gives seconds that never jump.

        `has_room` says whether anything may be written now: not where mail needs the room.
        """
        self._path = path
        self._has_room = has_room
        self._full_until = 0.0
        self._migrations: list[Migration] = []
        self._clock = clock
        self._db: Database | None = None
        self._retry_at = 0.0
        self._migrated = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="soft-store")

    def add(self, migrations: Sequence[Migration]) -> None:
        """Announce the tables of one user, before its first use. Announcing them again is harmless."""
        known = {step.name for step in self._migrations}
        self._migrations += [step for step in migrations if step.name not in known]

    async def write(self, fn: Callable[[Database], T]) -> T | None:
        """Run `fn` in a transaction; None if it failed. Callers batch: this is not for one row at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, fn, True)

    async def read(self, fn: Callable[[Database], T]) -> T | None:
        """Run `fn` without a transaction; None if it failed."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, fn, False)

    def submit(self, fn: Callable[[], object]) -> None:
        """Run `fn` on the file's thread, behind what waits there."""
        self._pool.submit(fn)

    async def let_go(self) -> None:
        """Close the file until the next use."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._close)

    async def close(self) -> None:
        """Finish what runs and close the file."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._close)
        self._pool.shutdown(wait=False)

    def _run(self, fn: Callable[[Database], T], writes: bool) -> T | None:
        if self._db is None and self._clock() < self._retry_at:
            return None
        if writes and not self._may_write():
            return None
        try:
            db = self._db = self._db or self._open()
            if len(self._migrations) > self._migrated:
                self._migrate(db)
            if not writes:
                return fn(db)
            db.execute("BEGIN IMMEDIATE")
            result = fn(db)
            db.execute("COMMIT")
            self._checkpoint(db)
            return result
        except (sqlite3.Error, StoreError, OSError) as error:
            log.warning("%s is not usable now: %s", self._path.name, error)
            cause = error.__cause__ if isinstance(error, StoreError) else error
            self._close()
            if cause is not None and primary_code(cause) in _DAMAGED:
                self._put_aside()
            else:
                self._retry_at = self._clock() + RETRY_S
            return None
        except BaseException:
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _may_write(self) -> bool:
        if self._clock() < self._full_until:
            return False
        if self._has_room():
            return True
        log.warning("%s is not written to now: the disk is nearly full", self._path.name)
        self._full_until = self._clock() + RETRY_S
        return False

    def _open(self) -> Database:
        self._migrated = 0
        return connect(self._path, cache_kib=LOOP_CACHE_KIB, full_sync=False)

    def _migrate(self, db: Database) -> None:
        count = len(self._migrations)
        migrate(db, self._migrations[:count])
        self._migrated = count

    def _checkpoint(self, db: Database) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._path.with_name(self._path.name + "-wal").stat().st_size > CHECKPOINT_BYTES:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _put_aside(self) -> None:
        """A damaged file is kept for whoever wants to look, under another name; a new one is begun."""
        log.error("%s is damaged: it is put aside and begun anew", self._path.name)
        for suffix in ("", "-wal", "-shm"):
            path = self._path.with_name(self._path.name + suffix)
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_name(self._path.name + ".damaged" + suffix))

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()
