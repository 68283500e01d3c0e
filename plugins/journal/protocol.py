"""What the archive gets: a journal report around the message, or the message with its envelope in front. Pure.

The report is laid out like those of Exchange, which archives read: a text of `Name: value` lines about the envelope,
and the message itself as an attachment, octet by octet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.mail.address import Address
from appliance.mail.addresslist import address_list
from appliance.mail.dates import format_date
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.headers import text_of, unfold
from appliance.mail.message import Message
from appliance.mail.received import message_id

MAX_SHOWN = 900  # octets of a value of the original that is repeated in a line


@dataclass(frozen=True, slots=True)
class Facts:
    """What is noted besides the message. `token` is random: Message-ID and boundary are made of it."""

    recipients: Sequence[Recipient]  # as far as aliases and redirects led
    own: bool  # our own people's mail: whom the header does not name got a blind copy
    archive: Address
    hostname: str
    token: str
    at: float  # epoch seconds


def report(message: Message, envelope: Envelope, facts: Facts) -> Message:
    """The journal report about a message."""
    boundary = f"journal-{facts.token}"
    lines = [
        f"Sender: {envelope.sender or '<>'}",
        f"Subject: {_shown(message, b'subject')}",
        f"Message-Id: {_shown(message, b'message-id')}",
        *_recipients(message, facts),
    ]
    text = "".join(f"{line}\r\n" for line in lines).encode()
    wide = not message.header.isascii()
    eight = wide or not all(chunk.isascii() for chunk in message.chunks())
    encoding = "binary" if envelope.body == "BINARYMIME" else "8bit"
    header = [
        f"From: Journal <postmaster@{facts.hostname}>",
        f"To: <{facts.archive}>",
        f"Date: {format_date(facts.at)}",
        message_id(facts.token, facts.hostname).decode().rstrip(),
        "X-MS-Journal-Report:",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{boundary}"',
        *([f"Content-Transfer-Encoding: {encoding}"] if eight or not text.isascii() else []),
    ]
    about = [
        "Content-Type: text/plain; charset=utf-8",
        *(["Content-Transfer-Encoding: 8bit"] if not text.isascii() else []),
    ]
    attached = [
        f"Content-Type: message/{'global' if wide else 'rfc822'}",
        "Content-Disposition: attachment",
        *([f"Content-Transfer-Encoding: {encoding}"] if eight else []),
    ]
    body = b"".join(
        (
            _block([f"--{boundary}", *about, ""]),
            text,
            _block(["", f"--{boundary}", *attached, ""]),
            message.header,
            message.text,
            _block(["", f"--{boundary}--"]),
        )
    )
    return Message(_subject(message) + _block([*header, ""]), body)


def copy(message: Message, envelope: Envelope, facts: Facts) -> Message:
    """The message with its envelope in front; signatures stay whole."""
    to = ",\r\n ".join(f"<{recipient.address}>" for recipient in facts.recipients)
    lines = [
        f"X-Envelope-From: <{envelope.sender or ''}>",
        f"X-Envelope-To: {to}",
        f"X-Journal-Date: {format_date(facts.at)}",
    ]
    return message.prepend(_block(lines))


def _recipients(message: Message, facts: Facts) -> Iterable[str]:
    named = {kind: _keys(message, kind.lower().encode()) for kind in ("To", "Cc")}
    for recipient in facts.recipients:
        known = {recipient.address.key, recipient.via.lower(), recipient.orcpt.partition(";")[2].lower()}
        kind = next((kind for kind, keys in named.items() if keys & known), "Bcc" if facts.own else "Recipient")
        yield f"{kind}: {recipient.address}" + (f", Expanded: {recipient.via}" if recipient.via else "")


def _keys(message: Message, name: bytes) -> set[str]:
    found = set()
    for value in message.get_all(name):
        for one in address_list(value):
            if one.local and one.domain:
                found.add(f"{text_of(one.local)}@{text_of(one.domain)}".lower())
    return found


def _subject(message: Message) -> bytes:
    """The subject's whole field as it stands, so that the archive shows it; nothing if it is not plain."""
    for field in message.fields():
        if field.name == b"subject":
            raw = message.header[field.start : field.end]
            return raw if raw.isascii() and raw.endswith(b"\r\n") else b""
    return b""


def _shown(message: Message, name: bytes) -> str:
    value = unfold(message.get(name) or b"")[:MAX_SHOWN]
    return "".join(letter if letter.isprintable() else " " for letter in text_of(value)).strip()


def _block(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
