"""The queue at work, on a real store: nothing lost, nothing twice, nobody waiting for somebody else's slow host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import PluginError, StoreFullError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.queue import destinations
from appliance.queue.config import QueueConfig
from appliance.queue.schedule import Schedule
from appliance.store import QueueEntry
from appliance.store.queue import list_queue
from appliance.store.queuedesk import Selection
from tests.appliance.queue.office import (
    ANA,
    DOWN,
    LATER,
    NEVER,
    OK,
    RAW,
    FakeTransport,
    Office,
    office,
    outcome,
    until,
    working,
)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as made:
        yield made


@asynccontextmanager
async def emptied(place: Office) -> AsyncIterator[None]:
    """Wait until nothing is queued any more."""
    yield
    async with asyncio.timeout(60):
        while await place.entries():
            await asyncio.sleep(0.001)


async def deferred(place: Office, attempts: int = 1) -> list[QueueEntry]:
    """Wait until everything that is queued was tried that often."""
    async with asyncio.timeout(60):
        while True:
            entries = await place.entries()
            if entries and all(entry.attempts >= attempts for entry in entries):
                return entries
            await asyncio.sleep(0.001)


async def test_a_new_message_leaves_at_once(place: Office) -> None:
    async with working(place) as runner:
        async with emptied(place):
            await place.queue("a@b.test", notify=runner)
        assert place.transport.delivered == [(["a@b.test"], RAW)]
        assert [row.what for row in await place.trace.find("trace")] == ["delivered"]
    assert place.notices == []


async def test_what_waited_is_found_at_the_start(place: Office) -> None:
    for number in range(3):
        await place.queue(f"a{number}@b.test")
    async with working(place), emptied(place):
        await until(lambda: len(place.transport.delivered) == 3)
        assert all(raw == RAW for _, raw in place.transport.delivered)


async def test_one_delivery_per_message_and_destination(place: Office) -> None:
    async with working(place) as runner, emptied(place):
        await place.queue("a@b.test", "c@d.test", "e@b.test", notify=runner)
    assert sorted(addresses for addresses, _ in place.transport.delivered) == [["a@b.test", "e@b.test"], ["c@d.test"]]


async def test_many_recipients_are_delivered_in_parts(place: Office) -> None:
    names = [f"r{number}@b.test" for number in range(destinations.MAX_GROUP + 1)]
    async with working(place) as runner, emptied(place):
        await place.queue(*names, notify=runner)
    assert sorted(len(addresses) for addresses, _ in place.transport.delivered) == [1, destinations.MAX_GROUP]


async def test_a_deferred_recipient_is_tried_again_when_its_time_comes(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, LATER if one.address.local == "slow" else OK)
    async with working(place) as runner:
        await place.queue("slow@b.test", "fast@b.test", notify=runner)
        (entry,) = await deferred(place)
        assert 270 <= entry.next_at - place.now <= 330
        assert (entry.tried_at, entry.last_reply) == (place.now, "451 4.2.0 later")
        runner.notify()
        await asyncio.sleep(0.01)
        assert place.transport.recipients.count("slow@b.test") == 1
        place.transport.verdict = lambda one: outcome(one, OK)
        place.now = entry.next_at
        async with emptied(place):
            runner.notify()
        assert place.transport.recipients == ["slow@b.test", "fast@b.test", "slow@b.test"]


@pytest.mark.parametrize("reading", [False, True])
async def test_a_retry_is_not_late(place: Office, monkeypatch: pytest.MonkeyPatch, reading: bool) -> None:
    """Nobody but the queue's own timer wakes it, and that was set before the message was put off."""
    place.transport.verdict = lambda one: outcome(one, LATER)
    write, read = place.store.write, place.store.read
    written = asyncio.Event()

    async def late(fn: Any, **named: Any) -> Any:
        result = await write(fn, **named)
        for _, entry in await read(list_queue):
            place.now = entry.next_at - 5 * reading  # as if the pause were over as soon as it is on the disk
            place.transport.verdict = lambda one: outcome(one, OK)
            written.set()
        return result

    async def slow(fn: Any) -> Any:
        result = await read(fn)
        if reading and result is None and not place.transport.gate.is_set():
            place.transport.gate.set()  # what falls due next was read before the message is put off
            await written.wait()
            await asyncio.sleep(0.01)
            place.now += 5
        return result

    place.transport.gate.clear()
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        await until(lambda: place.transport.running)
        monkeypatch.setattr(place.store, "write", late)
        monkeypatch.setattr(place.store, "read", slow)
        async with emptied(place):
            if reading:
                runner.notify()
            else:
                place.transport.gate.set()
    assert place.transport.recipients == ["a@b.test"] * 2


async def test_a_failed_recipient_is_bounced_once_for_the_whole_attempt(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, NEVER if one.address.local.startswith("no") else OK)
    async with working(place) as runner, emptied(place):
        await place.queue("no1@b.test", "yes@b.test", "no2@b.test", notify=runner)
    ((to, text),) = place.notices
    assert to == ANA
    for words in ("Action: failed", "rfc822; no1@b.test", "rfc822; no2@b.test", "Status: 5.1.1", "Subject: hello"):
        assert words in text
    assert "yes@b.test" not in text


async def test_notify_never_is_respected(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, NEVER)
    async with working(place) as runner, emptied(place):
        await place.queue(Recipient(Address("a", "b.test"), frozenset({"NEVER"})), notify=runner)
    assert place.notices == []


@pytest.mark.parametrize(
    ("transport", "relayed", "word"), [("fake", False, "relayed"), ("fake", True, ""), ("local", False, "delivered")]
)
async def test_success_notices(place: Office, transport: str, relayed: bool, word: str) -> None:
    place.transport.name = transport
    place.transport.verdict = lambda one: outcome(one, OK, relayed_dsn=relayed)
    wanted = Recipient(Address("a", "b.test"), frozenset({"SUCCESS"}))
    async with working(place) as runner, emptied(place):
        await place.queue(wanted, transport=transport, notify=runner)
    assert [f"Action: {word}" in text for _, text in place.notices] == ([True] if word else [])


async def test_a_null_sender_is_never_told_but_the_postmaster_is(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, NEVER)
    async with working(place) as runner:
        async with emptied(place):
            await place.queue("a@b.test", sender=None, notify=runner)
        assert place.notices == []
        assert "not returned" in [row.what for row in await place.trace.find("trace")]
        place.postmaster = "postmaster@palomar.test"
        async with emptied(place):
            await place.queue("a@b.test", sender=None, notify=runner)
        assert [to for to, _ in place.notices] == ["postmaster@palomar.test"]
        async with emptied(place):  # the postmaster's own mailbox cannot be told that it cannot be reached
            await place.queue("postmaster@palomar.test", sender=None, notify=runner)
        assert len(place.notices) == 1


async def test_what_the_postmaster_gets_never_comes_back(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, NEVER)
    place.postmaster = "postmaster@palomar.test"
    async with working(place) as runner:
        async with emptied(place):
            await place.queue("a@b.test", sender=None, notify=runner)
        away = replace(place.told[0], address=Address("elsewhere", "b.test"))  # the postmaster's account is redirected
        async with emptied(place):
            await place.queue(away, sender=None, notify=runner)
    assert len(place.notices) == 1


async def test_one_warning_after_four_hours_and_a_bounce_after_five_days(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, LATER)
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        attempts = 1
        entries = await deferred(place, attempts)
        while entries:
            attempts += 1
            place.now = entries[0].next_at
            async with asyncio.timeout(60):
                while (entries := await place.entries()) and entries[0].attempts < attempts:
                    runner.notify()
                    await asyncio.sleep(0)
    actions = [text.partition("\r\nAction: ")[2].partition("\r\n")[0] for _, text in place.notices]
    assert actions == ["delayed", "failed"]
    assert "Will-Retry-Until:" in place.notices[0][1]
    assert "451 4.2.0 later" in place.notices[1][1]
    assert attempts > 100


class PatientTransport(FakeTransport):
    """Gives up later than the queue's settings say, or answers nonsense instead."""

    patient: bool = True

    def schedule(self, route: Route, usual: Schedule) -> object:
        return replace(usual, max_age_s=28 * 86400, warn_after_s=0) if self.patient else "for ever"


async def test_a_transport_may_be_more_patient_than_the_queue(place: Office) -> None:
    place.config = QueueConfig(max_age_days=0.01, warn_after_hours=0)
    place.transport = patient = PatientTransport(verdict=lambda one: outcome(one, LATER))
    async with working(place) as runner, emptied(place):
        await place.queue("a@b.test", notify=runner)
        for attempts in range(1, 6):
            (entry,) = await deferred(place, attempts)
            place.now = entry.next_at
            runner.notify()
        assert entry.waited_s > 864
        assert place.notices == []
        await deferred(place, 6)
        patient.patient = False  # and answers no schedule: then the queue's own counts
        await runner.desk.retry(Selection())
    assert len(place.notices) == 1


async def test_a_clock_that_jumps_expires_nothing(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, LATER)
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        await deferred(place)
        place.now += 10 * 365 * 86400
        runner.notify()
        (entry,) = await deferred(place, 2)
        assert entry.waited_s == 600  # twice the pause that was planned
    assert place.notices == []


async def test_without_a_set_clock_mail_leaves_and_nothing_ages(place: Office) -> None:
    place.now, place.time_state = 5.0, "unset"
    place.transport.verdict = lambda recipient: outcome(recipient, LATER)
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        for attempts in range(1, 130):  # with a synced clock it would have expired at the 112th
            entries = await deferred(place, attempts)
            place.now = entries[0].next_at
            runner.notify()
        assert (entries[0].waited_s, entries[0].tried_at) == (0, 0)
        place.now, place.time_state = 1_800_000_000.0, "synced"
        runner.notify()
        entries = await deferred(place, 130)
        assert (entries[0].waited_s, entries[0].tried_at) == (0, 1_800_000_000)
    assert place.notices == []


async def test_a_clock_that_is_set_back_leaves_nobody_waiting_for_years(place: Office) -> None:
    place.now = 2_200_000_000.0  # a battery-backed clock that says 2039
    place.transport.verdict = lambda recipient: outcome(recipient, LATER)
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        await deferred(place)
    place.now = 1_800_000_000.0
    async with working(place):
        (entry,) = await deferred(place, 2)
    assert place.now < entry.next_at <= place.now + 700


async def test_a_bounce_that_cannot_be_stored_keeps_the_failure_queued(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, NEVER)
    place.submit_error = StoreFullError("the disk is full")
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        (entry,) = await deferred(place)
        place.submit_error = None
        place.now = entry.next_at
        async with emptied(place):
            runner.notify()
    assert len(place.notices) == 1


# ── failures around the transport ─────────────────────────────────────────────────────────────────────────────────


async def test_a_missing_transport_defers_with_words(place: Office) -> None:
    async with working(place) as runner:
        await place.queue("a@b.test", transport="pigeon", notify=runner)
        (entry,) = await deferred(place)
        assert entry.last_reply == "451 4.3.5 no loaded plugin brings the transport 'pigeon'"


async def test_a_transport_that_raises_defers(place: Office) -> None:
    broken = ValueError("broken")
    place.transport.verdict = lambda _: broken
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        (entry,) = await deferred(place)
        assert entry.last_reply == "451 4.3.0 the transport 'fake' failed"


async def test_a_transport_that_forgets_a_recipient_has_not_delivered_it(place: Office) -> None:
    class Forgetful(FakeTransport):
        async def deliver(
            self, envelope: Envelope, recipients: object, message: Message, route: Route
        ) -> list[Outcome]:
            return [outcome(Recipient(Address("a", "b.test")), OK)]

    async with working(place, Forgetful()) as runner:
        await place.queue("a@b.test", "b@b.test", notify=runner)
        (entry,) = await deferred(place)
        assert str(entry.recipient.address) == "b@b.test"
        assert "gave no answer for this recipient" in entry.last_reply


class Sabotage(FakeTransport):
    """Breaks the contract in the way that it is told, until that is taken away."""

    fault: Any = None

    async def deliver(self, envelope: Envelope, recipients: Any, message: Message, route: Route) -> list[Outcome]:
        if self.fault is None:
            return await super().deliver(envelope, recipients, message, route)
        answer = self.fault()
        if isinstance(answer, BaseException):
            raise answer
        envelope.recipients.clear()
        return answer  # type: ignore[no-any-return]


async def cancel_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda: None, "the transport 'fake' answered None instead of a list of outcomes"),
        (lambda: ["x", "y"], "gave no answer for this recipient"),
        (list, "gave no answer for this recipient"),
        (lambda: asyncio.CancelledError(), "the transport 'fake' failed"),
        (lambda: SystemExit(4), "the transport 'fake' failed"),
        (lambda: BaseExceptionGroup("all", [KeyboardInterrupt()]), "the transport 'fake' failed"),
    ],
)
async def test_a_transport_that_breaks_its_contract_defers(place: Office, fault: Any, words: str) -> None:
    evil = Sabotage()
    evil.fault = fault
    async with working(place, evil) as runner:
        await place.queue("a@b.test", "c@b.test", notify=runner)
        entries = await deferred(place)
        assert all(words in entry.last_reply for entry in entries)
        assert all(270 <= entry.next_at - place.now <= 330 for entry in entries)
        place.now += 331
        runner.notify()
        await deferred(place, 2)  # nothing is stuck in hand
        evil.fault = None
        async with emptied(place):
            await runner.desk.retry(Selection())
    assert evil.recipients == ["a@b.test", "c@b.test"]


async def test_a_transport_that_cancels_its_task_defers(place: Office) -> None:
    class Suicidal(FakeTransport):
        async def deliver(self, envelope: Envelope, recipients: Any, message: Message, route: Route) -> list[Outcome]:
            await cancel_task()
            return []

    async with working(place, Suicidal()) as runner:
        for _ in range(3):
            await place.queue("a@b.test", notify=runner)
        entries = await deferred(place)
        assert len(entries) == 3
        assert "broke off" in entries[0].last_reply
        place.now += 331
        runner.notify()
        await deferred(place, 2)


async def test_a_transport_that_never_works_bounces_in_the_end(place: Office) -> None:
    evil = Sabotage()
    evil.fault = SystemExit
    async with working(place, evil) as runner:
        await place.queue("a@b.test", notify=runner)
        (entry,) = await deferred(place)

        def age(db: object) -> None:
            db.execute("UPDATE queue_entry SET waited_s = 5 * 86400")  # type: ignore[attr-defined]

        await place.store.write(age)
        place.now = entry.next_at
        async with emptied(place):
            runner.notify()
    assert "the transport 'fake' failed" in place.notices[0][1]


async def test_a_transport_whose_other_methods_fail_delivers_all_the_same(place: Office) -> None:
    class Awkward(FakeTransport):
        def deliveries(self, route: Route) -> int:
            raise SystemExit(1)

        async def close(self) -> None:
            raise SystemExit(1)

    awkward, other = Awkward(), FakeTransport("other")
    async with working(place, awkward, other) as runner, emptied(place):
        await place.queue("a@b.test", notify=runner)
    assert awkward.recipients == ["a@b.test"]
    assert other.closed


async def test_what_was_delivered_does_not_leave_again_when_its_notice_fails(place: Office) -> None:
    place.submit_error = RuntimeError("no such thing")
    async with working(place) as runner, emptied(place):
        await place.queue(Recipient(Address("a", "b.test"), frozenset({"SUCCESS"})), notify=runner)
    assert place.transport.recipients == ["a@b.test"]


async def test_plugins_change_what_leaves_and_their_failure_defers(tmp_path: Path) -> None:
    class Signer:
        broken = False

        @hookimpl
        async def transform_outbound(self, message: Message) -> Message:
            if self.broken:
                raise RuntimeError("no key")
            return message.prepend(b"Signed: yes\r\n")

    signer = Signer()
    async with office(tmp_path, signer) as place, working(place) as runner:
        async with emptied(place):
            await place.queue("a@b.test", notify=runner)
        assert place.transport.delivered[0][1] == b"Signed: yes\r\n" + RAW
        signer.broken = True
        await place.queue("a@b.test", notify=runner)
        (entry,) = await deferred(place)
        assert entry.last_reply.startswith("451 4.3.0")
        assert len(place.transport.delivered) == 1


async def test_plugins_hear_of_what_is_settled(tmp_path: Path) -> None:
    class Listener:
        heard: list[str]

        @hookimpl
        async def delivery_settled(self, envelope: Envelope, outcome: Outcome) -> None:
            self.heard.append(f"{envelope.sender} {outcome.recipient.address} {outcome.status}")

    listener = Listener()
    listener.heard = []
    async with office(tmp_path, listener) as place:
        replies = {"a": OK, "b": NEVER, "c": LATER}
        place.transport.verdict = lambda one: outcome(one, replies[one.address.local])
        async with working(place) as runner:
            await place.queue("a@b.test", "b@b.test", "c@b.test", notify=runner)
            await deferred(place)
            await until(lambda: len(listener.heard) == 2)
        assert listener.heard == [f"{ANA} a@b.test delivered", f"{ANA} b@b.test failed"]


async def test_two_transports_of_one_name_are_refused(place: Office) -> None:
    with pytest.raises(PluginError, match="two plugins bring a transport 'fake'"):
        place.runner_for(FakeTransport(), FakeTransport())


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_limits_of_concurrency(place: Office) -> None:
    place.config = QueueConfig(deliveries=5, deliveries_per_destination=2)
    place.transport.gate.clear()
    for number in range(6):
        await place.queue("a@b.test", f"a@d{number % 3}.test")
    async with working(place), emptied(place):
        await until(lambda: place.transport.running == 5)
        await asyncio.sleep(0.01)
        place.transport.gate.set()
        await until(lambda: len(place.transport.delivered) == 12)
    assert place.transport.most == 5
    assert place.transport.most_per_hop["b.test"] == 2
    assert max(place.transport.most_per_hop.values()) == 2


async def test_a_transport_may_ask_for_less(place: Office) -> None:
    class Careful(FakeTransport):
        def deliveries(self, route: Route) -> int:
            return 1

    careful = Careful()
    for _ in range(4):
        await place.queue("a@b.test")
    async with working(place, careful), emptied(place):
        await until(lambda: len(careful.delivered) == 4)
    assert careful.most == 1


async def test_a_backlog_larger_than_the_window_drains_and_blocks_nobody(
    place: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destinations, "WINDOW", 8)
    monkeypatch.setattr(destinations, "SHARE", 4)
    monkeypatch.setattr("appliance.queue.runner.WINDOW", 8)
    monkeypatch.setattr("appliance.queue.runner.PAGE", 3)
    place.config = QueueConfig(deliveries=10, deliveries_per_destination=1)
    place.transport.gate.clear()
    for _ in range(30):
        await place.queue("a@slow.test")
    for _ in range(3):
        await place.queue("a@fast.test")
    async with working(place), emptied(place):
        await until(lambda: {"a@fast.test", "a@slow.test"} <= set(place.transport.recipients))
        assert place.transport.recipients.count("a@slow.test") == 1
        place.transport.gate.set()
    assert sorted(place.transport.recipients) == ["a@fast.test"] * 3 + ["a@slow.test"] * 30


async def test_an_unreachable_destination_is_left_alone_for_a_while(place: Office) -> None:
    place.config = QueueConfig(deliveries_per_destination=1)
    place.transport.verdict = lambda one: (
        outcome(one, DOWN, unreachable=True) if one.address.domain == "down.test" else outcome(one, OK)
    )
    for _ in range(5):
        await place.queue("a@down.test")
    await place.queue("a@up.test")
    async with working(place) as runner:
        entries = await deferred(place)
        assert len(entries) == 5
        assert place.transport.recipients.count("a@down.test") == 1  # one attempt stood for all
        replies = {entry.last_reply for entry in entries}
        assert replies == {
            "451 4.4.1 connection refused",
            "451 4.4.1 put off, down.test could not be reached a moment ago: connection refused",
        }
        assert all(60 <= entry.next_at - place.now <= 60 + 32 for entry in entries)
        await place.queue("b@down.test", notify=runner)  # new mail does not knock either
        await until(lambda: place.transport.recipients.count("a@up.test") == 1)
        await deferred(place)
        assert "b@down.test" not in place.transport.recipients
        place.now += 100
        place.transport.verdict = lambda one: outcome(one, OK)
        async with emptied(place):
            runner.notify()


async def test_attempts_side_by_side_count_as_one_failure(place: Office) -> None:
    place.transport.gate.clear()
    place.transport.verdict = lambda one: outcome(one, DOWN, unreachable=True)
    for _ in range(4):
        await place.queue("a@down.test")
    async with working(place):
        await until(lambda: place.transport.running == 4)
        place.transport.gate.set()
        entries = await deferred(place)
    assert all(entry.next_at - place.now <= 60 + 32 for entry in entries)


# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_hold_release_retry_remove(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, LATER)
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        await place.queue("a@c.test", hold=True, notify=runner)
        await until(lambda: place.transport.delivered)
        while [entry.attempts for entry in await place.entries()] != [1, 0]:
            await asyncio.sleep(0)
        assert place.transport.recipients == ["a@b.test"]
        assert [entry.state for entry in await place.entries()] == ["active", "held"]
        desk = runner.desk

        assert await desk.hold(Selection(domains=("b.test",))) == 1
        assert await desk.retry(Selection()) == 0  # held ones stay
        place.now += 10_000
        runner.notify()
        await asyncio.sleep(0.01)
        assert place.transport.recipients == ["a@b.test"]

        assert await desk.remove(Selection(domains=("c.test",))) == 1
        place.transport.verdict = lambda one: outcome(one, OK)
        async with emptied(place):
            assert await desk.release(Selection()) == 1
        assert place.transport.recipients == ["a@b.test", "a@b.test"]
    assert place.notices == []


async def test_retry_knocks_at_unreachable_destinations(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, DOWN, unreachable=True)
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        await deferred(place)
        place.transport.verdict = lambda one: outcome(one, OK)
        async with emptied(place):
            assert await runner.desk.retry(Selection()) == 1


async def test_what_is_removed_while_it_waits_in_memory_does_not_leave(place: Office) -> None:
    place.config = QueueConfig(deliveries_per_destination=1)
    place.transport.gate.clear()
    async with working(place) as runner:
        first = await place.queue("first@b.test", notify=runner)
        await until(lambda: place.transport.running == 1)
        for _ in range(3):
            await place.queue("later@b.test", notify=runner)
        await until(lambda: not runner._notified)
        ids = [entry.id for entry in await place.entries() if entry.message_id != first.queue_id]
        assert await runner.desk.remove(Selection(ids=tuple(ids))) == 3
        async with emptied(place):
            place.transport.gate.set()
    assert place.transport.recipients == ["first@b.test"]


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_deliveries_under_way_are_finished_at_shutdown(place: Office) -> None:
    place.transport.gate.clear()
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        await until(lambda: place.transport.running == 1)
        assert place.task is not None
        place.task.cancel()
        await asyncio.sleep(0.01)
        assert not place.task.done()
        place.transport.gate.set()
        await asyncio.wait([place.task])
    assert place.transport.closed
    assert await place.entries() == []


async def test_what_does_not_finish_in_its_grace_stays_in_the_queue(place: Office) -> None:
    place.config = QueueConfig(grace=0)
    place.transport.gate.clear()
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        await until(lambda: place.transport.running == 1)
    assert place.transport.running == 0
    assert [entry.attempts for entry in await place.entries()] == [0]
    place.transport.gate.set()
    async with working(place), emptied(place):
        await until(lambda: len(place.transport.delivered) == 2)


async def test_the_store_is_written_in_few_transactions(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = 0
    write = place.store.write

    async def counted(fn: object, **named: object) -> object:
        nonlocal writes
        writes += 1
        return await write(fn, **named)  # type: ignore[arg-type]

    await asyncio.gather(*[place.queue(f"a@d{number % 7}.test") for number in range(200)])
    monkeypatch.setattr(place.store, "write", counted)
    async with working(place), emptied(place):
        await until(lambda: len(place.transport.delivered) == 200)
    assert writes < 40


async def test_senders_are_told_in_their_language(place: Office) -> None:
    place.languages = {ANA: "es"}
    place.transport.verdict = lambda recipient: outcome(recipient, NEVER)
    await place.queue("eva@b.test")
    await place.queue("eva@b.test", sender="luis@palomar.test")
    async with working(place), emptied(place):
        pass
    texts = dict(place.notices)
    assert "Subject: Su mensaje no se pudo entregar\r\n" in texts[ANA]
    assert "Subject: Your message could not be delivered\r\n" in texts["luis@palomar.test"]
