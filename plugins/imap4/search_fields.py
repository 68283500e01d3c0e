"""Values of one header field of many messages, in the form in which SEARCH compares them. Without I/O.

To find, read and decode a field takes most of the time of a search, and what is found stays true: a UID means the
same message for ever (RFC 3501 section 2.3.1.1). Only whether the message is still there has to be asked each time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from appliance.mail.text import decode_words, search_form
from plugins.imap4.protocol_search import And, Header, Key, Not, Or
from plugins.imap4.search_match import field_pattern, occurrences
from plugins.imap4.search_view import by_view
from plugins.imap4.view import View

_BEFORE = b"\xff"  # each value: an octet that no UTF-8 holds, so that no needle reaches over it


class FieldBlock:
    """The values of one field in messages that follow one another; not changed once it is made."""

    __slots__ = ("_data", "_starts", "_uids")

    def __init__(self, uids: array[int], starts: array[int], data: bytes) -> None:
        """`starts` has one number more than `uids`: where the values of each message begin, and the end."""
        self._uids = uids
        self._starts = starts
        self._data = data

    def __len__(self) -> int:
        return len(self._uids)

    @property
    def octets(self) -> int:
        """What it takes of memory."""
        return len(self._data) + 8 * len(self._uids) + 200

    def followed_by(self, other: FieldBlock) -> FieldBlock:
        """Both as one."""
        end = len(self._data)
        starts = self._starts[:-1] + array("I", [end + start for start in other._starts])
        return FieldBlock(self._uids + other._uids, starts, self._data + other._data)

    def holding(self, form: str) -> Iterator[int]:
        """The uids of the messages that have `form` in such a field, ascending; if it is empty, that have the field."""
        needle = form.encode("utf-8", "surrogatepass") or _BEFORE
        data, starts = self._data, self._starts
        at = data.find(needle)
        while at >= 0:
            place = bisect_right(starts, at) - 1
            yield self._uids[place]
            at = data.find(needle, starts[place + 1])


def make_blocks(heads: Iterable[tuple[int, bytes]], fields: Sequence[bytes]) -> list[FieldBlock]:
    """One block for each field, from (uid, header) pairs with ascending uids. `fields` are lower case."""
    uids = array("I")
    starts = [array("I", [0]) for _ in fields]
    values = [bytearray() for _ in fields]
    for uid, header in heads:
        uids.append(uid)
        lower = header.lower()
        for field, ends, found in zip(fields, starts, values, strict=True):
            for start, end in occurrences(lower, field):
                value = _form(header, lower, field, start, end)
                if value is not None:
                    found += _BEFORE
                    found += value
            ends.append(len(found))
    return [FieldBlock(uids, ends, bytes(found)) for ends, found in zip(starts, values, strict=True)]


def _form(header: bytes, lower: bytes, field: bytes, start: int, end: int) -> bytes | None:
    """The search form of a field's value, as UTF-8; None if it is another field whose name begins alike."""
    begin = start + len(field)
    if lower[begin : begin + 1] == b":":
        value = lower[begin + 1 : end].strip()
        if b"\n" not in value and b"=?" not in value and value.isascii():
            return value
    match = field_pattern(field).match(header, start)
    return None if match is None else search_form(decode_words(match[1].strip())).encode("utf-8", "surrogatepass")


def header_keys(key: Key) -> set[Header]:
    """All keys about header fields, at any depth."""
    match key:
        case Header():
            return {key}
        case Not():
            return header_keys(key.key)
        case Or():
            return header_keys(key.first) | header_keys(key.second)
        case And():
            return set().union(*map(header_keys, key.keys))
    return set()


def by_fields(view: View, key: Key, indexes: Sequence[int], hits: Mapping[Any, Sequence[int]]) -> Sequence[int]:
    """Those of `indexes` that match a key of the view and of others, each of which has its uids in `hits`."""
    if key in hits:
        found = view.places(hits[key])
        if len(indexes) == len(view):
            return found
        among = set(indexes)
        return [index for index in found if index in among]
    match key:
        case Not():
            without = set(by_fields(view, key.key, indexes, hits))
            return [index for index in indexes if index not in without]
        case Or():
            either = {*by_fields(view, key.first, indexes, hits), *by_fields(view, key.second, indexes, hits)}
            return [index for index in indexes if index in either]
        case And():
            for one in key.keys:
                indexes = by_fields(view, one, indexes, hits)
            return indexes
    return by_view(view, key, indexes)
