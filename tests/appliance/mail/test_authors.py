"""One reading of From for all filters: what is clear, what is not, and any octets at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail import authors
from appliance.mail.authors import MAX_DOMAINS, MAX_FROM, Authors, read_authors
from appliance.mail.message import Message


def read(value: bytes) -> Authors:
    return read_authors(Message.parse(b"From: " + value + b"\r\nTo: b@c.test\r\n\r\n"))


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        (b"a@x.test", "x.test"),
        (b"A Body <a@X.Test>", "x.test"),
        (b'"Body, A" <"a b"@x.test>', "x.test"),
        (b"a@x.test (A Body)", "x.test"),
        (b"(A) <a@x.test> (B)", "x.test"),
        ("a@bücher.test".encode(), "xn--bcher-kva.test"),
        (b"[List] Re: A <a@x.test>", "x.test"),
        (b"a@x.test; b@y.test", "x.test y.test"),
        (b"a@x.test, , b@x.test,", "x.test"),
        (b"b@y.test <a@x.test>", "x.test y.test"),
        (b"a@x.test (b@y.test)", "x.test y.test"),
        (b"a@x.test (b@!)", "x.test"),
        (b"=?utf-8?q?=3Cb=40y=2Etest=3E?= <a@x.test>", "x.test y.test"),
        (b"people: a@x.test, b@y.test;", "x.test y.test"),
    ],
)
def test_domains_of_authors(value: bytes, domains: str) -> None:
    found = read(value)
    assert (" ".join(found.domains), found.problem) == (domains, "")
    assert found.domain == (domains if " " not in domains else "")


@pytest.mark.parametrize(
    "value",
    [b"", b"a", b"a@", b"@x.test", b"a@x.test>", b"<a@x.test", b"a b@x.test", b"a@-x.test", b"a@x..test", b"a@1.2.3.4",
     b"a\x01@x.test", b"a@x.test\xff", b'"a', b"<>", b"a\\@x.test",
     b", ".join(b"a@x%d.test" % number for number in range(MAX_DOMAINS + 1)), b"a" * MAX_FROM + b"@x.test"],
)  # fmt: skip
def test_what_is_not_clear(value: bytes) -> None:
    found = read(value)
    assert found.problem
    assert (found.domains, found.domain) == ((), "")


def test_a_long_value_takes_linear_time() -> None:
    for value in (b"(" * 8000, b'"\\' * 4000, b"<" * 8000, b"a@" * 4000, b"=?" * 4000, b" " * 8000, b"()" * 4000):
        assert read(b"x@y.test " + value).domains in ((), ("y.test",))


@given(st.lists(st.sampled_from([b"<", b">", b"@", b",", b'"', b"(", b")", b"\\", b":", b" ", b"x.test", b"a", b"=?"])))
def test_signs_in_any_order(pieces: list[bytes]) -> None:
    found = read(b"".join(pieces))
    assert bool(found.domains) != bool(found.problem)


@given(st.binary(max_size=200))
def test_any_header_is_read(header: bytes) -> None:
    found = read_authors(Message.parse(header))
    assert bool(found.domains) != bool(found.problem)


@given(
    st.lists(st.sampled_from([b"<", b">", b"@", b'"', b"(", b")", b"\\", b" ", b"x.test", b"a", b"<a@x.test>", b"="]))
)
def test_the_short_way_says_the_same(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    short = read(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authors, "_ORDINARY", re.compile(b"(?!)"))
        assert read(value) == short
