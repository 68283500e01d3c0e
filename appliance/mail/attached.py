"""Mail of the machine's own with one file for another machine, and a text for people who look (RFC 2046)."""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.mail.message import Message

_OCTETS_IN_LINE = 57


@dataclass(frozen=True, slots=True)
class Attached:
    """A file. `name` is ASCII without quotation marks."""

    name: str
    media_type: str
    octets: bytes


def mail_with_file(
    fields: Sequence[str], text: Sequence[str], file: Attached, *, kind: str = "multipart/mixed"
) -> Message:
    """A message of these whole header lines, lines of ASCII text, and the file in base64.

    `kind` is the whole's media type with its parameters but for the boundary.
    """
    boundary = f"=_{hashlib.sha256(file.octets).hexdigest()[:24]}"  # what base64 and text of ours never hold
    lines = [
        *fields,
        "MIME-Version: 1.0",
        f"Content-Type: {kind};",
        f' boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        *text,
        "",
        f"--{boundary}",
        f"Content-Type: {file.media_type}",
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment; filename="{file.name}"',
        "",
        *_base64_lines(file.octets),
        f"--{boundary}--",
        "",
    ]
    return Message.parse("\r\n".join(lines).encode())


def _base64_lines(data: bytes) -> list[str]:
    pieces = (data[start : start + _OCTETS_IN_LINE] for start in range(0, len(data), _OCTETS_IN_LINE))
    return [b2a_base64(piece, newline=False).decode() for piece in pieces]
