"""The mail that tells what is held: plain text and HTML. Pure.

What strangers wrote stands in both: it is cut, freed of what steers terminals, line ends and the direction of text,
escaped, and its links are broken, so that a digest shows spam without being any.
"""

from __future__ import annotations

import re
import unicodedata
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from appliance.mail.address import Address
from appliance.mail.message import Message
from appliance.mail.text import encode_words
from plugins.spam.quarantine.protocol_texts import Texts

MAX_SHOWN = 120  # characters of a sender, a subject or a reason

_SCHEME = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,15})://")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # controls, direction marks, surrogates, breaks


@dataclass(frozen=True, slots=True)
class Held:
    """One line of a digest; `release` is where its link leads, or None if only an administrator may release it."""

    date: str
    sender: str
    subject: str
    score: float
    reason: str
    release: Address | None


@dataclass(frozen=True, slots=True)
class Cover:
    """What stands on the outside of a mail of ours, and makes one differ from the next."""

    sender: Address
    to: Address
    date: str
    message_id: str  # without its angle brackets
    boundary: str


def compose_digest(
    held: Sequence[Held], cover: Cover, texts: Texts, *, days: float, link_days: float, older: int = 0, more: int = 0
) -> Message:
    """The digest. `older` were listed before and are still held, `more` are new and find no place in it."""
    subject = texts.digest_one if len(held) + more == 1 else texts.digest_subject.format(count=len(held) + more)
    above = [texts.intro.format(account=cover.to)]
    below = [texts.explain.format(days=f"{days:g}", link_days=f"{link_days:g}")]
    below += [texts.more.format(count=more)] if more else []
    below += [texts.older.format(count=older)] if older else []
    lines = [
        *_header(cover, subject, texts, "auto-generated"),
        f'Content-Type: multipart/alternative; boundary="{cover.boundary}"',
        "",
        f"--{cover.boundary}",
        *_part("plain", _text(held, texts, above, below)),
        f"--{cover.boundary}",
        *_part("html", _html(held, texts, above, below)),
        f"--{cover.boundary}--",
        "",
    ]
    return Message.parse("\r\n".join(lines).encode())


def compose_answer(cover: Cover, texts: Texts, *, subject: str, text: str) -> Message:
    """A short answer to a mail that a link made."""
    lines = [*_header(cover, subject, texts, "auto-replied"), *_part("plain", text + "\n")]
    return Message.parse("\r\n".join(lines).encode())


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """What a stranger wrote, in one short line that nothing obeys and nobody can click on."""
    plain = "".join(" " if unicodedata.category(char) in _UNSEEN else char for char in text[: 8 * limit])
    plain = _SCHEME.sub(r"\1: //", " ".join(plain.split()))
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def mailto(address: Address, subject: str) -> str:
    """A link that opens a mail to an address (RFC 6068)."""
    return f"mailto:{quote(str(address), safe='@')}?subject={quote(subject)}"


def _header(cover: Cover, subject: str, texts: Texts, automatic: str) -> list[str]:
    return [
        f"From: {texts.sender} <{cover.sender}>",
        f"To: <{cover.to}>",
        f"Subject: {encode_words(subject)}",
        f"Date: {cover.date}",
        f"Message-ID: <{cover.message_id}>",
        f"Content-Language: {texts.code}",
        f"Auto-Submitted: {automatic}",
        "MIME-Version: 1.0",
    ]


def _part(kind: str, text: str) -> list[str]:
    octets = text.replace("\n", "\r\n").encode("utf-8", "replace")
    return [
        f"Content-Type: text/{kind}; charset=utf-8",
        "Content-Transfer-Encoding: base64",
        "",
        *[b2a_base64(octets[start : start + 57], newline=False).decode() for start in range(0, len(octets), 57)],
        "",
    ]


def _text(held: Sequence[Held], texts: Texts, above: Sequence[str], below: Sequence[str]) -> str:
    lines = [*above, ""]
    date, sender, subject, score, reason = texts.columns
    for one in held:
        way = f"<{mailto(one.release, texts.mail_subject)}>" if one.release is not None else texts.by_administrator
        lines += [
            f"{subject}: {shown(one.subject) or texts.no_subject}",
            f"{sender}: {shown(one.sender) or texts.no_sender}",
            f"{date}: {one.date}   {score}: {one.score:.1f}",
            f"{reason}: {shown(one.reason)}",
            f"{texts.release}: {way}",
            "",
        ]
    return "\n".join([*lines, *below, ""])


def _html(held: Sequence[Held], texts: Texts, above: Sequence[str], below: Sequence[str]) -> str:
    heads = "".join(f'<th align="left">{escape(title)}</th>' for title in texts.columns)
    rows = []
    for one in held:
        cells = (
            one.date,
            shown(one.sender) or texts.no_sender,
            shown(one.subject) or texts.no_subject,
            f"{one.score:.1f}",
            shown(one.reason),
        )
        way = escape(texts.by_administrator)
        if one.release is not None:
            way = f'<a href="{escape(mailto(one.release, texts.mail_subject))}">{escape(texts.release)}</a>'
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + f"<td>{way}</td></tr>")
    paragraphs = [[f"<p>{escape(text)}</p>" for text in some] for some in (above, below)]
    table = '<table border="1" cellpadding="4" style="border-collapse:collapse">'
    return "\n".join(
        [
            f'<!DOCTYPE html><html lang="{texts.code}"><head><meta charset="utf-8"></head><body>',
            *paragraphs[0],
            f"{table}<tr>{heads}<th></th></tr>",
            *rows,
            "</table>",
            *paragraphs[1],
            "</body></html>",
            "",
        ]
    )
