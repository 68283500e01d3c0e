"""Tag lists: the grammar of DKIM signatures, key records, ARC fields (RFC 6376 section 3.2)."""

from __future__ import annotations

import base64
import binascii
import re

from appliance.errors import ApplianceError

MAX_TAGS = 64
_TAG = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", re.DOTALL)
_VALUE = re.compile(r"[!-:<-~\s]*")
_SPACE = re.compile(r"\s+")


class TagError(ApplianceError):
    """The text is no tag list, or a tag's value is not what it must be: permerror. Fit to be shown."""


def parse_tags(text: str) -> dict[str, str]:
    """Read `a=b; c=d`. White space around names and values is dropped, inside values it stays. Raises TagError."""
    tags: dict[str, str] = {}
    pieces = text.split(";")
    if not pieces[-1].strip():
        pieces.pop()
    if len(pieces) > MAX_TAGS:
        raise TagError(f"more than {MAX_TAGS} tags")
    for piece in pieces:
        found = _TAG.fullmatch(piece)
        if found is None or _VALUE.fullmatch(found[2]) is None:
            raise TagError("no tag list")
        if found[1] in tags:
            raise TagError(f"{found[1]}= stands twice")
        tags[found[1]] = found[2]
    return tags


def required(tags: dict[str, str], name: str) -> str:
    """The value of a tag that must be there and not be empty. Raises TagError."""
    if not (value := tags.get(name, "")):
        raise TagError(f"{name}= is missing")
    return value


def number(tags: dict[str, str], name: str, *, digits: int = 12) -> int | None:
    """The value of a tag that is a decimal number, or None where it is not there. Raises TagError."""
    value = tags.get(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > digits:
        raise TagError(f"{name}= is no number")
    return int(value)


def octets(tags: dict[str, str], name: str) -> bytes:
    """The octets of a base64 tag that must be there; white space in it is ignored. Raises TagError."""
    try:
        return base64.b64decode(_SPACE.sub("", required(tags, name)), validate=True)
    except (binascii.Error, ValueError):
        raise TagError(f"{name}= is no base64") from None


def names(value: str) -> list[str]:
    """The lower-case parts of a colon-separated list."""
    return [part.strip().lower() for part in value.split(":")]
