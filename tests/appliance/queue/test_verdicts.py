"""What an outcome means for its entry, and who is told."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply
from appliance.queue.schedule import Schedule
from appliance.queue.verdicts import Verdict, judge
from appliance.store.model import QueueEntry
from appliance.timestate import TimeState

NOW = 1_000_000
RULES: dict[str, Any] = {"schedule": Schedule(), "chance": 0.5}
OK = Reply(250, "2.0.0", "stored")
LATER = Reply(451, "4.2.0", "later")
NEVER = Reply(550, "5.1.1", "unknown")


def entry(*notify: str, transport: str = "relay", **fields: Any) -> QueueEntry:
    recipient = Recipient(Address("a", "b.test"), frozenset(notify))
    values = {"attempts": 0, "waited_s": 0, "next_at": NOW, "delay_warned": False, "last_reply": "", **fields}
    return QueueEntry(1, 1, recipient, Route(transport, "b.test"), "active", **values)


def verdict(one: QueueEntry, status: Any, reply: Reply, **facts: Any) -> Verdict:
    resume_at = facts.pop("resume_at", 0)
    outcome = Outcome(one.recipient, status, reply, **facts)
    return judge(one, outcome, now=NOW, schedule=Schedule(), chance=0.5, resume_at=resume_at)


@pytest.mark.parametrize(
    ("notify", "transport", "relayed", "action"),
    [
        ((), "relay", False, None),
        (("SUCCESS",), "relay", False, "relayed"),
        (("SUCCESS",), "list", False, "delivered"),
        (("SUCCESS",), "relay", True, None),
        (("SUCCESS",), "local", False, "delivered"),
        (("FAILURE",), "local", False, None),
        (("NEVER",), "relay", False, None),
    ],
)
def test_delivered(notify: tuple[str, ...], transport: str, relayed: bool, action: str | None) -> None:
    found = verdict(entry(*notify, transport=transport), "delivered", OK, relayed_dsn=relayed)
    assert found.next_at == 0
    assert (found.notice.action if found.notice else None) == action


def test_what_lmtp_has_taken_is_delivered() -> None:
    found = verdict(entry("SUCCESS", transport="lmtp"), "delivered", OK, final=True)
    assert found.notice is not None
    assert found.notice.action == "delivered"


@pytest.mark.parametrize(
    ("notify", "told"), [((), True), (("FAILURE",), True), (("SUCCESS",), False), (("NEVER",), False)]
)
def test_failed(notify: tuple[str, ...], told: bool) -> None:
    found = verdict(entry(*notify), "failed", NEVER, peer="mx.b.test[192.0.2.1]:25")
    assert found.next_at == 0
    assert (found.notice is not None) is told
    if found.notice:
        assert (found.notice.action, found.notice.reply, found.notice.peer) == (
            "failed",
            NEVER,
            "mx.b.test[192.0.2.1]:25",
        )


def test_deferred() -> None:
    found = verdict(entry(), "deferred", LATER)
    assert (found.next_at, found.tried_at, found.waited_s, found.delay_warned) == (NOW + 300, NOW, 0, False)
    assert found.notice is None
    found = verdict(entry(attempts=2, waited_s=900, tried_at=NOW - 700), "deferred", LATER)
    assert (found.next_at, found.waited_s) == (NOW + 1200, 1600)


@pytest.mark.parametrize(("notify", "told"), [((), True), (("DELAY",), True), (("FAILURE",), False)])
def test_delay_warning(notify: tuple[str, ...], told: bool) -> None:
    late = entry(*notify, attempts=6, waited_s=4 * 3600 - 100, tried_at=NOW - 4000)
    found = verdict(late, "deferred", LATER)
    assert found.delay_warned
    assert (found.notice is not None) is told
    if found.notice:
        assert found.notice.action == "delayed"
        assert found.notice.retry_until == NOW + 5 * 86400 - found.waited_s
    warned = entry(attempts=7, waited_s=5 * 3600, tried_at=NOW - 4000, delay_warned=True)
    assert verdict(warned, "deferred", LATER).notice is None
    assert verdict(warned, "deferred", LATER).delay_warned


def test_expired() -> None:
    old = entry(attempts=110, waited_s=5 * 86400 - 10, tried_at=NOW - 4000, delay_warned=True)
    found = verdict(old, "deferred", LATER, peer="mx[192.0.2.1]:25")
    assert found.next_at == 0
    assert found.outcome.status == "failed"
    assert str(found.outcome.reply) == ("550 5.4.7 not delivered within 5.0 days; the last answer was: 451 4.2.0 later")
    assert found.notice is not None
    assert found.notice.action == "failed"


@pytest.mark.parametrize(
    ("time_state", "waited_s", "tried_at"), [("synced", 1600, NOW), ("plausible", 900, 0), ("unset", 900, 0)]
)
def test_age_grows_only_while_the_clock_is_synced(time_state: TimeState, waited_s: int, tried_at: int) -> None:
    tried = entry(attempts=2, waited_s=900, tried_at=NOW - 700)
    found = judge(tried, Outcome(tried.recipient, "deferred", LATER), now=NOW, **RULES, time_state=time_state)
    assert (found.waited_s, found.tried_at, found.next_at) == (waited_s, tried_at, NOW + 1200)


def test_the_first_synced_attempt_counts_nothing_that_was_before() -> None:
    tried = entry(attempts=5, waited_s=900, tried_at=0)
    assert verdict(tried, "deferred", LATER).waited_s == 900


@pytest.mark.parametrize(("time_state", "expires"), [("synced", True), ("plausible", True), ("unset", False)])
def test_nothing_expires_or_warns_while_the_clock_is_unset(time_state: TimeState, expires: bool) -> None:
    old = entry(attempts=110, waited_s=5 * 86400, tried_at=NOW - 4000)
    found = judge(old, Outcome(old.recipient, "deferred", LATER), now=NOW, **RULES, time_state=time_state)
    assert (found.outcome.status == "failed") is expires
    late = entry(attempts=6, waited_s=5 * 3600, tried_at=NOW - 4000)
    found = judge(late, Outcome(late.recipient, "deferred", LATER), now=NOW, **RULES, time_state=time_state)
    assert found.delay_warned is expires
    assert found.next_at > NOW


def test_a_destination_that_is_left_alone_sets_the_time() -> None:
    assert verdict(entry(), "deferred", LATER, resume_at=NOW + 60).next_at == NOW + 60
    assert verdict(entry(), "deferred", LATER, resume_at=NOW + 4000).next_at == NOW + 4000
    tried = entry(attempts=3, tried_at=NOW - 1200)
    assert verdict(tried, "deferred", LATER, resume_at=NOW + 60).next_at == NOW + 2400
