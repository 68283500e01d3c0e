"""What few messages ask of the queue: a time by which, a time before which, a priority, TLS; over restarts too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.queue.deadline import Deadline
from appliance.queue.destinations import envelope_of
from appliance.queue.schedule import Schedule
from appliance.queue.verdicts import Verdict, judge
from appliance.store.model import QueueEntry
from appliance.store.queue import list_queue
from appliance.store.queuedesk import Selection
from tests.appliance.queue.office import LATER, OK, Office, office, outcome, until, working

NOW = 1_000_000


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as made:
        yield made


# ── the verdict ───────────────────────────────────────────────────────────────────────────────────────────────────


def verdict(mode: str, at: int, reply: Reply = LATER, *notify: str, tried_at: int = 0, **facts: Any) -> Verdict:
    recipient = Recipient(Address("a", "b.test"), frozenset(notify))
    waited = {"attempts": 1, "waited_s": 10, "next_at": NOW, "delay_warned": False, "last_reply": ""}
    route = Route(facts.pop("transport", "relay"), "b.test")
    entry = QueueEntry(1, 1, recipient, route, "active", tried_at=tried_at, **waited)  # type: ignore[arg-type]
    state = facts.pop("time_state", "synced")
    return judge(
        entry,
        outcome(recipient, reply, **facts),
        now=NOW,
        schedule=Schedule(),
        chance=0.5,
        time_state=state,
        deadline=Deadline(at, mode, NOW - 1000),
    )


def test_a_retry_falls_on_the_time_itself_when_that_is_sooner() -> None:
    assert verdict("R", NOW + 60).next_at == NOW + 60
    assert verdict("N", NOW + 60).next_at == NOW + 60
    assert verdict("R", NOW + 100_000).next_at == NOW + 600


def test_the_message_comes_back_when_its_time_has_passed() -> None:
    found = verdict("R", NOW)
    assert (found.next_at, found.outcome.status, found.outcome.reply.enhanced) == (0, "failed", "5.4.7")
    assert found.notice is not None
    assert "last answer was: 451 4.2.0 later" in found.notice.reply.text
    assert verdict("R", NOW, LATER, "NEVER").notice is None
    assert verdict("R", NOW, time_state="unset").outcome.status == "deferred"


def test_the_sender_is_told_once_and_attempts_go_on() -> None:
    found = verdict("N", NOW, tried_at=NOW - 500)
    assert found.next_at == NOW + 600
    assert found.notice is not None
    assert (found.notice.action, found.notice.reply.enhanced) == ("delayed", "4.4.7")
    assert verdict("N", NOW - 1, tried_at=NOW - 1).notice is None  # told at the attempt before
    assert verdict("N", NOW - 2000).notice is None  # it had passed when the message came
    assert verdict("N", NOW, LATER, "FAILURE").notice is None


@pytest.mark.parametrize(
    ("mode", "at", "notify", "facts", "told"),
    [
        ("N", NOW + 5, (), {}, True),
        ("N", NOW + 5, (), {"relayed_by": True, "relayed_dsn": True}, False),
        ("N", NOW + 5, (), {"relayed_by": False, "relayed_dsn": True}, True),
        ("N", NOW - 5, (), {"relayed_dsn": True}, False),
        ("NT", NOW - 5, ("FAILURE",), {"relayed_by": True, "relayed_dsn": True}, True),
        ("RT", NOW + 5, (), {"relayed_by": True, "relayed_dsn": True}, True),
        ("R", NOW + 5, (), {"relayed_by": True, "relayed_dsn": True}, False),
        ("RT", NOW + 5, ("NEVER",), {"relayed_by": True}, False),
        ("NT", NOW + 5, (), {"transport": "local"}, False),
        ("NT", NOW + 5, (), {"final": True}, False),
    ],
)
def test_steps_that_are_told_of(mode: str, at: int, notify: tuple[str, ...], facts: dict[str, Any], told: bool) -> None:
    found = verdict(mode, at, OK, *notify, **facts)
    assert (found.notice is not None and found.notice.action == "relayed") is told


# ── the queue ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_all_terms_come_back_from_the_store(tmp_path: Path) -> None:
    terms: dict[str, Any] = {
        "priority": -3,
        "release_at": 1_000_500,
        "deliver_by": 1_000_900,
        "by_mode": "RT",
        "auth": "ana@palomar.test",
        "require_tls": True,
        "body": "BINARYMIME",
    }
    async with office(tmp_path) as first:
        await first.queue("a@b.test", **terms)
        await first.queue("c@b.test", tls_optional=True)
    async with office(tmp_path) as second:
        pairs = await second.store.read(list_queue)
    envelopes = [envelope_of(queued, [entry]) for queued, entry in pairs]
    size, sender = envelopes[0].size, Address.parse("ana@palomar.test")
    assert envelopes[0] == Envelope(sender, [Recipient(Address("a", "b.test"))], size=size, **terms)
    assert envelopes[1] == Envelope(sender, [Recipient(Address("c", "b.test"))], size=size, tls_optional=True)


async def test_nothing_leaves_before_its_time_whatever_is_asked_for_others(tmp_path: Path) -> None:
    async with office(tmp_path) as place:
        async with working(place) as runner:
            await place.queue("later@b.test", release_at=1_000_500, notify=runner)
            await place.queue("now@b.test", notify=runner)
            await until(lambda: place.transport.recipients == ["now@b.test"])
            assert await runner.desk.retry(Selection(domains=("b.test",), released=True)) == 0
        (waiting,) = await place.entries()
        assert waiting.next_at == 1_000_500
    async with office(tmp_path) as place, working(place) as runner:  # the machine was started anew
        await place.queue("other@b.test", notify=runner)
        await until(lambda: place.transport.recipients == ["other@b.test"])
        place.now = 1_000_500
        runner.notify()
        await until(lambda: "later@b.test" in place.transport.recipients)


async def test_a_message_that_waits_can_be_taken_back(place: Office) -> None:
    async with working(place) as runner:
        await place.queue("later@b.test", release_at=1_000_500, notify=runner)
        assert await runner.desk.remove(Selection(recipient="later@b.test")) == 1
        place.now = 1_000_500
        await place.queue("other@b.test", notify=runner)
        await until(lambda: place.transport.recipients == ["other@b.test"])
    assert await place.entries() == []


async def test_the_higher_priority_leaves_first(place: Office) -> None:
    for name, priority in (("low", -9), ("usual", 0), ("high", 9), ("mid", 4)):
        await place.queue(f"{name}@b.test", priority=priority)
    place.config = type(place.config)(deliveries=1, deliveries_per_destination=1)
    async with working(place):
        await until(lambda: len(place.transport.recipients) == 4)
    assert place.transport.recipients == ["high@b.test", "mid@b.test", "usual@b.test", "low@b.test"]


async def test_a_message_whose_time_passes_comes_back_without_another_attempt(place: Office) -> None:
    place.transport.verdict = lambda recipient: outcome(recipient, LATER)
    async with working(place) as runner:
        await place.queue("a@b.test", deliver_by=1_000_100, by_mode="R", release_at=1_000_000, notify=runner)
        await until(lambda: place.transport.recipients == ["a@b.test"])
        await until(lambda: not runner.desk._hand().entries)
        (waiting,) = await place.entries()
        assert waiting.next_at == 1_000_100
    place.now = 1_000_100
    async with working(place):
        await until(lambda: place.notices)
    assert place.transport.recipients == ["a@b.test"]  # once only
    assert await place.entries() == []
    (_, text) = place.notices[0]
    assert "Action: failed\r\nStatus: 5.4.7" in text
    assert "Deliver-By-Date: Mon, 12 Jan 1970 13:48:20 +0000" in text
    assert "Future-Release-Request: until;1970-01-12T13:46:40Z" in text
    assert "451 4.2.0 later" in text


async def test_notices_of_a_message_that_needs_tls_return_its_header_and_need_it_too(
    place: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Envelope] = []
    submit = place.submit

    async def noting(*arguments: Any, envelope: Envelope, **more: Any) -> Any:
        asked.append(envelope)
        return await submit(*arguments, envelope=envelope, **more)

    monkeypatch.setattr(place, "submit", noting)
    place.transport.verdict = lambda recipient: Outcome(recipient, "failed", Reply(550, "5.7.30", "no REQUIRETLS"))
    async with working(place) as runner:
        await place.queue("a@b.test", require_tls=True, ret="FULL", priority=2, notify=runner)
        await until(lambda: place.notices)
    (_, text) = place.notices[0]
    assert "Content-Type: text/rfc822-headers" in text
    assert "\r\nbody\r\n" not in text
    assert (asked[0].require_tls, asked[0].priority) == (True, 2)
