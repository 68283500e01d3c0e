"""Canonicalization of header fields and texts (RFC 6376 section 3.4). Lines end in CRLF already: SMTP saw to that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from appliance.mail.headers import Field

PIECE = 64 * 1024  # octets of a text that are prepared at a time: full of blanks they take forty times as much

_SPACES = re.compile(rb"[ \t\r\n]+")
_BLANKS = re.compile(rb"[ \t]+")


def simple_field(raw: bytes) -> bytes:
    """A field as it is, its line end included."""
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def relaxed_field(raw: bytes) -> bytes:
    """Name in lower case, folded white space as one space, none at the ends."""
    name, _, value = raw.partition(b":")
    return name.strip(b" \t").lower() + b":" + _SPACES.sub(b" ", value).strip(b" ") + b"\r\n"


def simple_body(body: bytes | memoryview) -> Iterator[bytes]:
    """The text in pieces, without empty lines at the end; an empty text is one line end."""
    yield from _without_empty_lines(_simple_pieces(body))
    yield b"\r\n"


def relaxed_body(body: bytes | memoryview) -> Iterator[bytes]:
    """The text in pieces: blanks within lines as one space, none at their ends, no empty lines at the end.

    An empty text stays empty.
    """
    kept = False
    for piece in _without_empty_lines(_relaxed_pieces(body)):
        kept = True
        yield piece
    if kept:
        yield b"\r\n"


def _simple_pieces(body: bytes | memoryview) -> Iterator[bytes]:
    """Pieces that end in no half of a line end."""
    rest = b""
    for start in range(0, len(body), PIECE):
        data = rest + bytes(body[start : start + PIECE])
        rest = data[len(data.removesuffix(b"\r")) :]
        yield data.removesuffix(b"\r")
    yield rest


def _relaxed_pieces(body: bytes | memoryview) -> Iterator[bytes]:
    """Pieces that end in no half of a line end and in no blanks that others may follow."""
    rest = b""
    for start in range(0, len(body), PIECE):
        data = rest + bytes(body[start : start + PIECE])
        if b"\t" in data or b"  " in data:
            data = _BLANKS.sub(b" ", data)
        if b" \r\n" in data:
            data = data.replace(b" \r\n", b"\r\n")
        rest = data[len(data.rstrip(b" \r")) :]
        yield data[: len(data) - len(rest)]
    yield rest.removesuffix(b" ")


def _without_empty_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = 0  # line ends that are the last, unless something follows
    for piece in pieces:
        end = len(piece)
        while piece.endswith(b"\r\n", 0, end):
            end -= 2
        if end:
            while held:
                count = min(held, PIECE)
                held -= count
                yield b"\r\n" * count
            yield piece[:end]
        held += (len(piece) - end) // 2


FIELDS: dict[str, Callable[[bytes], bytes]] = {"simple": simple_field, "relaxed": relaxed_field}
BODIES: dict[str, Callable[[bytes | memoryview], Iterator[bytes]]] = {"simple": simple_body, "relaxed": relaxed_body}


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
