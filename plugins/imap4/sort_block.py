"""What SORT compares, for messages that follow one another. Without I/O."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from plugins.imap4.protocol_sort import Criterion
from plugins.imap4.sort_keys import TEXTS, Envelope, read_envelope, sent_at

_A_TEXT = 57  # octets that a value takes beside what it holds

Values: TypeAlias = "array[int] | list[bytes]"
Row = tuple[int, int, int, bytes]  # uid, size, internal_at, stored envelope (empty if nothing asks for it)


class SortBlock:
    """One value of each message: a number, or a text in the form in which it is compared."""

    __slots__ = ("octets", "uids", "values")

    def __init__(self, uids: array[int], values: Values) -> None:
        self.uids = uids
        self.values = values
        each = 8 * len(values) if isinstance(values, array) else sum(map(len, values)) + _A_TEXT * len(values)
        self.octets = each + 4 * len(uids) + 200

    def __len__(self) -> int:
        return len(self.uids)

    def followed_by(self, other: SortBlock) -> SortBlock:
        """Both as one."""
        if isinstance(self.values, array) and isinstance(other.values, array):
            return SortBlock(self.uids + other.uids, self.values + other.values)
        if isinstance(self.values, list) and isinstance(other.values, list):
            return SortBlock(self.uids + other.uids, self.values + other.values)
        raise AssertionError("numbers do not follow texts")


def make_sort_blocks(rows: Iterable[Row], names: Sequence[bytes]) -> list[SortBlock]:
    """One block for each criterion, from rows with ascending uids."""
    uids = array("I")
    numbers = {name: array("q") for name in names if name.decode() not in TEXTS}
    texts: dict[bytes, list[bytes]] = {name: [] for name in names if name not in numbers}
    for uid, size, internal_at, stored in rows:
        uids.append(uid)
        envelope = read_envelope(stored)
        for name, found in texts.items():
            found.append(TEXTS[name.decode()](envelope))
        for name, column in numbers.items():
            column.append(_number(name, size, internal_at, envelope))
    return [SortBlock(uids, numbers[name] if name in numbers else texts[name]) for name in names]


def _number(name: bytes, size: int, internal_at: int, envelope: Envelope) -> int:
    match name:
        case b"SIZE":
            return size
        case b"ARRIVAL":
            return internal_at
    return sent_at(envelope, internal_at)


def needs_envelopes(names: Iterable[bytes]) -> bool:
    """Whether any of the criteria is read from the envelope."""
    return any(name not in {b"ARRIVAL", b"SIZE"} for name in names)


def sorted_places(
    uids: Sequence[int], criteria: Sequence[Criterion], blocks: Mapping[str, Sequence[SortBlock]]
) -> list[int]:
    """The places in `uids` in the order of the criteria; what is alike stays in the order of the mailbox.

    Messages of which nothing is known, since they are gone, are left out (RFC 5256 section 3).
    """
    columns = {name: _values(uids, found) for name, found in blocks.items()}
    known = next(iter(columns.values()))
    places = [place for place, value in enumerate(known) if value is not None]
    for criterion in reversed(criteria):
        places.sort(key=columns[criterion.by].__getitem__, reverse=criterion.reverse)
    return places


def _values(uids: Sequence[int], blocks: Sequence[SortBlock]) -> list[Any]:
    """The value of each message, None if it is gone: all numbers, or all texts."""
    known: dict[int, Any] = {}
    for block in blocks:
        known.update(zip(block.uids, block.values, strict=True))
    return list(map(known.get, uids))
