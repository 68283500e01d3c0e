"""What SEARCH looks through in one message: the forms in which its fields and texts are compared. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from appliance.mail.headers import scan_fields
from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.parameters import parameter
from appliance.mail.text import decode_words, html_to_text, part_text, search_form

# Encoded octets of one message that are looked at. Each has its own, so that no attachment hides what people wrote.
MAX_TEXT = 4 << 20  # of the texts that people read when they open the message
MAX_ATTACHED = 4 << 20  # of the texts that are attached to it
MAX_PDF = 16 << 20  # of its PDF files: one that does not fit is left out
BETWEEN = b"\xff"  # stands between two fields or texts: no UTF-8 holds it, so that no needle reaches over it

# Types and names of texts that do not come as text/*. Mail programs that do not know a type send octet-stream.
_TEXT_SUBTYPES = frozenset(("csv", "json", "xml", "xhtml+xml", "yaml", "x-csv", "x-ndjson", "x-tex", "x-yaml"))
_UNKNOWN_SUBTYPES = frozenset(("octet-stream", "binary", "download", "force-download", "x-download", "unknown"))
_HTML_NAMES = ("htm", "html", "xhtml")
_TEXT_NAMES = frozenset((
    *_HTML_NAMES, "adoc", "asc", "conf", "csv", "diff", "eml", "ics", "ini", "json", "log", "markdown", "md", "patch",
    "rst", "srt", "tex", "text", "toml", "tsv", "txt", "vcf", "xml", "yaml", "yml",
))  # fmt: skip


class TextPart(NamedTuple):
    """A part that is searched as text. At most `limit` encoded octets of it are looked at, one at least."""

    part: Part
    html: bool
    limit: int


def header_forms(header: bytes) -> bytes:
    """All fields of a header, names included, as UTF-8 in the form in which they are compared."""
    fields = (search_form(decode_words(header[field.start : field.end])) for field in scan_fields(header))
    return BETWEEN.join(map(encoded, fields))


def body_forms(message: Message) -> bytes:
    """All texts of a message, attached ones too, and the headers of messages within it: HTML as people read it."""
    return BETWEEN.join(_body_forms(message))


def encoded(form: str) -> bytes:
    """A search form as octets, in which `needle in text` holds as it does for the strings."""
    return form.encode("utf-8", "surrogatepass")


def searched_parts(structure: Part) -> Iterator[TextPart | Part]:
    """What of a text is searched, in its order: texts, and messages within it for the sake of their headers."""
    left, left_attached = MAX_TEXT, MAX_ATTACHED
    for part in structure.walk():
        subtype = _text_subtype(part)
        if subtype is None:
            if part.message is not None:
                yield part.message
        elif _is_attached(part):
            if left_attached > 0:
                yield TextPart(part, subtype == "html", left_attached)
                left_attached -= part.size
        elif left > 0:
            yield TextPart(part, subtype == "html", left)
            left -= part.size


def pdf_parts(structure: Part) -> list[Part]:
    """The PDF files of a message that fit into MAX_PDF octets together, in their order."""
    found, left = [], MAX_PDF
    for part in structure.walk():
        if _is_pdf(part) and part.size <= left:
            found.append(part)
            left -= part.size
    return found


def text_reach(structure: Part) -> int:
    """How many octets of a message's text are looked at: up to the last part that is text."""
    end = 0
    for found in searched_parts(structure):
        if isinstance(found, TextPart):
            end = max(end, min(found.part.end, found.part.body_start + found.limit))
        else:
            end = max(end, found.body_start)
    return end


def file_name(part: Part) -> str:
    """The name that a part has as a file, or nothing (RFC 2183 section 2.3, RFC 2046 section 4.5.1)."""
    name = parameter(part.disposition[1], "filename") if part.disposition else None
    return name or part.param("name") or ""


def _text_subtype(part: Part) -> str | None:
    """`html`, `plain` for every other text, None for what is no text."""
    if part.type == "text":
        return "html" if part.subtype in ("html", "xhtml") else "plain"
    if part.type != "application":
        return None
    if part.subtype in _TEXT_SUBTYPES or part.subtype.endswith(("+json", "+xml")):
        return "html" if part.subtype == "xhtml+xml" else "plain"
    if part.subtype in _UNKNOWN_SUBTYPES:
        ending = file_name(part).rpartition(".")[2].strip().lower()
        if ending in _TEXT_NAMES:
            return "html" if ending in _HTML_NAMES else "plain"
    return None


def _is_pdf(part: Part) -> bool:
    if part.type != "application":
        return False
    named = part.subtype in _UNKNOWN_SUBTYPES and file_name(part).lower().endswith(".pdf")
    return named or part.subtype in ("pdf", "x-pdf")


def _is_attached(part: Part) -> bool:
    return part.type != "text" or (part.disposition is not None and part.disposition[0] == "attachment")


def _body_forms(message: Message) -> Iterator[bytes]:
    for found in searched_parts(message.structure):
        if isinstance(found, TextPart):
            text = part_text(found.part, message.text, found.limit)
            yield encoded(search_form(html_to_text(text) if found.html else text))
        else:
            yield header_forms(bytes(message.text[found.header_start : found.body_start]))
