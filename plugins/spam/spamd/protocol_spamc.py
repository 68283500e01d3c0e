"""The SPAMC protocol of spamd, version 1.5: SYMBOLS with a message, and an answer with a score and names of rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.mail.message import Message
from plugins.spam.protocol_daemon import DaemonError, shown

MAX_ANSWER = 64 * 1024  # octets; all rules that ever fit have some thousands
MAX_SYMBOLS = 30  # told as evidence

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_STATUS = re.compile(rb"SPAMD/\d\.\d (\d{1,4}) ")
_NUMBER = rb"[ \t]*(-?\d{1,6}(?:\.\d{1,6})?)[ \t]*"
_SPAM = re.compile(rb"\r\nspam:[ \t]*(true|yes|false|no)[ \t]*;%b/%b\r\n" % (_NUMBER, _NUMBER), re.IGNORECASE)
_SYMBOL = re.compile(rb"[A-Za-z0-9_]{1,60}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`score` of `required`, from which it is spam; `symbols` are the names of the rules that fit."""

    is_spam: bool
    score: float
    required: float
    symbols: Sequence[str]


def request(message: Message, user: str = "") -> Iterator[bytes]:
    """The pieces of a request."""
    whose = f"User: {user}\r\n" if user else ""
    yield f"SYMBOLS SPAMC/1.5\r\n{whose}Content-length: {message.size}\r\n\r\n".encode("ascii")
    yield from message.chunks()


def is_whole(answer: bytes) -> bool:
    """Whether all octets that its header announces are there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end + 2)
    return length is not None and len(answer) >= end + 4 + int(length[1])


def read_answer(answer: bytes) -> Verdict:
    """What spamd concluded. Raises DaemonError for every other answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if status is None:
        raise DaemonError(f"it answered {shown(head)!r}" if head else "it closed without an answer")
    spam = _SPAM.search(head + b"\r\n")
    if status[1] != b"0" or spam is None:
        raise DaemonError(f"it answered {shown(head)!r}")
    symbols = [one.decode() for one in _SYMBOL.findall(body)[:MAX_SYMBOLS]]
    return Verdict(spam[1].lower() in (b"true", b"yes"), float(spam[2]), float(spam[3]), symbols)
