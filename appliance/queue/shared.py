"""Messages that are being delivered: one copy of each for all its deliveries, and of large ones none in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import StoreFullError
from appliance.mail.message import Message
from appliance.spool import Spool

if TYPE_CHECKING:
    from appliance.store import Store


@dataclass(slots=True, eq=False)
class _Copy:
    task: asyncio.Task[Message]
    octets: int
    uses: int = 0


class SharedMessages:
    """Loads messages for deliveries, each once for all that are under way, within a bound on all of them together."""

    def __init__(self, load: Callable[[int], Awaitable[Message]], max_octets: int) -> None:
        """`load` makes the message of a body. Of messages larger than `max_octets` there is one at a time."""
        self._load = load
        self._max_octets = max_octets
        self._copies: dict[int, _Copy] = {}
        self._room = asyncio.Event()
        self.octets = 0  # of all that are there

    @asynccontextmanager
    async def use(self, body_id: int, octets: int) -> AsyncIterator[Message]:
        """The message of a body that has so many octets. Waits for room. Raises what `load` raises."""
        while body_id not in self._copies and self.octets and self.octets + octets > self._max_octets:
            self._room.clear()
            await self._room.wait()
        copy = self._copies.get(body_id)
        if copy is None:
            copy = self._copies[body_id] = _Copy(asyncio.ensure_future(self._loaded(body_id)), octets)
            self.octets += octets
        copy.uses += 1
        try:
            yield await asyncio.shield(copy.task)
        finally:
            copy.uses -= 1
            if not copy.uses:
                copy.task.cancel()
                del self._copies[body_id]
                self.octets -= copy.octets
                self._room.set()

    async def _loaded(self, body_id: int) -> Message:
        return await self._load(body_id)


async def mapped(store: Store, folder: Path, body_id: int) -> Message:
    """A stored message that lies in a file without a name and is mapped from there: it takes no memory of its own.

    The room is given back with the message. On a full disk it is held in memory instead: what waits must leave.
    Raises StoreError.
    """
    async with store.reading(body_id) as stored:
        with closing(Spool(folder, in_memory=0)) as spool:
            try:
                async for piece in stored.pieces():
                    await asyncio.to_thread(spool.write, piece)
            except StoreFullError:
                return await store.load(body_id)
            found = spool.message()
            return Message(found.header, found.text, stored.structure)
