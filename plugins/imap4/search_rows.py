"""SEARCH by internal date and size: columns of numbers that are kept for a while, as those of SORT are."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from appliance.store.mailboxes import mailbox_by_id
from appliance.store.messages import list_rows, list_uids
from plugins.imap4.batches import spans
from plugins.imap4.columns import columns
from plugins.imap4.protocol_search import And, Arrived, Date, Key, Not, Or, Size
from plugins.imap4.search_fields import by_fields
from plugins.imap4.sort_block import SortBlock

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

RowKey = Size | Arrived | Date

_ARRIVAL, _SIZE = b"ARRIVAL", b"SIZE"  # as SORT names them: what one has read serves the other
_PLACES = {_SIZE: 3, _ARRIVAL: 4}  # in the store's rows
_SECONDS_A_DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_NEVER = 1 << 62


async def by_rows(session: ImapSession, selected: Selected, key: Key, indexes: Sequence[int]) -> Sequence[int] | None:
    """Those of `indexes` that match a key of dates, sizes and the view. None: not worth it, or there is no room."""
    wanted = row_keys(key)
    names = sorted({_column(one) for one in wanted})
    cache, mailbox_id, view, state = session.shared.sorts, selected.mailbox_id, selected.view, selected.modseq
    if 2 * len(indexes) < len(view) and not all(cache.has(mailbox_id, name) for name in names):
        return None

    def make(db: Database, first: int, last: int, names: Sequence[bytes]) -> list[SortBlock]:
        rows = list_rows(db, mailbox_id, first - 1, last)
        uids = array("I", [row[0] for row in rows])
        return [SortBlock(uids, array("q", [row[_PLACES[name]] for row in rows])) for name in names]

    found = await columns(session, selected, cache, names, make)
    if found is None:
        return None

    def look(db: Database) -> Sequence[int]:
        hits = {one: [uid for block in found[_column(one)] for uid in _matching(block, one)] for one in wanted}
        matching = by_fields(view, key, indexes, hits)
        mailbox = mailbox_by_id(db, mailbox_id)
        if mailbox is not None and mailbox.highestmodseq == state:
            return matching  # nothing has gone of which the view does not know
        uids = view.uids_at(matching)
        there = {row[0] for first, last in spans(uids) for row in list_uids(db, mailbox_id, first, last)}
        return [index for index, uid in zip(matching, uids, strict=True) if uid in there]

    return await session.core.store.read(look)


def row_keys(key: Key) -> set[RowKey]:
    """All keys about internal dates and sizes, at any depth."""
    match key:
        case Size() | Arrived() | Date():
            return {key}
        case Not():
            return row_keys(key.key)
        case Or():
            return row_keys(key.first) | row_keys(key.second)
        case And():
            return set().union(*map(row_keys, key.keys))
    return set()


def _column(key: RowKey) -> bytes:
    return _SIZE if isinstance(key, Size) else _ARRIVAL


def _matching(block: SortBlock, key: RowKey) -> list[int]:
    lowest, highest = bounds(key)
    return [uid for uid, value in zip(block.uids, block.values, strict=True) if lowest <= value <= highest]  # type: ignore[operator]


def bounds(key: RowKey) -> tuple[int, int]:
    """The smallest and the greatest number that matches. Days are days in UTC, as internal dates are told."""
    match key:
        case Size():
            return (key.octets + 1, _NEVER) if key.larger else (-_NEVER, key.octets - 1)
        case Arrived():
            return (-_NEVER, key.at) if key.before else (key.at, _NEVER)
    midnight = (key.day - _EPOCH) * _SECONDS_A_DAY
    match key.relation:
        case "BEFORE":
            return -_NEVER, midnight - 1
        case "SINCE":
            return midnight, _NEVER
    return midnight, midnight + _SECONDS_A_DAY - 1
