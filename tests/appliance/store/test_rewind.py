"""After a restore nothing is given a second time that a client can have seen."""

from __future__ import annotations

from appliance.store import Account, Database, Store, messages
from appliance.store.history import changed_since, expunged_since
from appliance.store.mailboxes import create_mailbox, delete_mailbox
from appliance.store.rewind import IDS_BEYOND, LAST_UID, change_uidvalidity, raise_past
from tests.appliance.store.invariants import check_invariants
from tests.appliance.store.samples import box, message, rows


async def fill(store: Store, mailbox_id: int, number: int) -> list[int]:
    return await store.append(mailbox_id, [(message(n, 60), 0, (), 7) for n in range(number)])


async def test_uids_and_modseqs_are_raised_and_uidvalidity_stays(store: Store, ana: Account) -> None:
    inbox = box(store, ana)
    await fill(store, inbox.id, 5)
    await store.write(lambda db: messages.expunge(db, inbox.id, [2], deleted_only=False))
    before = box(store, ana)
    filings = {row.filing_id for row in rows(store, inbox)}
    await store.write(lambda db: raise_past(db, uids=1000, modseqs=50_000))
    after = box(store, ana)
    assert (after.uidvalidity, after.messages) == (before.uidvalidity, 4)
    assert after.uidnext == before.uidnext + 1000
    assert after.highestmodseq == before.highestmodseq + 50_000
    # A client that saw 700 more messages and 30,000 more changes is told that those are gone, and all flags.
    seen = before.highestmodseq + 30_000
    assert store.peek(lambda db: expunged_since(db, inbox.id, seen, after.highestmodseq)) == [(6, 1005)]
    changed = store.peek(lambda db: changed_since(db, inbox.id, seen))
    assert changed == [(uid, after.highestmodseq) for uid in (1, 3, 4, 5)]
    assert await fill(store, inbox.id, 1) == [1006]
    assert min({row.filing_id for row in rows(store, inbox)} - filings) > max(filings) + IDS_BEYOND
    await store.read(check_invariants)


async def test_a_mailbox_without_room_for_more_uids_changes_its_uidvalidity(store: Store, ana: Account) -> None:
    inbox = box(store, ana)

    def age(db: Database) -> None:
        db.execute("UPDATE mailbox SET uidnext = ?1, gone = ?1 - 1 - messages WHERE id = ?2", (LAST_UID - 10, inbox.id))

    await store.write(age)
    await store.write(raise_past)
    after = box(store, ana)
    assert after.uidvalidity > inbox.uidvalidity
    assert after.uidnext == LAST_UID - 10
    await store.read(check_invariants)


async def test_a_change_of_uidvalidity_gives_each_mailbox_one_of_its_own(store: Store, ana: Account) -> None:
    before = box(store, ana).uidvalidity
    await store.write(change_uidvalidity)
    names = ("INBOX", "Sent", "Trash")
    given = [box(store, ana, name).uidvalidity for name in names]
    assert len(set(given)) == len(names)
    assert min(given) > before
    inbox = box(store, ana)
    await store.write(lambda db: change_uidvalidity(db, inbox.id))
    assert box(store, ana).uidvalidity > max(given)
    assert [box(store, ana, name).uidvalidity for name in names[1:]] == given[1:]


async def test_ids_of_mailboxes_made_since_are_not_given_again(store: Store, ana: Account) -> None:
    lost = await store.write(lambda db: create_mailbox(db, ana.id, "since"))
    await store.write(lambda db: delete_mailbox(db, ana.id, "since"))
    await store.write(raise_past)
    made = await store.write(lambda db: create_mailbox(db, ana.id, "after"))
    assert made.id > lost.id + IDS_BEYOND // 2
