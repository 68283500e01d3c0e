"""The tarpit: whoever errs again and again waits longer for each answer, and costs nothing but its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

Sleep = Callable[[float], Awaitable[None]]


class Tarpit:
    """Keeps connections waiting, never more than so many: the door must not be blocked by those that stand in it."""

    def __init__(self, sleep: Sleep = asyncio.sleep) -> None:
        self.held = 0
        self.total = 0
        self._sleep = sleep

    async def hold(self, seconds: float, most: int) -> bool:
        """Wait so long, unless `most` connections wait already. Returns whether it did."""
        if self.held >= most or seconds <= 0:
            return False
        self.held += 1
        self.total += 1
        try:
            await self._sleep(seconds)
        finally:
            self.held -= 1
        return True
