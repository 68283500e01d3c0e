"""Debian's machine-readable copyright files (DEP-5, copyright-format 1.0): which licences they name, with their texts.

The files come from many hands: whatever is not in this form, or is past the limits, counts as "not told".
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_BYTES = 4 << 20
MAX_PARAGRAPHS = 20_000
MAX_TEXT = 64 << 10
_FORMAT = "copyright-format/1.0"


@dataclass(slots=True)
class Copyright:
    """What one file says: the licence lines of its `Files` paragraphs in order, and the texts by licence line."""

    licences: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def _paragraphs(text: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    current: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if current:
                found.append(current)
            current, name = {}, ""
        elif line[0] in " \t":
            if name:
                current[name] += "\n" + line[1:]
        elif ":" in line and not line.startswith("#"):
            name, _, value = line.partition(":")
            name = name.strip().lower()
            current[name] = value.strip()
    return found


def parse(data: bytes) -> Copyright | None:
    """Parse one copyright file; None if it is not in this form or past the limits."""
    if len(data) > MAX_BYTES:
        return None
    paragraphs = _paragraphs(data.decode("utf-8", "replace").replace("\r\n", "\n"))
    if not paragraphs or len(paragraphs) > MAX_PARAGRAPHS or _FORMAT not in paragraphs[0].get("format", ""):
        return None
    found = Copyright()
    for paragraph in paragraphs:
        if "license" not in paragraph:
            continue
        name, _, body = paragraph["license"].partition("\n")
        name = " ".join(name.split())
        if name and ("files" in paragraph or paragraph is paragraphs[0]) and name not in found.licences:
            found.licences.append(name)
        if name and body.strip():
            found.texts.setdefault(name, body[:MAX_TEXT].strip())
    return found if found.licences else None
