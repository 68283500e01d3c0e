"""The digest shows what strangers wrote, and nothing of it acts."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.header import decode_header, make_header
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.address import Address
from plugins.spam.quarantine.protocol_digest import (
    MAX_SHOWN,
    Cover,
    Held,
    compose_answer,
    compose_digest,
    mailto,
    shown,
)
from plugins.spam.quarantine.protocol_marks import without_marks
from plugins.spam.quarantine.protocol_texts import ENGLISH, SPANISH, TEXTS
from tests.plugins.spam.quarantine.scene import text_of

COVER = Cover(
    Address("postmaster", "mail.palomar.test"), Address("ana", "palomar.test"), "Wed, 25 Nov 2026 00:00:00 +0000",
    "1@mail.palomar.test", "=_b",
)  # fmt: skip
LINK = Address("release+" + "a" * 24, "palomar.test")


class Seen(HTMLParser):
    """Every tag and link of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "style", "onclick")]


def digest(*held: Held, texts: object = ENGLISH, **more: int) -> tuple[str, str]:
    mail = message_from_bytes(bytes(compose_digest(held, COVER, texts, days=14, link_days=7, **more)))  # type: ignore[arg-type]
    assert mail.defects == []
    return text_of(mail), text_of(mail, "html")


EMPTY = Seen(digest(Held("d", "s", "t", 1.0, "r", LINK))[1])


WRITTEN = (
    st.text()
    | st.text(st.sampled_from("<>&\"'/=!-ab \n"), min_size=3)
    | st.sampled_from(
        ["<img src=x onerror=y>", "</td></table><script>", "<!--", '"><a href="mailto:x">', "&lt;b&gt;", "<style>"]
    )
)


@settings(max_examples=200)
@given(WRITTEN, WRITTEN, WRITTEN)
def test_nothing_that_a_stranger_writes_becomes_part_of_the_page(sender: str, subject: str, reason: str) -> None:
    text, page = digest(Held("d", sender, subject, 1.0, reason, LINK))
    seen = Seen(page)
    assert (seen.tags, seen.links) == (EMPTY.tags, EMPTY.links)
    assert text.count("\n") == digest(Held("d", "s", "t", 1.0, "r", LINK))[0].count("\n")


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n\x1b\u202e\u2066\u200b\ufeff\x00")))
def test_what_is_shown_is_one_short_line(text: str) -> None:
    line = shown(text)
    assert len(line) <= MAX_SHOWN
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]|://", line)


@pytest.mark.parametrize(
    ("written", "line"),
    [("<b>bold</b>", "<b>bold</b>"), ("see https://evil.test/x", "see https: //evil.test/x"),
     ("a\r\nBcc: x", "a Bcc: x"), ("moc.live\u202etest", "moc.live test"), ("x" * 500, "x" * 119 + "…"), ("", "")],
)  # fmt: skip
def test_examples(written: str, line: str) -> None:
    assert shown(written) == line


def test_a_message_from_nobody_about_nothing() -> None:
    text, page = digest(Held("d", "", "\r\n", 9.25, "", None), texts=SPANISH, older=3, more=2)
    for words in (
        "(sin remitente)",
        "(sin asunto)",
        "pregunte a su administrador",
        "de antes: 3",
        "aquí: 2 más",
        "9.2",
    ):
        assert words in text
        assert words in page
    assert Seen(page).links == [link for link in EMPTY.links if not link.startswith("mailto:")]


def test_links_open_a_mail() -> None:
    assert mailto(LINK, "Liberar ya") == f"mailto:release%2B{'a' * 24}@palomar.test?subject=Liberar%20ya"


@pytest.mark.parametrize("code", ["en", "es"])
def test_each_language_is_whole(code: str) -> None:
    texts = TEXTS[code]
    raw = bytes(compose_answer(COVER, texts, subject=texts.released_subject, text=texts.released))
    assert raw.partition(b"\r\n\r\n")[0].isascii()
    mail = message_from_bytes(raw)
    assert str(make_header(decode_header(mail["Subject"]))) == texts.released_subject
    assert mail["Content-Language"] == code
    assert text_of(mail).strip() == texts.released


def test_translations_fill_in_the_same_places() -> None:
    for name in ("digest_subject", "intro", "explain", "older", "more", "released"):
        places = {tuple(sorted(re.findall(r"\{\w+\}", getattr(texts, name)))) for texts in TEXTS.values()}
        assert len(places) == 1, name


@pytest.mark.parametrize(
    ("header", "left"),
    [
        (b"A: b\r\n c\r\nX-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7\r\n\ttests=X=7.00\r\n",
         b"A: b\r\n c\r\nX-Spam-Status: No, score=7\r\n\ttests=X=7.00\r\n"),
        (b"X-Spam-Status: No, score=7\r\n", b"X-Spam-Status: No, score=7\r\n"), (b"", b""),
    ],
)  # fmt: skip
def test_what_was_released_is_not_marked(header: bytes, left: bytes) -> None:
    assert without_marks(header) == left
