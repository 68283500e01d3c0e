"""What SEARCH asks for (RFC 3501 section 6.4.4). Pure.

The keys form a tree of values. Strings are decoded here, with the charset that the command names.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from plugins.imap4.protocol_parse import Cursor, GrammarError, SequenceSet

MAX_KEYS = 1_000  # keys of one search, all levels together
MAX_TEXTS = 50  # BODY and TEXT keys of one search: each looks through every text
MAX_LOOKUPS = 20  # keys of one search that look through all rows of the mailbox
MAX_NEEDLE = 1_000  # characters of one string searched for
CHARSETS = ("US-ASCII", "UTF-8")

_FIELD_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+")


class All(msgspec.Struct, frozen=True):
    """ALL."""


class Flag(msgspec.Struct, frozen=True):
    r"""Whether a flag (`\Seen`, `$Junk`) is set."""

    name: bytes
    is_set: bool


class Recent(msgspec.Struct, frozen=True):
    r"""Whether the message is \Recent here."""

    is_set: bool


class Numbers(msgspec.Struct, frozen=True):
    """Message numbers."""

    members: SequenceSet


class Uids(msgspec.Struct, frozen=True):
    """UIDs."""

    members: SequenceSet


class Size(msgspec.Struct, frozen=True):
    """LARGER (above `octets`) or SMALLER (below)."""

    larger: bool
    octets: int


class Date(msgspec.Struct, frozen=True):
    """BEFORE, ON or SINCE a day; by internal date, or by the Date field (SENT…)."""

    relation: Literal["BEFORE", "ON", "SINCE"]
    sent: bool
    day: int  # date.toordinal


class Header(msgspec.Struct, frozen=True):
    """A field, by lower-case name, whose decoded value holds `needle`; an empty needle asks whether it is there."""

    field: bytes
    needle: str


class Text(msgspec.Struct, frozen=True):
    """`needle` in the body, or (`header`) anywhere in the message."""

    needle: str
    header: bool


class ModSeq(msgspec.Struct, frozen=True):
    """Changed at `modseq` or later (RFC 7162 section 3.1.5)."""

    modseq: int


class Saved(msgspec.Struct, frozen=True):
    """SAVEDBEFORE, SAVEDON, SAVEDSINCE (RFC 8514 section 4.3)."""

    relation: Literal["BEFORE", "ON", "SINCE"]
    day: int  # date.toordinal


class EmailId(msgspec.Struct, frozen=True):
    """One message, wherever its copies are (RFC 8474 section 6)."""

    name: bytes


class ThreadId(msgspec.Struct, frozen=True):
    """The messages of one conversation (RFC 8474 section 6)."""

    name: bytes


class Age(msgspec.Struct, frozen=True):
    """OLDER and YOUNGER, by internal date (RFC 5032): becomes `Arrived` when the search begins."""

    older: bool
    seconds: int


class Arrived(msgspec.Struct, frozen=True):
    """By internal date: at a time in epoch seconds and `before`, or at it and later."""

    before: bool
    at: int


class Not(msgspec.Struct, frozen=True):
    """The opposite."""

    key: Key


class Or(msgspec.Struct, frozen=True):
    """Either."""

    first: Key
    second: Key


class And(msgspec.Struct, frozen=True):
    """Every one of them."""

    keys: tuple[Key, ...]


Key = (
    All | Flag | Recent | Numbers | Uids | Size | Date | Header | Text | ModSeq | Saved | EmailId | ThreadId
    | Age | Arrived | Not | Or | And
)  # fmt: skip

_FLAGS = {
    "ANSWERED": Flag(b"\\Answered", True), "UNANSWERED": Flag(b"\\Answered", False),
    "DELETED": Flag(b"\\Deleted", True), "UNDELETED": Flag(b"\\Deleted", False),
    "DRAFT": Flag(b"\\Draft", True), "UNDRAFT": Flag(b"\\Draft", False),
    "FLAGGED": Flag(b"\\Flagged", True), "UNFLAGGED": Flag(b"\\Flagged", False),
    "SEEN": Flag(b"\\Seen", True), "UNSEEN": Flag(b"\\Seen", False),
}  # fmt: skip
_SIMPLE: dict[str, Key] = {
    **_FLAGS,
    "ALL": All(),
    "SAVEDATESUPPORTED": All(),
    "RECENT": Recent(True),
    "OLD": Recent(False),
    "NEW": And((Recent(True), Flag(b"\\Seen", False))),
}
_SAVED: dict[str, Literal["BEFORE", "ON", "SINCE"]] = {
    "SAVEDBEFORE": "BEFORE", "SAVEDON": "ON", "SAVEDSINCE": "SINCE"
}  # fmt: skip
_FIELDS = {"FROM": b"from", "TO": b"to", "CC": b"cc", "BCC": b"bcc", "SUBJECT": b"subject"}
_DATES: dict[str, tuple[Literal["BEFORE", "ON", "SINCE"], bool]] = {
    "BEFORE": ("BEFORE", False), "ON": ("ON", False), "SINCE": ("SINCE", False),
    "SENTBEFORE": ("BEFORE", True), "SENTON": ("ON", True), "SENTSINCE": ("SINCE", True),
}  # fmt: skip


class _Budget(msgspec.Struct):
    encoding: str
    keys: int = MAX_KEYS
    texts: int = MAX_TEXTS
    lookups: int = MAX_LOOKUPS


def parse_program(cursor: Cursor) -> Key | None:
    """Read `[CHARSET name SP] key *(SP key)` as a tree.

    It is None when the charset is not known here: the answer is NO [BADCHARSET], not BAD.
    """
    if cursor.data[cursor.at : cursor.at + 8].upper() == b"CHARSET ":
        cursor.at += 8
        return parse_keys_in_charset(cursor)
    # Without CHARSET 8-bit strings are an error by the book; clients that send them mean UTF-8.
    return _keys(cursor, "utf-8")


def parse_keys_in_charset(cursor: Cursor) -> Key | None:
    """Read `name SP key *(SP key)`, as SORT and THREAD have it too (RFC 5256 section 5)."""
    charset = cursor.astring().decode("ascii", "replace").upper()
    cursor.space()
    if charset not in CHARSETS:
        cursor.at = len(cursor.data)  # nothing after an unknown charset can be read
        return None
    return _keys(cursor, "ascii" if charset == "US-ASCII" else charset)


def _keys(cursor: Cursor, encoding: str) -> Key:
    budget = _Budget(encoding)
    keys = [parse_key(cursor, budget)]
    while not cursor.at_end():
        cursor.space()
        keys.append(parse_key(cursor, budget))
    return keys[0] if len(keys) == 1 else And(tuple(keys))


def parse_key(cursor: Cursor, budget: _Budget) -> Key:
    """Read one key, which may be a list, a NOT or an OR with keys inside."""
    budget.keys -= 1
    if budget.keys < 0:
        raise GrammarError("too many search keys")
    first = cursor.peek()
    if first == b"(":
        return _group(cursor, budget)
    if first.isdigit() or first in {b"*", b"$"}:
        return Numbers(cursor.sequence_set())
    name = cursor.word()
    if name in _SIMPLE:
        return _SIMPLE[name]
    cursor.space()
    if name in {"NOT", "OR"}:
        return _combination(name, cursor, budget)
    return _argument(name, cursor, budget)


def _group(cursor: Cursor, budget: _Budget) -> Key:
    cursor.expect(b"(")
    cursor.descend()
    keys = [parse_key(cursor, budget)]
    while not cursor.accept(b")"):
        cursor.space()
        keys.append(parse_key(cursor, budget))
    cursor.ascend()
    return keys[0] if len(keys) == 1 else And(tuple(keys))


def _combination(name: str, cursor: Cursor, budget: _Budget) -> Key:
    cursor.descend()
    key = parse_key(cursor, budget)
    if name == "OR":
        cursor.space()
        combined: Key = Or(key, parse_key(cursor, budget))
    else:
        combined = Not(key)
    cursor.ascend()
    return combined


def _argument(name: str, cursor: Cursor, budget: _Budget) -> Key:
    if name in _FIELDS:
        return Header(_FIELDS[name], _needle(cursor, budget))
    if name in _LOOKUPS:
        return _lookup(name, cursor, budget)
    if name in _DATES:
        relation, sent = _DATES[name]
        return Date(relation, sent, cursor.date())
    match name:
        case "HEADER":
            field = cursor.astring()
            if not _FIELD_NAME.fullmatch(field):
                raise GrammarError("no header field name")
            cursor.space()
            return Header(field.lower(), _needle(cursor, budget))
        case "BODY" | "TEXT":
            budget.texts -= 1
            if budget.texts < 0:
                raise GrammarError("too many search keys")
            return Text(_needle(cursor, budget), header=name == "TEXT")
        case "KEYWORD" | "UNKEYWORD":
            keyword = cursor.atom()
            return Flag(keyword, name == "KEYWORD")
        case "LARGER" | "SMALLER":
            return Size(name == "LARGER", cursor.number())
        case "OLDER" | "YOUNGER":
            seconds = cursor.number()
            if seconds == 0:
                raise GrammarError("an age is at least one second")
            return Age(name == "OLDER", seconds)
        case "UID":
            return Uids(cursor.sequence_set())
    raise GrammarError("unknown search key")


_LOOKUPS = frozenset({"MODSEQ", "EMAILID", "THREADID", *_SAVED})


def _lookup(name: str, cursor: Cursor, budget: _Budget) -> Key:
    budget.lookups -= 1
    if budget.lookups < 0:
        raise GrammarError("too many search keys")
    match name:
        case "MODSEQ":
            if cursor.peek() == b'"':
                # The entry of one flag, and whose: all flags of a message share its modseq here.
                cursor.string()
                cursor.space()
                if cursor.word() not in {"ALL", "PRIV", "SHARED"}:
                    raise GrammarError("expected all, priv or shared")
                cursor.space()
            return ModSeq(cursor.number64())
        case "EMAILID":
            return EmailId(cursor.atom())
        case "THREADID":
            return ThreadId(cursor.atom())
    return Saved(_SAVED[name], cursor.date())


def _needle(cursor: Cursor, budget: _Budget) -> str:
    try:
        needle = cursor.astring().decode(budget.encoding)
    except UnicodeDecodeError:
        raise GrammarError("string is not in the charset") from None
    if len(needle) > MAX_NEEDLE:
        raise GrammarError("search string too long")
    return needle
