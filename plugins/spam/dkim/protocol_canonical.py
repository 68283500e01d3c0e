"""Canonicalization of header fields and texts (RFC 6376 section 3.4). Lines end in CRLF already: SMTP saw to that."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from appliance.mail.headers import Field

_SPACES = re.compile(rb"[ \t\r\n]+")
_BLANKS = re.compile(rb"[ \t]+")


def simple_field(raw: bytes) -> bytes:
    """A field as it is, its line end included."""
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def relaxed_field(raw: bytes) -> bytes:
    """Name in lower case, folded white space as one space, none at the ends."""
    name, _, value = raw.partition(b":")
    return name.strip(b" \t").lower() + b":" + _SPACES.sub(b" ", value).strip(b" ") + b"\r\n"


def simple_body(body: bytes) -> bytes:
    """Without empty lines at the end; an empty text is one line end."""
    return _without_empty_lines(body) + b"\r\n"


def relaxed_body(body: bytes) -> bytes:
    """Blanks within lines as one space, none at their ends, no empty lines at the end; an empty text stays empty."""
    if b"\t" in body or b"  " in body:
        body = _BLANKS.sub(b" ", body)
    if b" \r\n" in body or body.endswith(b" "):
        body = body.replace(b" \r\n", b"\r\n").removesuffix(b" ")
    kept = _without_empty_lines(body)
    return kept + b"\r\n" if kept else b""


def _without_empty_lines(body: bytes) -> bytes:
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[:end]


FIELDS: dict[str, Callable[[bytes], bytes]] = {"simple": simple_field, "relaxed": relaxed_field}
BODIES: dict[str, Callable[[bytes], bytes]] = {"simple": simple_body, "relaxed": relaxed_body}


def select(header: bytes, fields: Sequence[Field], names: Sequence[str]) -> list[bytes]:
    """The fields that `names` sign, raw: of those with one name the lowest first, each once (section 5.4.2).

    A name for which no field is left signs that there is none.
    """
    left: dict[bytes, list[Field]] = {}
    for field in fields:
        left.setdefault(field.name, []).append(field)
    chosen = []
    for name in names:
        if same := left.get(name.encode()):
            field = same.pop()
            chosen.append(header[field.start : field.end])
    return chosen


_SIGNATURE_VALUE = re.compile(rb"(?:(?<=;)|\A)([ \t\r\n]*b[ \t\r\n]*=)[^;]*")


def without_signature(raw: bytes) -> bytes:
    """A signature's own field with its `b=` emptied, without its line end (section 3.7)."""
    name, colon, value = raw.partition(b":")
    emptied = _SIGNATURE_VALUE.sub(rb"\1", value.removesuffix(b"\r\n"), count=1)
    return name + colon + emptied
