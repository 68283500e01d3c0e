"""The durable queue."""

from __future__ import annotations

import pytest

from appliance.errors import NotFoundError, StoreError
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.store import QueueWish, Store, queue
from tests.appliance.store.samples import ENVELOPE, Clock, count, message, wish


async def enqueue(store: Store, *addresses: str, hold: bool = False) -> int:
    """Queue one message; returns its id."""
    wishes = [wish(address, hold=hold) for address in addresses]
    done = await store.accept(message(), [], wishes, ENVELOPE, trace_id="trace")
    assert done.queue_id is not None
    return done.queue_id


def ids(store: Store, message_id: int) -> list[int]:
    return store.peek(lambda db: queue.entry_ids_of(db, message_id))


async def test_what_is_queued_reads_back_as_it_was(store: Store, clock: Clock) -> None:
    recipient = Recipient(Address("Jörg", "example.org"), frozenset({"SUCCESS", "DELAY"}), "rfc822;x@example.org")
    route = Route("smarthost", "mail.example.net:587", "verified")
    envelope = Envelope(None, ret="FULL", envid="id", body="BINARYMIME", smtputf8=True)
    done = await store.accept(message(), [], [QueueWish(recipient, route)], envelope, trace_id="abc")
    [(queued, entry)] = store.peek(lambda db: queue.due(db, int(clock())))
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
    while page := store.peek(lambda db: queue.due(db, now, 2, after=after)):  # noqa: B023
        seen += [(queued.id, entry.recipient.address.local) for queued, entry in page]
        after = page[-1][1].next_at, page[-1][1].id
    assert seen == [(first, "a"), (first, "b"), (second, "c")]
    assert len(store.peek(lambda db: queue.due(db, now - 1))) == 2
    assert store.peek(queue.next_due_at) == now - 10
    assert store.peek(lambda db: queue.next_due_at(db, now - 10)) == now
    assert store.peek(lambda db: queue.next_due_at(db, now)) is None
    assert store.peek(queue.queue_counts) == (3, 3, 1)


async def test_defer_notes_what_happened(store: Store, clock: Clock) -> None:
    message_id = await enqueue(store, "a@example.org")
    (entry_id,) = ids(store, message_id)
    now = int(clock())
    step = {"attempts": 1, "waited_s": 7, "tried_at": now, "last_reply": "451 later " + "x" * 5000}
    await store.write(lambda db: queue.defer(db, entry_id, next_at=now + 900, **step))  # type: ignore[arg-type]
    entry = store.peek(lambda db: queue.entry(db, entry_id))
    assert entry is not None
    assert (entry.next_at, entry.attempts, entry.waited_s, entry.tried_at) == (now + 900, 1, 7, now)
    assert entry.last_reply.startswith("451 later")
    assert len(entry.last_reply) == queue.MAX_REPLY
    assert not entry.delay_warned
    assert store.peek(lambda db: queue.due(db, now + 899)) == []
    route = Route("relay", "other", "")
    await store.write(
        lambda db: queue.defer(db, entry_id, next_at=now, delay_warned=True, route=route, **step)  # type: ignore[arg-type]
    )
    again = store.peek(lambda db: queue.entry(db, entry_id))
    assert again is not None
    assert (again.delay_warned, again.route) == (True, route)


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
    step = {"next_at": 1, "attempts": 1, "waited_s": 1, "tried_at": 1, "last_reply": ""}
    await store.write(lambda db: queue.defer(db, one, **step))  # type: ignore[arg-type]  # removed meanwhile: no harm


async def test_hold_release_retry_by_id_domain_and_all(store: Store, clock: Clock) -> None:
    first = await enqueue(store, "a@example.org", "b@example.net")
    second = await enqueue(store, "c@sub.example.org")
    a, b = ids(store, first)
    (c,) = ids(store, second)
    for entry_id in (a, b, c):
        step = {"next_at": int(clock()) + 999, "attempts": 1, "waited_s": 0, "tried_at": 1, "last_reply": ""}
        await store.write(lambda db, i=entry_id, s=step: queue.defer(db, i, **s))  # type: ignore[misc]

    def states() -> dict[int, tuple[str, bool]]:
        found = store.peek(lambda db: queue.list_queue(db))
        return {entry.id: (entry.state, entry.next_at <= clock()) for _, entry in found}

    assert await store.write(lambda db: queue.hold(db, [a, 12345])) == 1
    assert await store.write(lambda db: queue.hold(db, domain="Example.NET")) == 1
    assert states() == {a: ("held", False), b: ("held", False), c: ("active", False)}
    assert await store.write(lambda db: queue.retry(db)) == 1
    assert await store.write(lambda db: queue.release(db, domain="example.org")) == 1
    assert states() == {a: ("active", True), b: ("held", False), c: ("active", True)}
    assert await store.write(lambda db: queue.hold(db)) == 2
    assert await store.write(lambda db: queue.release(db)) == 3


async def test_list_and_remove(store: Store) -> None:
    first = await enqueue(store, "a@example.org", "b@example.net")
    await enqueue(store, "c@example.org")
    listed = store.peek(lambda db: queue.list_queue(db, domain="example.org"))
    assert [entry.recipient.address.local for _, entry in listed] == ["a", "c"]
    assert len(store.peek(lambda db: queue.list_queue(db, limit=2))) == 2
    assert len(store.peek(lambda db: queue.list_queue(db, after=ids(store, first)[1]))) == 1
    removed = await store.write(lambda db: queue.remove(db, domain="example.org"))
    assert [entry.recipient.address.local for entry in removed] == ["a", "c"]
    assert count(store, "queued") == 1
    assert len(await store.write(lambda db: queue.remove(db, ids(store, first)))) == 1
    assert count(store, "body") == 0


async def test_recipients_of_one_message_are_limited(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_ENTRIES", 2)
    await enqueue(store, "a@example.org", "b@example.org")
    with pytest.raises(StoreError, match="at most"):
        await enqueue(store, "a@example.org", "b@example.org", "c@example.org")
    assert count(store, "queued") == 1
