"""Signs of life while a command takes long (RFC 9585). A client that hears nothing gives the connection up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from plugins.imap4.protocol_respond import untagged

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession

INTERVAL_S = 10.0  # from the start of a command, and from one sign to the next

T = TypeVar("T")


class Progress:
    """How far one command has come. Make it when the command begins."""

    __slots__ = ("_next_at", "_session", "_tag")

    def __init__(self, session: ImapSession, tag: bytes) -> None:
        self._session = session
        # A tag may hold what would end the response code; then it is left out (RFC 9585 section 4).
        self._tag = "NIL" if b"]" in tag else f'"{tag.decode("ascii", "replace")}"'
        self._next_at = asyncio.get_running_loop().time() + INTERVAL_S

    def tell(self, done: int, goal: int) -> None:
        """Say that so many of so many messages are done, if it is time again. Not within a response."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_at and done < goal:
            self._next_at = now + INTERVAL_S
            code = f"INPROGRESS ({self._tag} {done} {goal})"
            self._session.connection.write(untagged("OK", "Still at work", code))

    async def during(self, work: Awaitable[T], goal: int) -> T:
        """Wait for `work`, which does not say how far it is, and give signs of life meanwhile."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=INTERVAL_S))[0]:
                self.tell(0, goal)
        except asyncio.CancelledError:
            task.cancel()
            raise
        return task.result()
