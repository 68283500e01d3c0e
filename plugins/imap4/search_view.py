"""The search keys that the view of the mailbox answers: numbers, UIDs, flags (RFC 3501 section 6.4.4). Without I/O."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.store.model import FIRST_KEYWORD_BIT, SYSTEM_FLAGS
from plugins.imap4.protocol_search import All, And, Flag, Key, Not, Numbers, Or, Recent, Uids
from plugins.imap4.view import View

_SYSTEM = {name.lower().encode(): 1 << bit for bit, name in enumerate(SYSTEM_FLAGS)}


def by_view(view: View, key: Key, indexes: Sequence[int]) -> Sequence[int]:
    """Those of `indexes` that match a key of cost 0."""
    match key:
        case All():
            return indexes
        case Flag():
            return _by_flag(view, key, indexes)
        case Recent():
            return [index for index in indexes if view.is_recent(view.uids[index]) is key.is_set]
        case Numbers():
            return _both(indexes, view.select(key.members, by_uid=False, strict=False))
        case Uids():
            return _both(indexes, view.select(key.members, by_uid=True))
        case Not():
            without = set(by_view(view, key.key, indexes))
            return [index for index in indexes if index not in without]
        case Or():
            either = {*by_view(view, key.first, indexes), *by_view(view, key.second, indexes)}
            return [index for index in indexes if index in either]
        case And():
            for one in key.keys:
                indexes = by_view(view, one, indexes)
            return indexes
    raise AssertionError(f"{key} is not answered by the view")


def _by_flag(view: View, key: Flag, indexes: Sequence[int]) -> Sequence[int]:
    name = key.name.lower()
    bit = _SYSTEM.get(name, 0)
    if not bit:
        names = [keyword.lower().encode() for keyword in view.keywords]
        bit = 1 << FIRST_KEYWORD_BIT + names.index(name) if name in names else 0
    if not bit:
        return () if key.is_set else indexes
    return view.with_flags(indexes, bit, present=key.is_set)


def _both(indexes: Sequence[int], others: Sequence[int]) -> Sequence[int]:
    if isinstance(indexes, range) and isinstance(others, range):
        return range(max(indexes.start, others.start), min(indexes.stop, others.stop))
    wanted = set(others)
    return [index for index in indexes if index in wanted]
