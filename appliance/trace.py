"""Who decided what about a message, why, and how long it took: a bounded ring, written in compressed batches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import zstandard

from appliance.config import StoreConfig
from appliance.store.database import Database
from appliance.store.schema import Migration

FLUSH_S = 5.0  # at most so much is lost in a crash
FLUSH_ROWS = 2000  # a batch of this size is written at once
MAX_WAITING = 20_000  # rows kept in memory while soft.db cannot be written; the oldest go first
MAX_BYTES = 16 << 20  # compressed octets kept on the disk at most; a row has some 20
MAX_DETAIL = 500  # characters of one row's detail

if TYPE_CHECKING:
    from appliance.store import Store

log = logging.getLogger(__name__)


class TraceRow(NamedTuple):
    """One step of one message's way."""

    at: float  # epoch seconds
    trace_id: str
    who: str  # the part or plugin that acted
    what: str  # accepted, refused, deferred, delivered, …
    detail: str = ""
    ms: float = 0.0  # how long it took

    def matches(self, text: str) -> bool:
        """Whether the row is what somebody looks for: its trace id, or part of anything it says, without case."""
        if text == self.trace_id:
            return True
        return text.lower() in f"{self.who} {self.what} {self.detail}".lower()


def m001_trace(db: sqlite3.Connection) -> None:
    """One row holds a whole batch: a row per step would write more than the mail itself on a small card."""
    db.execute("CREATE TABLE trace (id INTEGER PRIMARY KEY, last_at REAL NOT NULL, rows INTEGER NOT NULL, data BLOB)")


MIGRATIONS = (Migration("core.m001_trace", m001_trace),)

_made = tuple.__new__  # what `TraceRow(…)` comes to, without the steps between
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[TraceRow]).decode


class Trace:
    """The message trace. `record` is cheap and never fails; as a service it writes batches until it is stopped."""

    name = "trace"
    after: Sequence[str] = ()

    def __init__(
        self,
        store: Store,
        *,
        keep: Callable[[], int] = lambda: StoreConfig().trace_rows,
        now: Callable[[], float] | None = None,
    ) -> None:
        """The trace lives in the store's soft.db.

        `keep` tells how many rows to keep, as long as they have room in MAX_BYTES; `now` gives epoch seconds, the
        store's clock if not given.
        """
        store.soft.add(MIGRATIONS)
        self._soft = store.soft
        self._keep = keep
        self._now = now or store.now
        self._rows: deque[TraceRow] = deque(maxlen=MAX_WAITING)
        self._full = asyncio.Event()

    def record(self, trace_id: str, who: str, what: str, detail: str = "", ms: float = 0.0) -> None:
        """Note one step. Never with message text or secrets in `detail`, which is cut at MAX_DETAIL characters."""
        self._rows.append(_made(TraceRow, (self._now(), trace_id, who, what, detail[:MAX_DETAIL], ms)))
        if len(self._rows) >= FLUSH_ROWS:
            self._full.set()

    async def find(self, text: str, limit: int = 200) -> list[TraceRow]:
        """The last rows of a trace id, or whose words contain `text` (empty: all), oldest first, memory included."""
        return await self._last(lambda row: not text or row.matches(text), limit)

    async def ways(self, trace_ids: Collection[str], limit: int = 1000) -> list[TraceRow]:
        """The last rows of several messages, oldest first: what `find` found, each with its whole way."""
        return await self._last(lambda row: row.trace_id in trace_ids, limit)

    async def _last(self, wanted: Callable[[TraceRow], bool], limit: int) -> list[TraceRow]:
        recent = [row for row in self._rows if wanted(row)]
        if len(recent) >= limit:
            return recent[-limit:]
        stored = await self._soft.read(lambda db: _search(db, wanted, limit - len(recent)))
        return [*(stored or ()), *recent]

    async def flush(self) -> None:
        """Write what waits. If that fails it waits on, up to MAX_WAITING rows."""
        self._full.clear()
        count = len(self._rows)
        if not count:
            return
        batch = [self._rows[index] for index in range(count)]
        keep = self._keep()
        if await self._soft.write(lambda db: _add(db, batch, keep)) is None:
            return
        for row in batch:
            if self._rows and self._rows[0] is row:
                self._rows.popleft()

    async def run(self, ready: Callable[[], None]) -> None:
        """Write a batch every few seconds until cancelled, and the last one then."""
        ready()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), FLUSH_S)
                await self.flush()
        finally:
            await self.flush()

    async def reload(self) -> None:
        """The number of rows to keep is asked for at every batch."""


def _add(db: Database, batch: Sequence[TraceRow], keep: int) -> int:
    """Store a batch, and remove the oldest ones beyond `keep` rows or MAX_BYTES."""
    data = zstandard.compress(_encode(batch), 3)
    db.execute("INSERT INTO trace (last_at, rows, data) VALUES (?, ?, ?)", (batch[-1].at, len(batch), data))
    total, octets = db.execute("SELECT sum(rows), sum(length(data)) FROM trace").fetchone()
    for number, rows, size in db.execute("SELECT id, rows, length(data) FROM trace ORDER BY id").fetchall():
        if total - rows < keep and octets <= MAX_BYTES:
            break
        db.execute("DELETE FROM trace WHERE id = ?", (number,))
        total, octets = total - rows, octets - size
    return len(batch)


def _search(db: Database, wanted: Callable[[TraceRow], bool], limit: int) -> list[TraceRow]:
    found: list[TraceRow] = []
    for (data,) in db.execute("SELECT data FROM trace ORDER BY id DESC"):
        rows = _unpacked(data)
        found[:0] = [row for row in rows if wanted(row)]
        if len(found) >= limit:
            return found[-limit:]
    return found


def _unpacked(data: bytes) -> Iterable[TraceRow]:
    try:
        return _decode(zstandard.decompress(data))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        log.warning("a batch of the trace is damaged: %s", error)
        return ()
