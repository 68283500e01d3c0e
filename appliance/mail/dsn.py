"""Delivery status notifications: what a sender is told about a message (RFC 3464, RFC 3461, RFC 6533)."""

from __future__ import annotations

import binascii
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.mail.address import Address
from appliance.mail.dates import format_date, format_timestamp
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.headers import unfold
from appliance.mail.language import Language
from appliance.mail.message import Message
from appliance.mail.noticetexts import NOTICE_TEXTS, NoticeTexts
from appliance.mail.noticetexts import Action as Action
from appliance.mail.received import message_id
from appliance.mail.reply import Reply
from appliance.mail.text import encode_words

MAX_RETURNED = 50 * 1024  # octets of a failed message that are sent back when the sender did not say (RET)
MAX_RETURNED_FULL = 1 << 20  # octets that are sent back with RET=FULL; a larger message returns as its header
MAX_ADDRESS = 320  # octets of an address: 64, @ and 255; written with escapes it still fits into a line
MAX_VALUE = 900  # octets of one value in the report; a line may have 998 (RFC 5322 section 2.1.1)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]++")
_NOT_XTEXT = re.compile(r"[^!-*,-<>-\[\]-~]")  # RFC 6533 section 3: all but QCHAR is written as \x{…}
_PEER_NAME = re.compile(r"[A-Za-z0-9._-]++|\[[0-9A-Fa-f.:]++\]")
_ORCPT = re.compile(r"([A-Za-z0-9-]++);(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Notice:
    """What became of one recipient. `reply` is the answer of `peer`, or our own if `peer` is empty."""

    recipient: Recipient
    action: Action
    reply: Reply
    peer: str = ""  # "mx.example.com[192.0.2.1]:25"
    attempted_at: float = 0  # epoch seconds of the last attempt; 0 leaves it out
    retry_until: float = 0  # epoch seconds, for a delay; 0 leaves it out


@dataclass(frozen=True, slots=True)
class _Entity:
    """One part of the report: its header lines and its octets."""

    header: str
    body: bytes

    @property
    def eight_bit(self) -> bool:
        return not self.body.isascii()


def compose(
    envelope: Envelope,
    original: Message,
    notices: Sequence[Notice],
    *,
    postmaster: Address,
    hostname: str,
    token: str,
    at: float,
    arrived_at: float = 0,
    language: Language = "en",
) -> Message:
    """Write the notification for `notices`, all of one message, to its sender, who reads `language`.

    `token` is random and ours alone: the Message-ID and the boundary are made of it. Times are epoch seconds. How
    much of the original is returned follows `envelope.ret` (RFC 3461 section 4.3) and the limits above. The result
    needs SMTPUTF8 if the original did or an address of it is not ASCII to the sender.

    Raises ValueError for the null sender, who is never told anything (RFC 3461 section 6.1), and without notices.
    """
    sender = envelope.sender
    if sender is None or not notices:
        raise ValueError("a notification needs a sender to go to and something to tell")
    wide = envelope.smtputf8 or not sender.is_ascii
    actions = [notice.action for notice in notices]
    texts = NOTICE_TEXTS[language]
    action = next(action for action in texts.subjects if action in actions)
    parts = [
        _explanation(notices, hostname, texts),
        _status(envelope, notices, hostname, arrived_at, wide=wide),
        _returned(envelope, original, failed=action == "failed", wide=wide),
    ]
    boundary = _boundary(token, parts)
    header = [
        f"From: {texts.sender} <{postmaster}>",
        f"To: <{sender}>",
        f"Subject: {encode_words(texts.subjects[action])}",
        f"Date: {format_date(at)}",
        message_id(token, hostname).decode().rstrip(),
        "Auto-Submitted: auto-replied",  # RFC 3834 section 5
        f"Content-Language: {language}",  # RFC 3282
        *_threading(original),
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
    ]
    if any(part.eight_bit for part in parts):
        header.append("Content-Transfer-Encoding: 8bit")
    text = b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary.encode(), p.header.encode(), p.body) for p in parts)
    return Message("\r\n".join(header).encode() + b"\r\n\r\n", text + b"--%b--\r\n" % boundary.encode())


def _boundary(token: str, parts: Iterable[_Entity]) -> str:
    boundary = "report-" + re.sub(r"[^A-Za-z0-9]", "", token)[:48]
    while any(boundary.encode() in part.body for part in parts):
        boundary += "x"
    return boundary


def _threading(original: Message) -> list[str]:
    """Lines that let a mail program show the notice below the message it is about."""
    value = original.get(b"message-id")
    if value is None:
        return []
    identifier = unfold(value).strip()
    if not identifier.isascii() or len(identifier) > MAX_VALUE or not re.fullmatch(rb"<[!-;=?-~]++>", identifier):
        return []
    return [f"In-Reply-To: {identifier.decode()}", f"References: {identifier.decode()}"]


def _explanation(notices: Sequence[Notice], hostname: str, texts: NoticeTexts) -> _Entity:
    """The part that people read. What others said stays in their words, below what it means."""
    lines = [texts.opening.format(hostname=hostname)]
    for action, sentence in texts.explanations.items():
        chosen = [notice for notice in notices if notice.action == action]
        if chosen:
            lines += ["", *textwrap.wrap(sentence, 76), ""]
        for notice in chosen:
            lines.append(f"<{notice.recipient.address}>")
            for words in _words(notice, texts):
                lines += [f"    {line}" for line in textwrap.wrap(words, 72)]
    text = "\r\n".join([*lines, ""])
    language = f"\r\nContent-Language: {texts.language}"
    if text.isascii():
        return _Entity(f"Content-Type: text/plain; charset=us-ascii{language}", text.encode())
    header = f"Content-Type: text/plain; charset=utf-8{language}\r\nContent-Transfer-Encoding: quoted-printable"
    return _Entity(header, binascii.b2a_qp(text.encode(), istext=True))


def _words(notice: Notice, texts: NoticeTexts) -> list[str]:
    """What the answer means, where its status code tells, and the answer itself."""
    reply = notice.reply
    said = texts.said.format(peer=notice.peer, words=reply.text) if notice.peer else reply.text
    meaning = "" if reply.positive else texts.reasons.get(reply.enhanced.partition(".")[2], "")
    return [meaning, _clean(said)] if meaning else [_clean(said)]


def _status(envelope: Envelope, notices: Sequence[Notice], hostname: str, arrived_at: float, *, wide: bool) -> _Entity:
    """The part that machines read (RFC 3464 section 2, RFC 6533 section 4)."""
    lines = [f"Reporting-MTA: dns; {hostname}"]
    if envelope.envid:
        lines.append(f"Original-Envelope-Id: {_clean(envelope.envid)}")
    if arrived_at:
        lines.append(f"Arrival-Date: {format_date(arrived_at)}")
    if envelope.release_at:
        lines.append(f"Future-Release-Request: until;{format_timestamp(envelope.release_at)}")  # RFC 4865 section 5.1.2
    if envelope.deliver_by:
        lines.append(f"Deliver-By-Date: {format_date(envelope.deliver_by)}")  # RFC 2852 section 5
    for notice in notices:
        lines += ["", *_recipient_fields(notice, wide=wide)]
    text = "\r\n".join([*lines, ""])
    if wide:
        return _Entity("Content-Type: message/global-delivery-status" + _encoding(text.encode()), text.encode())
    return _Entity("Content-Type: message/delivery-status", text.encode("ascii", "replace"))


def _recipient_fields(notice: Notice, *, wide: bool) -> list[str]:
    fields = []
    orcpt = _ORCPT.fullmatch(notice.recipient.orcpt)
    if orcpt:
        fields.append(f"Original-Recipient: {_typed(orcpt[1].lower(), _clean(orcpt[2], MAX_ADDRESS), wide=wide)}")
    reply = notice.reply
    fields += [
        f"Final-Recipient: {_typed('rfc822', str(notice.recipient.address), wide=wide)}",
        f"Action: {notice.action}",
        f"Status: {reply.enhanced or f'{reply.code // 100}.0.0'}",
    ]
    if peer := _PEER_NAME.match(notice.peer):
        fields.append(f"Remote-MTA: dns; {peer[0]}")
    words = f"{reply.code} {reply.enhanced} {reply.text}" if notice.peer else reply.text
    kind = "smtp" if notice.peer else "x-palomar"
    fields.append("\r\n ".join(textwrap.wrap(f"Diagnostic-Code: {kind}; {_clean(words)}", 200)))
    if notice.attempted_at:
        fields.append(f"Last-Attempt-Date: {format_date(notice.attempted_at)}")
    if notice.action == "delayed" and notice.retry_until:
        fields.append(f"Will-Retry-Until: {format_date(notice.retry_until)}")
    return fields


def _typed(kind: str, address: str, *, wide: bool) -> str:
    """An address with its type: utf-8 if it is not ASCII, then written in ASCII where the report must be."""
    if address.isascii():
        return f"{kind}; {address}"
    if not wide:
        address = _NOT_XTEXT.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", address)
    return f"utf-8; {address}"


def _returned(envelope: Envelope, original: Message, *, failed: bool, wide: bool) -> _Entity:
    """The original, or its header: RET speaks of failures only (RFC 3461 section 4.3)."""
    limit = {"FULL": MAX_RETURNED_FULL, "HDRS": 0}.get(envelope.ret, MAX_RETURNED)
    wide = wide and not original.header.isascii()
    if failed and original.size <= limit and envelope.body != "BINARYMIME":
        octets = bytes(original)
        return _Entity(f"Content-Type: message/{'global' if wide else 'rfc822'}" + _encoding(octets), octets)
    kind = "message/global-headers" if wide else "text/rfc822-headers"
    return _Entity(f"Content-Type: {kind}" + _encoding(original.header), original.header)


def _encoding(octets: bytes) -> str:
    return "" if octets.isascii() else "\r\nContent-Transfer-Encoding: 8bit"


def _clean(text: str, limit: int = MAX_VALUE) -> str:
    """One line of a value that others gave, cut to `limit` octets."""
    octets = _CONTROL.sub(" ", text).strip().encode()
    return octets[:limit].decode("utf-8", "ignore")
