"""Reading failure reports of others with caps (AFRF: RFC 6591 in the frame of RFC 5965). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from appliance.mail.headers import Field, scan_fields, strip_comments, text_of
from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.text import decode_words, one_line, part_octets

MAX_REPORT: Final = 64 * 1024  # octets of the part for machines, and of the message that it is about
MAX_TEXT: Final = 250  # characters of one value that are kept
_MAX_INCIDENTS: Final = 1 << 31
_ABOUT: Final = frozenset(("rfc822", "global", "rfc822-headers", "global-headers"))


@dataclass(frozen=True, slots=True)
class ReceivedFailure:
    """One message that failed somewhere, in somebody's words. Empty is what was not said."""

    reporter: str  # the program that reports
    domain: str  # of ours
    source_ip: str
    failure: str  # dkim, spf, dmarc, …
    delivery: str  # what became of the message
    sender: str
    author: str  # of the header
    subject: str
    incidents: int


def read_failure(message: Message) -> ReceivedFailure | None:
    """Read a report about failed authentication; None if the message is none (RFC 6591 section 3)."""
    root = message.structure
    if (root.type, root.subtype) != ("multipart", "report"):
        return None
    parts = {(part.type, part.subtype): part for part in reversed(root.parts[:5])}
    report = parts.get(("message", "feedback-report"))
    if report is None:
        return None
    said = _fields(message, report)
    if _value(said, b"feedback-type").lower() != "auth-failure":
        return None
    about = next((part for (kind, name), part in parts.items() if kind in {"message", "text"} and name in _ABOUT), None)
    header = _fields(message, about) if about is not None else ()
    incidents = _value(said, b"incidents")
    return ReceivedFailure(
        reporter=_value(said, b"user-agent") or _value(said, b"reporting-mta"),
        domain=_value(said, b"reported-domain").lower(),
        source_ip=_value(said, b"source-ip"),
        failure=_value(said, b"auth-failure").lower(),
        delivery=_value(said, b"delivery-result").lower(),
        sender=_value(said, b"original-mail-from").strip("<>"),
        author=_value(header, b"from"),
        subject=_value(header, b"subject"),
        incidents=min(int(incidents), _MAX_INCIDENTS) if incidents.isascii() and incidents.isdigit() else 1,
    )


def _fields(message: Message, part: Part) -> tuple[Field, ...]:
    return scan_fields(part_octets(part, message.text, MAX_REPORT).lstrip(b"\r\n"))


def _value(fields: tuple[Field, ...], name: bytes) -> str:
    value = next((field.value for field in fields if field.name == name), b"")
    if name in (b"from", b"subject"):
        return one_line(decode_words(value), MAX_TEXT).strip()
    return one_line(text_of(strip_comments(value)), MAX_TEXT).strip()
