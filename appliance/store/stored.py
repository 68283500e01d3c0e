"""A stored message whose text stays where it is until somebody asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from appliance.mail.message import Part
from appliance.store.bodies import Opened
from appliance.wire import imap

OnThread = Callable[[Callable[[], bytes]], Awaitable[bytes]]


class StoredMessage:
    """A message for whoever sends it to a peer that takes its time. Made and closed by `Store.reading`.

    Only the header is in memory. The text comes in pieces of about 128 KiB, read on a thread, and it comes to its
    end although the message is expunged meanwhile. One reader at a time.
    """

    __slots__ = ("_on_thread", "_opened", "_structure", "header")

    def __init__(self, opened: Opened, on_thread: OnThread) -> None:
        self.header = opened.header
        self._opened = opened
        self._on_thread = on_thread
        self._structure: Part | None = None

    @property
    def text_size(self) -> int:
        """Octets of the text."""
        return self._opened.text.size

    @property
    def size(self) -> int:
        """Octets of header and text."""
        return len(self.header) + self.text_size

    @property
    def structure(self) -> Part:
        """The MIME tree, as it was stored."""
        if self._structure is None:
            self._structure = imap.unpack(self._opened.parts)
        return self._structure

    def octets(self, start: int, end: int) -> bytes:
        """A short stretch of the text, for whoever is on a reader thread. Raises StoreError."""
        pieces = []
        while start < end:
            pieces.append(self._opened.piece(start, end))
            start += len(pieces[-1])
        return b"".join(pieces)

    async def text(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """A stretch of the text, piece by piece; the next is read when it is asked for.

        Raises StoreError at damage. Of a text that is read as a whole, the last piece comes only if all of it is
        right; of a part, what cannot be checked without the rest is not.
        """
        end = self.text_size if end is None else end
        while start < end:
            piece = await self._on_thread(lambda start=start: self._opened.piece(start, end))  # type: ignore[misc]
            start += len(piece)
            yield piece

    async def pieces(self) -> AsyncIterator[bytes]:
        """The whole message, piece by piece. Raises as `text` does."""
        yield self.header
        async for piece in self.text():
            yield piece
