"""SPF records and macros: the grammar's edges, and that any octets are read or refused."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.dns import Answer, NoSuchDomainError
from plugins.spam.spf.evaluation import Asked, check_host, peer_address
from plugins.spam.spf.protocol_macros import expand, expand_domain
from plugins.spam.spf.protocol_record import MAX_RECORD, RecordError, parse

VALUES = {
    "s": "strong-bad@email.example.com", "l": "strong-bad", "o": "email.example.com", "d": "email.example.com",
    "i": "192.0.2.3", "v": "in-addr", "h": "mx.example.org",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expanded"),
    [  # RFC 7208 section 7.4
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l-}", "strong.bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{S}%%%_%-", "strong-bad%40email.example.com% %20"),
        ("%{p}", "unknown"),
        ("%{d99999999999999999999}", "email.example.com"),
    ],
)
def test_macros(text: str, expanded: str) -> None:
    assert expand(text, VALUES) == expanded


def test_a_domain_that_grows_too_long_loses_labels_on_its_left() -> None:
    long = {**VALUES, "l": ".".join("a" * 60 for _ in range(6))}
    assert expand_domain("%{l}.example.com", long) == ".".join(["a" * 60] * 3) + ".example.com"


@pytest.mark.parametrize(
    "record",
    [
        b"v=spf1 a/33", b"v=spf1 a/032", b"v=spf1 a//129", b"v=spf1 ip4:1.2.3", b"v=spf1 ip4:1.2.3.4/33",
        b"v=spf1 all:x",
        b"v=spf1 include", b"v=spf1 include:", b"v=spf1 exists:%{x}.example.com", b"v=spf1 redirect=%{c}.example.com",
        b"v=spf1 redirect=a.b redirect=a.b", b"v=spf1 exp=a.b exp=a.b", b"v=spf1 moo", b"v=spf1 a:example.123",
        b"v=spf1 =x", b"v=spf1 -", b"v=spf1 a: -all", b"v=spf1 \xe9",
        b"v=spf1 " + b"a " * 600, b"v=spf1 " + b"x" * MAX_RECORD,
    ],
)  # fmt: skip
def test_what_breaks_the_grammar(record: bytes) -> None:
    with pytest.raises(RecordError):
        parse(record)


def test_a_domain_with_slashes_keeps_them() -> None:
    (directive,) = parse(b"v=spf1 -a:foo/bar.example.com/24//64").directives
    assert (directive.domain, directive.prefix_4, directive.prefix_6) == ("foo/bar.example.com", 24, 64)
    assert directive.qualifier == "fail"


@given(st.binary(max_size=200).map(lambda tail: b"v=spf1 " + tail))
@example(b"v=spf1 " + b"a/" * 100)
@example(b"v=spf1 a:" + b"%{d}" * 60 + b"/1")
def test_any_record_is_read_or_refused(record: bytes) -> None:
    try:
        found = parse(record)
    except RecordError:
        return
    assert len(found.directives) <= record.count(b" ") + 1
    for directive in found.directives:
        assert directive.prefix_4 in range(33)
        assert directive.prefix_6 in range(129)


class Counting:
    """DNS of somebody who means harm; counts the questions."""

    def __init__(self, answers: dict[tuple[str, str], tuple[object, ...]]) -> None:
        self.answers, self.asked = answers, 0

    async def look_up(self, name: str, rdtype: str) -> Answer:
        self.asked += 1
        records = self.answers.get((name, rdtype)) or self.answers.get(("*", rdtype))
        if records is None:
            raise NoSuchDomainError(name)
        return Answer(records, 300)


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        (b"v=spf1 include:%{d}.a.test -all", 12),  # a chain without end
        (b"v=spf1 include:a.test include:b.test include:c.test", 12),  # fans out
        (b"v=spf1 redirect=%{d}", 12),
        (b"v=spf1 mx:a.test mx:b.test mx:c.test mx:d.test -all", 50),
        (b"v=spf1 exists:%{l}.a.test ptr ptr ptr ptr", 20),
    ],
)
def test_a_hostile_policy_costs_a_bounded_number_of_questions(policy: bytes, most: int) -> None:
    names = Counting(
        {("*", "TXT"): (policy,), ("*", "MX"): tuple((10, f"mx{n}.test") for n in range(10)),
         ("*", "A"): ("192.0.2.99",), ("*", "PTR"): tuple(f"p{n}.test" for n in range(1000))}
    )  # fmt: skip
    asked = Asked(peer_address("192.0.2.1"), "helo.test", "a@example.test")
    verdict = asyncio.run(check_host(names, asked, "example.test"))
    assert verdict.result in {"permerror", "fail", "pass"}
    assert names.asked <= most
