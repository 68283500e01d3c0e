"""Strings of IMAP, and mailbox names on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.imap import astring, decode_mailbox, encode_mailbox, literal, nstring, quoted, string


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (b"", b'""'),
        (b"abc", b'"abc"'),
        ("abc", b'"abc"'),
        (b'a"b\\c', b'"a\\"b\\\\c"'),
        (b"tab\t\x7f", b'"tab\t\x7f"'),
        (b"a\r\nb", b"{4}\r\na\r\nb"),
        (b"\xff", b"{1}\r\n\xff"),
        ("é", b"{2}\r\n\xc3\xa9"),
        (b"a\0b", b"{2}\r\nab"),
        (b"\0", b"{0}\r\n"),
    ],
)
def test_string_is_quoted_where_it_can_be(value, wire):
    assert string(value) == wire
    assert nstring(value) == wire


def test_nil_is_not_an_empty_string():
    assert nstring(None) == b"NIL"
    assert nstring(b"") == b'""'
    assert nstring(b"NIL") == b'"NIL"'


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (b"INBOX", b"INBOX"),
        ("Sent/2024", b"Sent/2024"),
        (b"a]b[", b"a]b["),
        (b"", b'""'),
        (b"nil", b'"nil"'),
        (b"a b", b'"a b"'),
        (b"a*", b'"a*"'),
        (b"a%", b'"a%"'),
        (b"a(", b'"a("'),
        (b"a)", b'"a)"'),
        (b"a{", b'"a{"'),
        (b'a"', b'"a\\""'),
        (b"a\\", b'"a\\\\"'),
        (b"a\x7f", b'"a\x7f"'),
        (b"a\xff", b"{2}\r\na\xff"),
    ],
)
def test_astring_is_an_atom_where_it_can_be(value, wire):
    assert astring(value) == wire


@pytest.mark.parametrize("value", [b"\r", b"\n", b"\0", b"\x80", "é"])
def test_quoted_refuses_what_needs_a_literal(value):
    with pytest.raises(ValueError, match="quoted"):
        quoted(value)


def test_quoted_and_literal():
    assert quoted('a"\\') == b'"a\\"\\\\"'
    assert literal(b"a\0\r\nb") == b"{4}\r\na\r\nb"


def read(wire: bytes) -> bytes:
    """Read one string as a client does."""
    if wire.startswith(b"{"):
        size, _, octets = wire[1:].partition(b"}\r\n")
        assert len(octets) == int(size)
        return octets
    assert wire[:1] == wire[-1:] == b'"'
    out, inner = bytearray(), iter(wire[1:-1])
    for octet in inner:
        assert octet not in b'"\r\n\0'
        assert octet < 128
        out.append(next(inner) if octet == ord("\\") else octet)
    return bytes(out)


@given(st.binary())
def test_a_client_reads_what_was_meant(value):
    assert read(string(value)) == value.replace(b"\0", b"")


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", b"INBOX"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 section 5.1.3
        ("A & B", b"A &- B"),
        ("&", b"&-"),
        ("Entwürfe", b"Entw&APw-rfe"),
        ("é&é", b"&AOk-&-&AOk-"),
        ("😀", b"&2D3eAA-"),
        ("a\u007fb", b"a&AH8-b"),
        ("", b""),
    ],
)
def test_mailbox_names(name, wire):
    assert encode_mailbox(name) == wire
    if "\x7f" not in name:
        assert decode_mailbox(wire) == name


def test_raw_utf8_names_are_read_too():
    assert decode_mailbox("Entwürfe & mehr".encode()) == "Entwürfe & mehr"


@pytest.mark.parametrize(
    "wire",
    [
        b"&",
        b"a&b",
        b"&AOk",
        b"&AOk=-",
        b"&AGE-",
        b"&AOk-&AOk-",
        b"&AOl-",
        b"&2D0-",
        b"&!-",
        b"&AP/8-",
        b"&AAA-",
        b"&AAo-",
        b"\xff",
        b"\0",
        b"a\r\nb",
        b"\x7f",
        "\x85".encode(),
        "é\0".encode(),
        b"&A-",
        b"&-&AOk",
    ],
)
def test_names_in_no_or_in_a_second_form_are_refused(wire):
    with pytest.raises(ValueError):
        decode_mailbox(wire)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30))
def test_mailbox_names_come_back(name):
    wire = encode_mailbox(name)
    assert wire.isascii()
    assert decode_mailbox(wire) == name


@given(st.lists(st.sampled_from([b"&", b"-", b"AOk", b"a", b",", b"U"])).map(b"".join) | st.binary(max_size=20))
def test_one_name_has_one_wire_form(wire):
    try:
        name = decode_mailbox(wire)
    except ValueError:
        return
    assert encode_mailbox(name) == wire or not wire.isascii()
