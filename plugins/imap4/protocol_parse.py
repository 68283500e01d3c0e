"""The grammar's small pieces: a cursor over the bytes of one command (RFC 3501 section 9). Pure.

The command is complete when the cursor sees it: literals stand in it as they came, `{5}` CRLF and five octets. Every
method takes one construct or raises GrammarError, whose text may be shown to the client. The regular expressions have
no ambiguous repetition, so none of them backtracks.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone

from appliance.errors import ApplianceError
from appliance.wire.imap import decode_mailbox

MAX_TAG = 128  # octets
MAX_DEPTH = 100  # nested parentheses, NOTs and ORs (CVE-2026-27857)
MAX_LIST = 2_000  # members of one parenthesised list
MAX_RANGES = 20_000  # members of one sequence set
MAX_NUMBER = 0xFFFF_FFFF  # RFC 3501 section 9, `number`
MAX_NUMBER64 = 0x7FFF_FFFF_FFFF_FFFF  # RFC 9051 section 9, `number64`
MAX_MAILBOX = 1_000  # octets of a mailbox name on the wire

Range = tuple[int, int]  # first and last, both included; 0 stands for `*`
SequenceSet = tuple[Range, ...]
RESULT: SequenceSet = ((-1, -1),)  # `$`: what the last search with SAVE has found

_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+")  # 1*<ASTRING-CHAR except "+">
_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_ASTRING = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
_LIST_MAILBOX = re.compile(rb"[^\x00-\x20\x7f-\xff(){\"\\]+")
_QUOTED = re.compile(rb'"([^"\\\r\n\x00]*+(?>(?:\\["\\][^"\\\r\n\x00]*+)*))"')
_ESCAPE = re.compile(rb'\\(["\\])')
_LITERAL = re.compile(rb"\{(\d{1,10})\+?\}\r\n")
_NUMBER64 = re.compile(rb"\d{1,19}")
_NUMBER = re.compile(rb"\d{1,10}")
_SET = re.compile(rb"[\d*:,]+")
_RANGE = re.compile(rb"(\*|\d{1,10})(?::(\*|\d{1,10}))?")
_FLAG = re.compile(rb"\\?[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_DATE = re.compile(rb'("?)(\d{1,2})-([A-Za-z]{3})-(\d{4})\1')
_DATE_TIME = re.compile(rb'"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"')

MONTHS = (b"JAN", b"FEB", b"MAR", b"APR", b"MAY", b"JUN", b"JUL", b"AUG", b"SEP", b"OCT", b"NOV", b"DEC")


class GrammarError(ApplianceError):
    """The command does not follow the grammar. The text goes into the tagged BAD."""


class Cursor:
    """Reads one command from left to right. `utf8`: mailbox names come as UTF-8, as RFC 6855 and RFC 9051 have it."""

    __slots__ = ("at", "data", "depth", "utf8")

    def __init__(self, data: bytes, at: int = 0, *, utf8: bool = False) -> None:
        self.data = data
        self.at = at
        self.depth = 0
        self.utf8 = utf8

    # ── single octets ─────────────────────────────────────────────────────────────────────────────────────────────

    def peek(self) -> bytes:
        """The next octet, or b"" at the end."""
        return self.data[self.at : self.at + 1]

    def accept(self, token: bytes) -> bool:
        """Take `token` if it comes next, in this case and in this case only."""
        if self.data.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def expect(self, token: bytes) -> None:
        """Take `token` or refuse."""
        if not self.accept(token):
            raise GrammarError(f"expected {token.decode()!r}")

    def space(self) -> None:
        """Take exactly one space, as the grammar has it between all arguments."""
        if self.data[self.at : self.at + 1] != b" ":
            raise GrammarError("missing argument" if self.at >= len(self.data) else "expected a space")
        self.at += 1

    def at_end(self) -> bool:
        """Whether the whole command was read."""
        return self.at >= len(self.data)

    def end(self) -> None:
        """Refuse anything that is left."""
        if self.at < len(self.data):
            raise GrammarError("unexpected argument")

    def _take(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        match = pattern.match(self.data, self.at)
        if match is None:
            raise GrammarError(f"expected {what}")
        self.at = match.end()
        return match

    # ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def tag(self) -> bytes:
        """The command's tag, at most MAX_TAG octets."""
        tag = self._take(_TAG, "a tag")[0]
        if len(tag) > MAX_TAG:
            raise GrammarError("tag too long")
        return tag

    def atom(self) -> bytes:
        """An atom as it was written."""
        return self._take(_ATOM, "an atom")[0]

    def word(self) -> str:
        """An atom that is a keyword of the protocol: upper case."""
        return self._take(_ATOM, "a word")[0].decode("ascii").upper()

    def string(self) -> bytes:
        """A quoted string or literal. Octets above 127 are let through: the caller knows the charset."""
        first = self.data[self.at : self.at + 1]
        if first == b'"':
            text = self._take(_QUOTED, "a quoted string")[1]
            return _ESCAPE.sub(rb"\1", text) if b"\\" in text else text
        if first == b"{":
            return self.literal()
        raise GrammarError("expected a string")

    def literal(self) -> bytes:
        """A literal, already complete. NUL is refused (RFC 3501 section 4.3, CHAR8)."""
        text = self._octets()
        if b"\0" in text:
            raise GrammarError("NUL in a literal")
        return text

    def literal8(self) -> bytes:
        """A literal that may hold any octets: `~{3}…` (RFC 3516 section 4.4)."""
        self.expect(b"~")
        return self._octets()

    def _octets(self) -> bytes:
        size = int(self._take(_LITERAL, "a literal")[1])
        text = self.data[self.at : self.at + size]
        if len(text) != size:
            raise GrammarError("literal is cut off")
        self.at += size
        return text

    def astring(self) -> bytes:
        """An atom (with `]` allowed), quoted string or literal."""
        match = _ASTRING.match(self.data, self.at)
        if match is None:
            return self.string()
        self.at = match.end()
        return match[0]

    def nstring(self) -> bytes | None:
        """A string, or None for NIL."""
        if self.data[self.at : self.at + 3].upper() == b"NIL":
            self.at += 3
            return None
        return self.string()

    def mailbox(self) -> str:
        """A mailbox name as Unicode; INBOX in any case is "INBOX" (RFC 3501 section 5.1)."""
        return mailbox_name(self.astring(), utf8=self.utf8)

    def list_mailbox(self) -> bytes:
        """The pattern of LIST: an astring that may hold `%` and `*` unquoted."""
        match = _LIST_MAILBOX.match(self.data, self.at)
        if match is None:
            return self.string()
        self.at = match.end()
        return match[0]

    # ── numbers, sets, flags ──────────────────────────────────────────────────────────────────────────────────────

    def number(self) -> int:
        """0 to 2^32 - 1."""
        number = int(self._take(_NUMBER, "a number")[0])
        if number > MAX_NUMBER:
            raise GrammarError("number too large")
        return number

    def number64(self) -> int:
        """0 to 2^63 - 1."""
        number = int(self._take(_NUMBER64, "a number")[0])
        if number > MAX_NUMBER64:
            raise GrammarError("number too large")
        return number

    def sequence_set(self, *, result: bool = True) -> SequenceSet:
        """A set of message numbers or UIDs, members in the order given; `*` is 0.

        RESULT for `$`, the saved result of a search, where that is permitted (RFC 5182 section 3).
        """
        if result and self.accept(b"$"):
            return RESULT
        text = self._take(_SET, "a sequence set")[0]
        members = text.split(b",", MAX_RANGES)
        if len(members) > MAX_RANGES:
            raise GrammarError("sequence set too long")
        return tuple(_range(member) for member in members)

    def flag(self) -> bytes:
        r"""One flag or keyword as written: `\Seen`, `$Junk`."""
        return self._take(_FLAG, "a flag")[0]

    def flags(self) -> tuple[bytes, ...]:
        """A parenthesised list of flags, which may be empty."""
        self.expect(b"(")
        found: list[bytes] = []
        if not self.accept(b")"):
            found.append(self.flag())
            while not self.accept(b")"):
                self.space()
                found.append(self.flag())
                self.check_length(len(found))
        return tuple(found)

    # ── lists and depth ───────────────────────────────────────────────────────────────────────────────────────────

    def descend(self) -> None:
        """Count one level of nesting; pair it with `ascend`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise GrammarError("nested too deeply")

    def ascend(self) -> None:
        """Leave a level."""
        self.depth -= 1

    def check_length(self, count: int) -> None:
        """Refuse a list of more than MAX_LIST members."""
        if count > MAX_LIST:
            raise GrammarError("list too long")

    # ── dates ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def date(self) -> int:
        """A date such as `1-Feb-1994`, quoted or not, as its proleptic ordinal (`date.toordinal`)."""
        match = self._take(_DATE, "a date")
        try:
            return date(int(match[4]), _month(match[3]), int(match[2])).toordinal()
        except ValueError:
            raise GrammarError("no such date") from None

    def date_time(self) -> int:
        """A quoted date with time and zone, as epoch seconds."""
        match = self._take(_DATE_TIME, "a date and time")
        zone = timedelta(hours=int(match[8]), minutes=int(match[9]))
        try:
            when = datetime(
                int(match[3]), _month(match[2]), int(match[1]), int(match[4]), int(match[5]), min(int(match[6]), 59),
                tzinfo=timezone(zone if match[7] == b"+" else -zone),
            )  # fmt: skip
            return int(when.timestamp())
        except (ValueError, OverflowError):
            raise GrammarError("no such date") from None


def parse_verb(cursor: Cursor) -> str:
    """Read the command's name; `UID` and the word after it make one."""
    verb = cursor.word()
    if verb == "UID":
        cursor.space()
        verb = f"UID {cursor.word()}"
    return verb


def _range(text: bytes) -> Range:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise GrammarError("bad sequence set")
    first = _set_number(match[1])
    last = first if match[2] is None else _set_number(match[2])
    return first, last


def _set_number(text: bytes) -> int:
    if text == b"*":
        return 0
    number = int(text)
    if not 0 < number <= MAX_NUMBER:
        raise GrammarError("bad number in a sequence set")
    return number


def _month(name: bytes) -> int:
    try:
        return MONTHS.index(name.upper()) + 1
    except ValueError:
        raise GrammarError("no such month") from None


def mailbox_name(wire: bytes, *, utf8: bool = False) -> str:
    """Decode a mailbox name from modified UTF-7, or from UTF-8. Raises GrammarError."""
    if len(wire) > MAX_MAILBOX:
        raise GrammarError("mailbox name too long")
    if wire.upper() == b"INBOX":
        return "INBOX"
    try:
        name = wire.decode() if utf8 else decode_mailbox(wire)
    except ValueError:
        raise GrammarError(f"mailbox name is not {'UTF-8' if utf8 else 'modified UTF-7'}") from None
    # RFC 3501 section 5.1 leaves the case of children of INBOX to us: they follow their parent.
    return "INBOX" + name[5:] if name[:6].upper() == "INBOX/" else name
