"""Header fields as they stand in a message: scanning, unfolding, comments (RFC 5322 sections 2.2 and 3.2).

Everything here works on octets and in linear time: repeated groups in regular expressions are possessive, and
nesting is counted, never followed by recursion.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

MAX_FIELDS = 10_000  # fields of one header that are looked at; the rest stays in the message, unseen
MAX_COMMENT_DEPTH = 100  # comments in comments; what follows a deeper one is dropped

# A name with its colon, or nothing for a line that is no field; then the line and its folded continuation lines.
_FIELD = re.compile(rb"(?>(?:([!-9;-~]++)[ \t]*+:)?)(.*+(?>(?:\n[ \t].*+)*))\n?")
_COMMENT_TOKEN = re.compile(rb'[^()"\\]++|"(?>(?:[^"\\]++|\\.)*)"?+|\\.|.', re.DOTALL)
_IN_COMMENT = re.compile(rb"[^()\\]++|\\.|.", re.DOTALL)


class Field(NamedTuple):
    """One header field: `name` in lower case, `value` still folded, without white space around it.

    `start` and `end` are offsets in the header block; the octets between them are the field as it was received,
    its line end included.
    """

    name: bytes
    value: bytes
    start: int
    end: int


_made = tuple.__new__  # what `Field(…)` comes to, at a third of its price: there are a dozen in every message


def scan_fields(header: bytes) -> tuple[Field, ...]:
    """List the fields of a header block in their order, up to its empty line. Lines that are no field are left out."""
    fields: list[Field] = []
    for match in _FIELD.finditer(header):
        name, value = match.groups()
        if name is not None:
            start, end = match.span()
            fields.append(_made(Field, (name.lower(), value.strip(b" \t\r\n"), start, end)))
            if len(fields) >= MAX_FIELDS:
                break
        elif value == b"\r" or not value:
            break  # the empty line, or the end of the block
    return tuple(fields)


def unfold(value: bytes) -> bytes:
    """Take the line ends out of a folded value; the white space after them stays (RFC 5322 section 2.2.3)."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value


def select_fields(header: bytes, names: Collection[bytes], *, keep: bool = True) -> bytes:
    """Return the fields named, or with `keep` false all others, as received and in their order, and an empty line.

    `names` are lower case. This is HEADER.FIELDS and HEADER.FIELDS.NOT of RFC 3501 section 6.4.5.
    """
    chosen = (header[field.start : field.end] for field in scan_fields(header) if (field.name in names) is keep)
    return join_fields(chosen)


def join_fields(lines: Iterable[bytes]) -> bytes:
    """Make a header block of whole fields: each ends in CRLF, and an empty line follows the last."""
    return b"".join(line if line.endswith(b"\n") else line + b"\r\n" for line in lines) + b"\r\n"


def read_comment(value: bytes, start: int) -> tuple[bytes, int]:
    """Read the comment whose `(` stands at `start`. Return its text without the outer parentheses, and its end.

    A comment that never ends reaches to the end of the value; so does one nested deeper than MAX_COMMENT_DEPTH.
    """
    depth = 0
    for match in _IN_COMMENT.finditer(value, start):
        token = match[0]
        if token == b"(":
            depth += 1
            if depth > MAX_COMMENT_DEPTH:
                break
        elif token == b")":
            depth -= 1
            if not depth:
                return value[start + 1 : match.start()], match.end()
    return value[start + 1 :], len(value)


def strip_comments(value: bytes) -> bytes:
    """Replace each comment outside of quoted strings by a space (RFC 5322 section 3.2.2)."""
    if b"(" not in value:
        return value
    out: list[bytes] = []
    position = 0
    while position < len(value):
        match = _COMMENT_TOKEN.match(value, position)
        if match is None:
            break
        if match[0] == b"(":
            position = read_comment(value, position)[1]
            out.append(b" ")
        else:
            out.append(match[0])
            position = match.end()
    return b"".join(out)


def unescape(text: bytes) -> bytes:
    """Resolve the quoted pairs of a quoted string's inside (RFC 5322 section 3.2.1). NUL is left out."""
    if b"\\" not in text:
        return text
    # A run of backslashes pairs off from its start, so the pairs can be put aside before single ones are dropped.
    return text.replace(b"\0", b"").replace(b"\\\\", b"\0").replace(b"\\", b"").replace(b"\0", b"\\")


def text_of(value: bytes) -> str:
    """Turn raw octets of a header into text: UTF-8 if they are that (RFC 6532), otherwise each octet by itself."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
