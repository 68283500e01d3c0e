"""BODY[…] in all its forms: which octets of a message an item means (RFC 3501 section 6.4.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from appliance.mail.headers import select_fields
from appliance.mail.message import Message, Part
from appliance.mail.mime import locate
from plugins.imap4.protocol_fetch import FetchItem, Section

if TYPE_CHECKING:
    from appliance.store.stored import StoredMessage

_NIL = b" NIL"


class Stretch:
    """Octets of a text that is still in the store."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, part: slice) -> Stretch:
        start, stop, _ = part.indices(len(self))
        return Stretch(self.start + start, self.start + max(start, stop))


Piece = bytes | memoryview | Stretch
Octets = list[Piece]  # pieces that follow one another


def header_section(item: FetchItem, header: bytes) -> bytes:
    """The octets of an item that needs the message's header only."""
    assert item.section is not None
    header = _fields(item.section, header)
    if item.partial is not None:
        first, count = item.partial
        return header[first : first + count]
    return header


def section_pieces(item: FetchItem, message: Message | StoredMessage) -> Iterator[Piece]:
    """An item with its label as it goes over the wire: ` NIL` where the message has no such part.

    Text of a stored message is named, not read, except for header fields of a part.
    """
    section = item.section
    assert section is not None
    yield item.label
    octets = _section(section, message)
    if octets is None:
        yield _NIL
        return
    if item.partial is not None:
        octets = cut(octets, *item.partial)
    yield b" {%d}\r\n" % sum(map(len, octets))
    yield from octets


def cut(octets: Octets, first: int, count: int) -> Octets:
    """`count` octets from the octet `first` on, or fewer where they end."""
    found: Octets = []
    for piece in octets:
        if count and first < len(piece):
            part = (memoryview(piece) if isinstance(piece, bytes) else piece)[first : first + count]
            found.append(part)
            count -= len(part)
        first = max(0, first - len(piece))
    return found


def reach(items: Sequence[FetchItem], structure: Part) -> int:
    """How many octets of the text have to be there for these items."""
    return max((_reach(item, structure) for item in items if item.section is not None), default=0)


def _reach(item: FetchItem, structure: Part) -> int:
    section = item.section
    assert section is not None
    if section.path:
        span = locate(structure, section.path, _piece(section))
        return 0 if span is None else span.end
    if section.text not in {"", "TEXT"}:
        return 0
    return structure.end if item.partial is None else min(structure.end, sum(item.partial))


def _piece(section: Section) -> str:
    return "HEADER" if section.fields else section.text


def _section(section: Section, message: Message | StoredMessage) -> Octets | None:
    if not section.path:
        if section.text == "":
            return [message.header, _text(message)]
        if section.text == "TEXT":
            return [_text(message)]
        return [_fields(section, message.header)]
    span = locate(message.structure, section.path, _piece(section))
    if span is None:
        return None
    if not section.fields:
        return [_text(message)[span.start : span.end]]
    if isinstance(message, Message):
        return [_fields(section, bytes(message.text[span.start : span.end]))]
    return [_fields(section, message.octets(span.start, span.end))]


def _text(message: Message | StoredMessage) -> memoryview | Stretch:
    return memoryview(message.text) if isinstance(message, Message) else Stretch(0, message.text_size)


def _fields(section: Section, header: bytes) -> bytes:
    """All of a header, or the fields that the section names, with an empty line behind."""
    if not section.fields:
        return header
    if section.text == "HEADER.FIELDS" and header.endswith(b"\r\n"):
        found = b"".join(_pattern(section.fields).findall(b"\n" + header))
        return found[1:] + b"\n\r\n" if found else b"\r\n"
    return select_fields(header, section.fields, keep=section.text == "HEADER.FIELDS")


@lru_cache(maxsize=64)
def _pattern(fields: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Fields with the line end before them. Letters as classes keep the search for that line end fast."""
    names = b"|".join(b"".join(map(_either_case, name.decode("ascii"))) for name in fields)
    return re.compile(rb"\n(?:%b)[ \t]*+:.*+(?>(?:\n[ \t].*+)*)" % names)


def _either_case(character: str) -> bytes:
    if character.isalpha():
        return f"[{character.upper()}{character}]".encode()
    return re.escape(character.encode())
