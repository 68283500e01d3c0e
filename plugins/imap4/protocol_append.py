"""APPEND and REPLACE as they are written: messages, and parts to be joined. Pure.

RFC 3501 section 6.3.11, RFC 3502, RFC 4469, RFC 6855 section 4, RFC 8508. Such a
command is never whole in memory: `Appending` reads it from one literal to the next.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from plugins.imap4.protocol_parse import Cursor, GrammarError, mailbox_name, parse_verb

MAX_PARTS = 200  # of one message that is joined from parts

_CATENATE = re.compile(rb"CATENATE \(", re.IGNORECASE)
_UTF8 = re.compile(rb"UTF8 \(~", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Replaced:
    """The message that REPLACE takes away: by UID or by number, 0 for the last one (RFC 8508)."""

    uid: bool
    number: int


@dataclass(frozen=True, slots=True)
class AppendHead:
    """What APPEND says of one message before its literal (section 6.3.11)."""

    mailbox: str
    flags: tuple[bytes, ...] = ()
    internal_at: int | None = None
    binary: bool = False  # the literal is a literal8 (RFC 3516)
    bracketed: bool = False  # it stands in `UTF8 (…)` (RFC 6855 section 4)
    replaces: Replaced | None = None
    joined: bool = False  # from parts (RFC 4469)


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """APPEND has announced a message, or a part of one. Answer with `take_message` or `refuse_message`.

    `first` tells the first event of the command from those that follow in the same one (RFC 3502).
    """

    tag: bytes
    head: AppendHead
    size: int
    first: bool


@dataclass(frozen=True, slots=True)
class AppendUrl:
    """The next part of the message is what a URL names."""

    tag: bytes
    head: AppendHead
    url: bytes
    first: bool


@dataclass(frozen=True, slots=True)
class PartsEnd:
    """The message that is joined from parts has all of them."""


@dataclass(frozen=True, slots=True)
class AppendEnd:
    """The APPEND command is complete."""

    tag: bytes


Step = AppendMessage | AppendUrl | PartsEnd | AppendEnd


@dataclass(slots=True)
class Appending:
    """One command under way: what its lines mean depends on what came before.

    A line is what stands before one literal, or before the end of the command, and behind the literal before.
    """

    tag: bytes = b""
    mailbox: str | None = None
    replaces: Replaced | None = None
    joining: AppendHead | None = None  # the message whose parts come
    parts: int = 0  # of it
    begun: bool = False  # there was a message, or a part
    owes: bytes = b""  # what has to stand behind the literal before

    def read(self, text: bytes, size: int | None, *, utf8: bool) -> tuple[Appending, deque[Step]] | None:
        """What a line says; `size` is that of the literal behind it, None if it ends the command.

        None if that literal is a mailbox name or a URL: the line is to be read again with it. This object does not
        change, so that nothing begins before all of the line is known to be right. Raises GrammarError.
        """
        after = replace(self)
        try:
            return after, deque(after._steps(Cursor(text, utf8=utf8), size))
        except _LiteralNeeded:
            return None

    def _steps(self, cursor: Cursor, size: int | None) -> Iterator[Step]:
        """The steps of a line; the last of them is AppendMessage or AppendEnd."""
        if self.mailbox is None:
            mailbox = self._begin(cursor, size)
        else:
            mailbox = self.mailbox
            if not cursor.accept(self.owes):
                raise GrammarError("expected ')' behind the message")
            self.owes = b""
        while True:
            if self.joining is None:
                if self.begun and cursor.at_end() and size is None:
                    yield AppendEnd(self.tag)
                    return
                self._check_next(cursor, size)
                head = parse_append(cursor, mailbox, self.replaces)
                if not head.joined:
                    yield self._announced(cursor, head, size)
                    return
                self.joining, self.parts = head, 0
            elif cursor.accept(b")"):
                self.joining = None
                yield PartsEnd()
                continue
            else:
                cursor.space()
            url = self._part(cursor, size)
            if url is None:
                yield self._announced(cursor, self._part_head(cursor), size)
                return
            yield AppendUrl(self.tag, self.joining, url, self._first())

    def _begin(self, cursor: Cursor, size: int | None) -> str:
        """Read `tag APPEND mailbox`, or `tag REPLACE number mailbox`."""
        self.tag = cursor.tag()
        cursor.space()
        verb = parse_verb(cursor)
        cursor.space()
        self.replaces = parse_replaced(cursor, verb)
        self.mailbox = mailbox_name(_astring(cursor, size), utf8=cursor.utf8)
        return self.mailbox

    def _check_next(self, cursor: Cursor, size: int | None) -> None:
        """Take the space before a message; refuse what can be none."""
        if self.begun:
            if cursor.peek() != b" " or (size is None and not _CATENATE.search(cursor.data, cursor.at)):
                raise GrammarError("unexpected data after the message")
            if self.replaces is not None:
                raise GrammarError("REPLACE takes one message")
        cursor.space()

    def _part(self, cursor: Cursor, size: int | None) -> bytes | None:
        """Read `URL "…"` and return the URL, or None before a literal: `TEXT `, `UTF8 (~`."""
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise GrammarError("too many parts")
        if _UTF8.match(cursor.data, cursor.at):
            return None
        word = cursor.word()
        cursor.space()
        if word == "URL":
            return _astring(cursor, size)
        if word != "TEXT":
            raise GrammarError("a part is URL, TEXT or UTF8")
        return None

    def _part_head(self, cursor: Cursor) -> AppendHead:
        assert self.joining is not None
        match = _UTF8.match(cursor.data, cursor.at)
        if match is None:
            return self.joining
        cursor.at = match.end()
        return replace(self.joining, binary=True, bracketed=True)

    def _announced(self, cursor: Cursor, head: AppendHead, size: int | None) -> AppendMessage:
        cursor.end()
        if size is None:
            raise GrammarError("expected a message")
        self.owes = b")" if head.bracketed else b""
        return AppendMessage(self.tag, head, size, self._first())

    def _first(self) -> bool:
        first, self.begun = not self.begun, True
        return first


class _LiteralNeeded(Exception):  # noqa: N818 - no error: the rest has not come yet
    """A string of the line is in the literal behind it."""


def _astring(cursor: Cursor, size: int | None) -> bytes:
    if cursor.at_end() and size is not None:
        raise _LiteralNeeded
    return cursor.astring()


def parse_replaced(cursor: Cursor, verb: str) -> Replaced | None:
    """Read which message REPLACE replaces and the space behind it; None for APPEND."""
    if verb == "APPEND":
        return None
    ((first, last),) = members if len(members := cursor.sequence_set(result=False)) == 1 else ((0, 1),)
    if first != last:
        raise GrammarError("REPLACE replaces one message")
    cursor.space()
    return Replaced(verb.startswith("UID "), first)


def parse_append(cursor: Cursor, mailbox: str, replaces: Replaced | None = None) -> AppendHead:
    """Read the optional flags and date before a message's literal, or before the first of its parts."""
    flags: tuple[bytes, ...] = ()
    internal_at = None
    if cursor.peek() == b"(":
        flags = cursor.flags()
        cursor.space()
    if cursor.peek() == b'"':
        internal_at = cursor.date_time()
        cursor.space()
    if match := _CATENATE.match(cursor.data, cursor.at):
        cursor.at = match.end()
        return AppendHead(mailbox, flags, internal_at, replaces=replaces, joined=True)
    match = _UTF8.match(cursor.data, cursor.at)
    if match is not None:
        cursor.at = match.end()
    binary = match is not None or cursor.accept(b"~")
    return AppendHead(mailbox, flags, internal_at, binary, match is not None, replaces)
