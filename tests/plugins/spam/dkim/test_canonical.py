"""Canonical forms: the RFC's examples, and that fast ways give what the grammar says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.headers import scan_fields
from plugins.spam.dkim import protocol_canonical
from plugins.spam.dkim.protocol_canonical import (
    relaxed_body,
    relaxed_field,
    select,
    simple_body,
    simple_field,
    without_signature,
)

A, B = b"A: X\r\n", b"B : Y\t\r\n\tZ  \r\n"  # RFC 6376 section 3.4.5
BODY = b" C \r\nD \t E\r\n\r\n\r\n"


def test_the_example_of_the_rfc() -> None:
    assert (relaxed_field(A), relaxed_field(B)) == (b"a:X\r\n", b"b:Y Z\r\n")
    assert b"".join(relaxed_body(BODY)) == b" C\r\nD E\r\n"
    assert simple_field(B) == B
    assert b"".join(simple_body(BODY)) == b" C \r\nD \t E\r\n"


@pytest.mark.parametrize("empty", [b"", b"\r\n", b"\r\n\r\n", b"\r\n" * 1000])
def test_an_empty_text(empty: bytes) -> None:
    assert b"".join(simple_body(empty)) == b"\r\n"
    assert b"".join(relaxed_body(empty)) == b""


@given(st.lists(st.text(" \tab", max_size=8), max_size=8), st.booleans())
def test_relaxed_bodies_are_those_of_the_grammar(lines: list[str], ended: bool) -> None:
    body = "\r\n".join(lines).encode() + (b"\r\n" if ended else b"")
    kept = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while kept and not kept[-1]:
        kept.pop()
    assert b"".join(relaxed_body(body)) == b"".join(line + b"\r\n" for line in kept)


@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"b \r\n"])).map(b"".join), st.integers(1, 9))
def test_a_text_may_be_cut_anywhere(body: bytes, size: int) -> None:
    for form in (simple_body, relaxed_body):
        whole = b"".join(form(body))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol_canonical, "PIECE", size)
            pieces = list(form(memoryview(body)))
        assert b"".join(pieces) == whole


def test_fields_of_one_name_are_taken_from_below_and_each_once() -> None:
    header = b"A: 1\r\nB: 2\r\nA: 3\r\n\r\n"
    assert select(header, scan_fields(header), ["a", "b", "a", "a", "c"]) == [b"A: 3\r\n", b"B: 2\r\n", b"A: 1\r\n"]


@pytest.mark.parametrize(
    ("field", "emptied"),
    [
        (b"DKIM-Signature: v=1; b=abc; bh=def\r\n", b"DKIM-Signature: v=1; b=; bh=def"),
        (b"DKIM-Signature: v=1; bh=b=; \r\n b = ab\r\n cd=\r\n", b"DKIM-Signature: v=1; bh=b=; \r\n b ="),
        (b"DKIM-Signature: b=x;a=b=c\r\n", b"DKIM-Signature: b=;a=b=c"),
    ],
)
def test_only_the_signature_itself_is_emptied(field: bytes, emptied: bytes) -> None:
    assert without_signature(field) == emptied
