"""The first words of a message, as lists of messages show them (RFC 8970). Pure."""

from __future__ import annotations

import re

import msgspec

from appliance.mail.mime import Part
from appliance.mail.text import html_to_text, part_text

MAX_PREVIEW = 200  # characters
LOOKED_AT = 16 << 10  # encoded octets of a text that are looked at: HTML has long heads

_SPACES = re.compile(r"\s+")
_QUOTED = re.compile(r"^(?:>.*|.{1,200} (?:wrote|schrieb|écrit|escribió)[ \xa0]?:)\r?$", re.MULTILINE)


def preview_part(structure: Part) -> Part | None:
    """The part that is shown: the first plain text that is no attachment, else the first HTML."""
    html = None
    for part in structure.walk():
        if part.type != "text" or (part.disposition is not None and part.disposition[0] == "attachment"):
            continue
        if part.subtype == "plain":
            return part
        if part.subtype == "html" and html is None:
            html = part
    return html


def preview(part: Part, octets: bytes) -> str:
    """The first words of a text whose encoded octets, or the first LOOKED_AT of them, are given.

    What is quoted from an older message is left out, unless there is nothing else.
    """
    here = msgspec.structs.replace(part, body_start=0, end=len(octets))
    text = part_text(here, octets)
    if part.subtype == "html":
        text = html_to_text(text)
    own = _SPACES.sub(" ", _QUOTED.sub("", text)).strip()
    return (own or _SPACES.sub(" ", text).strip())[:MAX_PREVIEW].rstrip()
