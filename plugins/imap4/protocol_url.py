"""IMAP URLs of messages and their parts (RFC 5092 section 11), as CATENATE takes them (RFC 4469 section 3). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from plugins.imap4.protocol_fetch import Section, parse_section
from plugins.imap4.protocol_parse import MAX_MAILBOX, MAX_NUMBER, GrammarError

MAX_URL = 4_000  # octets: a mailbox name of MAX_MAILBOX with each octet encoded, and the rest

_BCHAR = rb"[A-Za-z0-9\-._~!$'*+,()&=:@/]|%[0-9A-Fa-f]{2}"
_URL = re.compile(
    rb"(?:/(?!/)(?P<mailbox>(?:%b)+?)(?:;UIDVALIDITY=(?P<uidvalidity>\d{1,10}))?/)?;UID=(?P<uid>\d{1,10})"
    rb"(?:/;SECTION=(?P<section>(?:%b)+?))?(?:/;PARTIAL=(?P<first>\d{1,10})(?:\.(?P<count>\d{1,10}))?)?"
    % (_BCHAR, _BCHAR),
    re.IGNORECASE,
)
_DOTS = frozenset({b".", b".."})
_SHOWN = re.compile(rb"[^\x21-\x7e]|[\]\\\"%]")


@dataclass(frozen=True, slots=True)
class MessageUrl:
    """What a URL names. The mailbox is the selected one if `mailbox` is empty; any UIDVALIDITY will do if it is 0."""

    mailbox: str
    uidvalidity: int
    uid: int
    section: Section
    partial: tuple[int, int] | None  # first octet, number of octets


def parse_url(url: bytes) -> MessageUrl:
    """Read a URL relative to this server: `/Drafts;UIDVALIDITY=3/;UID=20/;SECTION=1.2/;PARTIAL=0.1024`.

    Or `;UID=20…`, in the selected mailbox (RFC 5092 section 9.1); all other relative paths are not to be accepted
    (section 7.2). Raises GrammarError, also for URLs of other servers and of mailboxes.
    """
    if len(url) > MAX_URL:
        raise GrammarError("URL too long")
    match = _URL.fullmatch(url)
    if match is None:
        raise GrammarError("no URL of a message on this server")
    section = Section() if match["section"] is None else parse_section(unquote_to_bytes(match["section"]))
    partial = None
    if match["first"] is not None:
        partial = _number(match["first"], 0), _number(match["count"] or b"%d" % MAX_NUMBER, 1)
    return MessageUrl(
        mailbox=_mailbox(match["mailbox"] or b""),
        uidvalidity=_number(match["uidvalidity"], 1) if match["uidvalidity"] else 0,
        uid=_number(match["uid"], 1),
        section=section,
        partial=partial,
    )


def shown_url(url: bytes) -> str:
    """A URL as the code BADURL may hold it: printable, and without what would end the code."""
    return _SHOWN.sub(lambda match: b"%%%02X" % match[0][0] if match[0] != b"%" else b"%", url[:MAX_URL]).decode()


def _mailbox(encoded: bytes) -> str:
    """The name is in UTF-8 under its encoding, not in modified UTF-7 (RFC 5092 section 8)."""
    if not _DOTS.isdisjoint(encoded.split(b"/")):
        raise GrammarError("dots that mean a place in a path are not used here")
    octets = unquote_to_bytes(encoded)
    if len(octets) > MAX_MAILBOX:
        raise GrammarError("mailbox name too long")
    try:
        name = octets.decode()
    except UnicodeDecodeError:
        raise GrammarError("the mailbox name is not UTF-8") from None
    return "INBOX" if name.upper() == "INBOX" else name


def _number(digits: bytes, least: int) -> int:
    number = int(digits)
    if not least <= number <= MAX_NUMBER:
        raise GrammarError("number out of bounds")
    return number
