"""The slow chores of the store, on threads: giving back room, carrying over the log, making it long."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from appliance.errors import StoreError, StoreFullError
from appliance.store import compaction
from appliance.store.database import Database
from appliance.store.readers import Readers
from appliance.store.segments import Extent, Segments
from appliance.store.wal import Log

SETTLE_S = 10.0  # for the reads that run while texts are moved; what lasts longer has to look again

T = TypeVar("T")
log = logging.getLogger(__name__)


class CallWriter(Protocol):
    """Runs a function on the writer's thread and waits; `outside` runs it between transactions."""

    def __call__(self, fn: Callable[[Database], T], *, outside: bool = False) -> T: ...


class Upkeep:
    """What the keeper does when nothing else happens, and `Store.tidy` on demand. Never on the event loop."""

    def __init__(self, segments: Segments, readers: Readers, wal: Log, call_writer: CallWriter) -> None:
        self._segments = segments
        self._readers = readers
        self._wal = wal
        self._call_writer = call_writer
        self._turn = threading.Lock()

    def checkpoint(self, truncate: bool) -> bool:
        """Let the writer carry over the rest of the log between two groups. True if nothing is left."""
        return bool(self._call_writer(lambda db: self._wal.checkpoint(db, truncate=truncate), outside=True))

    def extend(self) -> bool:
        """Make the log one step longer before it is filled. True if more is to be done."""
        return bool(self._call_writer(_ignoring(self._wal.extend), outside=True))

    def tidy(self, everything: bool) -> None:
        """Give back room and carry over the log.

        Segment files that are half dead are rewritten and dead ones deleted; free pages of the database are cut off
        where they are many. `everything`: the files still in use and those with less dead in them, every free page and
        the log's own room too.
        """
        with self._turn:
            if everything:
                self._segments.retire()
                self._remove_dead()  # on a full disk this may be what lets the log be carried over, and that
                self._as_room_allows("the log cannot be carried over", lambda: self.checkpoint(True))  # the rest
            self._as_room_allows("not all segments can be rewritten", lambda: self._compact_all(everything))
            self._as_room_allows("the database cannot be made smaller", lambda: self._shrink(everything))
        self.checkpoint(everything)

    def _as_room_allows(self, what: str, step: Callable[[], object]) -> None:
        """One step that gives back room but takes some first. Where there is none, the next may still do its part."""
        try:
            step()
        except StoreFullError as error:
            log.warning("%s now: %s", what, error)

    def _remove_dead(self) -> None:
        """Delete the files that no row names: it takes no room at all."""
        for number in self._readers.read(lambda db: compaction.dead(db, self._segments)):
            if self._segments.remove(number):
                log.info("segment %d is given back", number)

    def _compact_all(self, everything: bool) -> None:
        for number in self._readers.read(lambda db: compaction.candidates(db, self._segments, urgent=everything)):
            self._compact(number)

    def _shrink(self, everything: bool) -> None:
        while self._readers.read(lambda db: compaction.surplus(db, everything=everything)):
            room = self._segments.free_octets() // 2 if everything else None
            if not self._call_writer(lambda db, room=room: compaction.shrink(db, room), outside=True):  # type: ignore[misc]
                return
            if everything and not self.checkpoint(True):
                return  # a reader holds the log, which must not grow further: the next time

    def _compact(self, number: int) -> None:
        live = self._live_extents(number)
        compaction.rewrite(self._segments, live, self._commit_moves)
        if not self._live_extents(number) and self._segments.remove(number):
            log.info("segment %d is given back, %d texts of it were moved", number, len(live))

    def _live_extents(self, number: int) -> list[tuple[int, Extent]]:
        return self._readers.read(lambda db: compaction.live_extents(db, number))

    def _commit_moves(self, moves: Sequence[compaction.Moved]) -> None:
        try:
            if self._segments.sync([new for _, _, new in moves]):
                raise StoreError("a segment file cannot be written")
            self._call_writer(lambda db: compaction.record_moves(db, moves))
            self._readers.settle(SETTLE_S)  # whoever still sees the old places may read there
        finally:
            for _, _, new in moves:
                self._segments.done(new)


def _ignoring(fn: Callable[[], T]) -> Callable[[Any], T]:
    return lambda _: fn()
