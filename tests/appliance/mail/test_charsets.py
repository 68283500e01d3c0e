"""Charsets: what the names in mail mean, and what no name may do."""

import encodings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.charsets import decode


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"abc", "us-ascii", "abc"),
        ("é".encode(), "us-ascii", "é"),
        (b"\xe9", "us-ascii", "é"),
        ("é€".encode(), "UTF-8", "é€"),
        (b"\x80\xe9", "iso-8859-1", "€é"),  # senders mean windows-1252
        (b"\xa4", "iso-8859-15", "€"),
        (b"\xcf\xf0", "windows-1251", "Пр"),
        (b"\xf0\xd2", "KOI8-R", "Пр"),
        (b"\xf0\xa4", "koi8-u", "Пє"),
        (b"\xc4\xe3", "gb2312", "你"),
        (b"\xa7A", "big5", "你"),
        (b"\x82\xa0", "shift_jis", "あ"),
        (b'\x1b$B$"\x1b(B', "iso-2022-jp", "あ"),
        (b"\xa4\xa2", "euc-jp", "あ"),
        (b"\xb0\xa1", "ks_c_5601-1987", "가"),
        (b"\xb0\xa1", "euc-kr", "가"),
        (b"\xf9", "iso-8859-8-i", "ש"),
        (b"a\0b\0", "utf-16le", "ab"),
        (b"+AOk-", "utf-7", "é"),
        (b"\xa1", "tis-620", "ก"),
        (b"\x8e", "macintosh", "é"),
        (b"\x82", "cp850", "é"),
        (b"\x82", "IBM437", "é"),
    ],
)
def test_names_in_use(octets, charset, text):
    assert decode(octets, charset) == text


@pytest.mark.parametrize(
    "charset",
    [
        "",
        "x-unknown",
        "unknown-8bit",
        "idna",
        "punycode",
        "unicode_escape",
        "raw-unicode-escape",
        "rot13",
        "hex",
        "zlib",
        "base64",
        "quopri",
        "uu",
        "undefined",
        "mbcs",
        "charmap",
        "../x",
        "os",
        "a" * 5000,
        "utf-8\r\n",
        "é",
    ],
)
def test_names_that_are_no_charset_mean_utf8(charset):
    assert decode("é\\x41".encode(), charset) == "é\\x41"
    assert decode(b"\xe9", charset) == "é"


def test_unknown_names_leave_no_trace_in_the_interpreter():
    before = dict(encodings._cache)
    for number in range(50):
        decode(b"x", f"nonsense-{number}")
    assert encodings._cache == before


@given(
    st.binary(max_size=30), st.sampled_from(["utf-7", "utf-16", "utf-32", "iso-2022-kr", "hz", "big5hkscs", "cp1255"])
)
def test_broken_text_is_replaced_never_refused(octets, charset):
    assert isinstance(decode(octets, charset), str)
