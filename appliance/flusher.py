"""What is learnt in memory and may be lost (see store/soft.py), read at the start and written down now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

FLUSH_S = 60.0  # at most so much is lost in a crash


class Flusher:
    """A service (hookspecs.Service) that loads a state, has it written down every minute, and once more at the end."""

    after: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        load: Callable[[], Awaitable[None]],
        flush: Callable[[], Awaitable[None]],
        *,
        changed: Callable[[], None] | None = None,
    ) -> None:
        """`flush` writes only what has changed, and tries again the next time what failed.

        `changed` is called when the configuration was read anew.
        """
        self.name = name
        self.load = load
        self.flush = flush
        self._changed = changed

    async def run(self, ready: Callable[[], None]) -> None:
        """Load, then write every FLUSH_S seconds until cancelled, and once more then."""
        await self.load()
        ready()
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                await self.flush()
        finally:
            await self.flush()

    async def reload(self) -> None:
        """Tell the owner, if it wants to know."""
        if self._changed is not None:
            self._changed()
