"""Search keys that the rows of the store answer: MODSEQ, save dates, EMAILID, THREADID.

RFC 7162 section 3.1.5, RFC 8514 section 4.3, RFC 8474 section 6. Each is looked up once for the whole mailbox, before
the search itself, and takes part in it as the set of UIDs that match.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from appliance.store.database import ranges
from appliance.store.history import changed_since
from appliance.store.messages import headers, list_modseqs, list_rows
from appliance.store.saved import SaveDates, saved_spans
from plugins.imap4.batches import spans
from plugins.imap4.object_id import email_number, thread_id
from plugins.imap4.protocol_search import Age, All, And, Arrived, EmailId, Key, ModSeq, Not, Or, Saved, ThreadId, Uids

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

BATCH = 2_000  # messages whose headers are looked at by one hop to a thread
_SECONDS_A_DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_NONE = Not(All())


async def resolved(session: ImapSession, selected: Selected, key: Key) -> Key:
    """The same search, with sets of UIDs in place of the keys of this module, and times in place of ages."""
    match key:
        case ModSeq() | Saved() | EmailId() | ThreadId():
            uids = await _matching(session, selected, key)
            return Uids(await session.core.store.read(lambda _: tuple(ranges(uids)))) if uids else _NONE
        case Age():
            return Arrived(key.older, int(session.core.now()) - key.seconds)
        case Not():
            return Not(await resolved(session, selected, key.key))
        case Or():
            return Or(await resolved(session, selected, key.first), await resolved(session, selected, key.second))
        case And():
            return And(tuple([await resolved(session, selected, one) for one in key.keys]))
    return key


def asks_modseq(key: Key) -> bool:
    """Whether MODSEQ stands in it: then the answer tells the highest of all messages found."""
    match key:
        case ModSeq():
            return True
        case Not():
            return asks_modseq(key.key)
        case Or():
            return asks_modseq(key.first) or asks_modseq(key.second)
        case And():
            return any(map(asks_modseq, key.keys))
    return False


async def highest_modseq(session: ImapSession, selected: Selected, indexes: Sequence[int]) -> int:
    """The highest modseq of messages, as far as the view knows of them; 0 if there are none."""
    state = selected.modseq

    def look(db: Database) -> int:
        uids = selected.view.uids_at(indexes)
        wanted = frozenset(uids)
        rows = (row for span in spans(uids) for row in list_modseqs(db, selected.mailbox_id, *span))
        return max((min(modseq, state) for uid, modseq in rows if uid in wanted), default=0)

    return await session.core.store.read(look)


async def _matching(session: ImapSession, selected: Selected, key: ModSeq | Saved | EmailId | ThreadId) -> list[int]:
    read, number = session.core.store.read, selected.mailbox_id
    match key:
        case ModSeq():
            return await read(lambda db: [uid for uid, _ in changed_since(db, number, key.modseq - 1)])
        case Saved():
            return await read(lambda db: _saved(db, number, key))
        case EmailId():
            filing = email_number(key.name)
            return await read(lambda db: [row[0] for row in list_rows(db, number) if row[6] == filing])
    found: list[int] = []
    for start in range(0, len(selected.view), BATCH):
        batch = selected.view.uids[start : start + BATCH]
        found += await read(lambda db, batch=batch: _in_thread(db, number, batch, key.name))  # type: ignore[misc]
    return found


def _saved(db: Database, mailbox_id: int, key: Saved) -> list[int]:
    rows = list_rows(db, mailbox_id)
    noted = SaveDates(saved_spans(db, mailbox_id, rows[0][0], rows[-1][0])) if rows else SaveDates(())
    days = ((row[0], _EPOCH + noted.at(row[0], row[4]) // _SECONDS_A_DAY) for row in rows)
    match key.relation:
        case "BEFORE":
            return [uid for uid, day in days if day < key.day]
        case "SINCE":
            return [uid for uid, day in days if day >= key.day]
    return [uid for uid, day in days if day == key.day]


def _in_thread(db: Database, mailbox_id: int, uids: Sequence[int], name: bytes) -> list[int]:
    first, last = uids[0], uids[-1]
    filings = {row[0]: row[6] for row in list_rows(db, mailbox_id, first - 1, last)}
    return [uid for uid, header in headers(db, mailbox_id, first, last) if thread_id(header, filings[uid]) == name]
