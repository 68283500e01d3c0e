"""Rspamd's POST /checkv2: a message with what is known of it, and JSON with symbols (its protocol documentation)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from appliance.mail.message import Message
from plugins.spam.protocol_daemon import DaemonError, shown

MAX_ANSWER = 1 << 20  # octets; an answer with all symbols has some thousands
MAX_RECIPIENTS = 100
MAX_SYMBOLS = 12  # told as evidence

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_UNSAFE = re.compile(r"[^ -~]")


class _Symbol(msgspec.Struct):
    score: float = 0.0


class _Answer(msgspec.Struct):
    score: float
    required_score: float | None = None
    action: str = ""
    symbols: dict[str, _Symbol] = {}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`score` of `required`, at which it refuses; `symbols` are the heaviest, with their weights."""

    score: float
    required: float
    action: str
    symbols: Sequence[tuple[str, float]]


def request(message: Message, about: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """The pieces of a request. `about` are Rspamd's header fields: IP, Helo, From, Rcpt, Queue-Id …"""
    fields = "".join(f"{name}: {_UNSAFE.sub('?', value)[:500]}\r\n" for name, value in about)
    head = "POST /checkv2 HTTP/1.1\r\nHost: rspamd\r\nConnection: close\r\n"
    yield f"{head}{fields}Content-Length: {message.size}\r\n\r\n".encode("ascii")
    yield from message.chunks()


def is_whole(answer: bytes) -> bool:
    """Whether all octets that its header announces are there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end + 2)
    return length is not None and len(answer) >= end + 4 + int(length[1])


def read_answer(answer: bytes) -> Verdict:
    """What Rspamd concluded. Raises DaemonError for every other answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = _STATUS.match(head + b"\r")
    if status is None:
        raise DaemonError(f"it answered {shown(head)!r}" if head else "it closed without an answer")
    if status[1] != b"200":
        raise DaemonError(f"it answered {status[1].decode()}: {shown(body)!r}")
    try:
        said = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise DaemonError(f"it answered what is no result: {shown(body)!r}") from None
    if not math.isfinite(said.score) or not all(math.isfinite(one.score) for one in said.symbols.values()):
        raise DaemonError("it answered a score that is no number")
    symbols = sorted(((name, one.score) for name, one in said.symbols.items()), key=lambda one: (-abs(one[1]), one[0]))
    named = [(_UNSAFE.sub("?", name)[:60], score) for name, score in symbols[:MAX_SYMBOLS]]
    required = said.required_score if said.required_score and math.isfinite(said.required_score) else 0.0
    return Verdict(said.score, required, _UNSAFE.sub("?", said.action)[:40], named)
