"""What a person reads in a message: encoded words, decoded bodies, HTML as text, and how SEARCH compares (RFC 2047)."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from html import unescape

from appliance.mail.charsets import decode
from appliance.mail.headers import text_of, unfold
from appliance.mail.mime import Part

_MAX_WORD = 42  # octets in one encoded word, which has 75 characters at most; and no character is split
MAX_PART_TEXT = 1 << 20  # octets of one part's body that are decoded

# Neither the charset nor the text can hold a question mark, so no two attempts look at the same octets.
_WORD = re.compile(rb"=\?([!->@-~]{1,60}+)\?([bBqQ])\?([^?\r\n]*+)\?=")
_BETWEEN_WORDS = re.compile(rb"[ \t\r\n]*+")
_NOT_BASE64 = bytes(octet for octet in range(256) if not (chr(octet).isalnum() and octet < 128) and octet not in b"+/")

_TAG = re.compile(r"<(/?+)([a-zA-Z][a-zA-Z0-9]*+)[^>]*+>?+|<[!?/][^>]*+>?+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}+|#[xX][0-9a-fA-F]{1,6}+|[A-Za-z][A-Za-z0-9]{1,31}+);?+")
_INLINE = frozenset((
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "img", "ins",
    "kbd", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr",
))  # fmt: skip
_UNSEEN = frozenset(("script", "style", "template"))
_END_OF = {name: re.compile(f"</{name}", re.IGNORECASE | re.ASCII) for name in _UNSEEN}


def decode_words(value: bytes) -> str:
    """Unfold a header value and decode its encoded words (RFC 2047); raw 8-bit text is UTF-8, or else latin-1.

    Broken words stay as they are. White space between two words is left out, and a character may be split
    between two words of the same charset, as some senders do.
    """
    value = unfold(value)
    if b"=?" not in value:
        return text_of(value)
    out: list[str] = []
    pending, charset = b"", ""
    position = 0
    for match in _WORD.finditer(value):
        octets = _word_octets(match[2], match[3])
        if octets is None:
            continue
        between = value[position : match.start()]
        name = match[1].decode().partition("*")[0].lower()  # RFC 2231 section 5: a language may follow
        apart = not (charset and _BETWEEN_WORDS.fullmatch(between))
        if apart or name != charset:
            out.append(decode(pending, charset))
            pending = b""
        if apart:
            out.append(text_of(between))
        pending += octets
        charset = name
        position = match.end()
    out += (decode(pending, charset), text_of(value[position:]))
    return "".join(out)


def encode_words(text: str) -> str:
    """A header's text as it is if it is ASCII, else as encoded words, folded so that no line is too long (RFC 2047)."""
    if text.isascii():
        return text
    words, piece = [], b""
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > _MAX_WORD:
            words.append(piece)
            piece = b""
        piece += octets
    return "\r\n ".join(f"=?utf-8?B?{base64.b64encode(word).decode()}?=" for word in (*words, piece))


def _word_octets(encoding: bytes, text: bytes) -> bytes | None:
    if encoding in b"bB":
        return _from_base64(text)
    return binascii.a2b_qp(text, header=True)


def _from_base64(text: bytes) -> bytes:
    """Decode base64, leaving out whatever is not of its alphabet and an incomplete last group."""
    digits = text.translate(None, _NOT_BASE64)
    rest = len(digits) % 4
    digits = digits[:-1] if rest == 1 else digits + b"=" * (-rest % 4)
    return binascii.a2b_base64(digits)


def one_line(text: str, limit: int) -> str:
    """A stranger's words fit for a table: one line of at most `limit` characters, no control characters."""
    return "".join(char if char.isprintable() else " " for char in text[:limit])


def part_octets(part: Part, text: bytes | memoryview, limit: int = MAX_PART_TEXT) -> bytes:
    """The body of a part without its transfer encoding. At most `limit` encoded octets are looked at."""
    raw = bytes(text[part.body_start : min(part.end, part.body_start + limit)])
    if part.encoding == "base64":
        return _from_base64(raw)
    if part.encoding == "quoted-printable":
        return binascii.a2b_qp(raw)
    return raw


def part_text(part: Part, text: bytes | memoryview, limit: int = MAX_PART_TEXT) -> str:
    """The body of a text part as text; HTML stays HTML. At most `limit` encoded octets are looked at."""
    octets = part_octets(part, text, limit)
    return decode(octets, part_charset(part, octets))


def part_charset(part: Part, octets: bytes) -> str:
    """The charset of a part: as it says, else UTF-16 if its octets begin with that mark, as text files do.

    Otherwise US-ASCII (RFC 2045 section 5.2), which `decode` takes for UTF-8.
    """
    charset = part.param("charset")
    if charset and charset.lower() != "us-ascii":
        return charset
    return "utf-16" if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "us-ascii"


def html_to_text(html: str) -> str:
    """The words of an HTML text: tags, comments, scripts and styles left out, entities resolved.

    Block elements become line ends, so that words of two blocks do not run together. Takes linear time.
    """
    out: list[str] = []
    position = 0
    while (at := html.find("<", position)) >= 0:
        out.append(html[position:at])
        match = _TAG.match(html, at)
        if match is None:
            out.append("<")
            position = at + 1
            continue
        position = match.end()
        closing, name = match.groups()
        if name is None:
            if html.startswith("<!--", at):
                position = _after(html, "-->", at + 4)
            continue
        name = name.lower()
        if name in _INLINE:
            continue
        if name in _UNSEEN and not closing:
            end = _END_OF[name].search(html, position)
            position = len(html) if end is None else _after(html, ">", end.start())
        else:
            out.append("\n")
    out.append(html[position:])
    text = _ENTITY.sub(lambda match: unescape(match[0]), "".join(out))
    text = text.replace("\t", " ").replace("\r", " ").replace("\f", " ")
    lines = (" ".join(filter(None, line.split(" "))) for line in text.split("\n"))
    return "\n".join(filter(None, lines)).strip()


def _after(text: str, mark: str, start: int) -> int:
    end = text.find(mark, start)
    return len(text) if end < 0 else end + len(mark)


def search_form(text: str) -> str:
    """The form in which SEARCH compares two texts: compatibility-composed and without case."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
