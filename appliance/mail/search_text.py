"""What SEARCH looks through in one message: the forms in which its fields and texts are compared. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.mail.headers import scan_fields
from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.text import decode_words, html_to_text, part_text, search_form

MAX_TEXT = 4 << 20  # encoded octets of one message's texts that are looked at
BETWEEN = b"\xff"  # stands between two fields or texts: no UTF-8 holds it, so that no needle reaches over it


def header_forms(header: bytes) -> bytes:
    """All fields of a header, names included, as UTF-8 in the form in which they are compared."""
    fields = (search_form(decode_words(header[field.start : field.end])) for field in scan_fields(header))
    return BETWEEN.join(map(encoded, fields))


def body_forms(message: Message) -> bytes:
    """All texts of a message, and the headers of messages within it: HTML as people read it."""
    return BETWEEN.join(_body_forms(message))


def encoded(form: str) -> bytes:
    """A search form as octets, in which `needle in text` holds as it does for the strings."""
    return form.encode("utf-8", "surrogatepass")


def text_reach(structure: Part) -> int:
    """How many octets of a message's text are looked at: up to the last part that is text."""
    end = 0
    for part in structure.walk():
        if part.type == "text":
            end = max(end, part.end)
        elif part.message is not None:
            end = max(end, part.message.body_start)
    return end


def _body_forms(message: Message) -> Iterator[bytes]:
    left = MAX_TEXT
    for part in message.structure.walk():
        if part.type == "text":
            if left > 0:
                text = part_text(part, message.text, left)
                yield encoded(search_form(html_to_text(text) if part.subtype == "html" else text))
                left -= part.size
        elif part.message is not None:
            yield header_forms(bytes(message.text[part.message.header_start : part.message.body_start]))
