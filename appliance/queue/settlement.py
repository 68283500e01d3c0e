"""Writing down what became of entries: many at once, in one transaction of the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from appliance.errors import StoreError
from appliance.queue.verdicts import Verdict
from appliance.store import queue as rows

if TYPE_CHECKING:
    from appliance.store import Database, QueuedMessage, Store

log = logging.getLogger(__name__)

BATCH = 500  # verdicts of one transaction: some milliseconds of the writer's time
RETRY_S = 5.0  # after the store refused
MAX_WAITING = 5000  # verdicts that wait to be written; then deliveries pause


Item: TypeAlias = "tuple[QueuedMessage, Verdict]"


class Settlement:
    """Collects verdicts and writes them. What is not written yet is delivered again after a crash, never lost."""

    def __init__(self, store: Store, settled: Callable[[Sequence[Item]], None]) -> None:
        """`settled` is called on the loop with verdicts that are on the disk."""
        self._store = store
        self._settled = settled
        self._waiting: list[Item] = []
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    async def add(self, queued: QueuedMessage, verdicts: Iterable[Verdict]) -> None:
        """Take verdicts on recipients of one message; waits only when the store is far behind."""
        self._waiting += [(queued, verdict) for verdict in verdicts]
        self._some.set()
        self._none.clear()
        if len(self._waiting) > MAX_WAITING:
            await self._none.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            try:
                await self.flush()
            except StoreError as error:
                log.error("the queue could not be written, next attempt in %.0f s: %s", RETRY_S, error)
            except Exception:  # without this task nothing would ever leave the hand again
                log.exception("the queue could not be written, next attempt in %.0f s", RETRY_S)
            else:
                continue
            await asyncio.sleep(RETRY_S)
            self._some.set()

    async def flush(self) -> None:
        """Write what waits. Raises StoreError and keeps it, if it must."""
        while batch := self._waiting[:BATCH]:
            await self._store.write(lambda db, batch=batch: _write(db, batch))  # type: ignore[misc]
            del self._waiting[: len(batch)]
            self._settled(batch)
        self._none.set()


def _write(db: Database, items: Sequence[Item]) -> None:
    """Runs on the writer thread; may be run again if others of its group fail."""
    done = [verdict.entry.id for _, verdict in items if not verdict.next_at]
    if done:
        rows.settle(db, done)
    if len(done) < len(items):
        rows.defer(db, [_deferral(verdict) for _, verdict in items if verdict.next_at])


def _deferral(verdict: Verdict) -> rows.Deferral:
    outcome = verdict.outcome
    event = None if verdict.at is None else rows.Event(verdict.at, outcome.status, str(outcome.reply), outcome.peer)
    return rows.Deferral(
        verdict.entry.id,
        next_at=verdict.next_at,
        attempts=verdict.entry.attempts + 1,
        waited_s=verdict.waited_s,
        tried_at=verdict.tried_at,
        last_reply=str(outcome.reply),
        delay_warned=verdict.delay_warned,
        event=event,
    )
