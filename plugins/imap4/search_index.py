"""Keys about texts, answered from the search index: as sets of UIDs, exact for all messages that it covers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from appliance.mail.search_text import BETWEEN, encoded, header_forms
from appliance.mail.text import search_form
from appliance.store.database import ranges
from appliance.store.messages import body_ids, prefixes
from plugins.imap4.columns import Make, columns
from plugins.imap4.protocol_search import All, And, Key, Not, Or, Text, Uids
from plugins.imap4.search_fields import FieldBlock

if TYPE_CHECKING:
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

FEW = 50  # messages that are looked at without an index, unless only the index knows all their texts
_PREFIXES = b"\0prefixes"  # the column's name; no field can have it


class Covered(NamedTuple):
    """What the index says: a key without texts for the messages that it covers, and the others."""

    key: Key
    indexes: Sequence[int]
    others: Sequence[int]


async def ask_index(session: ImapSession, selected: Selected, key: Key, indexes: Sequence[int]) -> Covered | None:
    """Look up all texts of a key. None where the index is of no use."""
    index = session.shared.index
    if index is None or not index.covered or (len(indexes) <= FEW and not index.extracts):
        return None
    covered, view = index.covered, selected.view
    bodies = await session.core.store.read(lambda db: body_ids(db, selected.mailbox_id))
    hits: dict[Text, list[int]] = {}
    for one in text_keys(key):
        form = search_form(one.needle)
        found = await index.holding(encoded(form), header=one.header) if form else set(bodies.values())
        if found is None:
            return None
        matching = {uid for uid, body in bodies.items() if body in found}
        if one.header and form:
            make = _prefix_blocks(selected.mailbox_id)
            blocks = await columns(session, selected, session.shared.fields, [_PREFIXES], make)
            if blocks is None:
                return None
            matching.update(uid for block in blocks[_PREFIXES] for uid in block.holding(form))
        hits[one] = sorted(matching)
    # What is gone is for the others: they are looked up.
    known = {uid for uid, body in bodies.items() if body <= covered}
    uids = view.uids_at(indexes)
    outside = [place for place, uid in zip(indexes, uids, strict=True) if uid not in known]
    inside = [place for place, uid in zip(indexes, uids, strict=True) if uid in known] if outside else indexes
    return Covered(without_texts(key, hits), inside, outside)


def text_keys(key: Key) -> set[Text]:
    """All keys about texts, at any depth."""
    match key:
        case Text():
            return {key}
        case Not():
            return text_keys(key.key)
        case Or():
            return text_keys(key.first) | text_keys(key.second)
        case And():
            return set().union(*map(text_keys, key.keys))
    return set()


def without_texts(key: Key, hits: Mapping[Text, Sequence[int]]) -> Key:
    """The same key, with the UIDs that match in place of each key about texts."""
    match key:
        case Text():
            return Uids(tuple(ranges(hits[key]))) if hits[key] else Not(All())
        case Not():
            return Not(without_texts(key.key, hits))
        case Or():
            return Or(without_texts(key.first, hits), without_texts(key.second, hits))
        case And():
            return And(tuple(without_texts(one, hits) for one in key.keys))
    return key


def _prefix_blocks(mailbox_id: int) -> Make[FieldBlock]:
    return lambda db, first, last, _: [_prefix_block(prefixes(db, mailbox_id, first, last))]


def _prefix_block(rows: Iterable[tuple[int, bytes]]) -> FieldBlock:
    uids, starts, data = array("I"), array("I", [0]), bytearray()
    for uid, prefix in rows:
        uids.append(uid)
        if prefix:
            data += BETWEEN + header_forms(prefix)
        starts.append(len(data))
    return FieldBlock(uids, starts, bytes(data))
