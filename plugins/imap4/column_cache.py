"""What searches and sorts have read of each message, kept for the next one: bounded, and given up soon after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

MAX_OCTETS = 16 << 20  # of all mailboxes together
KEEP_S = 30.0  # without use, a column is dropped: who idles costs nothing
BLOCK = 2_000  # messages; shorter blocks grow up to it, so that new mail does not make many of them


class Block(Protocol):
    """The values of messages that follow one another; not changed once it is made. `octets` is what it takes."""

    def __len__(self) -> int: ...

    @property
    def octets(self) -> int: ...

    def followed_by(self: K, other: K) -> K:
        """Both as one."""


K = TypeVar("K", bound=Block)


class Column(Generic[K]):
    """One value of each message of one mailbox, as far as it was read: up to the uid `covered`."""

    __slots__ = ("blocks", "covered", "octets", "too_large", "used_at")

    def __init__(self) -> None:
        self.blocks: tuple[K, ...] = ()
        self.covered = 0
        self.octets = 0
        self.too_large = False  # there is no room for it: nothing is kept
        self.used_at = 0.0


class ColumnCache(Generic[K]):
    """The columns in use, by mailbox id and name. Lives on the event loop."""

    def __init__(self, *, limit: int = MAX_OCTETS, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit` is in octets; `clock` gives seconds."""
        self._limit = limit
        self._clock = clock
        self._columns: dict[tuple[int, bytes], Column[K]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def octets(self) -> int:
        """What all of them take."""
        return sum(column.octets for column in self._columns.values())

    def has(self, mailbox_id: int, name: bytes) -> bool:
        """Whether a column has been read, without counting that as its use."""
        column = self._columns.get((mailbox_id, name))
        return column is not None and bool(column.blocks)

    def column(self, mailbox_id: int, name: bytes) -> Column[K]:
        """A column, an empty one if it was not kept."""
        column = self._columns.setdefault((mailbox_id, name), Column())
        column.used_at = self._clock()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEEP_S, self._tick)
        return column

    def extend(self, column: Column[K], after: int, block: K, covered: int) -> None:
        """Add what was read of the uids above `after` up to `covered`, unless another session was faster."""
        if column.covered != after or column.too_large:
            return
        blocks = column.blocks
        if blocks and len(blocks[-1]) + len(block) <= BLOCK:
            block = blocks[-1].followed_by(block)
            blocks = blocks[:-1]
        column.blocks = (*blocks, block) if len(block) else blocks
        column.covered = covered
        column.octets = sum(one.octets for one in column.blocks)
        self._make_room(column)

    def _make_room(self, column: Column[K]) -> None:
        """Drop what was not used for the longest time; if that is in use by the same search, the column itself."""
        excess = self.octets - self._limit
        for key, other in sorted(self._columns.items(), key=lambda item: item[1].used_at):
            if excess <= 0:
                return
            if other is column or other.used_at >= column.used_at:
                break
            excess -= other.octets
            del self._columns[key]
        if excess > 0:
            column.too_large, column.blocks, column.octets = True, (), 0

    def drop_unused(self) -> None:
        """Forget what was not used for KEEP_S."""
        since = self._clock() - KEEP_S
        self._columns = {key: column for key, column in self._columns.items() if column.used_at > since}

    def _tick(self) -> None:
        self.drop_unused()
        self._timer = None
        if self._columns:
            self._timer = asyncio.get_running_loop().call_later(KEEP_S / 3, self._tick)
