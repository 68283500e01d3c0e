"""Messages to send, and what of an arrived one was there when it was sent."""

from __future__ import annotations

import base64
import email
import hashlib
import re

SENDER = "ines@example.org"

# Fields that delivery and the filters put in front (RFC 5321 section 4.4, RFC 8601), each with its folded lines.
_TRACE_FIELD = re.compile(
    rb"(?:Return-Path|Delivered-To|Received|Authentication-Results|X-Spam-\w+):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*",
    re.IGNORECASE,
)

AWKWARD_LINES = (
    ".",
    "..",
    ".dots at the start, and two: ..",
    "From here on a mailbox file would add a mark",
    "trailing spaces and a tab \t ",
    "",
    "=3D is no soft break, =",
    "ñandú, Ωmega, 鳩舎, 🕊",
    "x" * 990,
    "",
    "",
)


def plain(subject: str, *, to: str = "ana@palomar.test", sender: str = SENDER, lines: tuple[str, ...] = ()) -> bytes:
    """A message of one text part with CRLF line ends; `lines` as they are, in UTF-8."""
    text = "\r\n".join(lines or (f"This is {subject}.",))
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{token(subject)}@example.org>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
    ).encode()


def awkward(subject: str, *, to: str = "ana@palomar.test", sender: str = SENDER) -> bytes:
    """A message with every line that a careless program changes on its way."""
    return plain(subject, to=to, sender=sender, lines=AWKWARD_LINES)


def with_attachment(subject: str, octets: bytes, *, to: str = "ana@palomar.test", sender: str = SENDER) -> bytes:
    """A multipart message with text and one base64 attachment."""
    lines = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{token(subject)}@example.org>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed; boundary="cut here"\r\n\r\nnot for mail programs\r\n'
        "--cut here\r\nContent-Type: text/plain\r\n\r\nSee the attachment.\r\n"
        "--cut here\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        'Content-Disposition: attachment; filename="plan.bin"\r\n\r\n'
    ).encode() + lines + b"--cut here--\r\n"  # fmt: skip


def noise(size: int, seed: str = "") -> bytes:
    """`size` octets that no compression makes smaller, the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def token(text: str) -> str:
    """A short name that follows from the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_sent(stored: bytes, hops: int = 1) -> bytes:
    """The message without what was put in front of it: the filters' fields, Return-Path, and `hops` Received fields."""
    received = 0
    while match := _TRACE_FIELD.match(stored):
        if match[0].lower().startswith(b"received:"):
            if received == hops:
                break
            received += 1
        stored = stored[match.end() :]
    assert received == hops, f"{received} of {hops} Received fields"
    return stored


def header_value(message: bytes, name: str) -> str:
    """The first field of that name in one line; fails if there is none."""
    match = re.search(
        rf"^{name}:[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)".encode(), message, re.IGNORECASE | re.MULTILINE
    )
    assert match is not None, f"no {name} field in {message[:2000]!r}"
    return re.sub(rb"\r\n[ \t]+", b" ", match[1]).decode("utf-8", "replace").strip()


def attachment(message: bytes) -> bytes:
    """The octets of the first attachment."""
    for part in email.message_from_bytes(message).walk():
        if part.get_content_disposition() == "attachment":
            octets = part.get_payload(decode=True)
            assert isinstance(octets, bytes)
            return octets
    raise AssertionError("no attachment")
