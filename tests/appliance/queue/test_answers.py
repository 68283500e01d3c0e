"""Whatever a transport answers, each recipient gets one outcome, and none is delivered by mistake."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply
from appliance.queue.answers import matched
from tests.appliance.queue.office import LATER, NEVER, OK, outcome

A, B = Recipient(Address("a", "b.test")), Recipient(Address("b", "b.test"))


def statuses(answer: object) -> tuple[str, str]:
    outcomes, wrong = matched(answer, [A, B], "evil")
    assert [one.recipient.address.key for one in outcomes] == [A.address.key, B.address.key]
    assert all(isinstance(one.reply, Reply) for one in outcomes)
    assert wrong
    return outcomes[0].status, outcomes[1].status


def test_a_sound_answer_is_passed_on() -> None:
    answer = [outcome(A, OK), outcome(B, NEVER)]
    assert matched(answer, (A, B), "good") == (answer, "")


@pytest.mark.parametrize("answer", [None, "ab", ["x", "y"], 5, [], {}, [None, None], outcome(A, OK), [[], []]])
def test_what_is_no_answer_defers_all(answer: object) -> None:
    assert statuses(answer) == ("deferred", "deferred")


def test_the_words_name_the_transport_and_the_fault() -> None:
    (first, _), wrong = matched(None, [A, B], "evil")
    assert str(first.reply) == "451 4.3.0 the transport 'evil' answered None instead of a list of outcomes"
    assert wrong == "answered None instead of a list of outcomes"
    assert len(matched("x" * 10_000, [A], "evil")[1]) < 200


def test_sound_outcomes_count_beside_others() -> None:
    assert statuses([outcome(B, OK)]) == ("deferred", "delivered")
    assert statuses([outcome(B, OK), outcome(A, NEVER)]) == ("failed", "delivered")  # in another order
    assert statuses([outcome(A, OK), "x"]) == ("delivered", "deferred")
    assert statuses([outcome(A, OK), outcome(B, OK), outcome(Recipient(Address("c", "b.test")), OK)]) == (
        "delivered",
        "delivered",
    )


def test_contradictions_do_not_deliver() -> None:
    assert statuses([outcome(A, OK), outcome(A, NEVER), outcome(B, OK)]) == ("deferred", "delivered")


@pytest.mark.parametrize(
    "unsound",
    [
        {"status": "gone"},
        {"status": ["delivered"]},
        {"status": "delivered", "reply": LATER},
        {"status": "failed", "reply": OK},
        {"reply": "250 ok"},
        {"peer": None},
    ],
)
def test_unsound_outcomes_defer(unsound: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"status": "delivered", "reply": OK, "peer": ""} | unsound
    assert statuses([Outcome(A, **facts), outcome(B, OK)]) == ("deferred", "delivered")
    assert statuses([Outcome("a@b.test", "delivered", OK), outcome(B, OK)]) == (  # type: ignore[arg-type]
        "deferred",
        "delivered",
    )
