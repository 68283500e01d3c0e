"""Previews: which text is shown, and how much of it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from appliance.mail.preview import LOOKED_AT, MAX_PREVIEW, preview, preview_part


def shown(message: bytes) -> str | None:
    parsed = Message.parse(message)
    part = preview_part(parsed.structure)
    if part is None:
        return None
    return preview(part, bytes(parsed.text[part.body_start : min(part.end, part.body_start + LOOKED_AT)]))


HTML = b"Content-Type: text/html\r\n\r\n<style>p{}</style><p>Come &amp; see</p><p>today</p>\r\n"
PLAIN = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(
    "Grüße\r\n\r\naus   Köln\r\n".encode()
)


def mixed(*parts: bytes) -> bytes:
    return (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
        + b"".join(b"--x\r\n%b\r\n" % part for part in parts)
        + b"--x--\r\n"
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"Subject: x\r\n\r\nHello,\r\n\r\nworld\r\n", "Hello, world"),
        (b"Subject: x\r\n\r\n", ""),
        (PLAIN, "Grüße aus Köln"),
        (HTML, "Come & see today"),
        (mixed(HTML, PLAIN), "Grüße aus Köln"),
        (mixed(b"Content-Type: image/png\r\n\r\nx", HTML), "Come & see today"),
        (mixed(b"Content-Disposition: attachment\r\n\r\nlog file", HTML), "Come & see today"),
        (b"Content-Type: image/png\r\n\r\nx", None),
        (b"\r\nOn Monday Ana wrote:\r\n> lunch?\r\n> when\r\n\r\nAt noon.\r\n", "At noon."),
        (b"\r\n> only\r\n> quoted\r\n", "> only > quoted"),
        (b"\r\n" + b"long " * 1000, ("long " * 1000)[:MAX_PREVIEW].rstrip()),
    ],
)
def test_the_first_words_are_shown(message: bytes, expected: str | None) -> None:
    assert shown(message) == expected


@given(st.binary(max_size=2000), st.sampled_from([b"base64", b"quoted-printable", b"8bit"]), st.booleans())
def test_no_text_makes_a_long_preview_or_one_of_several_lines(text: bytes, encoding: bytes, html: bool) -> None:
    kind = b"html" if html else b"plain"
    message = b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (
        kind,
        encoding,
        text,
    )
    found = shown(message.replace(b"\n", b"\r\n")) or ""
    assert len(found) <= MAX_PREVIEW
    assert "\n" not in found
    assert "\r" not in found
