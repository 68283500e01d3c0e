"""Whether one message matches a search key: keys compiled into functions of what is known about the message.

Texts compare as `appliance.mail.text.search_form` says. Decoding and folding every text would take most of the time,
so each test first looks for reasons why there can be no match, and only then does what the rule says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

from appliance.mail.charsets import decode
from appliance.mail.dates import parse_date
from appliance.mail.headers import scan_fields
from appliance.mail.message import Message
from appliance.mail.search_text import TextPart, encoded, searched_parts
from appliance.mail.text import decode_words, html_to_text, part_charset, part_octets, search_form
from plugins.imap4.protocol_search import And, Arrived, Date, Header, Key, Not, Or, Size, Text
from plugins.imap4.search_filter import longest_word
from plugins.imap4.search_view import by_view

if TYPE_CHECKING:
    from plugins.imap4.view import View

_SECONDS_A_DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_ASCII = bytes(range(128))
_FOLDS = (b" ", b"\t")
_MARKUP = re.compile(rb"<[/!?a-z][^>]*+>?+")  # at least what html_to_text leaves out as tags
_HARMLESS = re.compile(
    rb"&(?:amp|lt|gt|quot|apos|nbsp|(?:[aeiou](?:uml|acute|grave|circ)|ccedil|ntilde|[lr][sd]quo|[mn]dash|euro|bull|copy);)"
)  # entities that are no ASCII letters and do not fold into any
_ALNUM = re.compile(r"[a-z0-9]++")


class Subject:
    """One message that is searched. What no key looks at is left empty; `message` is there if a key needs its text.

    `extracted` is what else is known of its text, in its search form.
    """

    __slots__ = ("extracted", "header", "index", "internal_at", "lower", "message", "size")

    def __init__(
        self,
        index: int,
        size: int,
        internal_at: int,
        header: bytes = b"",
        message: Message | None = None,
        extracted: bytes = b"",
    ) -> None:
        self.index = index
        self.size = size
        self.internal_at = internal_at
        self.header = header
        self.message = message
        self.extracted = extracted
        self.lower = header.lower()


Test = Callable[[Subject], bool]


def compile_key(key: Key, view: View) -> Test:
    """Make the test for a key. Keys that the view answers are answered for all its messages at once."""
    match key:
        case And():
            tests = [compile_key(one, view) for one in key.keys]
            return lambda subject: all(test(subject) for test in tests)
        case Or():
            first, second = compile_key(key.first, view), compile_key(key.second, view)
            return lambda subject: first(subject) or second(subject)
        case Not():
            test = compile_key(key.key, view)
            return lambda subject: not test(subject)
        case Size():
            larger, octets = key.larger, key.octets
            return lambda subject: subject.size > octets if larger else subject.size < octets
        case Arrived():
            before, at = key.before, key.at
            return lambda subject: subject.internal_at <= at if before else subject.internal_at >= at
        case Date():
            return _sent(key) if key.sent else _received(key)
        case Header():
            return _header(key.field, key.needle)
        case Text():
            return _text(key.needle, with_header=key.header)
    indexes = by_view(view, key, range(len(view)))
    found = indexes if isinstance(indexes, range) else frozenset(indexes)
    return lambda subject: subject.index in found


# ── dates ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _compare(key: Date) -> Callable[[int], bool]:
    day = key.day
    if key.relation == "BEFORE":
        return lambda other: other < day
    if key.relation == "SINCE":
        return lambda other: other >= day
    return lambda other: other == day


def _received(key: Date) -> Test:
    fits = _compare(key)
    return lambda subject: fits(_EPOCH + subject.internal_at // _SECONDS_A_DAY)


def _sent(key: Date) -> Test:
    """By the day that stands in the Date field, whatever its zone (RFC 3501 section 6.4.4)."""
    fits = _compare(key)
    pattern = field_pattern(b"date")

    def test(subject: Subject) -> bool:
        match = pattern.search(subject.header)
        sent = parse_date(match[1]) if match else None
        return sent is not None and fits(sent.toordinal())

    return test


# ── header fields ─────────────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=64)
def field_pattern(name: bytes) -> re.Pattern[bytes]:
    """A field with its folded lines; the group is its value."""
    return re.compile(rb"(?im)^%b[ \t]*+:(.*+(?>(?:\n[ \t].*+)*))" % re.escape(name))


def _header(field: bytes, needle: str) -> Test:
    form = search_form(needle)
    pattern = field_pattern(field)
    if not form:
        return lambda subject: pattern.search(subject.header) is not None
    may_hold = _header_filter(form)

    def holds(header: bytes, start: int) -> bool:
        match = pattern.match(header, start)
        return match is not None and form in search_form(decode_words(match[1].strip()))

    def test(subject: Subject) -> bool:
        lower = subject.lower
        return any(
            may_hold(lower[start:end]) and holds(subject.header, start) for start, end in occurrences(lower, field)
        )

    return test


def occurrences(lower: bytes, field: bytes) -> Iterator[tuple[int, int]]:
    """Where a field may stand in a lower-case header, with its folded lines; the name may go on there."""
    mark = b"\n" + field
    start = 0 if lower.startswith(field) else lower.find(mark) + 1 or len(lower)
    while start < len(lower):
        end = lower.find(b"\n", start)
        if end < 0:
            end = len(lower)
        elif lower[end + 1 : end + 2] in _FOLDS:
            end = _end_of_field(lower, end + 1)
        yield start, end
        start = lower.find(mark, end) + 1 or len(lower)


def _end_of_field(header: bytes, start: int) -> int:
    """Where the line end of a field is, past its folded lines."""
    end = header.find(b"\n", start)
    while header[end + 1 : end + 2] in _FOLDS and end >= 0:
        end = header.find(b"\n", end + 1)
    return end if end >= 0 else len(header)


def _header_filter(form: str) -> Callable[[bytes], bool]:
    """Whether a lower-case header can hold a text at all. Folding may part its words, but not a word."""
    word = longest_word(form)
    if not word:
        return lambda lower: form.isascii() or b"=?" in lower or not lower.isascii()
    return lambda lower: word in lower or b"=?" in lower or not lower.isascii()


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(needle: str, *, with_header: bool) -> Test:
    form = search_form(needle)
    may_hold = _header_filter(form)
    in_part = _part_test(form)

    def in_header(header: bytes, lower: bytes) -> bool:
        if not may_hold(lower):
            return False
        return any(form in search_form(decode_words(header[field.start : field.end])) for field in scan_fields(header))

    def test(subject: Subject) -> bool:
        if not form or (with_header and in_header(subject.header, subject.lower)):
            return True
        message = subject.message
        assert message is not None, "a key of texts was tested without a text"
        for found in searched_parts(message.structure):
            if isinstance(found, TextPart):
                if in_part(found, message.text):
                    return True
            else:
                inner = bytes(message.text[found.header_start : found.body_start])
                if in_header(inner, inner.lower()):
                    return True
        return form_octets in subject.extracted

    form_octets = encoded(form)
    return test


def _part_test(form: str) -> Callable[[TextPart, bytes | memoryview], bool]:
    """The test for one text part."""
    word = longest_word(form)

    def test(found: TextPart, text: bytes | memoryview) -> bool:
        part, markup = found.part, found.html
        octets = part_octets(part, text, found.limit)
        charset = part_charset(part, octets)
        if _keeps_ascii(charset):
            lower = octets.lower()
            if markup:
                lower = _MARKUP.sub(b"", lower)
            if word and word not in lower:
                # The word is not there as it stands: only other characters that fold into it could make it up.
                entities = markup and b"&" in lower and b"&" in _HARMLESS.sub(b"", lower)
                if not entities and (lower.isascii() or not _folds_into(lower, charset, word.decode())):
                    return False
            elif word == form_octets and not markup and lower.isascii():
                return True
            elif not form.isascii() and lower.isascii() and not (markup and b"&" in lower):
                return False
        body = decode(octets, charset)
        return form in search_form(html_to_text(body) if markup else body)

    form_octets = form.encode()
    return test


_ASCII_KEEPERS = re.compile(
    r"us-ascii|ascii|utf-?8|iso-?8859-\d+|latin-?\d|windows-125\d|cp125\d|koi8-[ru]", re.IGNORECASE
)


@lru_cache(maxsize=128)
def _keeps_ascii(charset: str) -> bool:
    """Whether an octet below 128 always is its ASCII character in this charset, and nothing else."""
    return _ASCII_KEEPERS.fullmatch(charset) is not None


def _folds_into(octets: bytes, charset: str, word: str) -> bool:
    """Whether a character beyond ASCII stands there whose folded form could be a piece of the word: `ß`, `ﬁ`, `Ａ`."""
    beyond = decode(octets.translate(None, _ASCII), charset)
    return any(_may_be_part(character, word) for character in set(beyond))


@lru_cache(maxsize=4096)
def _may_be_part(character: str, word: str) -> bool:
    return any(
        piece in word or any(word.startswith(piece[cut:]) or word.endswith(piece[:cut]) for cut in range(1, len(piece)))
        for piece in _ALNUM.findall(search_form(character))
    )
