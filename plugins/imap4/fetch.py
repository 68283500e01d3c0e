"""FETCH and UID FETCH (RFC 3501 section 6.4.5).

Answers go out in batches, and the next one is made when the client has taken most of the last: what a slow client
costs is bounded, however much it asks for.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, cast

from appliance.connection import ConnectionLostError
from appliance.errors import NotFoundError, StoreError
from appliance.store.bodies import found_in
from appliance.store.messages import structures
from appliance.store.model import SEEN, MessageRow
from plugins.imap4.batches import spans
from plugins.imap4.fetch_plan import Batch, Plan, plain_structure, save_dates
from plugins.imap4.fetch_section import Piece, Stretch, reach, section_pieces
from plugins.imap4.object_id import email_id, thread_id
from plugins.imap4.protocol_command import Fetch
from plugins.imap4.protocol_respond import internal_date
from plugins.imap4.refusal import RefusalError
from plugins.imap4.resync import changed_of, tell_vanished
from plugins.imap4.store_flags import set_flags_of

if TYPE_CHECKING:
    from appliance.mail.message import Message, Part
    from appliance.store import Database, Store
    from appliance.store.stored import StoredMessage
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

VIEW_BATCH = 5_000  # messages of one answer made from the view
STORE_BATCH = 1_000  # messages of one answer made from rows
TEXT_BATCH = 1 << 20  # octets of texts after which an answer goes out; what needs as many goes out alone, in slices
TEXT_BATCH_MESSAGES = 500  # messages of one such answer
SLICE = 128 * 1024  # octets of larger messages that are written at once

log = logging.getLogger(__name__)


async def fetch(session: ImapSession, command: Fetch) -> str:
    r"""Send data items. Those that set \Seen do so in one write before, and the answers tell the new flags."""
    selected = session.mailbox
    indexes = selected.view.select(command.members, by_uid=command.uid)
    enabled, since = session.enabled, command.since
    if since is not None:
        if since.vanished and not enabled.qresync:
            raise RefusalError("VANISHED needs QRESYNC enabled", status="BAD")
        session.enable_condstore()
        if since.vanished:
            await tell_vanished(session, command.members, since)
        indexes = await changed_of(session, indexes, since)
    plan = Plan(
        command.items,
        with_uid=command.uid and not enabled.uidonly,
        with_modseq=since is not None,
        verb=b"UIDFETCH" if enabled.uidonly else b"FETCH",
    )
    if plan.tells_modseq:
        session.enable_condstore()
    if plan.sets_seen and not selected.read_only and await _mark_seen(session, selected, indexes):
        plan = plan.with_flags(with_modseq=enabled.condstore)
        selected.own_changes_told()
    if plan.needs_texts:
        gone = await _send_texts(session, selected, plan, indexes)
    elif plan.needs_store:
        gone = await _send_rows(session, selected, plan, indexes)
    else:
        gone = await _send_view(session, selected, plan, indexes)
    if gone:
        raise RefusalError("Some of the messages were expunged", "EXPUNGEISSUED")
    return f"{command.verb} completed"


async def _mark_seen(session: ImapSession, selected: Selected, indexes: Sequence[int]) -> bool:
    unseen = selected.view.with_flags(indexes, SEEN, present=False)
    await set_flags_of(session, unseen, "+", SEEN)
    if unseen:
        await selected.absorb()
    return bool(unseen)


def _batch(selected: Selected, indexes: Sequence[int]) -> Batch:
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


async def _send_view(session: ImapSession, selected: Selected, plan: Plan, indexes: Sequence[int]) -> int:
    for start in range(0, len(indexes), VIEW_BATCH):
        session.connection.write(plan.render_view(_batch(selected, indexes[start : start + VIEW_BATCH])))
        await session.connection.drain()
    return 0


async def _send_rows(session: ImapSession, selected: Selected, plan: Plan, indexes: Sequence[int]) -> int:
    gone = start = 0
    while start < len(indexes):
        batch = _batch(selected, indexes[start : start + STORE_BATCH])
        data, missing, count = await session.core.store.read(
            lambda db, batch=batch: plan.render(db, selected.mailbox_id, batch)  # type: ignore[misc]
        )
        gone += missing
        start += count
        await _send(session, data)
    return gone


async def _send(session: ImapSession, data: bytes) -> None:
    """Send an answer: over TLS in slices, as what waits for the client would else be in memory twice."""
    if len(data) <= SLICE or session.connection.tls is None:
        session.connection.write(data)
        await session.connection.drain()
        return
    for start in range(0, len(data), SLICE):
        session.connection.write(data[start : start + SLICE])
        await session.connection.drain()


# ── items that need texts ─────────────────────────────────────────────────────────────────────────────────────────────


async def _send_texts(session: ImapSession, selected: Selected, plan: Plan, indexes: Sequence[int]) -> int:
    store = session.core.store
    gone = start = 0
    moved = False
    while start < len(indexes):
        batch = _batch(selected, indexes[start : start + TEXT_BATCH_MESSAGES])
        work = partial(_portion, store, plan, selected.mailbox_id, batch, moved)
        made = store.at_once(partial(work, at_once=True)) if len(batch.uids) == 1 else None
        if made is None:
            made = await store.read(work)
        gone += made.gone
        start += made.done
        if len(made.data) > SLICE:
            await _send(session, made.data)
        elif made.data:
            session.connection.write(made.data)
        if start < len(indexes):  # the last answers leave with the tagged response, as one segment where they are short
            await session.connection.drain()
        moved = made.moved
        if made.large is not None:
            answer = Answer(plan, selected.mailbox_id, batch, made.done)
            gone += await _send_large(session, answer, made.large)
            start += 1
    return gone


class Portion(NamedTuple):
    """The answers that one read has made of a batch."""

    data: bytes
    done: int  # messages answered, and those found gone
    gone: int
    large: MessageRow | None = None  # the next one, if it is not to be held in memory whole
    moved: bool = False  # the next one's text was not where it stood: it is gone if that happens again


class _LargeError(Exception):
    """More of a message is asked for than is put into one portion."""


def _portion(
    store: Store, plan: Plan, mailbox_id: int, batch: Batch, moved: bool, db: Database, *, at_once: bool = False
) -> Portion:
    """Answer for messages until it is enough. For a reader thread; it has one text in memory at a time.

    `at_once` is for the event loop, see `Store.at_once`.
    """
    sections = sum(item.section is not None for item in plan.items)  # each of them may be the whole message
    partial_ones = any(item.partial is not None for item in plan.items)  # of many: the next piece is asked for soon

    def within_limit(structure: Part) -> int:
        octets = reach(plan.items, structure)
        if (structure.end if partial_ones else octets) * sections >= TEXT_BATCH:
            raise _LargeError
        return octets

    # Only ranges without gaps: what is read here are whole messages.
    found = chain.from_iterable(found_in(db, mailbox_id, *span) for span in spans(batch.uids, gap=1))
    following = next(found, None)
    made: list[bytes] = []
    octets = gone = done = 0
    for place, uid in enumerate(batch.uids):
        if octets >= TEXT_BATCH:
            break
        if following is None or following.row.uid != uid:
            gone += 1
        else:
            row = following.row
            try:
                message = store.start_in(following, within_limit, at_once=at_once)
                made.append(Answer(plan, mailbox_id, batch, place).whole(db, row, message))
                octets += len(made[-1])
            except _LargeError:
                return Portion(b"".join(made), done, gone, large=row)
            except NotFoundError:
                if done or not moved:
                    return Portion(b"".join(made), done, gone, moved=True)
                gone += 1
            following = next(found, None)
        done += 1
    return Portion(b"".join(made), done, gone)


async def _send_large(session: ImapSession, answer: Answer, row: MessageRow) -> int:
    """Send a message as its text comes from the store: however slow the client, little of it is in memory."""
    store = session.core.store
    begun = False
    try:
        async with store.reading(row.body_id, row.filing_id) as message:
            pieces = await store.read(lambda db: list(answer.pieces(db, row, message)))
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


async def _octets(pieces: Iterable[Piece], message: StoredMessage) -> AsyncIterator[bytes]:
    """What goes over the wire, in portions. What is short goes along with the text behind it."""
    waiting = bytearray()
    for piece in pieces:
        if isinstance(piece, Stretch):
            async for octets in message.text(piece.start, piece.end):
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


class Answer:
    """The response of one message whose text is needed."""

    __slots__ = ("_flags", "_mailbox_id", "_modseq", "_number", "_plan")

    def __init__(self, plan: Plan, mailbox_id: int, batch: Batch, place: int) -> None:
        self._plan = plan
        self._mailbox_id = mailbox_id
        self._number = batch.numbers[place]
        self._flags = batch.flags[place]
        self._modseq = batch.modseq

    def whole(self, db: Database, row: MessageRow, message: Message) -> bytes:
        """All of it at once."""
        return b"".join(cast("Iterator[bytes | memoryview]", self.pieces(db, row, message)))

    def pieces(self, db: Database, row: MessageRow, message: Message | StoredMessage) -> Iterator[Piece]:
        """All of it in pieces, which may be views into the message, or name stretches of a stored one."""
        yield b"* %d %b " % (self._number, self._plan.verb)
        separator = b"("
        for item in self._plan.items:
            yield separator
            separator = b" "
            if item.section is not None:
                yield from section_pieces(item, message)
            else:
                yield b"%b %b" % (item.label, self._value(item.name, db, row, message))
        yield b")\r\n"

    def _value(self, name: str, db: Database, row: MessageRow, message: Message | StoredMessage) -> bytes:
        match name:
            case "UID":
                return b"%d" % row.uid
            case "FLAGS":
                return b"(%b)" % self._flags
            case "RFC822.SIZE":
                return b"%d" % row.size
            case "INTERNALDATE":
                return internal_date(row.internal_at)
            case "BODY":
                return plain_structure(db, row.body_id)
            case "MODSEQ":
                return b"(%d)" % min(row.modseq, self._modseq)
            case "SAVEDATE":
                return save_dates(db, self._mailbox_id, [row])[0]
            case "EMAILID":
                return b"(%b)" % email_id(row.filing_id)
            case "THREADID":
                return b"(%b)" % thread_id(message.header, row.filing_id)
        _, envelope, bodystructure = next(iter(structures(db, self._mailbox_id, row.uid, row.uid)), (0, b"NIL", b"NIL"))
        return envelope if name == "ENVELOPE" else bodystructure
