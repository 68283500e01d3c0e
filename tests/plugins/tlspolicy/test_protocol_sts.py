"""Records and policies of MTA-STS, good and bad."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.tlspolicy.protocol_sts import MAX_AGE_S, MAX_MX, Policy, StsError, parse_policy, record_id

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.b.test\r\nmx: *.B.test\r\nmax_age: 86400\r\n"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1 ;  id=1 ; ext=a.b:c/d ;"], "1"),
        ([b"v=spf1 -all", b"v=STSv1; id=1"], "1"),
        ([], None),
        ([b"v=spf1 -all"], None),
        ([b"v=STSv10; id=1"], None),
        ([b"V=STSv1; id=1"], None),
        ([b"v=STSv1; id=1", b"v=STSv1; id=2"], None),  # two of them are none (section 3.1)
    ],
)
def test_records(texts: list[bytes], found: str | None) -> None:
    assert record_id(texts) == found


@pytest.mark.parametrize(
    "text",
    [
        b"v=STSv1",
        b"v=STSv1;",
        b"v=STSv1; id=",
        b"v=STSv1; id=" + b"1" * 33,
        b"v=STSv1; id=a-b",
        b"v=STSv1; id=1; id=2",
        b"v=STSv1; id=1; \xff=x",
        b"v=STSv1; id=1;; x=y",
    ],
)
def test_broken_records(text: bytes) -> None:
    with pytest.raises(StsError):
        record_id([text])


def test_a_policy() -> None:
    assert parse_policy(POLICY) == Policy("enforce", ("mx1.b.test", "*.b.test"), 86_400)
    assert parse_policy(POLICY.replace(b"\r\n", b"\n")) == parse_policy(POLICY)
    assert parse_policy(POLICY + b"mode: none\r\nfuture: thing: with colons\r\n").mode == "enforce"  # the first counts
    assert parse_policy(POLICY.replace(b"86400", b"9999999999")).max_age == MAX_AGE_S
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 0\n") == Policy("none", (), 0)
    assert parse_policy("\r\n".join(parse_policy(POLICY).lines()).encode()) == parse_policy(POLICY)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no line"),
        (b"<html>", "no line"),
        (POLICY.replace(b"STSv1", b"STSv2"), "no version"),
        (POLICY.replace(b"enforce", b"Enforce"), "no proper mode"),
        (POLICY.replace(b"max_age: 86400", b"max_age: -1"), "no proper max_age"),
        (POLICY.replace(b"max_age: 86400", b""), "no proper max_age"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1\n", "names no mx"),
        (POLICY.replace(b"mx1.b.test", b"*.*.test"), "no host name"),
        (POLICY.replace(b"mx1.b.test", b"mx1 b.test"), "no host name"),
        (POLICY.replace(b"mx1.b.test", b"m\xff.test"), "no UTF-8"),
        (POLICY + b"mx: a.test\n" * MAX_MX + b"".join(b"mx: a%d.test\n" % n for n in range(MAX_MX)), "more than 256"),
        (POLICY + b"x" * 70_000, "more than 65536"),
    ],
)
def test_broken_policies(body: bytes, words: str) -> None:
    with pytest.raises(StsError, match=words):
        parse_policy(body)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("mx1.b.test", True),
        ("MX1.B.Test.", True),
        ("any.b.test", True),
        ("b.test", False),
        ("deep.any.b.test", False),  # one label only (section 4.1)
        ("mx1.b.test.evil.test", False),
        ("evilb.test", False),
        ("", False),
    ],
)
def test_which_hosts_a_policy_names(host: str, good: bool) -> None:
    assert parse_policy(POLICY).admits(host) is good


lines = st.sampled_from(
    [
        b"version: STSv1",
        b"mode: enforce",
        b"mode:testing",
        b"mx: a.test",
        b"mx: *.a.test",
        b"max_age: 1",
        b"",
        b"x",
        b": ",
        b"\xc3\xb1: 1",
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(lines, max_size=8).map(b"\n".join)))
def test_anything_is_a_policy_or_an_error(body: bytes) -> None:
    try:
        policy = parse_policy(body)
    except StsError:
        return
    assert policy.mode == "none" or policy.mx
    assert 0 <= policy.max_age <= MAX_AGE_S
