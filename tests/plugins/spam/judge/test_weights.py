"""Checks that were wrong lose weight: by how much, by whose word, and where one sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import NotFoundError
from appliance.mail.address import Address
from appliance.mail.envelope import Recipient
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.store import Filing
from appliance.trace import TraceRow
from plugins.spam.judge import protocol_weights
from plugins.spam.judge.command import spam as command
from plugins.spam.judge.config import JudgeConfig
from plugins.spam.judge.experience import Experience
from plugins.spam.judge.protocol_weights import BENEFIT, CAP, FLOOR, Weights, is_fixed, key_of, read_tests
from plugins.spam.judge.verdicts import Judge
from plugins.spam.judge.why import read_rows
from tests.appliance.office import Office, office
from tests.plugins.spam.stranger import core_with

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
RULE = Finding("hoax", "yes", 4.0, "it is a hoax")
RECIPIENT = Recipient(Address("ana", "palomar.test"))


def moved(weights: Weights, *accounts: int, spam: bool = False, tests: dict[str, float] | None = None) -> float:
    for account in accounts:
        weights.note(account, tests or {"HOAX_YES": 4.0}, spam=spam)
    return weights.factor(RULE)


def test_each_move_out_of_junk_takes_some_weight() -> None:
    weights = Weights()
    assert weights.factor(RULE) == 1
    assert moved(weights, 1) == BENEFIT / (BENEFIT + 1)
    assert moved(weights, 1, 1, 1, 1) == BENEFIT / (BENEFIT + 5)


def test_one_account_takes_half_at_most_and_several_take_more() -> None:
    weights = Weights()
    assert moved(weights, *[1] * 1000) == 0.5
    assert moved(weights, *[2] * 1000) == pytest.approx(1 / 3)
    assert moved(weights, *range(3, 1000), *range(3, 1000)) == FLOOR


def test_weight_comes_back() -> None:
    weights = Weights()
    moved(weights, *[1] * 1000)
    before = weights.factor(RULE)
    assert moved(weights, 1, spam=True) > before
    assert moved(weights, *[1] * CAP, spam=True) == 1
    assert weights.totals() == {"HOAX_YES": (CAP, 0)}


def test_who_spoke_for_spam_was_wrong() -> None:
    weights = Weights()
    moved(weights, 1, spam=True, tests={"HOAX_YES": 4.0, "BAYES_HAM": -3.0, "NOTHING_SAID": 0.0})
    assert weights.totals() == {"HOAX_YES": (1, 0), "BAYES_HAM": (0, 1)}


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=200))
def test_counts_stay_within_their_bounds(notes: list[tuple[int, bool]]) -> None:
    weights = Weights()
    for account, spam in notes:
        moved(weights, account, spam=spam)
    rows, gone = weights.take_changes()
    assert gone == []
    assert all(right >= 0 and wrong >= 0 and right + wrong <= CAP for _, _, right, wrong in rows)
    assert FLOOR <= weights.factor(RULE) <= 1


def test_pairs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_weights, "MAX_PAIRS", 10)
    weights = Weights()
    for number in range(100):
        weights.note(1, {f"X_{number}": 1.0}, spam=False)
    assert list(weights.totals()) == [f"X_{number}" for number in range(90, 100)]
    rows, gone = weights.take_changes()
    assert (len(rows), len(gone)) == (10, 90)


@pytest.mark.parametrize(
    "finding",
    [Finding("hoax", "yes", 4.0, action="refuse"), Finding("hoax", "yes", 4.0, absence="defer"),
     Finding("lists", "allow", -20.0)],
)  # fmt: skip
def test_viruses_policies_and_own_lists_keep_their_weight(finding: Finding) -> None:
    weights = Weights()
    moved(weights, *range(1000), tests={key_of(finding): finding.score})
    assert is_fixed(finding)
    assert weights.factor(finding) == 1


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30), st.floats(-99, 99)), max_size=8, unique_by=str))
async def test_what_the_judge_writes_is_read_back(parts: list[tuple[str, str, float]]) -> None:
    findings = [Finding(name, result, score) for name, result, score in parts]
    core: Any = type("C", (), {"settings": {JudgeConfig: JudgeConfig()}})
    verdict = await Judge(core).judge_recipient(RECIPIENT, None, findings)
    assert verdict is not None
    found = read_tests(verdict.header)
    assert set(found) == {key_of(one) for one in findings if one.score}


@pytest.mark.parametrize(
    "header", [b"", b"X-Spam-Status: Yes\r\n", b"X-Spam-Status: No, score=1.0 required=5.0\r\n\ttests=none\r\n",
               b"X-Spam-Status: Yes, tests=BAYES_SPAM,SPF_FAIL\r\n", b"X-Spam-Status: tests=a=b,=,A=1e9\xff\r\n"],
)  # fmt: skip
def test_older_and_broken_lines_say_nothing(header: bytes) -> None:
    assert read_tests(header) == {}


async def test_the_judge_counts_less_and_says_so(tmp_path: Path) -> None:
    weights = Weights()
    judge = Judge(core_with(tmp_path, "", JudgeConfig()), weights)
    findings = [RULE, Finding("spf", "fail", 1.5)]
    before = await judge.judge_recipient(RECIPIENT, None, findings)
    moved(weights, *[1] * CAP)
    after = await judge.judge_recipient(RECIPIENT, None, findings)
    assert before is not None
    assert after is not None
    assert (before.action, before.score, before.note) == ("junk", 5.5, "")
    assert (after.action, after.score, after.note) == ("accept", 3.5, "weighed: HOAX_YES 0.50")
    assert b"HOAX_YES=2.00" in after.header
    row = TraceRow(1.0, "t", "filters", "judged", f"{ANA}: junk at 5.5, it is (a) hoax ({after.note})")
    assert [(one["text"], one["weighed"]) for one in read_rows([row])] == [("it is (a) hoax", "HOAX_YES 0.50")]


# ── moves in a real store ─────────────────────────────────────────────────────────────────────────────────────────


class Scene:
    def __init__(self, made: Office) -> None:
        self.office, self.core = made, made.core
        self.weights = Weights()
        self.experience = Experience(made.core, self.weights)
        self.calls = dict(self.experience.calls())

    async def file(self, account: str, mailbox: str, status: bytes = b"tests=HOAX_YES=4.00") -> int:
        """A message as the judge filed it; its uid."""
        found = self.core.store.directory.account(account)
        assert found is not None
        filing = Filing(found.id, mailbox, b"X-Spam-Status: Yes, score=4.0 required=5.0\r\n\t" + status + b"\r\n")
        envelope = self.office.begin().envelope
        forged = Message.parse(b"X-Spam-Status: No, tests=FORGED_YES=-9.00\r\n\r\nx\r\n")
        accepted = await self.core.store.accept(forged, [filing], [], envelope, trace_id="t")
        return accepted.filed[0].uid

    async def move(self, account: str, source: str, target: str) -> None:
        """What a client's MOVE tells, of a message that lies in the target by now."""
        await self.experience.message_moved(account, source, target, [await self.file(account, target)])


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with office(tmp_path) as made:
        yield Scene(made)


async def test_moves_and_releases_count(scene: Scene) -> None:
    await scene.move(ANA, "Junk", "INBOX")
    await scene.move(LUIS, "INBOX", "Junk")
    for source, target in (("INBOX", "Archive"), ("Junk", "Trash"), ("Trash", "Junk")):
        await scene.move(ANA, source, target)
    await scene.experience.message_moved("nobody@palomar.test", "Junk", "INBOX", [1])
    await scene.experience.message_moved(ANA, "Junk", "INBOX", [4711])
    assert scene.weights.totals() == {"HOAX_YES": (1, 1)}
    await scene.experience.message_released(
        ANA, b"X-Spam-Status: Yes,\r\n\ttests=SPF_FAIL=3.00,\r\n\tHOAX_YES=4.00\r\n"
    )
    assert scene.weights.totals() == {"HOAX_YES": (1, 2), "SPF_FAIL": (0, 1)}


async def test_weights_survive_and_can_be_forgotten(scene: Scene) -> None:
    await scene.move(ANA, "Junk", "INBOX")
    await scene.experience.message_released(ANA, b"X-Spam-Status: Yes, tests=SPF_FAIL=3.00\r\n")
    await scene.experience.flush()
    again = Scene(scene.office)
    await again.experience.load()
    rows = await again.calls["spam.weights"](scene.core)
    assert [(row["check"], row["right"], row["wrong"]) for row in rows] == [("HOAX_YES", 0, 1), ("SPF_FAIL", 0, 1)]
    assert await again.calls["spam.forget"](scene.core, checks=["hoax_yes"]) == 1
    with pytest.raises(NotFoundError):
        await again.calls["spam.forget"](scene.core, checks=["hoax_yes"])
    assert await again.calls["spam.forget"](scene.core, checks=[], everything=True) == 1
    last = Scene(scene.office)
    await last.experience.load()
    assert last.weights.totals() == {}
    assert last.weights.factor(RULE) == 1


def test_the_commands() -> None:
    rows = [{"check": "HOAX_YES", "factor": 0.5, "right": 0, "wrong": 20}]
    why = [
        {"trace_id": "t", "kind": "judged", "recipient": ANA, "result": "accept", "score": 3.5, "text": "",
         "weighed": "HOAX_YES 0.50"},
    ]  # fmt: skip
    answers = {"spam.weights": rows, "spam.forget": 1, "spam.why": why}

    class Palomar:
        def call(self, name: str, /, **arguments: Any) -> Any:
            return answers[name]

    def said(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(command, arguments, obj=Palomar(), catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.output

    assert "HOAX_YES    0.50" in said("weights")
    assert "1 check(s)" in said("forget", "HOAX_YES")
    assert "1 check(s)" in said("forget", "--all")
    assert "Name checks" in said("forget", code=2)
    assert "counted for less than above, by experience: HOAX_YES 0.50" in said("why", "t")
