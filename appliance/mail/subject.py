"""The base subject: what a conversation is about, without marks of answers and lists (RFC 5256 section 2.1). Pure."""

from __future__ import annotations

import re
import unicodedata

MAX_SUBJECT = 1_000  # characters of a subject that are looked at

_SPACES = re.compile(r"[ \t\r\n]+")
_BLOB = re.compile(r"\[[^\[\]]*\][ ]*")
_LEADER = re.compile(r"(?:\[[^\[\]]*\][ ]*)*(?:re|fwd?)[ ]*(?:\[[^\[\]]*\][ ]*)?:", re.IGNORECASE)


def base_subject(subject: str) -> tuple[str, bool]:
    """The base subject of a decoded subject, and whether it was that of an answer or a forwarded message."""
    text = _SPACES.sub(" ", subject[:MAX_SUBJECT])
    answer = False
    while True:
        text, forwarded = _without_trailers(text)
        text, answered = _without_leaders(text)
        answer |= forwarded or answered
        if not (text[:5].lower() == "[fwd:" and text.endswith("]")):
            return text, answer
        text = text[5:-1]
        answer = True


def _without_trailers(text: str) -> tuple[str, bool]:
    found = False
    while True:
        text = text.rstrip(" ")
        if text[-5:].lower() != "(fwd)":
            return text, found
        text = text[:-5]
        found = True


def _without_leaders(text: str) -> tuple[str, bool]:
    found, at = False, 0
    while True:
        while text.startswith(" ", at):
            at += 1
        if match := _LEADER.match(text, at):
            found, at = True, match.end()
        elif (match := _BLOB.match(text, at)) and match.end() < len(text):
            at = match.end()
        else:
            return text[at:], found


def collation_key(text: str) -> bytes:
    """Octets that compare as `i;unicode-casemap` has it: title case, then decomposed (RFC 5051)."""
    if text.isascii():
        return text.upper().encode()
    titled = "".join(map(str.title, text))
    return unicodedata.normalize("NFKD", titled).encode("utf-8", "surrogatepass")
