"""Some of the messages of a FETCH, as the view knows them, and how answers about them go out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from plugins.imap4.protocol_parse import MAX_NUMBER64

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

T = TypeVar("T")

SLICE = 128 * 1024  # octets of long answers that are written at once


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the messages asked for: parallel columns of what the view knows about them.

    The flags are those of the mailbox's state `modseq`. A message that has changed since counts as changed by then, so
    that a client which comes back later asks for its flags again.
    """

    numbers: Sequence[int]
    uids: Sequence[int]
    flags: Sequence[bytes]
    modseq: int = MAX_NUMBER64

    def part(self, start: int, stop: int) -> Batch:
        """Some of them."""
        return Batch(self.numbers[start:stop], self.uids[start:stop], self.flags[start:stop], self.modseq)


def batch_of(selected: Selected, indexes: Sequence[int]) -> Batch:
    """The messages at these places of the view."""
    view = selected.view
    uids = view.uids_at(indexes)
    numbers: Sequence[int]
    if selected.uidonly:
        numbers = uids  # in their place (RFC 9586 section 3.3)
    elif isinstance(indexes, range):
        numbers = range(indexes.start + 1, indexes.stop + 1)
    else:
        numbers = [index + 1 for index in indexes]
    return Batch(numbers, uids, view.flag_texts(indexes), selected.modseq)


def read_ahead(session: ImapSession, work: Callable[[Database], T]) -> asyncio.Task[T]:
    """Start `work` on a reader thread, while something else is sent."""
    task = asyncio.ensure_future(session.core.store.read(work))
    task.add_done_callback(_looked_at)
    return task


def _looked_at(task: asyncio.Task[T]) -> None:
    """Whoever waits for it gets the error; when the client has gone meanwhile, it is of no interest."""
    if not task.cancelled():
        task.exception()


async def send(session: ImapSession, data: bytes) -> None:
    """Send an answer: over TLS in slices, as what waits for the client would else be in memory twice."""
    if len(data) <= SLICE or session.connection.tls is None:
        session.connection.write(data)
        await session.connection.drain()
        return
    for start in range(0, len(data), SLICE):
        session.connection.write(data[start : start + SLICE])
        await session.connection.drain()


async def send_pieces(session: ImapSession, pieces: Sequence[bytes | memoryview]) -> None:
    """`send` of an answer in pieces, which are joined only where that is needed."""
    if session.connection.tls is not None:
        await send(session, b"".join(pieces))
        return
    session.connection.write_pieces(pieces)
    await session.connection.drain()
