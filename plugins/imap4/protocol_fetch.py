"""What FETCH asks for (RFC 3501 sections 6.4.5 and 9). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from plugins.imap4.protocol_parse import Cursor, GrammarError

MAX_ITEMS = 200  # data items of one FETCH
MAX_FIELDS = 200  # names in one HEADER.FIELDS
MAX_PART_DEPTH = 100  # numbers in one section path

_ATTRIBUTE = re.compile(rb"[A-Za-z0-9.]+")
_PATH = re.compile(rb"\d{1,10}(?>(?:\.\d{1,10})*)")
_SECTION_TEXT = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)
_PARTIAL = re.compile(rb"<(\d{1,10})\.(\d{1,10})>")
_FIELD_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+")
_PLAIN_NAME = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")

_ITEMS = frozenset(
    {"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE"}
    | {"MODSEQ", "SAVEDATE", "EMAILID", "THREADID"}  # RFC 7162, 8514, 8474
)
_MACROS = {
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}


@dataclass(frozen=True, slots=True)
class Section:
    """Which octets of a message: a part by its numbers, and which of its pieces.

    `text` is "", HEADER, TEXT, MIME, HEADER.FIELDS or HEADER.FIELDS.NOT; `fields` are lower-case names.
    """

    path: tuple[int, ...] = ()
    text: str = ""
    fields: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchItem:
    """One data item. `label` is its name in the response.

    Items with a section are `BODY[]` by name, or BINARY and BINARY.SIZE (RFC 3516).
    """

    name: str
    label: bytes
    section: Section | None = None
    partial: tuple[int, int] | None = None  # first octet, number of octets
    sets_seen: bool = False


_RFC822 = {
    "RFC822": FetchItem("BODY[]", b"RFC822", Section(), sets_seen=True),
    "RFC822.HEADER": FetchItem("BODY[]", b"RFC822.HEADER", Section(text="HEADER")),
    "RFC822.TEXT": FetchItem("BODY[]", b"RFC822.TEXT", Section(text="TEXT"), sets_seen=True),
}


def parse_items(cursor: Cursor) -> tuple[FetchItem, ...]:
    """Read a macro, one item, or a list of items; each item is there once, in the order asked for."""
    if not cursor.accept(b"("):
        start = cursor.at
        match = _ATTRIBUTE.match(cursor.data, start)
        macro = _MACROS.get(match[0].decode().upper()) if match else None
        if match and macro:
            cursor.at = match.end()
            return tuple(FetchItem(name, name.encode()) for name in macro)
        return (_item(cursor),)
    items = [_item(cursor)]
    while not cursor.accept(b")"):
        cursor.space()
        items.append(_item(cursor))
        if len(items) > MAX_ITEMS:
            raise GrammarError("too many data items")
    return tuple(dict.fromkeys(items))


def _item(cursor: Cursor) -> FetchItem:
    match = _ATTRIBUTE.match(cursor.data, cursor.at)
    if match is None:
        raise GrammarError("expected a data item")
    name = match[0].decode().upper()
    cursor.at = match.end()
    if name in _ITEMS:
        return FetchItem(name, name.encode())
    if name in _RFC822:
        return _RFC822[name]
    if name == "PREVIEW":
        if cursor.data[cursor.at : cursor.at + 7].upper() == b" (LAZY)":
            cursor.at += 7  # a client that would do without if it took long: it never does
        return FetchItem(name, name.encode())
    if name in {"BINARY", "BINARY.PEEK", "BINARY.SIZE"}:
        return _binary(cursor, name)
    if name in {"BODY", "BODY.PEEK"}:
        if cursor.peek() == b"[":
            return _body(cursor, sets_seen=name == "BODY")
        if name == "BODY":
            return FetchItem("BODY", b"BODY")
    raise GrammarError("unknown data item")


def _body(cursor: Cursor, *, sets_seen: bool) -> FetchItem:
    cursor.expect(b"[")
    section, label = _section(cursor)
    cursor.expect(b"]")
    partial, origin = _partial(cursor)
    return FetchItem("BODY[]", b"BODY[" + label + b"]" + origin, section, partial, sets_seen)


def _binary(cursor: Cursor, name: str) -> FetchItem:
    """`BINARY[1.2]<0.100>`: a part by its numbers, or nothing for the whole message (RFC 3516 section 5)."""
    cursor.expect(b"[")
    section, label = Section(), b""
    match = _PATH.match(cursor.data, cursor.at)
    if match:
        cursor.at, label = match.end(), match[0]
        section = Section(_path(label))
    cursor.expect(b"]")
    if name == "BINARY.SIZE":
        return FetchItem(name, b"BINARY.SIZE[" + label + b"]", section)
    partial, origin = _partial(cursor)
    return FetchItem("BINARY", b"BINARY[" + label + b"]" + origin, section, partial, name == "BINARY")


def _partial(cursor: Cursor) -> tuple[tuple[int, int] | None, bytes]:
    """Read `<0.100>`, if it is there; and how the response tells where it begins."""
    match = _PARTIAL.match(cursor.data, cursor.at)
    if match is None:
        if cursor.peek() == b"<":
            raise GrammarError("bad partial range")
        return None, b""
    cursor.at = match.end()
    partial = int(match[1]), int(match[2])
    if partial[1] == 0 or max(partial) > 0xFFFF_FFFF:
        raise GrammarError("bad partial range")
    return partial, b"<%d>" % partial[0]


def _path(text: bytes) -> tuple[int, ...]:
    path = tuple(map(int, text.split(b".")))
    if 0 in path or len(path) > MAX_PART_DEPTH:
        raise GrammarError("bad part number")
    return path


def parse_section(text: bytes) -> Section:
    """Read what stands between the brackets of `BODY[…]`. Raises GrammarError."""
    cursor = Cursor(text)
    section, _ = _section(cursor)
    cursor.end()
    return section


def _section(cursor: Cursor) -> tuple[Section, bytes]:
    """Return the section and how it is written in the response."""
    path: tuple[int, ...] = ()
    label = b""
    match = _PATH.match(cursor.data, cursor.at)
    if match:
        cursor.at = match.end()
        path = _path(match[0])
        label = match[0]
        if not cursor.accept(b"."):
            return Section(path), label
        label += b"."
    match = _SECTION_TEXT.match(cursor.data, cursor.at)
    if match is None:
        if path:
            raise GrammarError("unknown section")
        return Section(), b""
    cursor.at = match.end()
    text = match[0].decode().upper()
    label += text.encode()
    if text == "MIME" and not path:
        raise GrammarError("MIME needs a part number")
    if not text.startswith("HEADER.FIELDS"):
        return Section(path, text), label
    cursor.space()
    names = _field_names(cursor)
    label += b" (" + b" ".join(map(_astring, names)) + b")"
    return Section(path, text, tuple(dict.fromkeys(name.lower() for name in names))), label


def _field_names(cursor: Cursor) -> list[bytes]:
    cursor.expect(b"(")
    names = [_field_name(cursor)]
    while not cursor.accept(b")"):
        cursor.space()
        names.append(_field_name(cursor))
        if len(names) > MAX_FIELDS:
            raise GrammarError("too many header field names")
    return names


def _field_name(cursor: Cursor) -> bytes:
    name = cursor.astring()
    if not _FIELD_NAME.fullmatch(name):
        raise GrammarError("no header field name")
    return name


def _astring(name: bytes) -> bytes:
    if _PLAIN_NAME.fullmatch(name):
        return name
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
