"""How SORT orders and THREAD groups (RFC 5256 section 3, RFC 5957). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from plugins.imap4.protocol_parse import Cursor, GrammarError

MAX_CRITERIA = 20
CRITERIA = frozenset({"ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO"})
ALGORITHMS = ("ORDEREDSUBJECT", "REFERENCES")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing to sort by."""

    by: str
    reverse: bool = False


def parse_criteria(cursor: Cursor) -> tuple[Criterion, ...]:
    """Read `(REVERSE DATE SUBJECT)`."""
    cursor.expect(b"(")
    found: list[Criterion] = []
    while True:
        word = cursor.word()
        reverse = word == "REVERSE"
        if reverse:
            cursor.space()
            word = cursor.word()
        if word not in CRITERIA:
            raise GrammarError("unknown sort criterion")
        found.append(Criterion(word, reverse))
        if len(found) > MAX_CRITERIA:
            raise GrammarError("too many sort criteria")
        if cursor.accept(b")"):
            return tuple(found)
        cursor.space()


def parse_algorithm(cursor: Cursor) -> str:
    """Read the name of a threading algorithm."""
    name = cursor.word()
    if name not in ALGORITHMS:
        raise GrammarError("unknown threading algorithm")
    return name
