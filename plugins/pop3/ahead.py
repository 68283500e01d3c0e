"""Reading ahead: clients fetch in order, so what follows is made ready on a reader thread while they take the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """What is ready, or on its way, of one kind: whole responses, messages, or headers. Two batches at most."""

    __slots__ = ("_coming", "_few", "_following", "_load", "_ready")

    def __init__(
        self, load: Callable[[Sequence[int]], Awaitable[dict[int, T]]], following: Callable[[int], list[int]], few: int
    ) -> None:
        """`load` reads the messages of some numbers, as far as they are there; `following(number)` are those behind it
        that are worth reading at once. When no more than `few` are ready, the next ones are read.
        """
        self._load = load
        self._following = following
        self._few = few
        self._ready: dict[int, T] = {}
        self._coming: tuple[list[int], asyncio.Task[dict[int, T]]] | None = None

    def __contains__(self, number: int) -> bool:
        return number in self._ready

    async def take(self, number: int, *, follows: bool) -> T | None:
        """One message, None if it is gone; when it `follows` the last, those behind it are read as well."""
        found = self._ready.pop(number, None)
        if found is None:
            coming, self._coming = self._coming, None
            if coming is not None and number in coming[0]:
                self._ready = await coming[1]
            else:
                self._ready = await self._load([number, *(self._following(number) if follows else ())])
            found = self._ready.pop(number, None)
        if follows and found is not None:
            self._look_on(number)
        return found

    def forget(self) -> None:
        """Give up what was read."""
        self._ready = {}
        self._coming = None

    def _look_on(self, number: int) -> None:
        if self._coming is not None or len(self._ready) > self._few:
            return
        numbers = self._following(max(self._ready, default=number))
        if numbers:
            task = asyncio.ensure_future(self._load(numbers))
            task.add_done_callback(_looked_at)
            self._coming = numbers, task


def _looked_at(task: asyncio.Task[dict[int, T]]) -> None:
    """Whoever asks for one of the messages gets the error; if nobody does, it is of no interest."""
    if not task.cancelled():
        task.exception()
