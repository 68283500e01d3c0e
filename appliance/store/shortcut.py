"""Reads on the event loop: for one short message that is in memory, a trip to a thread takes longer than the work."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from appliance.errors import StoreError
from appliance.store.database import Database

SLOW_S = 0.002  # what takes longer has waited, for the disk or for the processor
PAUSE = 100  # for so many times as long no other read is tried here: at most one per cent of the loop's time is lost

T = TypeVar("T")


def blocks_read() -> int:
    """How many blocks the disk had to be asked for by the thread that runs this, since it started."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock


class Peek(Protocol):
    """`Store.peek`."""

    def __call__(self, fn: Callable[[Database], T]) -> T:
        """Run `fn` on the loop's own connection."""


class Shortcut:
    """Tries reads on the event loop, as long as they do not wait for the disk."""

    __slots__ = ("_blocks_read", "_clock", "_open_at", "_peek")

    def __init__(
        self, peek: Peek, *, clock: Callable[[], float] = time.monotonic, blocks_read: Callable[[], int] = blocks_read
    ) -> None:
        """`clock` gives seconds."""
        self._peek = peek
        self._clock = clock
        self._blocks_read = blocks_read
        self._open_at = 0.0

    def take(self, fn: Callable[[Database], T]) -> T | None:
        """What `fn` returns, or None: then ask on a thread, which also tells what is wrong.

        `fn` must not wait for files by itself, see `Segments.read`. That SQLite waits for its own is only
        known afterwards; then the way is closed for a while.
        """
        started = self._clock()
        if started < self._open_at:
            return None
        blocks = self._blocks_read()
        try:
            return self._peek(fn)
        except StoreError:
            return None
        finally:
            ended = self._clock()
            if ended - started > SLOW_S and self._blocks_read() > blocks:
                self._open_at = ended + PAUSE * (ended - started)
