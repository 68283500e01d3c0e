"""LIST, LSUB and STATUS: their arguments and the matching of names (RFC 3501, RFC 5258, RFC 5819, RFC 6154). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from plugins.imap4.protocol_metadata import parse_entries
from plugins.imap4.protocol_parse import MAX_MAILBOX, Cursor, GrammarError, mailbox_name

MAX_PATTERNS = 50  # patterns of one LIST (RFC 5258)
DELIMITER = "/"

STATUS_ITEMS = (
    "MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "SIZE", "DELETED", "DELETED-STORAGE",
    "HIGHESTMODSEQ", "MAILBOXID",
)  # fmt: skip
_SELECTION = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
_RETURN = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "MYRIGHTS"})


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The arguments of LIST. `patterns` have the reference in front and are Unicode.

    `extended` tells that the form of RFC 5258 was used; `asks_delimiter` that the pattern was empty.
    """

    reference: str
    patterns: tuple[str, ...]
    selection: frozenset[str] = frozenset()
    wanted: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    extended: bool = False
    asks_delimiter: bool = False
    metadata: tuple[str, ...] = ()  # entries to be told of each mailbox (RFC 9590)


def parse_list(cursor: Cursor) -> ListQuery:
    """Read what follows `LIST `."""
    extended = cursor.peek() == b"("
    selection = _options(cursor, _SELECTION) if extended else frozenset()
    if extended:
        cursor.space()
    if "RECURSIVEMATCH" in selection and not selection & {"SUBSCRIBED", "SPECIAL-USE"}:
        raise GrammarError("RECURSIVEMATCH needs another selection option")
    reference = cursor.astring()
    cursor.space()
    if cursor.accept(b"("):
        extended = True
        raw = _patterns(cursor)
    else:
        raw = [cursor.list_mailbox()]
    returned = _Returned()
    if not cursor.at_end():
        cursor.space()
        if cursor.word() != "RETURN":
            raise GrammarError("expected RETURN")
        cursor.space()
        extended = True
        returned = _return_options(cursor)
    base = "" if not reference else mailbox_name(reference, utf8=cursor.utf8)
    asks_delimiter = raw == [b""] and not extended
    patterns = tuple(_pattern(base, text, utf8=cursor.utf8) for text in raw)
    wanted = frozenset(returned.wanted)
    return ListQuery(base, patterns, selection, wanted, returned.status, extended, asks_delimiter, returned.metadata)


def parse_lsub(cursor: Cursor) -> ListQuery:
    """Read what follows `LSUB `."""
    reference = cursor.astring()
    cursor.space()
    raw = cursor.list_mailbox()
    base = "" if not reference else mailbox_name(reference, utf8=cursor.utf8)
    return ListQuery(base, (_pattern(base, raw, utf8=cursor.utf8),), asks_delimiter=raw == b"")


def parse_status_items(cursor: Cursor) -> tuple[str, ...]:
    """Read the parenthesised items of STATUS."""
    cursor.expect(b"(")
    items = [_status_item(cursor)]
    while not cursor.accept(b")"):
        cursor.space()
        items.append(_status_item(cursor))
        cursor.check_length(len(items))
    return tuple(dict.fromkeys(items))


def _status_item(cursor: Cursor) -> str:
    item = cursor.word()
    if item not in STATUS_ITEMS:
        raise GrammarError("unknown status item")
    return item


def _options(cursor: Cursor, known: frozenset[str]) -> frozenset[str]:
    cursor.expect(b"(")
    found: set[str] = set()
    while not cursor.accept(b")"):
        if found:
            cursor.space()
        option = cursor.word()
        if option not in known or option in found:
            raise GrammarError("unknown or repeated option")
        found.add(option)
    return frozenset(found)


@dataclass(slots=True)
class _Returned:
    wanted: set[str] = field(default_factory=set)
    status: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()


def _return_options(cursor: Cursor) -> _Returned:
    cursor.expect(b"(")
    found = _Returned()
    first = True
    while not cursor.accept(b")"):
        if not first:
            cursor.space()
        first = False
        option = cursor.word()
        if option == "STATUS" and not found.status:
            cursor.space()
            found.status = parse_status_items(cursor)
        elif option == "METADATA" and not found.metadata:
            cursor.space()
            found.metadata = parse_entries(cursor)
        elif option in _RETURN and option not in found.wanted:
            found.wanted.add(option)
        else:
            raise GrammarError("unknown or repeated option")
    return found


def _patterns(cursor: Cursor) -> list[bytes]:
    found = [cursor.list_mailbox()]
    while not cursor.accept(b")"):
        cursor.space()
        found.append(cursor.list_mailbox())
        if len(found) > MAX_PATTERNS:
            raise GrammarError("too many patterns")
    return found


def _pattern(base: str, wire: bytes, *, utf8: bool) -> str:
    if len(wire) > MAX_MAILBOX:
        raise GrammarError("pattern too long")
    # Wildcards are no part of modified UTF-7's base64, so the whole pattern decodes like a name.
    return base + (mailbox_name(wire, utf8=utf8) if wire else "")


class Pattern:
    """A name pattern: `*` is anything, `%` anything within one level (RFC 3501 section 6.3.8).

    Matching walks all positions that the pattern can be in at once, as bits of one number, so its cost is the product
    of both lengths at most, whatever the pattern (a backtracking expression would take ages, CVE-2021-40110).
    """

    __slots__ = ("_anything", "_end", "_places", "_within", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        folded = re.sub(r"%+", "%", re.sub(r"[*%]*\*[*%]*", "*", text))
        self._places: dict[str, int] = {}
        for place, character in enumerate(folded):
            self._places[character] = self._places.get(character, 0) | 1 << place
        self._anything = self._places.pop("*", 0)
        self._within = self._places.pop("%", 0)
        self._end = 1 << len(folded)

    def matches(self, name: str) -> bool:
        """Whether the whole name fits."""
        anything, within = self._anything, self._within
        wild = anything | within
        state = 1 | (1 & wild) << 1
        for character in name:
            stay = state & (anything if character == DELIMITER else wild)
            state = (state & self._places.get(character, 0)) << 1 | stay
            state |= (state & wild) << 1
            if not state:
                return False
        return bool(state & self._end)


class Patterns:
    """Several patterns, of which one must fit. INBOX fits in any case."""

    __slots__ = ("_inbox", "_patterns")

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._patterns = [Pattern(text) for text in texts]
        self._inbox = any(Pattern(text.upper()).matches("INBOX") for text in texts)

    def match(self, name: str) -> bool:
        """Whether one of the patterns fits the name."""
        return (name == "INBOX" and self._inbox) or any(pattern.matches(name) for pattern in self._patterns)
