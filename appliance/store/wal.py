"""How large SQLite's write-ahead log is, and carrying it over into the database (checkpoints)."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from appliance.errors import StoreError
from appliance.store.database import BUSY_TIMEOUT_S, PAGE_SIZE, Database

CHECKPOINT_BYTES = 16 << 20  # of log after which a checkpoint starts, beside the writer
CAP_BYTES = 64 << 20  # of log at which the writer stands still until a checkpoint has caught up
TRUNCATE_BYTES = 32 << 20  # a log file this large is cut when the store is idle
CUT_WAIT_MS = 100  # for whoever still reads an empty log, when it is to be cut
FRAME = PAGE_SIZE + 24  # octets of one page in the log

# Octets that a group logs besides its bodies, measured: pages with one changed row each.
GROUP_OVERHEAD = 6 << 10
ROW_OVERHEAD = 400

# A sync of a file that has grown makes the file system commit its journal too. Written over in place, the log costs
# one flush instead of two and, for one small message, 10 KB instead of 31 KB on the card. So it is made long before
# it is filled, with real zeros: blocks that are only reserved would need the journal as well.
EXTEND_STEP = 1 << 20


class Log:
    """An estimate of the log between checkpoints, corrected by each. Any thread.

    SQLite does not tell how far the log is filled without touching it, and its index must not be opened besides
    SQLite: closing any descriptor of it would drop this process's locks.
    """

    def __init__(self, path: Path, housekeeping: threading.Event) -> None:
        """`path` is the database's. `housekeeping` is set when the log is to be carried over."""
        self._path = path.with_name(path.name + "-wal")
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._high = self._filled = self.file_bytes()  # of a log that a crash has left, all may be still to do
        self._housekeeping = housekeeping
        if self.due:
            housekeeping.set()

    @property
    def filled(self) -> int:
        """Octets of log that no checkpoint has carried over yet, estimated."""
        return self._filled

    @property
    def due(self) -> bool:
        """Whether the log is to be carried over."""
        return self._filled >= CHECKPOINT_BYTES

    def file_bytes(self) -> int:
        """The size of the file: how far the log has ever been filled since it was cut."""
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0

    def grew(self, octets: int, rows: int) -> None:
        """A group was committed: so many octets of bodies, so many rows changed."""
        size = self.file_bytes()
        with self._lock:
            self._filled += octets + rows * ROW_OVERHEAD + GROUP_OVERHEAD
            if size > self._high:  # beyond its old mark the file itself tells
                self._high = self._filled = size
            if self.due:
                self._housekeeping.set()

    def extend(self) -> bool:
        """Make the file one step longer, up to what a checkpoint waits for. True if more is to be done.

        Only between two transactions, on the writer's thread: nobody else writes the log. Raises StoreError if there
        is no room: the log then grows as it is filled.
        """
        size = self.file_bytes()
        if size >= CHECKPOINT_BYTES:
            return False
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if os.pwrite(fd, bytes(EXTEND_STEP), size) < EXTEND_STEP:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(fd)
        except OSError as error:
            os.ftruncate(fd, size)  # the last room of a disk is not for this
            raise StoreError(f"the log cannot be made long beforehand: {error}") from error
        finally:
            os.close(fd)
        with self._lock:
            self._high = max(self._high, size + EXTEND_STEP)
        return True

    def checkpoint(self, db: Database, *, truncate: bool = False) -> bool:
        """Carry the log over through `db`, one caller at a time. True if nothing is left, so that it starts anew.

        Nobody is waited for: what other connections still read, or write meanwhile, stays. With `truncate` the file
        is cut as well, if all is carried over and nobody reads it.
        """
        with self._turn:
            busy, frames, carried = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if truncate and not busy and frames == carried:
                busy, frames, carried = _cut(db)
            with self._lock:
                self._high = self.file_bytes()
                self._filled = max(frames - carried, 0) * FRAME
            return bool(not busy and frames == carried)


def _cut(db: Database) -> tuple[int, int, int]:
    """Cut the log, all of which is carried over. The writer does not stand still for long: whoever reads may do so."""
    db.execute(f"PRAGMA busy_timeout={CUT_WAIT_MS}")
    try:
        busy, frames, carried = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000:.0f}")
    return busy, frames, carried
