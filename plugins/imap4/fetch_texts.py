"""FETCH of items that need texts: how the responses go out.

While the client takes one portion of them a reader thread makes the next. So at most two of about half a MiB are in
memory, however slow the client and however much it asks for; a message above 1 MiB goes out alone, in slices.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from appliance.connection import ConnectionLostError
from appliance.errors import NotFoundError, StoreError
from appliance.store.model import MessageRow
from appliance.store.stored import StoredMessage
from plugins.imap4.fetch_batch import SLICE, Batch, batch_of, read_ahead, send_pieces
from plugins.imap4.fetch_binary import Decoded
from plugins.imap4.fetch_plan import Plan
from plugins.imap4.fetch_portion import Portion, Responses, make_portion
from plugins.imap4.fetch_section import Piece, Stretch

if TYPE_CHECKING:
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

BATCH = 500  # messages of which the view is asked at once

log = logging.getLogger(__name__)


async def send_texts(session: ImapSession, selected: Selected, plan: Plan, indexes: Sequence[int]) -> int:
    """Answer for the messages at `indexes`; returns how many of them are gone."""
    gone = 0
    for start in range(0, len(indexes), BATCH):
        batch = batch_of(selected, indexes[start : start + BATCH])
        gone += await _send_batch(session, selected.mailbox_id, plan, batch, last=start + BATCH >= len(indexes))
    return gone


async def _send_batch(session: ImapSession, mailbox_id: int, plan: Plan, batch: Batch, *, last: bool) -> int:
    gone = start = 0
    made = await _first(session, mailbox_id, plan, batch)
    while True:
        gone += made.gone
        start += made.done
        ahead = None
        if made.large is None and start < len(batch.uids):
            ahead = _read(session, mailbox_id, plan, batch.part(start, len(batch.uids)), moved=made.moved)
        if sum(map(len, made.pieces)) > SLICE:
            await send_pieces(session, made.pieces)
        elif made.pieces:
            session.connection.write(b"".join(made.pieces))
        if made.large is not None:
            responses = Responses(plan, mailbox_id, batch, StoredMessage.octets, large=True)
            gone += await _send_large(session, responses, start, made.large)
            start += 1
            if start < len(batch.uids):
                ahead = _read(session, mailbox_id, plan, batch.part(start, len(batch.uids)), moved=False)
        if ahead is None:
            if not last:  # the last answers leave with the tagged response, as one segment where they are short
                await session.connection.drain()
            return gone
        await session.connection.drain()
        made = await ahead


async def _first(session: ImapSession, mailbox_id: int, plan: Plan, batch: Batch) -> Portion:
    """The first portion: of one short message at once, as the way to a thread and back takes longer than that."""
    if len(batch.uids) == 1:
        store = session.core.store
        made = store.at_once(partial(make_portion, store, plan, mailbox_id, batch, False, at_once=True))
        if made is not None:
            return made
    return await _read(session, mailbox_id, plan, batch, moved=False)


def _read(session: ImapSession, mailbox_id: int, plan: Plan, batch: Batch, *, moved: bool) -> asyncio.Task[Portion]:
    return read_ahead(session, partial(make_portion, session.core.store, plan, mailbox_id, batch, moved))


async def _send_large(session: ImapSession, responses: Responses[StoredMessage], place: int, row: MessageRow) -> int:
    """Send a message as its text comes from the store: however slow the client, little of it is in memory."""
    store = session.core.store
    begun = False
    try:
        async with store.reading(row.body_id, row.filing_id) as message:
            pieces, _ = await store.read(lambda db: responses.pieces(db, place, row, message))
            async for octets in _octets(pieces, message):
                begun = True
                session.connection.write(octets)
                await session.connection.drain()
    except StoreError as error:
        if begun:
            # The client waits for the octets that were announced to it: no words would be understood now.
            log.error("a message of %s broke off on its way: %s", session.account.name, error)
            session.connection.abort()
            raise ConnectionLostError("a stored message could not be read to its end") from error
        if isinstance(error, NotFoundError):
            return 1
        raise
    return 0


async def _octets(pieces: Iterable[Piece | Decoded], message: StoredMessage) -> AsyncIterator[bytes]:
    """What goes over the wire, in portions. What is short goes along with the text behind it."""
    waiting = bytearray()
    for piece in pieces:
        if isinstance(piece, Stretch | Decoded):
            text = message.text(piece.start, piece.stop) if isinstance(piece, Stretch) else piece.octets(message)
            async for octets in text:
                if waiting:
                    yield bytes(waiting)
                    waiting.clear()
                yield octets
            continue
        for start in range(0, len(piece), SLICE):
            waiting += piece[start : start + SLICE]
            if len(waiting) >= SLICE:
                yield bytes(waiting)
                waiting.clear()
    if waiting:
        yield bytes(waiting)
