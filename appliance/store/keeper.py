"""The store's housekeeping thread: checkpoints beside the writer, compaction, giving pages back."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from appliance.errors import ApplianceError, StoreError
from appliance.store.database import LOOP_CACHE_KIB, Database, connect
from appliance.store.space import Space
from appliance.store.upkeep import Upkeep
from appliance.store.wal import TRUNCATE_BYTES, Log

EXTEND_AFTER_S = 2.0  # after the start, the log is made long before it is filled
TICK_S = 20.0  # between looks at what can be tidied up
IDLE_S = 30.0  # without a commit, the store counts as idle
IDLE_BYTES = 4 << 20  # of log that an idle store carries over, so that the next burst finds it empty
RETRY_S = 1.0  # after a checkpoint that a reader held up, or that failed

log = logging.getLogger(__name__)


class Keeper:
    """Waits for the log to fill and carries it over; when nothing else happens, tidies up."""

    def __init__(
        self,
        path: Path,
        wal: Log,
        space: Space,
        *,
        last_commit: Callable[[], float],
        upkeep: Upkeep,
    ) -> None:
        """`last_commit` tells when the store last wrote, on the monotonic clock."""
        self._path = path
        self._wal = wal
        self._space = space
        self._last_commit = last_commit
        self._upkeep = upkeep
        self._extended = False
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="store-keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a checkpoint that runs is finished."""
        self._stopping = True
        self._wal.due.set()
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        pause = EXTEND_AFTER_S
        while not self._stopping:
            due = self._wal.due.wait(pause)
            if self._stopping:
                return
            pause = TICK_S
            try:
                if due and not self.checkpoint():
                    pause = RETRY_S
                    self._wal.due.clear()  # the next group sets it again, or the next tick finds it
                elif not due and not self._extended:
                    self._extended = self._stopping or not self._extend()
                    pause = 0.0 if not self._extended else TICK_S
                elif not due:
                    self._idle()
            except (ApplianceError, sqlite3.Error, OSError) as error:
                log.error("the store's housekeeping failed: %s", error)
                self._wal.due.clear()
                pause = RETRY_S

    def _extend(self) -> bool:
        """Make the log longer, unless there is no room: then it is left as it is."""
        if not self._space.has_reserve:
            return False
        try:
            return self._upkeep.extend()
        except StoreError as error:
            log.info("%s", error)
            return False

    def checkpoint(self) -> bool:
        """Carry over most of the log beside the writer; the writer does the short rest, so that it starts anew."""
        db = self._connect()
        try:
            self._wal.checkpoint(db)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                self._space.release()
            raise
        finally:
            db.close()  # a connection that met an error is not used again
        return self._upkeep.checkpoint(False)

    def _idle(self) -> None:
        """Tidy up if nobody writes, or if the disk is so full that mail is refused: then all the room counts."""
        if self._space.refusing:
            self._upkeep.tidy(True)
            self._space.look()
        elif time.monotonic() - self._last_commit() >= IDLE_S:
            truncate = self._wal.file_bytes() >= TRUNCATE_BYTES
            if truncate or self._wal.filled >= IDLE_BYTES:
                self._upkeep.checkpoint(truncate)
            self._upkeep.tidy(False)

    def _connect(self) -> Database:
        return connect(self._path, cache_kib=LOOP_CACHE_KIB)
