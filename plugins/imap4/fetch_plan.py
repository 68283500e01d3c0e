"""What a FETCH needs, and how its responses are made from rows of the store. Without I/O of its own.

Most answers are columns: one sequence of values per data item, formatted row by row with one template, which is an
order of magnitude faster than asking each item about each message. Items that need a message's text are made one
message at a time, see `fetch_section.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.store.messages import Row, headers, list_rows, parts, structures
from appliance.store.saved import SaveDates, saved_spans
from appliance.wire.imap import bodystructure, unpack
from plugins.imap4.batches import spans
from plugins.imap4.fetch_batch import Batch
from plugins.imap4.fetch_section import header_section
from plugins.imap4.object_id import email_id, thread_id
from plugins.imap4.protocol_fetch import FetchItem
from plugins.imap4.protocol_respond import internal_date, literal

if TYPE_CHECKING:
    from appliance.store import Database

ROWS_AT_ONCE = 100  # messages whose rows, structures or headers are in memory together
MAX_ANSWER = 1 << 20  # octets after which an answer goes out before more is read

T = TypeVar("T", bound=tuple[Any, ...])

_UID = FetchItem("UID", b"UID")
_FLAGS = FetchItem("FLAGS", b"FLAGS")
_MODSEQ = FetchItem("MODSEQ", b"MODSEQ")
_FRAGMENTS = {
    "UID": b"UID %d",
    "FLAGS": b"FLAGS (%b)",
    "RFC822.SIZE": b"RFC822.SIZE %d",
    "MODSEQ": b"MODSEQ (%d)",
    "EMAILID": b"EMAILID (%b)",
    "THREADID": b"THREADID (%b)",
}
_FROM_ROWS = frozenset({"RFC822.SIZE", "INTERNALDATE", "BODY", "MODSEQ", "SAVEDATE", "EMAILID", "THREADID"})
_FROM_HEADERS = frozenset({"BODY[]", "THREADID"})
_FROM_STRUCTURES = frozenset({"ENVELOPE", "BODYSTRUCTURE"})


class Plan:
    """The items of one FETCH, sorted by where their values come from. `verb` names the response."""

    __slots__ = (
        "items",
        "needs_headers",
        "needs_rows",
        "needs_structures",
        "needs_texts",
        "sets_seen",
        "template",
        "verb",
    )

    def __init__(
        self, items: Sequence[FetchItem], *, with_uid: bool, with_modseq: bool = False, verb: bytes = b"FETCH"
    ) -> None:
        if with_uid and _UID not in items:
            items = (_UID, *items)
        if with_modseq and _MODSEQ not in items:
            items = (*items, _MODSEQ)
        self.verb = verb
        names = {item.name for item in items}
        self.items = tuple(items)
        self.sets_seen = any(item.sets_seen for item in items)
        self.needs_texts = any(_needs_text(item) for item in items)
        self.needs_headers = bool(names & _FROM_HEADERS) and not self.needs_texts
        self.needs_rows = bool(names & _FROM_ROWS) or self.needs_texts
        self.needs_structures = bool(names & _FROM_STRUCTURES)
        fragments = (_FRAGMENTS.get(item.name, item.label.replace(b"%", b"%%") + b" %b") for item in items)
        self.template = b"* %d " + verb + b" (" + b" ".join(fragments) + b")\r\n"

    def with_flags(self, *, with_modseq: bool = False) -> Plan:
        """The same with FLAGS, for a FETCH that has changed them."""
        items = self.items if _FLAGS in self.items else (*self.items, _FLAGS)
        return Plan(items, with_uid=False, with_modseq=with_modseq, verb=self.verb)

    @property
    def tells_modseq(self) -> bool:
        """Whether modification sequences are asked for, which enables CONDSTORE (RFC 7162 section 3.1)."""
        return _MODSEQ in self.items

    @property
    def needs_store(self) -> bool:
        """Whether the view does not know everything."""
        return self.needs_rows or self.needs_structures or self.needs_headers

    def render_view(self, batch: Batch) -> bytes:
        """The responses to items that the view knows."""
        columns = [batch.uids if item.name == "UID" else batch.flags for item in self.items]
        template = self.template
        return b"".join([template % row for row in zip(batch.numbers, *columns, strict=True)])

    def render(self, db: Database, mailbox_id: int, batch: Batch) -> tuple[bytes, int, int]:
        """The responses of a batch, how many of its messages are gone, and how many were looked at.

        For a reader thread. It stops early when the answer has become long: headers can be very large.
        """
        made: list[bytes] = []
        gone = octets = stop = 0
        for start in range(0, len(batch.uids), ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, len(batch.uids))
            data, missing = self._render(db, mailbox_id, batch.part(start, stop))
            made.append(data)
            gone += missing
            octets += len(data)
            if octets >= MAX_ANSWER:
                break
        return b"".join(made), gone, stop

    def _render(self, db: Database, mailbox_id: int, batch: Batch) -> tuple[bytes, int]:
        uids = list(batch.uids)
        wanted = spans(uids)
        rows: Sequence[Row | None] = ()
        shapes: Sequence[tuple[int, bytes, bytes] | None] = ()
        heads: Sequence[tuple[int, bytes] | None] = ()
        if self.needs_rows:
            rows = _aligned(uids, wanted, lambda first, last: list_rows(db, mailbox_id, first - 1, last))
        if self.needs_structures:
            shapes = _aligned(uids, wanted, lambda first, last: structures(db, mailbox_id, first, last))
        if self.needs_headers:
            heads = _aligned(uids, wanted, lambda first, last: headers(db, mailbox_id, first, last))
        numbers, flags = batch.numbers, batch.flags
        gone = 0
        if None in rows or None in shapes or None in heads:
            sources = [source for source in (rows, shapes, heads) if source]
            keep = [None not in values for values in zip(*sources, strict=True)]
            gone = keep.count(False)
            numbers, flags = list(compress(numbers, keep)), list(compress(flags, keep))
            uids = list(compress(uids, keep))
            rows, shapes, heads = list(compress(rows, keep)), list(compress(shapes, keep)), list(compress(heads, keep))
        found = _Found(db, mailbox_id, batch.modseq, uids, flags, rows, shapes, heads)  # type: ignore[arg-type]
        columns = [found.column(item) for item in self.items]
        template = self.template
        return b"".join([template % values for values in zip(numbers, *columns, strict=True)]), gone


@dataclass(frozen=True, slots=True)
class _Found:
    """What was read of the messages of a batch: parallel columns, as far as they were asked for."""

    db: Database
    mailbox_id: int
    modseq: int
    uids: Sequence[int]
    flags: Sequence[bytes]
    rows: Sequence[Row]
    shapes: Sequence[tuple[int, bytes, bytes]]
    heads: Sequence[tuple[int, bytes]]

    def column(self, item: FetchItem) -> Sequence[int | bytes]:
        """The values of an item, for the template."""
        rows = self.rows
        match item.name:
            case "UID":
                return self.uids
            case "FLAGS":
                return self.flags
            case "RFC822.SIZE":
                return [row[3] for row in rows]
            case "INTERNALDATE":
                return [internal_date(row[4]) for row in rows]
            case "ENVELOPE":
                return [shape[1] for shape in self.shapes]
            case "BODYSTRUCTURE":
                return [shape[2] for shape in self.shapes]
            case "BODY":
                return [plain_structure(self.db, row[5]) for row in rows]
            case "MODSEQ":
                return [min(row[2], self.modseq) for row in rows]
            case "SAVEDATE":
                return save_dates(self.db, self.mailbox_id, rows)
            case "EMAILID":
                return [email_id(row[6]) for row in rows]
            case "THREADID":
                return [thread_id(header, row[6]) for (_, header), row in zip(self.heads, rows, strict=True)]
        return [literal(header_section(item, header)) for _, header in self.heads]


def save_dates(db: Database, mailbox_id: int, rows: Sequence[Row]) -> list[bytes]:
    """When the messages were saved, as SAVEDATE has it (RFC 8514 section 4.2). The rows are ascending."""
    if not rows:
        return []
    noted = SaveDates(saved_spans(db, mailbox_id, rows[0][0], rows[-1][0]))
    return [internal_date(noted.at(row[0], row[4])) for row in rows]


def plain_structure(db: Database, body_id: int) -> bytes:
    """BODY: the structure without extension data. It is rarely asked for, so it is not kept ready."""
    return bodystructure(unpack(parts(db, body_id)), extended=False)


def _needs_text(item: FetchItem) -> bool:
    """Whether an item cannot be answered from the header alone."""
    section = item.section
    return item.name == "PREVIEW" or (section is not None and (bool(section.path) or section.text in {"", "TEXT"}))


def _aligned(
    uids: list[int], wanted: Sequence[tuple[int, int]], read: Callable[[int, int], Iterable[T]]
) -> Sequence[T | None]:
    """The rows of `uids`, which begin with their uid, in that order; None for those that are not there."""
    found = [row for span in wanted for row in read(*span)]
    if len(found) == len(uids) and [row[0] for row in found] == uids:
        return found
    by_uid = {row[0]: row for row in found}
    return [by_uid.get(uid) for uid in uids]
