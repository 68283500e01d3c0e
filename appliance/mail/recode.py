"""A message's transfer encodings changed for a host that lacks 8BITMIME or BINARYMIME (RFC 6152 section 3, RFC 3030).

What every part stands for stays the same to the octet: text becomes quoted-printable, anything else base64; a multipart
or message/rfc822 is opened and what is in it converted, since those may have no encoding of their own (RFC 2045 section
6.4). Of headers only Content-Transfer-Encoding changes, and parts that fit as they are keep every octet.

Signed and encrypted parts are not touched, for that would break the signature: RFC 1847 section 2.1 asks whoever signs
to use 7 bits, and who did not gets the message back. (Postfix converts them: the recipient sees a broken signature.)
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterator, Sequence
from typing import Literal

from appliance.errors import MessageError
from appliance.mail.headers import scan_fields
from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.parameters import content_type
from appliance.mail.transfer import IDENTITY

MAX_LINE = 998  # octets without CRLF, RFC 5321 section 4.5.3.1.6
STEP = 57 * 1024  # octets encoded at once; 57 make a line of base64

Target = Literal["7bit", "8bit"]

_ORDINARY = bytes(octet for octet in range(256) if octet not in b"\r\n\0")
_LONE_CR = re.compile(rb"\r[^\n]")
_NOT_ASCII = bytes(range(0x80, 0x100))
_DOMAIN = re.compile(rb"(?:\A|;)[ \t\r\n]*d[ \t\r\n]*=[ \t\r\n]*([A-Za-z0-9._-]{1,255})")
_SEALED = frozenset({"signed", "encrypted"})
_SEVEN_BIT_ONLY = frozenset({"partial", "external-body"})  # RFC 2046 sections 5.2.2 and 5.2.3


def recoded(message: Message, target: Target) -> Message:
    """The message in 7 bits, or without binary parts ("8bit"); itself if it is that already.

    Raises MessageError, with a reason for the sender, where that cannot be without changing what it says: a header
    that is not ASCII, a signed part, a part that is not what its header says.
    """
    if not _fits(message.header, target):
        raise MessageError("its header is not ASCII" if target == "7bit" else "its header holds binary octets")
    header, text = _Recoder(message.text, target).entity(message.structure, message.header, whole=True)
    if header is message.header and text is None:
        return message
    return Message(header, b"".join(text) if text is not None else message.text)


def signing_domains(message: Message) -> list[str]:
    """The domains whose DKIM signatures the message bears (RFC 6376 section 3.5, the tag d=)."""
    found = (_DOMAIN.search(value) for value in message.get_all(b"dkim-signature"))
    return sorted({match[1].decode().lower() for match in found if match is not None})


def _fits(octets: bytes, target: Target) -> bool:
    """Whether octets may go to such a host as they are."""
    if target == "7bit" and not octets.isascii():
        return False
    marks = octets.translate(None, _ORDINARY)
    return (
        marks == b"\r\n" * (len(marks) // 2)
        and not octets.endswith(b"\r")
        and _LONE_CR.search(octets) is None
        and not _has_long_line(octets)
    )


def _has_long_line(octets: bytes) -> bool:
    """Looks from line end to line end, as far apart as a line may be."""
    start = 0
    while len(octets) - start > MAX_LINE:
        end = octets.rfind(b"\n", start, start + MAX_LINE + 2) + 1
        if end == 0:
            return True
        start = end
    return False


class _Recoder:
    """The work on one message. Recursion is as deep as the MIME tree, which has MAX_DEPTH levels."""

    def __init__(self, text: bytes | memoryview, target: Target) -> None:
        self._text = text
        self._target: Target = target
        self._boundaries: list[bytes] = []  # of the multiparts around

    def entity(self, part: Part, header: bytes, *, whole: bool = False) -> tuple[bytes, list[bytes] | None]:
        """Header and body of a part; the header itself and None if nothing changed. `whole`: it is a message."""
        if part.type == "multipart" and part.subtype in _SEALED:
            if not _fits(self._octets(part.body_start, part.end), self._target):
                raise MessageError(f"a {part.subtype} part is not in {self._target}, and to change it would break it")
            return header, None
        if part.parts or (part.message is not None and part.subtype == "rfc822"):
            body = self._container(part)
            return (header, None) if body is None else (self._label_container(header), body)
        octets = self._octets(part.body_start, part.end)
        if _fits(octets, self._target):
            return header, None
        kind = _kind(header)
        if kind is not None and (kind[0] == "multipart" or (kind[0] == "message" and kind[1] in _SEVEN_BIT_ONLY)):
            raise MessageError(f"a part of type {kind[0]}/{kind[1]} cannot be converted")
        if part.encoding not in IDENTITY:
            raise MessageError(f"a part is not in {part.encoding}, as its header says")
        encoding, encoded = self._encoded(octets, text=part.type == "text")
        return _labelled(header, encoding, complete=whole), encoded

    def _octets(self, start: int, end: int) -> bytes:
        return bytes(self._text[start:end])

    # ── containers ────────────────────────────────────────────────────────────────────────────────────────────────

    def _container(self, part: Part) -> list[bytes] | None:
        """The body of a multipart or of message/rfc822, or None if all of it fits."""
        children: Sequence[Part] = part.parts or ((part.message,) if part.message is not None else ())
        boundary = (part.param("boundary") or "").rstrip().encode() if part.parts else b""
        if boundary:
            self._boundaries.append(boundary)
        out: list[bytes] = []
        changed = False
        position = part.body_start
        for child in children:
            out.append(self._between(position, child.header_start, boundary))
            header = self._octets(child.header_start, child.body_start)
            if not _fits(header, self._target):
                raise MessageError("the header of a part is not ASCII")
            new_header, body = self.entity(child, header, whole=part.message is not None)
            changed = changed or body is not None
            out.append(new_header)
            out += body if body is not None else [self._octets(child.body_start, child.end)]
            position = child.end
        out.append(self._between(position, part.end, boundary))
        if boundary:
            self._boundaries.pop()
        return out if changed or not _fits(self._octets(part.body_start, part.end), self._target) else None

    def _between(self, start: int, end: int, boundary: bytes) -> bytes:
        """Delimiters and the text around the parts, which nobody is to see (RFC 2046 section 5.1.1)."""
        octets = self._octets(start, end)
        if _fits(octets, self._target):
            return octets
        if not boundary.isascii():
            raise MessageError("a boundary is not ASCII")
        # What stands for an octet must not make a line a delimiter that was none.
        filler = next(mark for mark in b"?*#|" if mark not in boundary or mark == ord("|"))
        lines = octets.translate(bytes(octet if octet < 0x80 and octet else filler for octet in range(256)))
        if not _fits(lines, self._target):
            raise MessageError("text around its parts cannot be converted")
        return lines

    def _label_container(self, header: bytes) -> bytes:
        """A container may not claim less than it holds, and need not claim more (RFC 2045 section 6.4)."""
        named = [field for field in scan_fields(header) if field.name == b"content-transfer-encoding"]
        return _labelled(header, self._target) if named else header

    # ── leaves ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _encoded(self, octets: bytes, *, text: bool) -> tuple[bytes, list[bytes]]:
        """Quoted-printable for text that stays legible in it (up to a quarter of 8-bit octets), else base64."""
        many = len(octets.translate(None, _NOT_ASCII)) * 4 < len(octets) * 3
        if text and not many and _has_lines(octets):
            lines = list(_quoted_printable(octets))
            # Where a long line is broken, its rest may look like a delimiter.
            joined = b"\r\n" + b"".join(lines)
            if not any(b"\r\n--" + boundary in joined for boundary in self._boundaries):
                return b"quoted-printable", lines
        return b"base64", list(_base64(octets))


def _has_lines(octets: bytes) -> bool:
    """Whether every CR, LF and NUL in it is part of a CRLF, so that quoted-printable as text gives it back."""
    marks = octets.translate(None, _ORDINARY)
    return marks == b"\r\n" * (len(marks) // 2) and not octets.endswith(b"\r") and not _LONE_CR.search(octets)


def _quoted_printable(octets: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(octets):
        end = min(position + STEP, len(octets))
        if end < len(octets):
            end = octets.rfind(b"\n", position, end) + 1 or end - octets.startswith(b"\r", end - 1)
        piece = octets[position:end]
        encoded = b2a_qp(piece, istext=True)
        # It breaks lines as the piece does; where that has none, as Unix does.
        yield encoded if b"\n" in piece else encoded.replace(b"=\n", b"=\r\n")
        position = end


def _base64(octets: bytes) -> Iterator[bytes]:
    for position in range(0, len(octets), STEP):
        lines = octets[position : position + STEP]
        yield b"".join(
            b2a_base64(lines[start : start + 57], newline=False) + b"\r\n" for start in range(0, len(lines), 57)
        )


# ── headers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _kind(header: bytes) -> tuple[str, str] | None:
    value = next((field.value for field in scan_fields(header) if field.name == b"content-type"), None)
    found = content_type(value) if value is not None else None
    return None if found is None else found[:2]


def _labelled(header: bytes, encoding: str | bytes, *, complete: bool = False) -> bytes:
    """The header with another Content-Transfer-Encoding, in the place of the old one or at the end.

    `complete` adds what makes a message one of MIME: without MIME-Version nobody would decode it, and without a type
    it would claim to be ASCII (RFC 1428 section 3: the charset is unknown-8bit).
    """
    word = encoding.encode() if isinstance(encoding, str) else encoding
    line = b"Content-Transfer-Encoding: " + word + b"\r\n"
    kept: list[bytes] = []
    names = set()
    position = 0
    for field in scan_fields(header):
        names.add(field.name)
        if field.name == b"content-transfer-encoding":
            kept += [header[position : field.start], line]
            line, position = b"", field.end
    end = len(header) - 2 if header.endswith(b"\r\n\r\n") or header == b"\r\n" else len(header)
    kept.append(header[position:end])
    if complete and b"mime-version" not in names:
        kept.append(b"MIME-Version: 1.0\r\n")
    if complete and b"content-type" not in names:
        kept.append(b"Content-Type: text/plain; charset=unknown-8bit\r\n")
    kept += [line, header[end:]]
    return b"".join(kept)
