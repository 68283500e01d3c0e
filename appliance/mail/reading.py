"""The texts of a message as filters read them: decoded once for all of them, and bounded. Pure."""

from __future__ import annotations

from typing import NamedTuple

from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.text import html_to_text, part_text

MAX_PARTS = 50  # MIME parts that are looked at
MAX_TEXT = 64 * 1024  # encoded octets of all texts together


class TextRead(NamedTuple):
    """One text of a message. `source` is what was sent, `shown` is what a person sees of it: they differ in HTML."""

    part: Part
    html: bool
    source: str
    shown: str


def texts_of(message: Message) -> tuple[TextRead, ...]:
    """The texts among the first MAX_PARTS parts, attached ones too, until MAX_TEXT octets are decoded."""
    if message.texts_read is None:
        message.texts_read = _read(message)
    return message.texts_read


def _read(message: Message) -> tuple[TextRead, ...]:
    left, found = MAX_TEXT, list[TextRead]()
    for place, part in enumerate(message.structure.walk()):
        if place >= MAX_PARTS or left <= 0:
            break
        if part.type != "text":
            continue
        source, html = part_text(part, message.text, left), part.subtype == "html"
        left -= part.size
        found.append(TextRead(part, html, source, html_to_text(source) if html else source))
    return tuple(found)
