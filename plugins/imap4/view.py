r"""What one session knows of its mailbox: message numbers, UIDs and flags, as small arrays. Without I/O.

A message number is a place in the view, so the view changes only when the client is told (RFC 3501 section 7.4.1).
Flags are kept as one octet a message, a place in a palette of the values in use; a mailbox without gaps keeps its
UIDs as a range. 100,000 messages take about half a megabyte at most, 1,000 some 5 KB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence, Set
from itertools import compress

from appliance.store.database import ranges
from appliance.store.model import FIRST_KEYWORD_BIT, SYSTEM_FLAGS, FlagEdit
from plugins.imap4.protocol_parse import RESULT, GrammarError, SequenceSet

_LARGEST = {1: 1 << 8, 2: 1 << 16, 4: 1 << 32}  # palettes by the octets of a mark
_WIDER = {1: "H", 2: "I"}
_BISECT = 8  # as many UIDs of a view are looked at in the time in which one is found by bisection


class View:
    """Messages in the order of their UIDs. Indexes count from 0, message numbers from 1."""

    __slots__ = ("_marks", "_palette", "_places", "_recent", "_texts", "keywords", "result", "uids")

    def __init__(self, uids: Sequence[int], flags: Sequence[int], keywords: tuple[str, ...]) -> None:
        self.keywords = keywords
        self.result: Sequence[int] = ()  # uids of the search result that was saved, ascending: `$` (RFC 5182)
        self._palette: list[int] = []
        self._places: dict[int, int] = {}
        self._texts: list[bytes] = []
        self._recent: list[tuple[int, int]] = []  # first and last uid
        self._marks: bytearray | array[int] = bytearray()
        self.uids: range | array[int] = range(0)
        self.append(uids, flags)

    def __len__(self) -> int:
        return len(self.uids)

    def copy(self, keywords: tuple[str, ...]) -> View:
        """The same messages with the same flags, none of them recent; `keywords` are those of the mailbox now."""
        other = View((), (), keywords)
        other.uids = self.uids[:]
        other._marks = self._marks[:]
        other._palette = self._palette[:]
        other._places = dict(self._places)
        return other

    # ── looking up ────────────────────────────────────────────────────────────────────────────────────────────────

    def index(self, uid: int) -> int:
        """The place of a UID, or -1."""
        place = bisect_left(self.uids, uid)
        return place if place < len(self.uids) and self.uids[place] == uid else -1

    def present(self, uids: Set[int]) -> Set[int]:
        """Those of the UIDs that are there."""
        if isinstance(self.uids, range):
            return {uid for uid in uids if uid in self.uids}
        if len(uids) * _BISECT > len(self.uids):
            return uids & set(self.uids)
        return {uid for uid in uids if self.index(uid) >= 0}

    def places(self, uids: Sequence[int]) -> list[int]:
        """The places of UIDs, ascending as they are; of those that are there."""
        if isinstance(self.uids, range):
            first = self.uids.start
            return [uid - first for uid in uids if uid in self.uids]
        if len(uids) * _BISECT > len(self.uids):
            wanted = set(uids)
            return [index for index, uid in enumerate(self.uids) if uid in wanted]
        return [index for uid in uids if (index := self.index(uid)) >= 0]

    def select(self, members: SequenceSet, *, by_uid: bool, strict: bool = True) -> Sequence[int]:
        """The indexes that a set of message numbers or UIDs means, ascending, each once.

        UIDs that are not there are left out; message numbers that are not there are an error if `strict`
        (RFC 3501 section 9, seq-number).
        """
        if members == RESULT:
            return [index for uid in self.result if (index := self.index(uid)) >= 0]
        spans = [self._uid_span(*member) if by_uid else self._number_span(*member, strict) for member in members]
        if len(spans) == 1:
            return spans[0]
        chosen: list[int] = []
        for span in sorted((span for span in spans if span), key=lambda span: span.start):
            start = span.start if not chosen or chosen[-1] < span.start else chosen[-1] + 1
            chosen.extend(range(start, span.stop))
        return chosen

    def members(self, members: SequenceSet) -> SequenceSet:
        """The same set of UIDs, written out if it is the saved result."""
        return tuple(ranges(self.result)) if members == RESULT else members

    def _number_span(self, first: int, last: int, strict: bool) -> range:
        count = len(self.uids)
        first, last = sorted((first or count, last or count))
        if strict and (last > count or first == 0):
            raise GrammarError("no such message number")
        return range(max(first, 1) - 1, min(last, count))

    def _uid_span(self, first: int, last: int) -> range:
        if not self.uids:
            return range(0)
        greatest = self.uids[-1]
        first, last = sorted((first or greatest, last or greatest))
        return range(bisect_left(self.uids, first), bisect_left(self.uids, last + 1))

    def uids_at(self, indexes: Sequence[int]) -> Sequence[int]:
        """The UIDs of messages."""
        if isinstance(indexes, range) and indexes.step == 1:
            return self.uids[indexes.start : indexes.stop]
        return [self.uids[index] for index in indexes]

    def with_flags(self, indexes: Sequence[int], bits: int, *, present: bool) -> list[int]:
        """Those of `indexes` whose messages have all of `bits`, or (not `present`) do not."""
        wanted = bytearray((value & bits == bits) is present for value in self._palette)
        return list(compress(indexes, map(wanted.__getitem__, self._marks_at(indexes))))

    def first_without(self, bits: int) -> int:
        """The index of the first message that does not have all of `bits`, or -1."""
        lacking = bytes(value & bits != bits for value in self._palette)
        if isinstance(self._marks, bytearray):
            return self._marks.translate(lacking.ljust(256, b"\0")).find(1)
        return next((index for index, mark in enumerate(self._marks) if lacking[mark]), -1)

    def _marks_at(self, indexes: Sequence[int]) -> Sequence[int]:
        if isinstance(indexes, range) and indexes.step == 1:
            return self._marks[indexes.start : indexes.stop]
        return [self._marks[index] for index in indexes]

    # ── flags as text ─────────────────────────────────────────────────────────────────────────────────────────────

    def flag_texts(self, indexes: Sequence[int]) -> list[bytes]:
        r"""The flags of messages as they stand between the parentheses of FLAGS, \Recent included; ascending."""
        texts = self._texts
        if len(texts) < len(self._palette):
            texts.extend(flag_text(value, self.keywords) for value in self._palette[len(texts) :])
        marks = self._marks_at(indexes)
        recent = [span for first, last in self._recent if (span := self._uid_span(first, last))]
        found = [texts[mark] for mark in marks]
        if recent:
            recent_texts = [b"\\Recent " + text if text else b"\\Recent" for text in texts]
            for span in recent:
                start, stop = bisect_left(indexes, span.start), bisect_left(indexes, span.stop)
                found[start:stop] = [recent_texts[mark] for mark in marks[start:stop]]
        return found

    def set_keywords(self, keywords: tuple[str, ...]) -> None:
        """Take over the names of the mailbox's keywords."""
        self.keywords = keywords
        self._texts.clear()

    @property
    def keyword_mask(self) -> int:
        """The bits of the keywords whose names are known."""
        return ((1 << len(self.keywords)) - 1) << FIRST_KEYWORD_BIT

    # ── \Recent ───────────────────────────────────────────────────────────────────────────────────────────────────

    def add_recent(self, first: int, last: int) -> None:
        """Make the UIDs from `first` to `last` recent in this session."""
        if first > last:
            return
        if self._recent and self._recent[-1][1] + 1 >= first:
            self._recent[-1] = (self._recent[-1][0], max(last, self._recent[-1][1]))
        else:
            self._recent.append((first, last))

    def forget_recent(self) -> None:
        """Let nothing be recent any more, as IMAP4rev2 has it."""
        self._recent.clear()

    def is_recent(self, uid: int) -> bool:
        """Whether a UID is recent in this session."""
        return any(first <= uid <= last for first, last in self._recent)

    def count_recent(self) -> int:
        """How many messages are recent."""
        return sum(len(self._uid_span(first, last)) for first, last in self._recent)

    # ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, uids: Sequence[int], flags: Sequence[int]) -> None:
        """Add messages with UIDs above all others, ascending."""
        if not uids:
            return
        follows = not self.uids or (isinstance(self.uids, range) and self.uids[-1] + 1 == uids[0])
        if follows and uids[-1] - uids[0] + 1 == len(uids):
            self.uids = range(self.uids[0] if self.uids else uids[0], uids[-1] + 1)
        else:
            if isinstance(self.uids, range):
                self.uids = array("I", self.uids)
            self.uids.extend(uids)
        self._extend(flags)

    def update(self, rows: Sequence[tuple[int, int]]) -> list[int]:
        """Note the flags of messages, given as (uid, flags) with ascending uids; those that are not there are ignored.

        Returns the uids of the messages whose flags were other ones before.
        """
        if not rows:
            return []
        start = bisect_left(self.uids, rows[0][0])
        stop = start + len(rows)
        if len(rows) > 1 and list(self.uids[start:stop]) == [row[0] for row in rows]:
            return self._update_run(start, stop, rows)
        changed = []
        for uid, flags in rows:
            index = self.index(uid)
            if index >= 0 and self._palette[self._marks[index]] != flags:
                place = self._place(flags)  # may give the marks another width
                self._marks[index] = place
                changed.append(uid)
        return changed

    def _update_run(self, start: int, stop: int, rows: Sequence[tuple[int, int]]) -> list[int]:
        """`update` for messages that stand side by side: a new column of marks instead of single ones."""
        values = {flags for _, flags in rows}
        self._make_room(len(values))
        for flags in values:
            self._place(flags)
        places = self._places
        new = [places[flags] for _, flags in rows]
        old = self._marks[start:stop]
        if isinstance(self._marks, bytearray):
            self._marks[start:stop] = bytes(new)
        else:
            self._marks[start:stop] = array(self._marks.typecode, new)
        return [row[0] for row, before, after in zip(rows, old, new, strict=True) if before != after]

    def edit(self, edit: FlagEdit, *, quietly: bool = False) -> list[int]:
        """Do the same to the flags of all messages of a range.

        Returns the uids of those that had other ones before; nothing if `quietly`, as a list of all takes longest.
        It is done to the few values in use; then the marks of all messages are translated at once.
        """
        span = self._uid_span(edit.first_uid, edit.last_uid)
        used = [self._palette[mark] for mark in set(self._marks[span.start : span.stop])]
        moved = {flags: new for flags in used if (new := (flags & ~edit.remove) | edit.add) != flags}
        self._make_room(len(moved))
        marks = {self._places[flags]: self._place(new) for flags, new in moved.items()}
        old = self._marks[span.start : span.stop]
        if isinstance(self._marks, bytearray):
            table = bytes(marks.get(mark, mark) for mark in range(256))
            self._marks[span.start : span.stop] = bytes(old).translate(table)
        else:
            translated = [marks.get(mark, mark) for mark in old]
            self._marks[span.start : span.stop] = array(self._marks.typecode, translated)
        return [] if quietly else list(compress(self.uids[span.start : span.stop], map(marks.__contains__, old)))

    def remove(self, indexes: Sequence[int]) -> None:
        """Take messages out; later ones move up."""
        if not indexes:
            return
        keep = bytearray(b"\1") * len(self.uids)
        for index in indexes:
            keep[index] = 0
        self.uids = _packed(compress(self.uids, keep))
        marks = compress(self._marks, keep)
        self._marks = bytearray(marks) if isinstance(self._marks, bytearray) else array(self._marks.typecode, marks)

    def _extend(self, flags: Sequence[int]) -> None:
        places = self._places
        new = set(flags).difference(places)
        if isinstance(self._marks, bytearray) and len(self._palette) + len(new) <= _LARGEST[1]:
            for value in new:
                self._place(value)
            self._marks += bytes(map(places.__getitem__, flags))
            return
        for value in flags:
            mark = places.get(value)
            if mark is None:
                mark = self._place(value)  # may give the marks another width
            self._marks.append(mark)

    def _place(self, flags: int) -> int:
        place = self._places.get(flags)
        if place is None:
            self._make_room(1)
            place = self._places[flags] = len(self._palette)
            self._palette.append(flags)
        return place

    def _make_room(self, count: int) -> None:
        """See to it that so many new values fit into the palette."""
        width = 1 if isinstance(self._marks, bytearray) else self._marks.itemsize
        # Twice the messages is enough for any palette, so tidying up is rare and what it leaves is small.
        if len(self._palette) + count <= min(_LARGEST[width], max(_LARGEST[1], 2 * len(self._marks))):
            return
        self._tidy()
        while len(self._palette) + count > _LARGEST[width]:
            self._marks = array(_WIDER[width], iter(self._marks))  # of bytes without iter it would be their memory
            width = self._marks.itemsize

    def _tidy(self) -> None:
        """Forget the values that no message has any more."""
        used = sorted(set(self._marks))
        new = {old: place for place, old in enumerate(used)}
        for index, mark in enumerate(self._marks):
            self._marks[index] = new[mark]
        self._palette = [self._palette[old] for old in used]
        self._places.clear()
        self._places.update((flags, place) for place, flags in enumerate(self._palette))
        self._texts.clear()


def _packed(uids: Iterable[int]) -> range | array[int]:
    packed = array("I", uids)
    if packed and packed[-1] - packed[0] + 1 == len(packed):
        return range(packed[0], packed[-1] + 1)
    return packed


def flag_text(bits: int, keywords: Sequence[str]) -> bytes:
    r"""Flag bits as they are written: `\Seen $Work`. Bits without a name are left out."""
    names = [name for bit, name in enumerate(SYSTEM_FLAGS) if bits >> bit & 1]
    named = bits >> FIRST_KEYWORD_BIT
    if named:
        names += [name for bit, name in enumerate(keywords) if named >> bit & 1]
    return " ".join(names).encode()


def uid_set(uids: Sequence[int]) -> bytes:
    """Ascending UIDs as a set: `1:4,7` (RFC 4315 section 3)."""
    if not uids:
        return b""
    if uids[-1] - uids[0] + 1 == len(uids):
        return b"%d:%d" % (uids[0], uids[-1]) if len(uids) > 1 else b"%d" % uids[0]
    pieces: list[bytes] = []
    first = last = uids[0]
    for uid in uids[1:]:
        if uid != last + 1:
            pieces.append(b"%d:%d" % (first, last) if last > first else b"%d" % first)
            first = uid
        last = uid
    pieces.append(b"%d:%d" % (first, last) if last > first else b"%d" % first)
    return b",".join(pieces)
