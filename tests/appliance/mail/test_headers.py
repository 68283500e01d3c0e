"""Header fields: scanned in order, exact to the octet, and never at more than linear cost."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.headers import (
    MAX_COMMENT_DEPTH,
    MAX_FIELDS,
    read_comment,
    scan_fields,
    select_fields,
    strip_comments,
    text_of,
    unescape,
    unfold,
)

HEADER = (
    b"Received: from a\r\n\tby b;\r\n Mon\r\n"
    b"FROM:ana@palomar.test\r\n"
    b"Subject : =?utf-8?q?x?=\r\n =?utf-8?q?y?=  \r\n"
    b"Empty:\r\n"
    b"not a field\r\n"
    b"To: a\r\n"
    b"To: b\r\n"
    b"\r\n"
    b"Body: no field\r\n"
)


def test_names_and_values_in_their_order():
    assert [(field.name, field.value) for field in scan_fields(HEADER)] == [
        (b"received", b"from a\r\n\tby b;\r\n Mon"),
        (b"from", b"ana@palomar.test"),
        (b"subject", b"=?utf-8?q?x?=\r\n =?utf-8?q?y?="),
        (b"empty", b""),
        (b"to", b"a"),
        (b"to", b"b"),
    ]


def test_offsets_cut_out_the_field_as_received():
    cuts = [HEADER[field.start : field.end] for field in scan_fields(HEADER)]
    assert cuts[0] == b"Received: from a\r\n\tby b;\r\n Mon\r\n"
    assert cuts[3:] == [b"Empty:\r\n", b"To: a\r\n", b"To: b\r\n"]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (b"", []),
        (b"\r\n", []),
        (b"\r\nA: b\r\n", []),
        (b"A: b", [b"a"]),
        (b"A: b\r\n", [b"a"]),
        (b" folded start\r\nA: b\r\n\r\n", [b"a"]),
        (b"From ana Mon Jan 1\r\nA: b\r\n\r\n", [b"a"]),
        (b": nameless\r\nA: b\r\n\r\n", [b"a"]),
        (b"na\xc3\xafve: x\r\nA: b\r\n\r\n", [b"a"]),
        (b"A: b\r\n \r\nC: d\r\n\r\n", [b"a", b"c"]),  # a line of white space continues the field
        (b"A: b\nC: d\n\nE: f", [b"a", b"c"]),
    ],
)
def test_broken_headers_give_the_fields_there_are(header, names):
    assert [field.name for field in scan_fields(header)] == names


def test_more_fields_than_the_limit_are_not_looked_at():
    assert len(scan_fields(b"A:\r\n" * (MAX_FIELDS + 1) + b"\r\n")) == MAX_FIELDS


def test_select_keeps_order_repetition_and_octets():
    assert select_fields(HEADER, {b"to", b"from"}) == b"FROM:ana@palomar.test\r\nTo: a\r\nTo: b\r\n\r\n"
    rest = select_fields(HEADER, {b"received", b"subject", b"to"}, keep=False)
    assert rest == b"FROM:ana@palomar.test\r\nEmpty:\r\n\r\n"
    assert select_fields(b"A: b", {b"a"}) == b"A: b\r\n\r\n"
    assert select_fields(b"A: b", {b"c"}) == b"\r\n"


def test_unfold_takes_line_ends_only():
    assert unfold(b"a\r\n\tb\r\n  c") == b"a\tb  c"
    assert unfold(b"a\n b") == b"a b"


@pytest.mark.parametrize(
    ("value", "stripped"),
    [
        (b"text/plain", b"text/plain"),
        (b"a(b)c", b"a c"),
        (b"a(b(c)d)e", b"a e"),
        (rb"a(b\)c)d", b"a d"),
        (b'"a(b)"c(d)', b'"a(b)"c '),
        (rb'"a\"(b)"(c)', rb'"a\"(b)" '),
        (b"a(b", b"a "),
        (b"a)b", b"a)b"),
        (b'a"(b', b'a"(b'),
    ],
)
def test_comments_are_taken_out_but_not_from_quotes(value, stripped):
    assert strip_comments(value) == stripped


def test_a_comment_nested_to_the_limit_is_read_and_a_deeper_one_ends_the_value():
    fits = b"(" * MAX_COMMENT_DEPTH + b")" * MAX_COMMENT_DEPTH
    assert read_comment(fits + b" x", 0) == (fits[1:-1], len(fits))
    deeper = b"(" + fits + b")"
    assert strip_comments(deeper + b" x") == b" "


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (rb"a\"b", b'a"b'),
        (rb"a\\b", rb"a\b"),
        (rb"\\\"", rb"\""),
        (rb"\\\\", rb"\\"),
        (rb"\a\\\b", rb"a\b"),
        (b"a", b"a"),
    ],
)
def test_unescape(text, plain):
    assert unescape(text) == plain


@given(st.binary(max_size=40))
def test_unescape_undoes_escaping(text):
    text = text.replace(b"\0", b"")
    assert unescape(text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')) == text


def test_text_of_is_utf8_or_latin1():
    assert text_of("é".encode()) == "é"
    assert text_of(b"\xe9") == "é"


@pytest.mark.parametrize(
    "header",
    [
        b"a" * 500_000,
        b"a:" + b"\r\n b" * 100_000,
        b"a " * 250_000,
        b"a:b\r\n" * 100_000,
        b"\r" * 500_000,
        b"\n" * 500_000,
        b"A: " + b"(" * 500_000,
        b"A: " + b'"\\' * 250_000,
        b"A: " + b"()" * 100_000,
    ],
)
def test_hostile_headers_cost_linear_time(header):
    started = time.process_time()
    for field in scan_fields(header):
        strip_comments(unfold(field.value))
    assert time.process_time() - started < 1


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([b"A:", b" ", b"\r\n", b"b", b"\n", b"\r", b":"])).map(b"".join)
)
def test_fields_lie_one_after_the_other_in_any_octets(header):
    end = 0
    for field in scan_fields(header):
        assert end <= field.start < field.end <= len(header)
        assert header[field.start : field.end].lower().startswith(field.name)
        assert field.value in header[field.start : field.end]
        end = field.end
