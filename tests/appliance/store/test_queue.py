"""The durable queue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from appliance.errors import NotFoundError, StoreError
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.store import QueueWish, Store, queue, queuedesk
from tests.appliance.store.samples import ENVELOPE, Clock, count, message, wish


async def enqueue(store: Store, *addresses: str, hold: bool = False) -> int:
    """Queue one message; returns its id."""
    wishes = [wish(address, hold=hold) for address in addresses]
    done = await store.accept(message(), [], wishes, ENVELOPE, trace_id="trace")
    assert done.queue_id is not None
    return done.queue_id


def deferral(entry_id: int, *, next_at: int = 1, event: queue.Event | None = None, **other: Any) -> queue.Deferral:
    facts: dict[str, Any] = {"attempts": 1, "waited_s": 0, "tried_at": 1, "last_reply": "", "delay_warned": False}
    return queue.Deferral(entry_id, next_at, event=event, **(facts | other))


def ids(store: Store, message_id: int) -> list[int]:
    return store.peek(lambda db: queue.entry_ids_of(db, message_id))


async def test_what_is_queued_reads_back_as_it_was(store: Store, clock: Clock) -> None:
    recipient = Recipient(Address("Jörg", "example.org"), frozenset({"SUCCESS", "DELAY"}), "rfc822;x@example.org")
    route = Route("smarthost", "mail.example.net:587", "verified")
    envelope = Envelope(None, ret="FULL", envid="id", body="BINARYMIME", smtputf8=True)
    done = await store.accept(message(), [], [QueueWish(recipient, route)], envelope, trace_id="abc")
    [(queued, entry)] = store.peek(lambda db: queue.due(db, int(clock()))).pairs
    assert queued.id == done.queue_id
    assert (queued.sender, queued.ret, queued.envid, queued.body) == (None, "FULL", "id", "BINARYMIME")
    assert (queued.smtputf8, queued.require_tls, queued.trace_id) == (True, False, "abc")
    assert (queued.size, queued.created_at) == (message().size, int(clock()))
    assert (entry.recipient, entry.route, entry.message_id) == (recipient, route, queued.id)
    assert (entry.state, entry.attempts, entry.waited_s, entry.tried_at) == ("active", 0, 0, 0)
    assert (entry.delay_warned, entry.last_reply, entry.next_at) == (False, "", int(clock()))
    assert store.peek(lambda db: queue.entry(db, entry.id)) == entry
    assert store.peek(lambda db: queue.queued_message(db, queued.id)) == queued
    assert bytes(await store.load(queued.body_id)) == bytes(message())


async def test_due_comes_in_order_and_in_pages(store: Store, clock: Clock) -> None:
    first = await enqueue(store, "a@example.org", "b@example.org")
    clock.at += 10
    second = await enqueue(store, "c@example.org")
    await enqueue(store, "d@example.org", hold=True)
    now = int(clock())
    seen = []
    after = (-1, -1)
    while (page := store.peek(lambda db: queue.due(db, now, 2, after=after))).pairs:  # noqa: B023
        seen += [(queued.id, entry.recipient.address.local) for queued, entry in page.pairs]
        after = page.last
    assert seen == [(first, "a"), (first, "b"), (second, "c")]
    assert len(store.peek(lambda db: queue.due(db, now - 1)).pairs) == 2
    assert store.peek(queue.next_due_at) == now - 10
    assert store.peek(lambda db: queue.next_due_at(db, now - 10)) == now
    assert store.peek(lambda db: queue.next_due_at(db, now)) is None
    assert store.peek(queue.queue_counts) == (3, 3, 1, 0)


async def test_defer_notes_what_happened(store: Store, clock: Clock) -> None:
    message_id = await enqueue(store, "a@example.org")
    (entry_id,) = ids(store, message_id)
    now = int(clock())
    step = deferral(entry_id, next_at=now + 900, waited_s=7, tried_at=now, last_reply="451 later " + "x" * 5000)
    await store.write(lambda db: queue.defer(db, [step]))
    entry = store.peek(lambda db: queue.entry(db, entry_id))
    assert entry is not None
    assert (entry.next_at, entry.attempts, entry.waited_s, entry.tried_at) == (now + 900, 1, 7, now)
    assert entry.last_reply.startswith("451 later")
    assert len(entry.last_reply) == queue.MAX_REPLY
    assert not entry.delay_warned
    assert store.peek(lambda db: queue.due(db, now + 899)).pairs == []
    await store.write(lambda db: queue.defer(db, [replace(step, delay_warned=True)]))
    again = store.peek(lambda db: queue.entry(db, entry_id))
    assert again is not None
    assert again.delay_warned


async def test_the_history_is_bounded_and_goes_with_its_entry(store: Store, clock: Clock) -> None:
    message_id = await enqueue(store, "a@example.org", "b@example.org")
    one, other = ids(store, message_id)
    for number in range(queue.HISTORY + 5):
        event = queue.Event(number, "deferred", f"451 try {number}", "mx.example.org[192.0.2.1]:25")
        await store.write(lambda db, event=event: queue.defer(db, [deferral(one, event=event)]))  # type: ignore[misc]
    await store.write(
        lambda db: queue.note(db, [(other, queue.Event(1, "held", "")), (99, queue.Event(1, "held", ""))])
    )
    kept = store.peek(lambda db: queuedesk.history_of(db, one))
    assert [event.at for event in kept] == list(range(5, queue.HISTORY + 5))
    assert kept[0] == queue.Event(5, "deferred", "451 try 5", "mx.example.org[192.0.2.1]:25")
    assert len(store.peek(lambda db: queuedesk.history_of(db, other))) == 1
    await store.write(lambda db: queue.settle(db, [one]))
    assert count(store, "queue_history") == 1
    await store.write(lambda db: queue.settle(db, [other]))
    assert count(store, "queue_history") == count(store, "queued") == 0


async def test_what_few_messages_ask_for_is_kept_beside_the_rows(store: Store, clock: Clock) -> None:
    later = int(clock()) + 3600
    envelope = Envelope(
        None,
        auth="ana@example.org",
        priority=4,
        release_at=later,
        deliver_by=later + 60,
        by_mode="NT",
        require_tls=True,
    )
    done = await store.accept(message(), [], [wish("a@example.org")], envelope, trace_id="t")
    plain = await store.accept(message(), [], [wish("a@example.org")], Envelope(None, auth="<>"), trace_id="t")
    assert [pair[0].id for pair in store.peek(lambda db: queue.due(db, later - 1)).pairs] == [plain.queue_id]
    found = store.peek(lambda db: queue.due(db, later)).pairs
    first = next(queued for queued, _ in found if queued.id == done.queue_id)
    assert (first.auth, first.priority, first.release_at) == ("ana@example.org", 4, later)
    assert (first.deliver_by, first.by_mode, first.require_tls, first.tls_optional) == (later + 60, "NT", True, False)
    assert count(store, "queue_terms") == 1
    assert not store.peek(lambda db: queue.put_off_beyond(db, later - 10))  # so it was asked
    await store.write(lambda db: queue.defer(db, [deferral(ids(store, plain.queue_id or 0)[0], next_at=later + 900)]))
    assert store.peek(lambda db: queue.put_off_beyond(db, later + 10))
    assert await store.write(lambda db: queue.bring_forward(db, int(clock()), later - 10)) == 1
    await store.write(lambda db: queue.settle(db, [entry.id for _, entry in found]))
    assert count(store, "queue_terms") == 0


async def test_what_is_fresh_is_as_it_would_be_read(store: Store, clock: Clock) -> None:
    recipient = Recipient(Address("a", "example.org"), frozenset({"DELAY"}), "rfc822;x@example.org")
    wishes = [QueueWish(recipient, Route("relay", "example.org")), wish("b@example.org", hold=True)]
    envelope = Envelope(Address("ana", "example.org"), ret="HDRS", envid="e", tls_optional=True, priority=-2)
    done = await store.accept(message(), [], wishes, envelope, trace_id="t")
    now = int(clock())
    read = store.peek(lambda db: queue.due(db, now)).pairs
    assert queue.fresh(done, envelope, wishes, size=message().size, trace_id="t", now=now) == read
    assert len(read) == 1


async def test_settling_the_last_recipient_removes_message_and_body(store: Store) -> None:
    message_id = await enqueue(store, "a@example.org", "b@example.org", "c@example.org")
    one, two, three = ids(store, message_id)
    assert await store.write(lambda db: queue.settle(db, two)) == 1
    assert await store.write(lambda db: queue.settle(db, two)) == 0
    assert [entry.id for entry in store.peek(lambda db: queue.entries_of(db, message_id))[1]] == [one, three]
    assert await store.write(lambda db: queue.settle(db, [one, two, three])) == 2
    assert count(store, "queued") == count(store, "body") == 0
    with pytest.raises(NotFoundError):
        store.peek(lambda db: queue.entries_of(db, message_id))
    with pytest.raises(NotFoundError):
        ids(store, message_id)
    await store.write(lambda db: queue.defer(db, [deferral(one, event=queue.Event(1, "deferred", ""))]))  # no harm
    assert count(store, "queue_history") == 0


async def test_hold_release_retry_reroute(store: Store, clock: Clock) -> None:
    a, b = ids(store, await enqueue(store, "a@example.org", "b@example.net"))
    (c,) = ids(store, await enqueue(store, "c@sub.example.org"))
    later = int(clock()) + 999
    await store.write(lambda db: queue.defer(db, [deferral(one, next_at=later) for one in (a, b, c)]))

    def states() -> dict[int, tuple[str, bool]]:
        found = store.peek(lambda db: queue.list_queue(db))
        return {entry.id: (entry.state, entry.next_at <= clock()) for _, entry in found}

    assert await store.write(lambda db: queuedesk.hold(db, [a, b, 12345], "too many")) == 2
    assert states() == {a: ("held", False), b: ("held", False), c: ("active", False)}
    assert await store.write(lambda db: queuedesk.retry(db, [a, b, c])) == 1
    assert await store.write(lambda db: queuedesk.release(db, [a, c])) == 1
    assert states() == {a: ("active", True), b: ("held", False), c: ("active", True)}
    route = Route("relay", "[mx.example.net]:2525", "off")
    assert await store.write(lambda db: queuedesk.reroute(db, [b, c], route, "by hand")) == 2
    assert store.peek(lambda db: queuedesk.routes_of(db, [a, b, c])) == {
        ("relay", "mx.example.org", "may"), ("relay", "[mx.example.net]:2525", "off")
    }  # fmt: skip
    told = [(event.what, event.text) for event in store.peek(lambda db: queuedesk.history_of(db, b))]
    assert told == [("held", "too many"), ("rerouted", "by hand")]


async def test_list_and_remove(store: Store) -> None:
    first = await enqueue(store, "a@example.org", "b@example.net")
    await enqueue(store, "c@example.org")
    listed = store.peek(lambda db: queue.list_queue(db))
    assert [entry.recipient.address.local for _, entry in listed] == ["a", "b", "c"]
    assert len(store.peek(lambda db: queue.list_queue(db, limit=2))) == 2
    assert len(store.peek(lambda db: queue.list_queue(db, after=ids(store, first)[1]))) == 1
    assert [one.id for _, one in store.peek(lambda db: queue.list_queue(db, entry_ids=ids(store, first)))] == ids(
        store, first
    )
    assert await store.write(lambda db: queue.settle(db, ids(store, first))) == 2
    assert count(store, "queued") == count(store, "body") == 1


async def test_recipients_of_one_message_are_limited(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_ENTRIES", 2)
    await enqueue(store, "a@example.org", "b@example.org")
    with pytest.raises(StoreError, match="at most"):
        await enqueue(store, "a@example.org", "b@example.org", "c@example.org")
    assert count(store, "queued") == 1
