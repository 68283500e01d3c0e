"""What all IMAP sessions of the appliance share."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from appliance.core import Core
from plugins.imap4.recent import Recent

if TYPE_CHECKING:
    from appliance.mail.message import Message
    from appliance.store import Store

KEEP_S = 20.0  # how long a large message stays unpacked after it was asked for


class LargeMessage:
    """The large message that was loaded last. Clients fetch such a message in many small pieces, one after the other;
    unpacking it anew for each would cost the square of its size.
    """

    __slots__ = ("_key", "_message", "_store", "_timer")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = (0, 0)
        self._message: Message | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def load(self, body_id: int, filing_id: int) -> Message:
        """Load a message, or take it from before. Raises NotFoundError, StoreError."""
        if self._message is not None and self._key == (body_id, filing_id):
            message = self._message
        else:
            self.forget()
            message = await self._store.load(body_id, filing_id)
        self.forget()
        self._key, self._message = (body_id, filing_id), message
        self._timer = asyncio.get_running_loop().call_later(KEEP_S, self.forget)
        return message

    def forget(self) -> None:
        """Give the memory back."""
        self._message = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Shared:
    """The core, the claims of recent messages, and how many sessions each account has."""

    __slots__ = ("core", "large", "recent", "sessions")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.recent = Recent(core.store)
        self.large = LargeMessage(core.store)
        self.sessions: Counter[int] = Counter()  # account id → sessions logged in

    def admit(self, account_id: int, most: int) -> bool:
        """Count one more session of an account; False, and not counted, if it has `most` already."""
        if self.sessions[account_id] >= most:
            return False
        self.sessions[account_id] += 1
        return True

    def leave(self, account_id: int) -> None:
        """One session of an account has ended."""
        self.sessions[account_id] -= 1
        if self.sessions[account_id] <= 0:
            del self.sessions[account_id]
