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
from appliance.store.wal import CHECKPOINT_BYTES, EXTEND_STEP, TRUNCATE_BYTES, Log

EXTEND_AFTER_S = 2.0  # after the start, the log is made long before it is filled
TICK_S = 20.0  # between looks at what can be tidied up
REMOVED_TICK_S = 1.0  # the same while mail is refused for want of room, and some was removed
IDLE_S = 30.0  # without a commit, the store counts as idle
IDLE_BYTES = 4 << 20  # of log that an idle store carries over, so that the next burst finds it empty
RETRY_S = 1.0  # after a checkpoint that a reader held up; doubled, up to TICK_S, while the work fails
LONG_LOG_ROOM = CHECKPOINT_BYTES + EXTEND_STEP  # what must be spare for the log to be made longer beforehand

log = logging.getLogger(__name__)


class Keeper:
    """Waits for the log to fill and carries it over; when nothing else happens, tidies up.

    While mail is refused because the disk is full, giving back room is all that counts.
    """

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
        self._failures = 0  # in a row
        self._refused_at: float | None = None  # when mail was first found to be refused, on the monotonic clock
        self._made_room_at = -TICK_S
        self._removed = False  # some mail was, and no room was made of it yet
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="store-keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a checkpoint that runs is finished."""
        self._stopping = True
        self._space.housekeeping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        pause = EXTEND_AFTER_S
        while not self._stopping:
            called = self._space.housekeeping.wait(pause)
            self._space.housekeeping.clear()
            if self._stopping:
                return
            try:
                pause = self._look(called)
                self._failures = 0
            except (ApplianceError, sqlite3.Error, OSError) as error:
                log.error("the store's housekeeping failed: %s", error)
                pause = min(RETRY_S * 2**self._failures, TICK_S)
                self._failures += 1

    def _look(self, called: bool) -> float:
        """Do what is to be done first, and say when to look again if nobody calls."""
        if self._space.refusing:
            return self._while_refusing()
        self._refused_at = None
        if self._wal.due:
            return TICK_S if self.checkpoint() else RETRY_S
        if not called and not self._extended:
            self._extended = self._stopping or not self._extend()
            return TICK_S if self._extended else 0.0
        if not called:
            self._idle()
        return TICK_S

    def _extend(self) -> bool:
        """Make the log longer, unless room is short: then mail needs it more, also what the log will be carried to."""
        if not self._space.spares(LONG_LOG_ROOM):
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

    def _while_refusing(self) -> float:
        """Mail is refused, perhaps only for a moment: make room every TICK_S, and soon after some was removed."""
        now = time.monotonic()
        self._refused_at = self._refused_at or now
        self._removed |= self._space.take_removed()
        if self._removed:
            at = self._made_room_at + REMOVED_TICK_S
        else:
            at = max(self._refused_at, self._made_room_at) + TICK_S
        if now < at:
            return at - now
        self._made_room_at = now
        self._make_room()
        self._removed = False
        return TICK_S

    def _make_room(self) -> None:
        """Mail is refused: give back all that can be had, and see whether that is enough."""
        try:
            self._upkeep.tidy(True)
        finally:
            self._space.look()

    def _idle(self) -> None:
        """Tidy up if nobody writes."""
        if time.monotonic() - self._last_commit() >= IDLE_S:
            truncate = self._wal.file_bytes() >= TRUNCATE_BYTES
            if truncate or self._wal.filled >= IDLE_BYTES:
                self._upkeep.checkpoint(truncate)
            self._upkeep.tidy(False)

    def _connect(self) -> Database:
        return connect(self._path, cache_kib=LOOP_CACHE_KIB)
