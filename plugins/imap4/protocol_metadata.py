"""GETMETADATA and SETMETADATA as they are written (RFC 5464 section 5). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from plugins.imap4.protocol_parse import Cursor, GrammarError

MAX_ENTRIES = 100  # of one command
MAX_ENTRY = 200  # octets of a name

_ENTRY = re.compile(rb"/(?:private|shared)(?:/[^/%*\x00-\x1f\x7f-\xff]+)+", re.IGNORECASE)
_DEPTHS = {"0": 0, "1": 1, "INFINITY": None}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which annotations: `depth` more levels below the names, None for all; none longer than `max_size` octets."""

    entries: tuple[str, ...]
    depth: int | None = 0
    max_size: int | None = None


def parse_wanted(cursor: Cursor, *, options: bool = True) -> tuple[str, Wanted]:
    """Read `[(MAXSIZE 1024 DEPTH 1)] mailbox (entry …)`; the mailbox "" is the server."""
    depth: int | None = 0
    max_size: int | None = None
    if options and cursor.accept(b"("):
        depth, max_size = _options(cursor)
        cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    if options and cursor.peek() == b"(" and _is_options(cursor):  # as some clients write it, and RFC 5464's examples
        cursor.expect(b"(")
        depth, max_size = _options(cursor)
        cursor.space()
    return mailbox, Wanted(parse_entries(cursor), depth, max_size)


def parse_entries(cursor: Cursor) -> tuple[str, ...]:
    """Read one entry name or a list of them."""
    if not cursor.accept(b"("):
        return (_entry(cursor),)
    found = [_entry(cursor)]
    while not cursor.accept(b")"):
        cursor.space()
        found.append(_entry(cursor))
        if len(found) > MAX_ENTRIES:
            raise GrammarError("too many entries")
    return tuple(dict.fromkeys(found))


def parse_values(cursor: Cursor) -> tuple[tuple[str, bytes | None], ...]:
    """Read `(entry value entry value …)`; NIL takes an annotation away."""
    cursor.expect(b"(")
    found: list[tuple[str, bytes | None]] = []
    while True:
        entry = _entry(cursor)
        cursor.space()
        found.append((entry, cursor.literal8() if cursor.peek() == b"~" else cursor.nstring()))
        if len(found) > MAX_ENTRIES:
            raise GrammarError("too many entries")
        if cursor.accept(b")"):
            return tuple(found)
        cursor.space()


def _entry(cursor: Cursor) -> str:
    name = cursor.astring()
    if len(name) > MAX_ENTRY or not _ENTRY.fullmatch(name):
        raise GrammarError("an entry begins with /private/ or /shared/, without wildcards and empty levels")
    return name.decode("ascii").lower()


def _is_options(cursor: Cursor) -> bool:
    return cursor.data[cursor.at + 1 : cursor.at + 8].upper().startswith((b"MAXSIZE", b"DEPTH"))


def _options(cursor: Cursor) -> tuple[int | None, int | None]:
    depth: int | None = 0
    max_size: int | None = None
    while True:
        word = cursor.word()
        cursor.space()
        if word == "MAXSIZE":
            max_size = cursor.number()
        elif word == "DEPTH":
            name = cursor.word()
            if name not in _DEPTHS:
                raise GrammarError("a depth is 0, 1 or infinity")
            depth = _DEPTHS[name]
        else:
            raise GrammarError("unknown option")
        if cursor.accept(b")"):
            return depth, max_size
        cursor.space()
