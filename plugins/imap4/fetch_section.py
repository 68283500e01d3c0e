"""BODY[…] in all its forms: which octets of a message an item means (RFC 3501 section 6.4.5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol, TypeVar

from appliance.mail.headers import select_fields
from appliance.mail.mime import Part, locate
from plugins.imap4.protocol_fetch import FetchItem, Section


class Source(Protocol):
    """A message whose text is still in the store."""

    header: bytes

    @property
    def text_size(self) -> int:
        """Octets of the text."""

    @property
    def structure(self) -> Part:
        """The MIME tree."""


S = TypeVar("S", bound=Source)

Stretch = range
"""Octets of a text that is still in the store: from start to stop."""

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


def section_octets(
    section: Section, partial: tuple[int, int] | None, source: S, read: Callable[[S, int, int], bytes]
) -> Octets | None:
    """The octets of a section, or some of them, its text only named; None where the message has no such part.

    The header of a part is in the text: what has to be looked for in it is read by `read(source, start, end)`.
    """
    octets = _section(section, source, read)
    return octets if octets is None or partial is None else cut(octets, *partial)


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


def _section(section: Section, source: S, read: Callable[[S, int, int], bytes]) -> Octets | None:
    if not section.path:
        if section.text == "":
            return [source.header, Stretch(0, source.text_size)]
        if section.text == "TEXT":
            return [Stretch(0, source.text_size)]
        return [_fields(section, source.header)]
    if not section.text:
        part = source.structure.find(section.path)
        return None if part is None else [Stretch(part.body_start, part.end)]
    span = locate(source.structure, section.path, "HEADER" if section.fields else section.text)
    if span is None:
        return None
    if section.fields:
        return [_fields(section, read(source, span.start, span.end))]
    return [Stretch(span.start, span.end)]


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
