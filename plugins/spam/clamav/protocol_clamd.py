"""clamd's INSTREAM: chunks with their length in front, one answer that ends in NUL (clamd(8))."""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.mail.message import Message
from plugins.spam.protocol_daemon import DaemonError, shown

COMMAND = b"zINSTREAM\0"
CHUNK = 65_536
END = b"\0\0\0\0"
MAX_ANSWER = 4096  # octets; a name of a signature stays below a hundred

_FOUND = re.compile(rb"(?:stream|instream\(local\)): (.{1,300}) FOUND", re.DOTALL)
_CLEAN = re.compile(rb"(?:stream|instream\(local\)): OK")


def request(message: Message) -> Iterator[bytes]:
    """What is sent: the command, the message in chunks, and the end."""
    yield COMMAND
    for piece in message.chunks(CHUNK):
        for start in range(0, len(piece), CHUNK):
            part = piece[start : start + CHUNK]
            yield len(part).to_bytes(4, "big") + part
    yield END


def is_whole(answer: bytes) -> bool:
    """Whether its end is there."""
    return answer.endswith(b"\0")


def read_answer(answer: bytes) -> str:
    """The name of what was found, empty if the message is clean. Raises DaemonError for every other answer."""
    text = answer.rstrip(b"\0\r\n")
    if _CLEAN.fullmatch(text):
        return ""
    found = _FOUND.fullmatch(text)
    if found is None:
        raise DaemonError(f"it answered {shown(text)!r}" if text else "it closed without an answer")
    return "".join(char for char in found[1].decode("ascii", "replace") if " " <= char <= "~")
