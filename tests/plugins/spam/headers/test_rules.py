"""What rules find, what they cannot be made to do, and how wrong ones are told."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import CoreConfig, Section, Settings
from appliance.document import Document
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.settings import read_settings
from plugins.spam.headers.config import HeadersConfig, Rule
from plugins.spam.headers.patterns import PatternError, compiled
from plugins.spam.headers.rules import MAX_SAME, MAX_SHOWN, MAX_VALUE, Headers, apply
from tests.plugins.spam.stranger import core_with, session

LOTTERY = Rule(name="lottery", header="Subject", pattern="lottery|have won", score=3.0, reason="it promises a prize")


def mail(*lines: str) -> Message:
    return Message.parse(("\r\n".join(lines) + "\r\n\r\nlottery\r\n").encode())


def found(message: Message, *rules: Rule, clock: Any = None, **limits: Any) -> list[Finding]:
    made = [(rule, compiled(rule.pattern, any_case=rule.any_case)) for rule in rules]
    return apply(made, message, HeadersConfig(rules=rules, **limits), clock or (lambda: 0.0))


@pytest.mark.parametrize(
    ("lines", "fires"),
    [
        (("Subject: You HAVE WON!",), True), (("Subject: a", "Subject: the lottery"), True),
        (("Subject: =?utf-8?B?bG90dGVyeQ==?=",), True), (("Subject: lot", "\ttery"), False),
        (("Subject: have", " won"), True), (("X-Subject: lottery",), False), (("subject:lottery",), True), ((), False),
    ],
)  # fmt: skip
def test_a_field_is_looked_at_as_a_person_reads_it(lines: tuple[str, ...], fires: bool) -> None:
    answer = found(mail("From: a@x.test", *lines), LOTTERY)
    assert [(one.name, one.result, one.score, one.text) for one in answer] == (
        [("headers", "lottery", 3.0, "it promises a prize")] if fires else []
    )


def test_what_was_found_is_told() -> None:
    (one,) = found(
        mail("From: eve@shop.example"), Rule(name="shop", header="FROM", pattern=r"@(\w+\.)+", action="junk")
    )
    assert (one.evidence, one.action) == ("FROM: @shop.", "junk")
    assert one.text == "a rule of the administrator applies: shop"


@pytest.mark.parametrize(("date", "fires"), [("Date: today", False), ("Date: 1970", True), ("X: y", True)])
def test_what_is_missing(date: str, fires: bool) -> None:
    rule = Rule(name="no-date", header="Date", pattern="today", missing=True, score=1.0)
    assert bool(found(mail(date), rule)) is fires
    assert bool(found(mail(date), Rule(name="no", header="Date", missing=True, score=1.0))) is (date == "X: y")


def test_case_matters_where_it_is_wanted() -> None:
    rule = Rule(name="loud", header="Subject", pattern="WON", any_case=False, score=1.0)
    assert found(mail("Subject: won"), rule) == []
    assert found(mail("Subject: ÑWON"), rule) != []


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){12}$", "a?a?a?a?a?a?a?a?a?aaaaaaaaa$"])
def test_patterns_that_would_go_back_and_back_do_not(pattern: str) -> None:
    """In `re` each of these takes years; here the number of steps is that of the characters."""
    rules = [Rule(name=f"r{n}", header="Subject", pattern=pattern, score=1.0) for n in range(20)]
    assert found(mail("Subject: " + "a" * (MAX_VALUE - 20) + "b"), *rules) == []


def test_a_long_field_is_looked_at_in_part() -> None:
    assert found(mail("Subject: " + "x" * MAX_VALUE + "lottery"), LOTTERY) == []
    assert found(mail(*["Subject: x"] * MAX_SAME, "Subject: lottery"), LOTTERY) == []
    (one,) = found(mail("Subject: " + "é" * 500), Rule(name="all", header="subject", pattern=".*", score=1.0))
    assert len(one.evidence) == len("subject: ") + MAX_SHOWN


def test_a_large_header_ends_the_search_and_mail_goes_on() -> None:
    rules = [Rule(name=f"r{n}", header="Subject", pattern="lottery", score=1.0) for n in range(5)]
    answer = found(mail("Subject: lottery" + "x" * 384), *rules, max_octets=1000)
    assert [one.result for one in answer] == ["r0", "r1", "unavailable"]
    assert answer[-1].absence == "ignore"
    assert answer[-1].text.startswith("3 of 5 rules were left out")


def test_a_slow_search_ends() -> None:
    ticks: Iterator[int] = count()
    rules = [Rule(name=f"r{n}", header="Subject", pattern="lottery", score=1.0) for n in range(9)]
    answer = found(mail("Subject: lottery"), *rules, clock=lambda: next(ticks) * 0.1, max_seconds=0.25)
    assert [one.result for one in answer] == ["r0", "r1", "unavailable"]


@given(st.binary(max_size=300))
def test_any_octets_may_come(value: bytes) -> None:
    message = Message(b"Subject: " + value + b"\r\n\r\n", b"")
    assert all(
        one.result in ("any", "lottery")
        for one in found(message, LOTTERY, Rule(name="any", header="subject", pattern=".", score=1))
    )


async def test_only_strangers_mail_is_looked_at_and_a_reload_counts(tmp_path: Path) -> None:
    core = core_with(tmp_path, "", HeadersConfig(rules=(LOTTERY,)))
    headers = Headers(core)
    message = mail("Subject: lottery")
    assert len(await headers.score_message(session(), message) or ()) == 1
    assert await headers.score_message(session(account="ana"), message) is None
    core.settings = Settings.of(CoreConfig(), HeadersConfig())
    assert await headers.score_message(session(), message) is None
    core.settings = Settings.of(CoreConfig(), HeadersConfig(rules=(LOTTERY,) * 300))
    assert len(await headers.score_message(session(), message) or ()) == 300  # in a thread


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────────────────

WRONG = """\
[[spam.headers.rules]]
name = "good"
header = "Subject"
pattern = 'x'
score = 1.0

[[spam.headers.rules]]
name = "Bad Name"
header = "Subject:"
pattern = '(?=x)'
"""


def test_wrong_rules_are_told_with_file_and_line() -> None:
    document = Document.parse(WRONG, Path("/etc/palomar.toml"))
    _, problems = read_settings(document, [Section("spam.headers", HeadersConfig)])
    told = {problem.setting.rpartition(".")[2]: problem for problem in problems}
    assert sorted(told) == ["header", "name", "pattern", "score"]
    assert (told["pattern"].file, told["pattern"].line) == ("/etc/palomar.toml", 10)
    assert "invalid perl operator" in told["pattern"].text


@pytest.mark.parametrize(
    ("rule", "setting"),
    [
        ({"pattern": ""}, "pattern"), ({"pattern": "x" * 1001}, "pattern"), ({"pattern": "\udc80"}, "pattern"),
        ({"pattern": "(a{1000}){1000}"}, "pattern"), ({"pattern": r"(a)\1"}, "pattern"), ({"score": 1000.0}, "score"),
        ({"reason": "a\nb"}, "reason"), ({"reason": "x" * 201}, "reason"), ({"header": "a b"}, "header"),
    ],
)  # fmt: skip
def test_a_rule_that_is_none(rule: dict[str, Any], setting: str) -> None:
    good = {"name": "x", "header": "Subject", "pattern": "x", "score": 1.0}
    assert list(Rule(**good).problems()) == []
    assert [problem.setting for problem in Rule(**{**good, **rule}).problems()] == [setting]


def test_names_stand_once() -> None:
    assert [problem.setting for problem in HeadersConfig(rules=(LOTTERY, LOTTERY)).problems()] == ["rules"]


def test_without_the_library_rules_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "re2":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(PatternError, match=r"pip install 'palomar\[re2\]'"):
        compiled("x", any_case=True)
