r"""Which messages are \Recent: those of which no session has been told yet (RFC 3501 section 2.3.2)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from appliance.errors import StoreError
from appliance.store.mailboxes import claim_recent, recent_from

if TYPE_CHECKING:
    from appliance.store import Store

log = logging.getLogger(__name__)


class Recent:
    """What sessions have been told of, in memory first.

    Every claim in the database would be one more write for each message that arrives under the eyes of a mail
    program. So claims are kept here and written when the session that made them closes the mailbox; after a crash
    a message can be recent a second time, which the RFC allows.
    """

    __slots__ = ("_claimed", "_store", "_tasks")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._claimed: dict[int, int] = {}  # mailbox id → first uid not claimed, where that is not written yet
        self._tasks: set[asyncio.Task[None]] = set()

    def first(self, mailbox_id: int) -> int:
        """The first uid of which no session has been told. Raises NotFoundError."""
        return max(self._claimed.get(mailbox_id, 0), self._store.peek(lambda db: recent_from(db, mailbox_id)))

    def claim(self, mailbox_id: int, uidnext: int) -> int:
        """Take all below `uidnext` that are not taken; returns the first of them, or something not below it."""
        first = self.first(mailbox_id)
        if first < uidnext:
            self._claimed[mailbox_id] = uidnext
        return first

    def release(self, mailbox_id: int) -> None:
        """A session lets go of a mailbox: write down what was claimed there, without waiting for it."""
        if mailbox_id in self._claimed:
            task = asyncio.get_running_loop().create_task(self._save(mailbox_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for what is being written."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _save(self, mailbox_id: int) -> None:
        uid = self._claimed.get(mailbox_id)
        if uid is None:
            return  # another session that let go at the same time has written it
        try:
            await self._store.write(lambda db: claim_recent(db, mailbox_id, uid))
        except StoreError as error:  # deleted meanwhile, or no room: no reason to disturb anybody
            log.debug("recent messages of mailbox %d not noted: %s", mailbox_id, error)
        if self._claimed.get(mailbox_id) == uid:
            del self._claimed[mailbox_id]
