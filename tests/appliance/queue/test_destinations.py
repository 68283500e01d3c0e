"""The window of the queue in memory: nothing twice, nothing forgotten, whatever the store shows while it changes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply
from appliance.queue import destinations
from appliance.queue.destinations import FIRST_LIMIT, MAX_REMEMBERED, Destination, InHand
from appliance.store.model import QueuedMessage, QueueEntry

DOWN = Reply(451, "4.4.1", "down")
Pair = tuple[QueuedMessage, QueueEntry]


def pair(number: int, hop: str = "b.test", message: int = 1) -> Pair:
    queued = QueuedMessage(message, message, None, "", "", "7BIT", False, 10, 0, f"t{message}")
    recipient = Recipient(Address("a", hop))
    return queued, QueueEntry(number, message, recipient, Route("relay", hop), "active", 0, 0, 0, False, "")


def again(one: Pair) -> Pair:
    return one[0], replace(one[1], attempts=one[1].attempts + 1)


def sizes(hand: InHand) -> list[int]:
    return sorted(len(group.entries) for place in hand.destinations.values() for group in place.groups)


def test_entries_are_grouped_by_message_and_route() -> None:
    hand = InHand()
    touched = hand.add([pair(1), pair(2), pair(3, "c.test"), pair(4, message=2)])
    assert [place.route.next_hop for place in touched] == ["b.test", "c.test"]
    assert sizes(hand) == [1, 1, 2]
    assert [place.waiting for place in touched] == [3, 1]
    group = touched[0].pop()
    assert [entry.id for entry in group.entries] == [1, 2]
    assert [str(one.address) for one in group.envelope().recipients] == ["a@b.test", "a@b.test"]
    assert touched[0].waiting == 1


def test_nothing_is_taken_twice() -> None:
    hand = InHand()
    hand.add([pair(1)])
    assert hand.add([pair(1)]) == []
    hand.begin_reading(everything=True)
    assert not hand.leave([1])
    assert hand.add([pair(1)]) == []  # a view from before the settlement
    assert hand.add([again(pair(1))]) != []  # put off, and due again already
    hand.end_reading()
    hand.leave([1])
    assert hand.add([pair(1)]) != []


def test_what_is_due_again_before_it_has_left_the_hand_is_not_forgotten() -> None:
    hand = InHand()
    hand.add([pair(1), pair(2)])
    assert hand.add([again(pair(1))]) == []
    assert not hand.leave([2])
    assert hand.leave([1])
    assert not hand.leave([1])


def test_window_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "WINDOW", 6)
    monkeypatch.setattr(destinations, "SHARE", 4)
    hand = InHand()
    (slow,) = hand.add([pair(number) for number in range(5)])
    assert (slow.waiting, slow.more, hand.full) == (4, True, False)
    hand.add([pair(10 + number, f"h{number}.test") for number in range(3)])
    assert (len(hand.entries), hand.full) == (6, True)
    assert not hand.has_room
    hand.leave([0, 1, 2])
    assert hand.has_room
    slow.waiting = 3
    assert not slow.has_room
    slow.waiting = 2
    assert slow.has_room
    hand.begin_reading(everything=False)
    assert hand.full
    hand.begin_reading(everything=True)
    assert not hand.full
    assert not slow.more


def test_dropping_what_waits_leaves_what_is_under_way() -> None:
    hand = InHand()
    (place,) = hand.add([pair(1), pair(2, message=2)])
    place.pop()
    hand.drop_waiting()
    assert hand.entries == {1: 0}
    assert (place.waiting, len(place.groups)) == (0, 0)


def test_failures_pause_a_destination_and_success_ends_it() -> None:
    place = Destination(Route("relay", "b.test"))
    assert place.limit(20) == FIRST_LIMIT
    place.failed(10.0, 11.0, DOWN)
    place.failed(10.5, 12.0, DOWN)  # side by side with the first
    assert (place.failures, place.resume_at, place.limit(20)) == (1, 71.0, 1)
    place.failed(75.0, 76.0, DOWN)
    assert (place.failures, place.resume_at) == (2, 196.0)
    place.reached()
    assert (place.failures, place.resume_at, place.limit(20)) == (0, 0.0, 2)


def test_destinations_without_work_are_dropped() -> None:
    hand = InHand()
    hand.add([pair(1, "busy.test")])
    active, lined, failed = (hand.destination(Route("relay", name)) for name in ("active", "lined", "failed"))
    hand.destination(Route("relay", "idle"))
    active.active, lined.in_line = 1, True
    failed.failed(1, 2, DOWN)
    hand.prune()
    assert {route.next_hop for route in hand.destinations} == {"busy.test", "active", "lined", "failed"}
    for number in range(MAX_REMEMBERED):
        hand.destination(Route("relay", f"d{number}")).failed(1, 2, DOWN)
    hand.prune()
    assert {route.next_hop for route in hand.destinations} == {"busy.test", "active", "lined"}
