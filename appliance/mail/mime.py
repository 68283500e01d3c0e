"""The MIME tree of a message: which octets are which part (RFC 2045, RFC 2046, RFC 6532 section 3.7).

One pass from the outside to the inside, without recursion. No message is refused here: what is broken is shown as
text, what passes a limit is shown as one leaf, and the octets of every part are exact in both cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import copy
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from appliance.mail.headers import Field, scan_fields, text_of, unfold
from appliance.mail.octets import count_lines, find, occurrences
from appliance.mail.parameters import Parameters, content_disposition, content_type, parameter

MAX_DEPTH = 100  # levels of multipart and message/rfc822 below the message itself
MAX_PARTS = 10_000  # parts of one message, inner messages included
MAX_PART_HEADER = 1 << 20  # octets of a part's header that are looked at
MAX_BOUNDARY = 2048  # octets; RFC 2046 allows 70
MAX_DELIMITERS = 100_000  # lines of one message that begin like a delimiter
# Every level looks at its own octets once more, so deep nesting costs depth times size. This bounds the product:
# enough for any depth of a small message and for MIN_PASSES levels of the largest.
MAX_WORK = 64 << 20
MIN_PASSES = 16

ENVELOPE_FIELDS = frozenset(
    (b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to", b"message-id")
)
_DEFAULT_PARAMETERS: Parameters = (("charset", "us-ascii"),)
_DELIMITER_END = re.compile(rb"(?>(--)?)[ \t]*+(?:\r\n|\Z)")
_MESSAGE_TYPES = frozenset(("rfc822", "global"))
_OPAQUE = frozenset(("base64", "x-uuencode"))  # no offset can point into a message that is encoded like this
_CACHED_OCTETS = 256  # a part's header up to this length is kept: each mail program writes the same ones all the time


class Part(msgspec.Struct, array_like=True, omit_defaults=True):
    """One node of the tree. Offsets count octets of the message's text; the message itself starts at 0.

    `header_start` to `body_start` is the part's own header with its empty line, `body_start` to `end` its body. For
    the message as a whole both starts are 0: its header is not in the text. `lines` is counted for text and
    messages only. `parts` are a multipart's parts; `message` is the inner message of message/rfc822, a node whose
    header and body are those of that message, and whose `envelope_fields` are the lines ENVELOPE is made of.
    """

    type: str
    subtype: str
    params: Parameters
    header_start: int
    body_start: int
    end: int
    lines: int = 0
    encoding: str = "7bit"
    id: str | None = None
    description: str | None = None
    disposition: tuple[str, Parameters] | None = None
    parts: tuple[Part, ...] = ()
    message: Part | None = None
    md5: str | None = None
    language: tuple[str, ...] = ()
    location: str | None = None
    envelope_fields: bytes = b""

    @property
    def size(self) -> int:
        """Octets of the body as it stands, transfer encoding included."""
        return self.end - self.body_start

    def param(self, name: str) -> str | None:
        """The decoded text of a Content-Type parameter, or None."""
        return parameter(self.params, name)

    def find(self, path: Sequence[int]) -> Part | None:
        """The part with these IMAP part numbers (RFC 3501 section 6.4.5), counted from this message; () is itself."""
        part: Part | None = self
        container: Part | None = self
        for number in path:
            if container is None:
                return None
            if container.parts:
                part = container.parts[number - 1] if 1 <= number <= len(container.parts) else None
            else:
                part = container if number == 1 else None
            if part is None:
                return None
            # A single part that is its message's whole body has no numbers below it, unless it is a message itself.
            container = part.message or (part if part is not container and part.parts else None)
        return part

    def walk(self) -> Iterator[Part]:
        """The part itself and all below it, inner messages included, in the order in which they stand."""
        pending = [self]
        while pending:
            part = pending.pop()
            yield part
            if part.message is not None:
                pending.append(part.message)
            pending.extend(reversed(part.parts))


class Span(NamedTuple):
    """The octets of a section: all or the header of the message, or `start` to `end` of its text."""

    origin: Literal["message", "header", "text"]
    start: int = 0
    end: int = 0


def locate(root: Part, path: Sequence[int], what: str = "") -> Span | None:
    """Where a section of RFC 3501 section 6.4.5 stands, or None if there is no such part.

    `what` is empty, HEADER, TEXT or MIME. HEADER and TEXT with part numbers exist for inner messages only.
    """
    if not path:
        if what == "TEXT":
            return Span("text", 0, root.end)
        return Span("message") if not what else Span("header")
    part = root.find(path)
    if part is not None and what in ("HEADER", "TEXT"):
        part = part.message
    if part is None:
        return None
    if what in ("", "TEXT"):
        return Span("text", part.body_start, part.end)
    return Span("header") if part is root else Span("text", part.header_start, part.body_start)


def scan(fields: Sequence[Field], text: bytes | memoryview) -> Part:
    """Find the MIME tree of a message from its header fields and its text."""
    root = _described(fields, 0, 0, len(text), digest=False)
    if root.type == "text":
        root.lines = count_lines(text, 0, len(text))
    elif root.type in ("multipart", "message"):
        _Scanner(text).open_all(root)
    return root


class _Scanner:
    """What is left of the limits while one message is scanned."""

    __slots__ = ("_delimiters", "_parts", "_text", "_work")

    def __init__(self, text: bytes | memoryview) -> None:
        self._text = text
        self._parts = MAX_PARTS - 1
        self._delimiters = MAX_DELIMITERS
        self._work = max(MAX_WORK, MIN_PASSES * len(text))

    def open_all(self, root: Part) -> None:
        pending = [(root, 0)]
        while pending:
            part, depth = pending.pop()
            if part.type == "text":
                part.lines = self._count_lines(part)
            elif part.type == "multipart" or (part.type == "message" and part.subtype in _MESSAGE_TYPES):
                inner = self._open(part, depth)
                pending.extend((child, depth + 1) for child in reversed(inner))

    def _open(self, part: Part, depth: int) -> Sequence[Part]:
        self._work -= part.size
        if depth >= MAX_DEPTH or self._parts <= 0 or self._work < 0:
            _close(part)
            return ()
        if part.type == "message":
            return self._open_message(part)
        part.parts = self._split(part)
        if not part.parts:  # RFC 2045 section 5.2: what cannot be read by its type is read as text
            part.type, part.subtype, part.params = "text", "plain", _DEFAULT_PARAMETERS
            part.lines = self._count_lines(part)
        return part.parts

    def _open_message(self, part: Part) -> Sequence[Part]:
        if part.encoding in _OPAQUE:
            _close(part)
            return ()
        part.lines = self._count_lines(part)
        part.message = self._part(part.body_start, part.end, digest=False, envelope=True)
        return (part.message,)

    def _split(self, part: Part) -> tuple[Part, ...]:
        boundary = (part.param("boundary") or "").rstrip().encode()
        if not 0 < len(boundary) <= MAX_BOUNDARY:
            return ()
        digest = part.subtype == "digest"
        parts: list[Part] = []
        start = -1
        for line_start, line_end, closing in self._delimiter_lines(boundary, part.body_start, part.end):
            if start >= 0:
                if self._parts <= 1 and not closing:
                    break  # the last part that the limit allows takes all the rest
                parts.append(self._part(start, max(start, line_start), digest=digest))
            start = -1 if closing else line_end
            if closing:
                break
        if start >= 0 and self._parts > 0:
            parts.append(self._part(start, part.end, digest=digest))
        return tuple(parts)

    def _delimiter_lines(self, boundary: bytes, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Yield start (of the line end before it), end, and whether it closes, of each delimiter line."""
        text, dashes = self._text, b"--" + boundary
        if text[start : start + len(dashes)] == dashes and (match := self._line_rest(start + len(dashes), end)):
            yield start, match.end(), match[1] is not None
        for at in occurrences(text, b"\r\n" + dashes, start, end, mark=2):
            self._delimiters -= 1
            if self._delimiters < 0:
                return
            if match := self._line_rest(at + 2 + len(dashes), end):
                yield at, match.end(), match[1] is not None

    def _line_rest(self, start: int, end: int) -> re.Match[bytes] | None:
        return _DELIMITER_END.match(self._text, start, end)

    def _part(self, start: int, end: int, *, digest: bool, envelope: bool = False) -> Part:
        self._parts -= 1
        text = self._text
        if text[start : min(start + 2, end)] == b"\r\n":
            return _described((), start, start + 2, end, digest=digest)
        empty_line = find(text, b"\r\n\r\n", start, end)
        body_start = empty_line + 4 if empty_line >= 0 else end
        header = bytes(text[start : min(body_start, start + MAX_PART_HEADER)])
        if len(header) <= _CACHED_OCTETS and not envelope:
            part = copy(_described_once(header, digest))
            part.header_start, part.body_start, part.end = start, body_start, end
            return part
        fields = scan_fields(header)
        part = _described(fields, start, body_start, end, digest=digest)
        if envelope:
            shown = (header[field.start : field.end] for field in fields if field.name in ENVELOPE_FIELDS)
            part.envelope_fields = b"".join(shown)
        return part

    def _count_lines(self, part: Part) -> int:
        self._work -= part.size
        return count_lines(self._text, part.body_start, part.end)


def _close(part: Part) -> None:
    part.type, part.subtype = "application", "octet-stream"


def _described(fields: Sequence[Field], start: int, body_start: int, end: int, *, digest: bool) -> Part:
    """Make a part from its header. Of a field given twice the first one counts."""
    content: dict[bytes, bytes] = {}
    for field in fields:
        if field.name.startswith(b"content-"):
            content.setdefault(field.name, field.value)
    value = content.get(b"content-type")
    kind = content_type(value) if value is not None else None
    if kind is None:
        kind = ("message", "rfc822", ()) if digest and value is None else ("text", "plain", _DEFAULT_PARAMETERS)
    part = Part(*kind, start, body_start, end)
    if len(content) > (value is not None):
        _describe_further(part, content)
    return part


@lru_cache(maxsize=256)
def _described_once(header: bytes, digest: bool) -> Part:
    """A part with this header, to be copied: it has no place yet."""
    return _described(scan_fields(header), 0, 0, 0, digest=digest)


def _describe_further(part: Part, content: dict[bytes, bytes]) -> None:
    encoding = content.get(b"content-transfer-encoding")
    if encoding:
        part.encoding = _first_word(encoding) or "7bit"
    part.id = _text(content.get(b"content-id"))
    part.description = _text(content.get(b"content-description"))
    part.md5 = _text(content.get(b"content-md5"))
    part.location = _text(content.get(b"content-location"))
    if value := content.get(b"content-disposition"):
        part.disposition = content_disposition(value)
    if value := content.get(b"content-language"):
        words = (word.strip() for word in text_of(unfold(value)).split(","))
        part.language = tuple(word for word in words if word)


def _first_word(value: bytes) -> str:
    if value.isalnum():
        return value.decode().lower()
    word = content_disposition(value)
    return word[0] if word else ""


def _text(value: bytes | None) -> str | None:
    return None if value is None else text_of(unfold(value))
