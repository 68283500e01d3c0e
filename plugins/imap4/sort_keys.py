"""What SORT and THREAD compare, read from stored envelopes (RFC 5256 section 2). Without I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from appliance.mail.dates import parse_date
from appliance.mail.subject import base_subject, collation_key
from appliance.mail.text import decode_words

MAX_KEY = 1_000  # octets of one text that are compared

_STRING = rb'NIL|"(?:[^"\\]|\\.)*"'
_LIST = rb"NIL|\((?:\((?:S) (?:S) (?:S) (?:S)\))*\)".replace(b"S", _STRING)
_ENVELOPE = re.compile(
    rb"\((S) (S) (L) (?:L) (?:L) (L) (L) (?:L) (S) (S)\)".replace(b"L", _LIST).replace(b"S", _STRING), re.DOTALL
)
_ADDRESS = re.compile(rb"\((S) (?:S) (S) (S)\)".replace(b"S", _STRING), re.DOTALL)
_LITERAL = re.compile(rb"\{(\d+)\}\r\n")
_SPECIAL = re.compile(rb'(["\\])')
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class Envelope(NamedTuple):
    """The fields of one ENVELOPE that are compared; strings and lists as they stand in it."""

    date: bytes
    subject: bytes
    author: bytes
    to: bytes
    cc: bytes
    in_reply_to: bytes
    message_id: bytes


_NOTHING = Envelope(*[b"NIL"] * 7)


def read_envelope(stored: bytes) -> Envelope:
    """Take a stored ENVELOPE apart."""
    match = _ENVELOPE.match(_quoted(stored) if b"}\r\n" in stored else stored)
    return Envelope(*match.groups()) if match else _NOTHING


def _quoted(stored: bytes) -> bytes:
    """The same with quoted strings in place of literals, whose octets no regular expression could tell from others."""
    out: list[bytes] = []
    at = 0
    while match := _LITERAL.search(stored, at):
        end = match.end() + int(match[1])
        out += stored[at : match.start()], b'"', _SPECIAL.sub(rb"\\\1", stored[match.end() : end]), b'"'
        at = end
    return b"".join((*out, stored[at:]))


def octets(token: bytes) -> bytes:
    """The octets of a string as it stands in an envelope; none of NIL."""
    if token == b"NIL":
        return b""
    return _ESCAPED.sub(rb"\1", token[1:-1]) if b"\\" in token else token[1:-1]


def sent_at(envelope: Envelope, internal_at: int) -> int:
    """When the message was sent, in epoch seconds; when it came in if its date says nothing (section 2.2)."""
    sent = parse_date(octets(envelope.date))
    return internal_at if sent is None else int(sent.timestamp())


@lru_cache(maxsize=4096)
def subject_of(token: bytes) -> tuple[bytes, bool]:
    """The base subject as it is compared, and whether it is that of an answer (section 2.1)."""
    base, answer = base_subject(decode_words(octets(token)))
    return collation_key(base)[:MAX_KEY], answer


def _mailbox(token: bytes) -> bytes:
    """The local part of the first address, as RFC 5256 section 3 has it."""
    match = _ADDRESS.search(token)
    return collation_key(octets(match[2]).decode("utf-8", "replace"))[:MAX_KEY] if match else b""


def _display(token: bytes) -> bytes:
    """The display name of the first address, or its mailbox and host, or the group's name (RFC 5957 section 3)."""
    match = _ADDRESS.search(token)
    if match is None:
        return b""
    if match[1] != b"NIL":
        shown = decode_words(octets(match[1]))
    else:
        local, host = (octets(match[n]).decode("utf-8", "replace") for n in (2, 3))
        shown = f"{local}@{host}" if host else local
    return collation_key(shown)[:MAX_KEY]


_mailbox_of, _display_of = lru_cache(maxsize=4096)(_mailbox), lru_cache(maxsize=4096)(_display)

TEXTS: dict[str, Callable[[Envelope], bytes]] = {
    "SUBJECT": lambda envelope: subject_of(envelope.subject)[0],
    "FROM": lambda envelope: _mailbox_of(envelope.author),
    "TO": lambda envelope: _mailbox_of(envelope.to),
    "CC": lambda envelope: _mailbox_of(envelope.cc),
    "DISPLAYFROM": lambda envelope: _display_of(envelope.author),
    "DISPLAYTO": lambda envelope: _display_of(envelope.to),
}

_ID = re.compile(rb'<((?:[^<>"\s]|"(?:[^"\\<>]|\\.)*")+)>')
MAX_REFERENCES = 100  # of one message that are followed; the last ones are the nearest


def message_ids(value: bytes) -> Iterator[bytes]:
    """The message ids in a field, without their brackets (RFC 5322 section 3.6.4)."""
    for match in _ID.finditer(value):
        yield match[1].replace(b'"', b"") if b'"' in match[1] else match[1]
