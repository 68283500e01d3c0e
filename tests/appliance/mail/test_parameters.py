"""Content-Type and its parameters, as the RFCs and as senders write them."""

import time
from collections.abc import Sequence
from email.utils import decode_rfc2231, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.parameters import MAX_PARAMETERS, content_disposition, content_type, parameter


@pytest.mark.parametrize(
    ("value", "kind", "params"),
    [
        (b"text/plain", "text/plain", ()),
        (b"TEXT/HTML; Charset=UTF-8", "text/html", (("charset", "UTF-8"),)),
        (b" text / plain ;a=b;", "text/plain", (("a", "b"),)),
        (b'a/b; c="d;e=f"; g=h', "a/b", (("c", "d;e=f"), ("g", "h"))),
        (rb'a/b; c="d\"e\\f"', "a/b", (("c", r'd"e\f'),)),
        (b"a/b (c) ; d (e) = (f) g (h)", "a/b", (("d", "g"),)),
        (b"a/b;\r\n\tboundary=x;\r\n c=d", "a/b", (("boundary", "x"), ("c", "d"))),
        (b"text/plain charset=utf-8", "text/plain", (("charset", "utf-8"),)),
        (b"a/b;;;c=d;e;=f;g=", "a/b", (("c", "d"), ("g", ""))),
        (b"a/b; name=my report.pdf; c=d", "a/b", (("name", "my report.pdf"), ("c", "d"))),
        (b'a/b; c="never closed; d=e', "a/b", (("c", "never closed; d=e"),)),
        (b'a/b; c="d"junk; e=f', "a/b", (("c", "d"), ("e", "f"))),
        (b"a/b; c=d; c=e; C=f", "a/b", (("c", "d"),)),
        ("a/b; name=é".encode(), "a/b", (("name", "é"),)),
        (b"a/b; name=\xe9", "a/b", (("name", "é"),)),
        (b"application/vnd.x+xml", "application/vnd.x+xml", ()),
    ],
)
def test_types_and_parameters(value, kind, params):
    assert content_type(value) == (*kind.split("/"), params)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"text",
        b"text/",
        b"/plain",
        b"text//plain",
        b"(c)",
        b";a=b",
        b'"text/plain"',
        b"t\xc3\xa9xt/plain",
        b"a/b@c",
    ],
)
def test_what_is_no_type(value):
    assert content_type(value) is None


@pytest.mark.parametrize(
    ("value", "listed", "text"),
    [
        (b"a/b; n*=utf-8''%e2%82%ac", ("n*", "utf-8''%e2%82%ac"), "€"),
        (b"a/b; n*=iso-8859-1'en'%E9x", ("n*", "iso-8859-1'en'%E9x"), "éx"),
        (b"a/b; n*0=ab; n*1=cd", ("n", "abcd"), "abcd"),
        (b'a/b; n*1="cd"; n*0=ab', ("n", "abcd"), "abcd"),
        (b"a/b; n*0*=utf-8''%c3; n*1*=%a9", ("n*", "utf-8''%c3%a9"), "é"),
        (b"a/b; n*0*=utf-8''%c3%a9; n*1=\"100%25\"", ("n*", "utf-8''%c3%a9100%2525"), "é100%25"),
        (b"a/b; n*0=a; n*1*=%62", ("n*", "''a%62"), "ab"),
        (b"a/b; n*0=a; n*2=c", ("n", "a"), "a"),
        (b"a/b; n*0=a; n*0=b", ("n", "a"), "a"),
        (b"a/b; n*=no-charset", ("n*", "no-charset"), "no-charset"),
        (b"a/b; n*=nonsense''%e9", ("n*", "nonsense''%e9"), "é"),
        (b"a/b; n*=hex''%e9", ("n*", "hex''%e9"), "é"),
    ],
)
def test_extended_parameters(value, listed, text):
    kind = content_type(value)
    assert kind is not None
    assert kind[2] == (listed,)
    assert parameter(kind[2], "n") == text


def test_the_extended_form_is_preferred_and_a_missing_one_is_none():
    params = (("n", "plain"), ("n*", "utf-8''%c3%a9"), ("m", "x"))
    assert parameter(params, "n") == "é"
    assert parameter(params, "m") == "x"
    assert parameter(params, "o") is None


def test_disposition():
    assert content_disposition(b'ATTACHMENT; filename="a b.pdf"') == ("attachment", (("filename", "a b.pdf"),))
    assert content_disposition(b"attachment filename=a") == ("attachment", (("filename", "a"),))
    assert content_disposition(b"inline") == ("inline", ())
    assert content_disposition(b"; filename=x") is None


def test_no_more_parameters_than_the_limit():
    value = b"a/b" + b"".join(b";p%d=x" % number for number in range(MAX_PARAMETERS * 2))
    kind = content_type(value)
    assert kind is not None
    assert len(kind[2]) == MAX_PARAMETERS


@pytest.mark.parametrize(
    "value",
    [
        b"a/b" + b";" * 300_000,
        b'a/b;a="' + b"\\" * 300_000,
        b"a/b;a=" + b'"a' * 150_000,
        b"a/b" + b"(" * 300_000,
        b"a" * 300_000,
        b"a/b" + b"".join(b";a*%d*=%%41" % number for number in range(30_000)),
        b"a/b;" + b"a " * 150_000,
    ],
)
def test_hostile_values_cost_linear_time(value):
    started = time.process_time()
    content_type(value)
    assert time.process_time() - started < 1


@given(
    st.binary(max_size=80)
    | st.lists(st.sampled_from([b'"', b";", b"=", b"*0", b"*", b"a", b"\\", b"(", b" "])).map(b"".join)
)
def test_any_octets_give_a_value(tail):
    kind = content_type(b"a/b;" + tail)
    assert kind is None or all(isinstance(parameter(kind[2], name.rstrip("*")), str) for name, _ in kind[2])


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='\\"'), min_size=1))
def test_quoted_values_agree_with_the_standard_library(text):
    quoted = f'"{text}"'
    kind = content_type(b"a/b; n=" + quoted.encode())
    assert kind is not None
    assert parameter(kind[2], "n") == unquote(quoted)


@given(st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()))
def test_extended_values_agree_with_the_standard_library(text):
    encoded = "utf-8''" + "".join(f"%{octet:02X}" for octet in text.encode())
    kind = content_type(b"a/b; n*=" + encoded.encode())
    assert kind is not None
    charset, _, escaped = decode_rfc2231(encoded)
    assert charset == "utf-8"
    assert escaped.startswith("%")
    assert parameter(kind[2], "n") == text


@pytest.mark.parametrize(
    "numbers",
    [range(10_000), range(9_999, -1, -1), [0] * 10_000, range(0, 20_000, 2), [number % 7 for number in range(10_000)]],
    ids=["in order", "backwards", "all the same", "with gaps", "over and over"],
)
def test_thousands_of_continuations_cost_no_more_than_their_octets(numbers: Sequence[int]) -> None:
    value = b"text/plain" + b"".join(b"; n*%d*=%%41" % number for number in numbers)
    started = time.process_time()
    made = content_type(value)
    assert time.process_time() - started < 0.5
    assert made is not None
    found = parameter(made[2], "n")
    assert found is None or len(found) <= MAX_PARAMETERS
