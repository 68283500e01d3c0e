"""FETCH and UID FETCH (RFC 3501 section 6.4.5).

Answers go out in batches, and the next one is made when the client has taken most of the last: what a slow client
costs is bounded, however much it asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from appliance.errors import NotFoundError
from appliance.store.messages import list_rows, set_flags, structures
from appliance.store.model import SEEN, MessageRow
from plugins.imap4.batches import groups
from plugins.imap4.fetch_plan import Batch, Plan, plain_structure
from plugins.imap4.fetch_section import reach, section_pieces
from plugins.imap4.protocol_command import Fetch
from plugins.imap4.protocol_fetch import FetchItem
from plugins.imap4.protocol_respond import internal_date
from plugins.imap4.refusal import RefusalError
from plugins.imap4.store_flags import MAX_UIDS

if TYPE_CHECKING:
    from appliance.mail.message import Message
    from appliance.store import Database
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

VIEW_BATCH = 5_000  # messages of one answer made from the view
STORE_BATCH = 1_000  # messages of one answer made from rows
TEXT_BATCH = 1 << 20  # octets of messages loaded at once …
TEXT_BATCH_MESSAGES = 200  # … and their number
FEW = 16  # uids; rows of so few are looked up on the event loop
SLICE = 256 * 1024  # octets of larger messages that are written at once


async def fetch(session: ImapSession, command: Fetch) -> str:
    r"""Send data items. Those that set \Seen do so in one write before, and the answers tell the new flags."""
    selected = session.mailbox
    indexes = selected.view.select(command.members, by_uid=command.uid)
    plan = Plan(command.items, with_uid=command.uid)
    if plan.sets_seen and not selected.read_only and await _mark_seen(session, selected, indexes):
        plan = plan.with_flags()
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
    for start in range(0, len(unseen), MAX_UIDS):
        uids = selected.view.uids_at(unseen[start : start + MAX_UIDS])
        await session.core.store.write(
            lambda db, uids=uids: set_flags(db, selected.mailbox_id, uids, add=SEEN),  # type: ignore[misc]
            origin=session,
        )
    if unseen:
        await selected.absorb()
    return bool(unseen)


def _batch(selected: Selected, indexes: Sequence[int]) -> Batch:
    view = selected.view
    numbers: Sequence[int]
    if isinstance(indexes, range):
        numbers = range(indexes.start + 1, indexes.stop + 1)
    else:
        numbers = [index + 1 for index in indexes]
    return Batch(numbers, view.uids_at(indexes), view.flag_texts(indexes))


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
        session.connection.write(data)
        await session.connection.drain()
    return gone


# ── items that need texts ─────────────────────────────────────────────────────────────────────────────────────────────


async def _send_texts(session: ImapSession, selected: Selected, plan: Plan, indexes: Sequence[int]) -> int:
    gone = 0
    limit = TEXT_BATCH // sum(item.section is not None for item in plan.items)  # each of them may be the whole message
    for start in range(0, len(indexes), STORE_BATCH):
        chosen = indexes[start : start + STORE_BATCH]
        rows = await _rows(session, selected, selected.view.uids_at(chosen))
        batch = _batch(selected, chosen)
        answers = {
            uid: Answer(plan, selected.mailbox_id, number, flags)
            for number, uid, flags in zip(batch.numbers, batch.uids, batch.flags, strict=True)
        }
        gone += len(answers) - len(rows)
        for group in groups(rows, limit, TEXT_BATCH_MESSAGES):
            if group[0].size >= limit:
                gone += await _send_large(session, answers[group[0].uid], group[0])
            else:
                gone += await _send_group(session, plan.items, answers, group)
    return gone


async def _send_group(
    session: ImapSession, items: Sequence[FetchItem], answers: dict[int, Answer], group: Sequence[MessageRow]
) -> int:
    made = await session.core.store.each(
        group,
        lambda db, row, message: answers[row.uid].whole(db, row, message),
        reach=lambda structure: reach(items, structure),
    )
    session.connection.write(b"".join(filter(None, made)))
    await session.connection.drain()
    return made.count(None)


async def _send_large(session: ImapSession, answer: Answer, row: MessageRow) -> int:
    try:
        message = await session.shared.large.load(row.body_id, row.filing_id)
    except NotFoundError:
        return 1
    pieces = await session.core.store.read(lambda db: list(answer.pieces(db, row, message)))
    for piece in pieces:
        for start in range(0, len(piece), SLICE):
            session.connection.write(bytes(piece[start : start + SLICE]))
            await session.connection.drain()
    return 0


async def _rows(session: ImapSession, selected: Selected, uids: Sequence[int]) -> list[MessageRow]:
    wanted = set(uids)

    def read(db: Database) -> list[MessageRow]:
        rows = list_rows(db, selected.mailbox_id, uids[0] - 1, uids[-1])
        return [MessageRow(*row) for row in rows if row[0] in wanted]

    if uids[-1] - uids[0] < FEW:
        return session.core.store.peek(read)  # a client that shows one message: no need for a second trip to a thread
    return await session.core.store.read(read)


class Answer:
    """The response of one message whose text is needed."""

    __slots__ = ("_flags", "_mailbox_id", "_number", "_plan")

    def __init__(self, plan: Plan, mailbox_id: int, number: int, flags: bytes) -> None:
        self._plan = plan
        self._mailbox_id = mailbox_id
        self._number = number
        self._flags = flags

    def whole(self, db: Database, row: MessageRow, message: Message) -> bytes:
        """All of it at once."""
        return b"".join(self.pieces(db, row, message))

    def pieces(self, db: Database, row: MessageRow, message: Message) -> Iterator[bytes | memoryview]:
        """All of it in pieces, which may be views into the message."""
        yield b"* %d FETCH " % self._number
        separator = b"("
        for item in self._plan.items:
            yield separator
            separator = b" "
            if item.section is not None:
                yield from section_pieces(item, message)
            else:
                yield b"%b %b" % (item.label, self._value(item.name, db, row))
        yield b")\r\n"

    def _value(self, name: str, db: Database, row: MessageRow) -> bytes:
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
        _, envelope, bodystructure = next(iter(structures(db, self._mailbox_id, row.uid, row.uid)), (0, b"NIL", b"NIL"))
        return envelope if name == "ENVELOPE" else bodystructure
