"""When messages came into their mailbox (RFC 8514), and names that are not given twice (RFC 8474)."""

from __future__ import annotations

from pathlib import Path

from appliance.store import Account, Filing, Mailbox, Store, messages
from appliance.store.accounts import create_account
from appliance.store.saved import SaveDates, saved_spans
from tests.appliance.store.samples import ENVELOPE, Clock, accept, box, count, message, rows


def dates(store: Store, mailbox: Mailbox) -> list[int]:
    noted = SaveDates(store.peek(lambda db: saved_spans(db, mailbox.id, 1, 1000)))
    return [noted.at(row.uid, row.internal_at) for row in rows(store, mailbox)]


async def test_save_dates_of_all_ways_into_a_mailbox(store: Store, ana: Account, clock: Clock) -> None:
    inbox, sent = box(store, ana), box(store, ana, "Sent")
    start = int(clock())
    await accept(store, message(1), ana)
    clock.at += 100
    await accept(store, message(2), ana)
    assert count(store, "saved") == 0  # mail that is delivered costs nothing
    await store.append(inbox.id, [(message(n, 60), 0, (), 7) for n in range(3)])
    await store.append(inbox.id, [(message(9, 60), 0, (), 8)])
    assert count(store, "saved") == 1
    clock.at += 100
    await store.append(inbox.id, [(message(10, 60), 0, (), 7)])
    assert dates(store, inbox) == [start, *[start + 100] * 5, start + 200]
    clock.at += 100
    await store.write(lambda db: messages.copy(db, inbox.id, [1, 2], sent.id))
    await store.write(lambda db: messages.move(db, inbox.id, [3, 7], sent.id))
    assert dates(store, sent) == [start + 300] * 4
    assert dates(store, inbox) == [start, *[start + 100] * 4]
    assert store.peek(lambda db: saved_spans(db, inbox.id, 5, 5)) == [(3, 6, start + 100)]
    assert store.peek(lambda db: saved_spans(db, inbox.id, 1, 2)) == []


async def test_what_is_noted_of_messages_that_are_gone_is_dropped(store: Store, ana: Account, clock: Clock) -> None:
    inbox = box(store, ana)
    for number in range(6):
        clock.at += 1
        await store.append(inbox.id, [(message(number, 60), 0, (), 7) for _ in range(2)])
    assert count(store, "saved") == 6
    for uids, left in (([1, 4], 6), ([3], 5), ([5, 6, 7], 4), ([2, 8, 9, 10, 11, 12], 0)):
        await store.write(lambda db, uids=uids: messages.expunge(db, inbox.id, uids, deleted_only=False))  # type: ignore[misc]
        assert count(store, "saved") == left


async def test_a_filing_id_is_not_given_again_after_a_restart(tmp_path: Path) -> None:
    seen: set[int] = set()
    account: Account | None = None
    for _ in range(3):
        store = Store.open(tmp_path, reserve_bytes=0)
        await store.start()
        if account is None:
            account = await store.write(lambda db: create_account(db, "ana@palomar.test", []))
        inbox = box(store, account)
        for number in range(3):
            await store.accept(message(number), [Filing(account.id)], [], ENVELOPE, trace_id="t")
        new = {row.filing_id for row in rows(store, inbox)}
        assert len(new) == 3
        assert not new & seen
        seen |= new
        await store.write(lambda db, inbox=inbox: messages.expunge(db, inbox.id, None, deleted_only=False))  # type: ignore[misc]
        await store.close()
