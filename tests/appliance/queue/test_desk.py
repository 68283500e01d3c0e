"""Steering the queue while it works: by filters, by other ways, with a bounce; and what is urgent goes first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.errors import PluginError
from appliance.mail.delivery import Route
from appliance.queue.config import QueueConfig
from appliance.store.queue import queue_counts
from appliance.store.queuedesk import Selection
from tests.appliance.queue.office import ANA, DOWN, LATER, OK, Office, office, outcome, until, working


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as made:
        yield made


async def tried(place: Office, count: int) -> None:
    await until(lambda: len(place.transport.recipients) >= count)
    while not all(entry.attempts or entry.state == "held" for entry in await place.entries()):
        pass


async def test_one_domain_is_tried_again_and_no_other(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, DOWN, unreachable=True)
    async with working(place) as runner:
        for address in ("a@b.test", "a@sub.b.test", "a@c.test"):
            await place.queue(address, notify=runner)
        await tried(place, 3)
        down = runner.outlook(Route("fake", "b.test"))
        assert (down["failures"], down["resume_at"] > place.now) == (1, True)
        assert runner.outlook(Route("fake", "never.test"))["failures"] == 0
        place.transport.verdict = lambda one: outcome(one, OK)
        assert await runner.desk.retry(Selection(domains=("b.test",), subdomains=True, released=True)) == 2
        await until(lambda: place.store.peek(queue_counts)[1] == 1)
    assert sorted(place.transport.recipients[3:]) == ["a@b.test", "a@sub.b.test"]


async def test_another_way(place: Office) -> None:
    place.transport.verdict = lambda one: outcome(one, LATER)
    async with working(place) as runner:
        await place.queue("a@b.test", "c@b.test", notify=runner)
        await tried(place, 2)
        with pytest.raises(PluginError, match="no loaded plugin brings the transport 'smarthost'"):
            await runner.desk.reroute(Selection(), Route("smarthost", "x"))
        place.transport.verdict = lambda one: outcome(one, OK)
        assert await runner.desk.reroute(Selection(recipient="a@*"), Route("fake", "[mx.c.test]:2525")) == 1
        await until(lambda: place.store.peek(queue_counts)[1] == 1)
    assert place.transport.most_per_hop.keys() == {"b.test", "[mx.c.test]:2525"}
    assert await runner.desk.reroute(Selection(), None) == 1
    (entry,) = await place.entries()
    assert entry.route == Route("local", "c@b.test")  # which asks for the way of the address anew


async def test_given_up_with_a_bounce(place: Office) -> None:
    runner = place.runner_for(place.transport)
    await place.queue("a@b.test", "c@d.test")
    await place.queue("e@f.test", sender=None)
    assert await runner.desk.bounce(Selection(domains=("b.test", "f.test")), "the host is gone for good") == 2
    ((recipient, text),) = place.notices
    assert recipient == ANA
    assert "the host is gone for good" in " ".join(text.split())
    assert "Status: 5.0.0" in text
    assert "c@d.test" not in text
    assert [str(entry.recipient.address) for entry in await place.entries()] == ["c@d.test"]


async def test_what_is_urgent_goes_first_and_what_is_for_later_waits(place: Office) -> None:
    place.config = QueueConfig(deliveries_per_destination=1)
    for name, priority in (("low", -4), ("normal", 0), ("urgent", 5)):
        await place.queue(f"{name}@b.test", priority=priority)
    later = int(place.now) + 7200
    await place.queue("later@b.test", release_at=later)
    async with working(place) as runner:
        await until(lambda: len(place.transport.delivered) == 3)
        assert place.transport.recipients == ["urgent@b.test", "normal@b.test", "low@b.test"]
        await until(lambda: place.store.peek(queue_counts)[1] == 1)  # the others are settled
        assert await runner.desk.retry(Selection(released=True)) == 0
        place.now = later
        runner.notify()
        await until(lambda: place.transport.recipients[3:] == ["later@b.test"])


async def test_a_clock_that_jumps_neither_delays_nor_bounces(place: Office) -> None:
    """A day back and a year ahead, with a queue that waits."""
    place.transport.verdict = lambda one: outcome(one, LATER)
    async with working(place) as runner:
        await place.queue("a@b.test", notify=runner)
        await tried(place, 1)
        for jump in (-86400, 366 * 86400, -366 * 86400):
            place.now += jump
            before = len(place.transport.recipients)
            runner.notify()
            await until(lambda before=before: len(place.transport.recipients) > before)  # type: ignore[misc]
            (entry,) = await place.entries()
            while entry.attempts <= before:
                (entry,) = await place.entries()
            assert entry.next_at - place.now <= 2 * 4000
            assert entry.waited_s <= 2 * 4000 * before
    assert place.notices == []
