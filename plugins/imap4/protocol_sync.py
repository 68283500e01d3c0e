"""The parameters of SELECT and the modifiers of FETCH and STORE (RFC 4466, RFC 7162 section 7). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from plugins.imap4.protocol_parse import Cursor, GrammarError, SequenceSet
from plugins.imap4.protocol_return import Partial, parse_partial


@dataclass(frozen=True, slots=True)
class Known:
    """What a client still knows of a mailbox: `QRESYNC (…)` of SELECT (RFC 7162 section 3.2.5).

    `uids` are those it holds, None for all; `matches` are message numbers and the UIDs that they had, side by side.
    """

    uidvalidity: int
    modseq: int
    uids: SequenceSet | None = None
    matches: tuple[SequenceSet, SequenceSet] | None = None


@dataclass(frozen=True, slots=True)
class Since:
    """`CHANGEDSINCE` of FETCH; `vanished` asks for the UIDs that are gone too (RFC 7162 sections 3.1.4 and 3.2.6)."""

    modseq: int
    vanished: bool = False


@dataclass(frozen=True, slots=True)
class Modifiers:
    """What stands behind the items of FETCH; `partial` is a window of the messages named (RFC 9394 section 3.2)."""

    since: Since | None = None
    partial: Partial | None = None


NO_MODIFIERS = Modifiers()


def parse_select_parameters(cursor: Cursor) -> tuple[bool, Known | None]:
    """Read ` (CONDSTORE QRESYNC (…))` behind the mailbox: whether CONDSTORE stands there, and what QRESYNC says."""
    condstore = False
    known: Known | None = None
    if cursor.at_end():
        return condstore, known
    cursor.space()
    cursor.expect(b"(")
    while True:
        word = cursor.word()
        if word == "CONDSTORE" and not condstore:
            condstore = True
        elif word == "QRESYNC" and known is None:
            cursor.space()
            known = _known(cursor)
        else:
            raise GrammarError("unknown or repeated parameter")
        if cursor.accept(b")"):
            return condstore, known
        cursor.space()


def parse_fetch_modifiers(cursor: Cursor, *, uid: bool) -> Modifiers:
    """Read ` (CHANGEDSINCE 5 VANISHED PARTIAL 1:100)` behind the items of FETCH, if it is there."""
    if cursor.at_end():
        return NO_MODIFIERS
    cursor.space()
    cursor.expect(b"(")
    modseq: int | None = None
    vanished = False
    partial: Partial | None = None
    while True:
        word = cursor.word()
        if word == "CHANGEDSINCE" and modseq is None:
            cursor.space()
            modseq = mod_sequence(cursor)
        elif word == "VANISHED" and not vanished:
            vanished = True
        elif word == "PARTIAL" and uid and partial is None:
            cursor.space()
            partial = parse_partial(cursor)
        else:
            raise GrammarError("unknown or repeated modifier")
        if cursor.accept(b")"):
            break
        cursor.space()
    if vanished and (modseq is None or not uid):
        raise GrammarError("VANISHED needs UID FETCH and CHANGEDSINCE")
    return Modifiers(None if modseq is None else Since(modseq, vanished), partial)


def parse_unchangedsince(cursor: Cursor) -> int | None:
    """Read `(UNCHANGEDSINCE 5) ` before the flags of STORE, if it is there (RFC 7162 section 3.1.3)."""
    if not cursor.accept(b"("):
        return None
    if cursor.word() != "UNCHANGEDSINCE":
        raise GrammarError("unknown modifier")
    cursor.space()
    modseq = mod_sequence(cursor)
    cursor.expect(b")")
    cursor.space()
    return modseq


def mod_sequence(cursor: Cursor) -> int:
    """A modification sequence: 63 bits. Zero is let through everywhere; clients send it for "from the beginning"."""
    return cursor.number64()


def _known(cursor: Cursor) -> Known:
    cursor.expect(b"(")
    uidvalidity = cursor.number()
    cursor.space()
    modseq = mod_sequence(cursor)
    uids: SequenceSet | None = None
    matches: tuple[SequenceSet, SequenceSet] | None = None
    more = cursor.accept(b" ")
    if more and cursor.peek() != b"(":
        uids = _plain_set(cursor)
        more = cursor.accept(b" ")
    if more:
        cursor.expect(b"(")
        numbers = _plain_set(cursor)
        cursor.space()
        matches = numbers, _plain_set(cursor)
        cursor.expect(b")")
    cursor.expect(b")")
    return Known(uidvalidity, modseq, uids, matches)


def _plain_set(cursor: Cursor) -> SequenceSet:
    members = cursor.sequence_set(result=False)
    if any(0 in member for member in members):
        raise GrammarError("* is not permitted here")
    return members
