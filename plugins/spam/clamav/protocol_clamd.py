"""clamd's INSTREAM: chunks with their length in front, one answer that ends in NUL (clamd(8))."""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.errors import ApplianceError
from appliance.mail.message import Message

COMMAND = b"zINSTREAM\0"
CHUNK = 65_536
END = b"\0\0\0\0"
MAX_ANSWER = 4096  # octets; a name of a signature stays below a hundred

_FOUND = re.compile(rb"(?:stream|instream\(local\)): (.{1,300}) FOUND", re.DOTALL)
_CLEAN = re.compile(rb"(?:stream|instream\(local\)): OK")


class ClamdError(ApplianceError):
    """clamd did not say whether there is a virus. The text is its own, or ours about it."""


def stream(message: Message) -> Iterator[bytes]:
    """What is sent after COMMAND: the message in chunks, and the end."""
    for piece in message.chunks(CHUNK):
        for start in range(0, len(piece), CHUNK):
            part = piece[start : start + CHUNK]
            yield len(part).to_bytes(4, "big") + part
    yield END


def read_answer(answer: bytes) -> str:
    """The name of what was found, empty if the message is clean. Raises ClamdError for every other answer."""
    text = answer.rstrip(b"\0\r\n")
    if _CLEAN.fullmatch(text):
        return ""
    found = _FOUND.fullmatch(text)
    if found is None:
        shown = "".join(char for char in text[:200].decode("ascii", "replace") if " " <= char <= "~")
        raise ClamdError(f"clamd answered {shown!r}" if shown else "clamd closed without an answer")
    return "".join(char for char in found[1].decode("ascii", "replace") if " " <= char <= "~")
