"""Reading the delivery status notifications of others (RFC 3464, RFC 6533)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.mail.headers import Field, scan_fields, strip_comments, text_of, unfold
from appliance.mail.message import Message
from appliance.mail.text import part_octets

MAX_REPORT = 256 * 1024  # octets of the status part that are read
MAX_RECIPIENTS = 1000  # recipients of one report that are listed

_STATUS_TYPES = frozenset(("delivery-status", "global-delivery-status"))
_RETURNED_TYPES = frozenset(("rfc822", "global", "rfc822-headers", "global-headers"))
_BLANK = re.compile(rb"\r\n[ \t]*+\r\n(?>(?:[ \t]*+\r\n)*)")
_ESCAPED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6}+)\}")
_STATUS = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}")


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What a report says about one recipient. Addresses are without their type; text is as given."""

    final: str
    original: str
    action: str  # lower case: failed, delayed, delivered, relayed, expanded, or whatever stands there
    status: str  # "5.1.1", or empty if it is no status code
    diagnostic: str


@dataclass(frozen=True, slots=True)
class Report:
    """A delivery status notification. `message_id` is that of the returned message, or empty."""

    envid: str
    reporting_mta: str
    recipients: tuple[ReportedRecipient, ...]
    message_id: str


def parse(message: Message) -> Report | None:
    """Read a notification; None if the message is not one."""
    root = message.structure
    if (root.type, root.subtype) != ("multipart", "report") or not root.parts:
        return None
    status = next((part for part in root.parts if part.type == "message" and part.subtype in _STATUS_TYPES), None)
    if status is None:
        return None
    octets = part_octets(status, message.text, MAX_REPORT).lstrip(b"\r\n")
    groups = [scan_fields(group + b"\r\n") for group in _BLANK.split(octets, MAX_RECIPIENTS + 1)]
    recipients = [_recipient(group) for group in groups[1 : MAX_RECIPIENTS + 1] if _value(group, b"final-recipient")]
    return Report(
        envid=text_of(_value(groups[0], b"original-envelope-id")),
        reporting_mta=_untyped(_value(groups[0], b"reporting-mta")),
        recipients=tuple(recipients),
        message_id=_returned_id(message),
    )


def _value(fields: tuple[Field, ...], name: bytes) -> bytes:
    return next((unfold(field.value) for field in fields if field.name == name), b"")


def _recipient(fields: tuple[Field, ...]) -> ReportedRecipient:
    status = _STATUS.match(strip_comments(_value(fields, b"status")).strip())
    return ReportedRecipient(
        final=_untyped(_value(fields, b"final-recipient")),
        original=_untyped(_value(fields, b"original-recipient")),
        action=text_of(strip_comments(_value(fields, b"action"))).strip().lower(),
        status=status[0].decode() if status else "",
        diagnostic=_untyped(_value(fields, b"diagnostic-code")),
    )


def _untyped(value: bytes) -> str:
    """What follows the type in `type; text`, the escapes of utf-8 addresses resolved (RFC 6533 section 3)."""
    kind, mark, text = text_of(value).partition(";")
    if not mark:
        return kind.strip()
    if kind.strip().lower() == "utf-8":
        text = _ESCAPED.sub(_character, text)
    return text.strip()


def _character(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    usable = 0x20 <= code < 0xD800 or 0xE000 <= code <= 0x10FFFF
    return chr(code) if usable else match[0]


def _returned_id(message: Message) -> str:
    for part in reversed(message.structure.parts):
        if part.message is not None:
            fields = scan_fields(part.message.envelope_fields)
        elif part.subtype in _RETURNED_TYPES:
            fields = scan_fields(part_octets(part, message.text, MAX_REPORT))
        else:
            continue
        return text_of(_value(fields, b"message-id"))
    return ""
