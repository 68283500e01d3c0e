"""How large SQLite's write-ahead log is, and carrying it over into the database (checkpoints)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from appliance.store.database import PAGE_SIZE, Database

CHECKPOINT_BYTES = 16 << 20  # of log after which a checkpoint starts, beside the writer
CAP_BYTES = 64 << 20  # of log at which the writer stands still until a checkpoint has caught up
TRUNCATE_BYTES = 4 << 20  # a log file this large is cut to nothing when the store is idle
GROUP_OVERHEAD = 24 << 10  # octets that a group logs besides its mail: pages with one changed row each
FRAME = PAGE_SIZE + 24  # octets of one page in the log


class Log:
    """An estimate of the log between checkpoints, corrected by each. Any thread.

    SQLite does not tell how far the log is filled without touching it, and its index must not be opened besides
    SQLite: closing any descriptor of it would drop this process's locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + "-wal")
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._high = self._filled = self.file_bytes()
        self.due = threading.Event()
        if self._filled >= CHECKPOINT_BYTES:
            self.due.set()

    @property
    def filled(self) -> int:
        """Octets of log that no checkpoint has carried over yet, estimated."""
        return self._filled

    def file_bytes(self) -> int:
        """The size of the file: how far the log has ever been filled since it was cut."""
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0

    def grew(self, octets: int) -> None:
        """A group with so much new mail was committed."""
        size = self.file_bytes()
        with self._lock:
            self._filled += octets + octets // 4 + GROUP_OVERHEAD
            if size > self._high:  # beyond its old mark the file itself tells
                self._high = self._filled = size
            if self._filled >= CHECKPOINT_BYTES:
                self.due.set()

    def checkpoint(self, db: Database, *, truncate: bool = False) -> bool:
        """Carry the log over through `db`, one caller at a time. True if nothing is left, so that it starts anew.

        Without `truncate` nobody is waited for: what other connections still read, or write meanwhile, stays.
        """
        with self._turn:
            mode = "TRUNCATE" if truncate else "PASSIVE"
            busy, frames, carried = db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            with self._lock:
                self._high = self.file_bytes()
                self._filled = max(frames - carried, 0) * FRAME
                if self._filled < CHECKPOINT_BYTES:
                    self.due.clear()
            return bool(not busy and frames == carried)
