"""Encoded words, bodies as text, HTML as text, and the comparison rule of SEARCH."""

import base64
import quopri
import time
from email.header import Header, decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from appliance.mail.text import (
    decode_words,
    encode_words,
    html_to_text,
    part_octets,
    part_text,
    search_form,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?B?w6k=?=", "é"),
        (b"=?UTF-8?q?=C3=A9_x=5F?=", "é x_"),
        (b"=?iso-8859-1?Q?=E9?= <a@b>", "é <a@b>"),
        (b"=?utf-8*en?q?x?=", "x"),
        (b"a =?utf-8?q?b?=  =?utf-8?q?c?= d", "a bc d"),
        (b"=?utf-8?q?b?=\r\n =?utf-8?q?c?=\r\n d", "bc d"),
        (b"=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        (b"=?utf-8?b?w6k?= =?iso-8859-1?q?=E9?=", "éé"),
        (b"x=?utf-8?q?y?=z", "xyz"),
        (b"=?utf-8?q?two words?=", "two words"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?q?never closed", "=?utf-8?q?never closed"),
        (b"=??q?a?=", "=??q?a?="),
        (b"=?nonsense?q?=E9?=", "é"),
        (b"=?utf-8?b?!?=", ""),
        (b"=?utf-8?b?w6kx?= =?utf-8?b?w?=", "é1"),
        ("é =?utf-8?q?=C3=A9?=".encode(), "é é"),
        (b"\xe9", "é"),
    ],
)
def test_encoded_words(value, text):
    assert decode_words(value) == text


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=80))
def test_encoded_words_agree_with_the_standard_library(text):
    encoded = Header(text, "utf-8").encode(linesep="\r\n")
    assert str(make_header(decode_header(encoded))) == text
    assert decode_words(encoded.encode()) == text


@pytest.mark.parametrize(
    "value", [b"=?" * 300_000, b"=?a?q?" * 100_000, b"=?a?q?x?=" * 50_000, b"=?a?b?" + b"A" * 500_000]
)
def test_hostile_words_cost_linear_time(value):
    started = time.process_time()
    decode_words(value)
    assert time.process_time() - started < 1


def message(header: bytes, text: bytes) -> Message:
    return Message(header + b"\r\n\r\n", text)


@pytest.mark.parametrize(
    ("header", "body", "text"),
    [
        (b"", b"plain", "plain"),
        (b"Content-Type: text/plain; charset=iso-8859-1", b"\xe9", "é"),
        (b"Content-Type: text/plain; charset*=us-ascii'en'utf-8", "é".encode(), "é"),
        (b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64", b"w6\r\nk=", "é"),
        (b"Content-Transfer-Encoding: BASE64", b"YWJj!YWJj\r\n", "abcabc"),
        (b"Content-Transfer-Encoding: base64", b"YWJjY", "abc"),
        (b"Content-Transfer-Encoding: base64", b"YWJj====YWJj", "abcabc"),
        (b"Content-Transfer-Encoding: quoted-printable", b"=C3=A9 =\r\nx=3D", "é x="),
        (b"Content-Transfer-Encoding: quoted-printable", b"=XY 100%=", "=XY 100%"),
        (b"Content-Transfer-Encoding: x-unknown", b"=3D", "=3D"),
    ],
)
def test_bodies(header, body, text):
    parsed = message(header, body)
    assert part_text(parsed.structure, parsed.text) == text
    assert part_text(parsed.structure, memoryview(body)) == text


@given(st.binary(max_size=200))
def test_transfer_encodings_come_back(octets):
    encoded = message(b"Content-Transfer-Encoding: base64", base64.encodebytes(octets))
    assert part_octets(encoded.structure, encoded.text) == octets
    printable = message(b"Content-Transfer-Encoding: quoted-printable", quopri.encodestring(octets))
    assert part_octets(printable.structure, printable.text) == octets


def test_no_more_is_decoded_than_the_limit():
    parsed = message(b"Content-Transfer-Encoding: base64", b"YWJj" * 100)
    assert part_octets(parsed.structure, parsed.text, 10) == b"abcabca"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("no tags", "no tags"),
        ("<p>a</p><p>b", "a\nb"),
        ("a<br/>b<BR>c", "a\nb\nc"),
        ("fo<b>o</b>b<a href='x>y'>ar", "fooby'>ar"),
        ("a &amp; b &#233;&#xE9;&eacute; &nonsense; &", "a & b ééé &nonsense; &"),
        ("&#" + "9" * 5000 + ";", "\ufffd" + "9" * 4993 + ";"),
        ("a<script>x<p>y</SCRIPT >b", "ab"),
        ("a<style>x", "a"),
        ("a<!-- <p> -->b<!-- c", "ab"),
        ("<!DOCTYPE html><?xml?>a", "a"),
        ("1 < 2 <3", "1 < 2 <3"),
        ("a<p", "a"),
        ("a \r\n\t b", "a\nb"),
        ("İ<script>x</script>y", "İy"),
        ("<td>a</td><td>b</td>", "a\nb"),
    ],
)
def test_html(html, text):
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "html",
    [
        "<" * 300_000,
        "<a" * 200_000,
        "<!--" * 100_000,
        "<script>" * 50_000,
        "&#1" * 100_000,
        " " * 500_000,
        "<p>" * 100_000,
    ],
)
def test_hostile_html_costs_linear_time(html):
    started = time.process_time()
    html_to_text(html)
    assert time.process_time() - started < 1


@given(st.text(st.sampled_from("<>/!-ap&#;xscript \n\"'")))
def test_any_html_gives_text(html):
    assert isinstance(html_to_text(html), str)


@pytest.mark.parametrize(
    ("haystack", "needle", "found"),
    [
        ("Hello World", "WORLD", True),
        ("Straße", "STRASSE", True),
        ("JOSE\u0301", "josé", True),
        ("ﬁle", "FILE", True),
        ("ΣΊΣΥΦΟΣ", "σίσυφος", True),
        ("anything", "", True),
        ("abc", "abd", False),
    ],
)
def test_how_search_compares(haystack, needle, found):
    assert (search_form(needle) in search_form(haystack)) is found


@given(st.text(max_size=20))
def test_the_form_for_search_is_stable(text):
    assert search_form(search_form(text)) == search_form(text)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=300))
def test_words_are_encoded_as_they_are_decoded(text):
    encoded = encode_words(text)
    assert encoded.isascii()
    assert all(len(line) <= 76 for line in encoded.split("\r\n")) or text.isascii()
    assert decode_words(encoded.encode()) == text or text.isascii()
