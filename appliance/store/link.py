"""The writer's connection: one transaction after the other, and a new connection when the disk has failed."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from appliance.errors import StoreError
from appliance.store.database import WRITER_CACHE_KIB, Database, connect, primary_code
from appliance.store.model import Change

IDS_RESERVED = 4096  # of filings, by one write: what is reserved when the process ends is given to nobody
REOPEN_PAUSE_S = (0.5, 30.0)  # shortest and longest pause between attempts to open the database again

# The connection is not to be trusted after these: the transaction may be gone, half there, or there.
_FATAL = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}
    | {sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL}
)

T = TypeVar("T")
log = logging.getLogger(__name__)


class FatalError(Exception):
    """SQLite's error after which the connection is given up: nothing of the transaction counts."""

    def __init__(self, cause: sqlite3.Error) -> None:
        super().__init__(str(cause))
        self.full = primary_code(cause) == sqlite3.SQLITE_FULL


def is_fatal(error: BaseException) -> bool:
    """Whether the connection must be given up after the error."""
    return primary_code(error) in _FATAL


class Link:
    """Opens, verifies and gives up the connection. Writer thread only, after the first opening.

    A failed sync is never asked again: what the kernel could not write it has dropped, and the next sync would
    succeed. So the connection is closed, whoever waited is told, and a new one must find what was acknowledged last.
    """

    def __init__(self, path: Path, *, now: Callable[[], float], reopened: Callable[[], None]) -> None:
        """`reopened` is called when another connection has taken the place of one that failed."""
        self._path = path
        self._now = now
        self._reopened = reopened
        self._reopen_at = 0.0
        self._pause = REOPEN_PAUSE_S[0]
        self._witness: tuple[int, int] | None = None  # mailbox and modseq of the last change on the disk
        self._next_ids = (1, 1)
        self._reserved = 0  # filing ids below it are never given to anything else
        self._changes = 0  # rows that the connection had changed at the end of the last transaction
        self.rows = 0  # that the last transaction changed
        self.commit_s = 0.0  # how long commits take, the last ones counting most
        self.last_commit = time.monotonic()
        self.db: Database | None = self._connect()

    def usable(self) -> bool:
        """Whether there is a connection, after an attempt to open one if it was given up."""
        if self.db is not None:
            return True
        if time.monotonic() < self._reopen_at:
            return False
        try:
            self.db = self._connect()
            self._verify(self.db)
        except (StoreError, sqlite3.Error) as error:
            log.error("the store cannot be opened again: %s", error)
            self.close()
            self._reopen_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, REOPEN_PAUSE_S[1])
            return False
        self._pause = REOPEN_PAUSE_S[0]
        log.warning("the store is open again")
        self._reopened()
        return True

    def commit(self, run: Callable[[Database], T]) -> T:
        """Run a transaction and return when it is on the disk; what `run` noted stands on `db` until the next one.

        Raises what `run` raises, with nothing changed; FatalError when the connection is not to be trusted any more.
        """
        db = self.db
        if db is None:
            raise StoreError("the store is closed")
        db.forget_notes()
        db.now = int(self._now())
        try:
            db.execute("BEGIN IMMEDIATE")
            result = run(db)
            reserved = self._reserve(db)
            started = time.monotonic()
            db.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(db)
            if is_fatal(error):
                raise FatalError(error) from error
            raise
        except BaseException:
            _roll_back(db)
            raise
        self._reserved = reserved
        self.last_commit = time.monotonic()
        self.commit_s += (self.last_commit - started - self.commit_s) / 4
        self.rows, self._changes = db.total_changes - self._changes, db.total_changes
        last = next((change for change in reversed(db.changes) if isinstance(change, Change)), None)
        if last is not None:
            self._witness = (last.mailbox_id, last.modseq)
        return result

    def close(self) -> None:
        """Give the connection up."""
        db, self.db = self.db, None
        if db is not None:
            self._next_ids = (db.next_body_id, db.next_filing_id)
            _roll_back(db)
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _connect(self) -> Database:
        db = connect(self._path, cache_kib=WRITER_CACHE_KIB)
        (body,) = db.execute("SELECT ifnull(max(id), 0) + 1 FROM body").fetchone()
        (filing,) = db.execute("SELECT ifnull(max(id), 0) + 1 FROM filing").fetchone()
        db.next_body_id = max(body, self._next_ids[0])
        reserved = db.execute("SELECT value FROM meta WHERE key = 'next_filing_id'").fetchone()
        db.next_filing_id = max(filing, self._next_ids[1], reserved[0] if reserved else 1)
        self._reserved = db.next_filing_id
        self._changes = db.total_changes
        return db

    def _reserve(self, db: Database) -> int:
        """See to it that filing ids in use do not come back after a restart: they name messages (RFC 8474)."""
        if db.next_filing_id <= self._reserved:
            return self._reserved
        reserved = db.next_filing_id + IDS_RESERVED
        db.execute(
            "INSERT INTO meta VALUES ('next_filing_id', ?1) ON CONFLICT DO UPDATE SET value = max(value, ?1)",
            (reserved,),
        )
        return reserved

    def _verify(self, db: Database) -> None:
        """What was acknowledged last is still there, and a probe can be committed."""
        if self._witness is not None:
            mailbox_id, modseq = self._witness
            row = db.execute("SELECT highestmodseq FROM mailbox WHERE id = ?", (mailbox_id,)).fetchone()
            if row is not None and row[0] < modseq:
                raise StoreError(f"mailbox {mailbox_id} is at modseq {row[0]}, but {modseq} was acknowledged")
        db.execute("INSERT INTO meta VALUES ('reopened', 1) ON CONFLICT DO UPDATE SET value = value + 1")


def _roll_back(db: Database) -> None:
    db.forget_notes()
    if db.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
