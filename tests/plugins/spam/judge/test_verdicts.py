"""Thresholds, whose they are, and what is read back from the trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.mail.address import Address
from appliance.mail.envelope import Recipient
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.store import Account
from appliance.trace import TraceRow
from plugins.spam.judge.config import JudgeConfig, Thresholds
from plugins.spam.judge.verdicts import Judge
from plugins.spam.judge.why import read_rows
from tests.plugins.spam.stranger import core_with

ANA = Recipient(Address("ana", "office.test"))
ACCOUNT = Account(1, "ana@office.test")


async def judged(tmp_path: Path, *findings: Finding, recipient: Recipient = ANA, **config: Any) -> Any:
    judge = Judge(core_with(tmp_path, "", JudgeConfig(**config)))
    verdict = await judge.judge_recipient(recipient, ACCOUNT, findings)
    assert verdict is not None
    Message.parse(b"A: b\r\n\r\n").prepend(verdict.header)  # whole lines
    return verdict


@pytest.mark.parametrize(
    ("score", "config", "action"),
    [
        (4.9, {}, "accept"), (5.0, {}, "junk"), (11.9, {}, "junk"), (12.0, {}, "refuse"),
        (8.0, {"quarantine_score": 8.0}, "quarantine"), (20.0, {"refuse_score": 0.0}, "junk"),
        (20.0, {"refuse_score": 0.0, "junk_score": 0.0}, "accept"), (-3.0, {}, "accept"),
    ],
)  # fmt: skip
async def test_the_score_decides(tmp_path: Path, score: float, config: dict[str, float], action: str) -> None:
    assert (await judged(tmp_path, Finding("x", "y", score), **config)).action == action


@pytest.mark.parametrize(
    ("finding", "action"),
    [
        (Finding("clamav", "virus", action="refuse", text="EICAR"), "refuse"),
        (Finding("clamav", "unavailable", absence="defer"), "defer"),
        (Finding("dnsbl", "unavailable"), "accept"),
        (Finding("x", "y", 5.0, action="accept"), "junk"),
    ],
)
async def test_some_findings_demand_more_than_a_score(tmp_path: Path, finding: Finding, action: str) -> None:
    assert (await judged(tmp_path, finding)).action == action


@pytest.mark.parametrize(
    ("findings", "action", "demanded"),
    [
        ([Finding("x", "y", 9.0)], "quarantine", ""),
        ([Finding("x", "y", 9.0), Finding("policy", "z", action="quarantine")], "quarantine", "policy"),
        ([Finding("policy", "z", action="quarantine")], "quarantine", "policy"),
        ([Finding("x", "y", 9.0), Finding("policy", "z", action="junk")], "quarantine", ""),
        ([Finding("policy", "z", action="junk"), Finding("virus", "z", action="quarantine")], "quarantine", "virus"),
        ([Finding("x", "y", action="accept")], "accept", ""),
    ],
)
async def test_who_demanded_it_is_known(tmp_path: Path, findings: list[Finding], action: str, demanded: str) -> None:
    verdict = await judged(tmp_path, *findings, quarantine_score=8.0)
    assert (verdict.action, verdict.demanded) == (action, demanded)


async def test_the_words_and_the_header(tmp_path: Path) -> None:
    verdict = await judged(
        tmp_path, Finding("spf", "fail", 3.0, "a.test does not let it"),
        Finding("bayes", "spam", 4.5, "looks like spam"), Finding("dkim", "pass", -0.2),
    )  # fmt: skip
    assert verdict.reason == "looks like spam; a.test does not let it"
    assert verdict.header == (
        b"X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7.3 required=5.0\r\n"
        b"\ttests=BAYES_SPAM=4.50,\r\n\tSPF_FAIL=3.00,\r\n\tDKIM_PASS=-0.20\r\n"
    )
    quiet = await judged(tmp_path)
    assert quiet.header == b"X-Spam-Status: No, score=0.0 required=5.0\r\n\ttests=none\r\n"


@pytest.mark.parametrize(
    ("named", "action"), [("ana@OFFICE.test", "accept"), ("@office.test", "accept"), ("luis@office.test", "junk")]
)
async def test_an_account_or_a_domain_may_have_its_own(tmp_path: Path, named: str, action: str) -> None:
    rules = (
        Thresholds(recipients=(named,), junk_score=9.0, refuse_score=-1.0),
        Thresholds(recipients=("office.test",)),
    )
    assert (await judged(tmp_path, Finding("x", "y", 6.0), rules=rules)).action == action
    alias = Recipient(Address("info", "elsewhere.test"))  # the account counts as well as the address
    assert (await judged(tmp_path, Finding("x", "y", 6.0), rules=rules, recipient=alias)).action == action


def test_scores_that_contradict_each_other() -> None:
    assert [one.setting for one in JudgeConfig(junk_score=9, refuse_score=8).problems()] == ["refuse_score"]
    assert [one.setting for one in Thresholds().problems()] == ["recipients"]


def test_the_trace_gives_the_table_back() -> None:
    rows = [
        TraceRow(1.0, "t1", "filters", "found", "+3.00 spf fail: a.test: no [192.0.2.7]"),
        TraceRow(1.0, "t1", "filters", "found", "-1.50 known pass for ana@office.test: she has written there"),
        TraceRow(1.0, "t1", "filters", "judged", "ana@office.test: junk at 6.5, a.test: no"),
        TraceRow(1.0, "t1", "intake", "accepted", "20 octets"),
        TraceRow(1.0, "t1", "smtp", "received", "from a"),
        TraceRow(1.0, "t1", "filters", "found", "nonsense"),
    ]
    found = read_rows(rows)
    assert [(one["kind"], one["name"], one["result"], one["score"], one["recipient"]) for one in found] == [
        ("found", "spf", "fail", 3.0, ""), ("found", "known", "pass", -1.5, "ana@office.test"),
        ("judged", "", "junk", 6.5, "ana@office.test"), ("message", "", "accepted", 0.0, ""),
    ]  # fmt: skip
    assert (found[0]["text"], found[0]["evidence"]) == ("a.test: no", "192.0.2.7")
