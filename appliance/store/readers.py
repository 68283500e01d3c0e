"""Connections that only read: one for the event loop's short questions, a few for threads."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from appliance.errors import StoreError
from appliance.store.database import LOOP_CACHE_KIB, READER_CACHE_KIB, Database, connect

READERS = 3  # threads; more would only wait for the same two or four cores and the same card

WARM_UP_S = 1.0
WARM_UP_STEPS = 5000  # of SQLite's machine between two looks at the clock: some hundred messages

log = logging.getLogger(__name__)

T = TypeVar("T")


class Readers:
    """Read connections. After the writer met an error they are all opened anew, each at its next use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._generation = 0
        self._closed = False
        self._idle: list[tuple[int, Database]] = []
        self._lock = threading.Condition()
        self._begun = 0  # reads, ever
        self._running: set[int] = set()  # those of them that have not ended
        self._loop_db: tuple[int, Database] | None = None
        self.pool = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")

    def renew(self) -> None:
        """Let no connection of before be used again."""
        self._generation += 1

    def peek(self, fn: Callable[[Database], T]) -> T:
        """Run `fn` here and now, on the event loop's own connection."""
        generation = self._generation
        if self._closed:
            raise StoreError("the store is closed")
        if self._loop_db is None or self._loop_db[0] != generation:
            self._close_loop_db()
            self._loop_db = (generation, connect(self._path, cache_kib=LOOP_CACHE_KIB, read_only=True))
        try:
            return fn(self._loop_db[1])
        except sqlite3.Error as error:
            self._close_loop_db()
            raise StoreError(f"not read: {error}") from error

    def read(self, fn: Callable[[Database], T]) -> T:
        """Run `fn` in one read transaction: it sees one state of the database. Called on a thread of `pool`."""
        number = self._begin()
        try:
            return self._read(fn)
        finally:
            with self._lock:
                self._running.discard(number)
                self._lock.notify_all()

    def settle(self, limit_s: float) -> None:
        """Wait until all reads have ended that may see a state of before now; no longer than `limit_s`, in seconds."""
        with self._lock:
            before = set(self._running)
            self._lock.wait_for(lambda: not before & self._running, limit_s)

    def _begin(self) -> int:
        with self._lock:
            self._begun += 1
            self._running.add(self._begun)
            return self._begun

    def _read(self, fn: Callable[[Database], T]) -> T:
        generation, db = self._take()
        try:
            db.execute("BEGIN")
            try:
                return fn(db)
            finally:
                db.execute("ROLLBACK")
        except sqlite3.Error as error:
            generation = -1  # a connection that met an error is not used again
            raise StoreError(f"not read: {error}") from error
        finally:
            self._give_back(generation, db)

    def warm_up(self) -> None:
        """Start to read the rows of all messages once: from a cold card the first clients would wait for them.

        It is given up after WARM_UP_S; nobody waits for it, and nobody hears of it.
        """
        self.pool.submit(self._warm_up)

    def _warm_up(self) -> None:
        until = time.monotonic() + WARM_UP_S

        def look(db: Database) -> None:
            db.set_progress_handler(lambda: self._closed or time.monotonic() > until, WARM_UP_STEPS)
            try:
                db.execute("SELECT max(internal_at) FROM message").fetchone()
            except sqlite3.OperationalError as error:
                log.debug("not all rows of messages were read ahead: %s", error)
            finally:
                db.set_progress_handler(None, 0)

        try:
            self.read(look)
        except StoreError as error:  # the next reader tells it to somebody
            log.debug("no rows were read ahead: %s", error)

    def close(self) -> None:
        """End the threads and close the connections."""
        self._closed = True
        self.pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            for _, db in self._idle:
                db.close()
            self._idle.clear()
        self._close_loop_db()

    def _take(self) -> tuple[int, Database]:
        with self._lock:
            generation = self._generation
            while self._idle:
                found, db = self._idle.pop()
                if found == generation:
                    return found, db
                db.close()
        return generation, connect(self._path, cache_kib=READER_CACHE_KIB, read_only=True)

    def _give_back(self, generation: int, db: Database) -> None:
        with self._lock:
            if generation == self._generation and not self._closed:
                self._idle.append((generation, db))
                return
        db.close()

    def _close_loop_db(self) -> None:
        if self._loop_db is not None:
            self._loop_db[1].close()
            self._loop_db = None
