"""What was removed is remembered: exactly, within bounds, over restarts, and not longer than its mailbox."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import NotFoundError
from appliance.store import Account, Database, Mailbox, Store, history, messages
from appliance.store.accounts import create_account
from appliance.store.history import changed_since, expunged_since
from appliance.store.mailboxes import create_mailbox, delete_mailbox, rename_mailbox
from appliance.store.model import DELETED
from appliance.store.schema import MIGRATIONS, migrate
from tests.appliance.store.invariants import check_invariants
from tests.appliance.store.samples import box, count, message, swept

FOREVER = 1 << 62


async def fill(store: Store, mailbox: Mailbox, number: int) -> None:
    await store.append(mailbox.id, [(message(n, 60), 0, (), 7) for n in range(number)])


async def remove(store: Store, mailbox: Mailbox, *uids: int) -> None:
    await store.write(lambda db: messages.expunge(db, mailbox.id, list(uids), deleted_only=False))


def since(store: Store, mailbox: Mailbox, modseq: int, upto: int = FOREVER) -> list[tuple[int, int]] | None:
    found = store.peek(lambda db: expunged_since(db, mailbox.id, modseq, upto))
    return None if found is None else sorted(found)


async def test_each_removal_is_noted_with_its_modseq(store: Store, ana: Account) -> None:
    inbox = box(store, ana)
    await fill(store, inbox, 9)
    start = box(store, ana).highestmodseq
    await remove(store, inbox, 2, 3, 7)
    middle = box(store, ana).highestmodseq
    await remove(store, inbox, 9)
    assert since(store, inbox, start) == [(2, 3), (7, 7), (9, 9)]
    assert since(store, inbox, start, middle) == [(2, 3), (7, 7)]
    assert since(store, inbox, middle) == [(9, 9)]
    assert since(store, inbox, 0) == [(2, 3), (7, 7), (9, 9)]
    with pytest.raises(NotFoundError):
        store.peek(lambda db: expunged_since(db, 999, 0, FOREVER))


async def test_what_was_moved_or_renamed_away_counts_too(store: Store, ana: Account) -> None:
    inbox, trash = box(store, ana), box(store, ana, "Trash")
    await fill(store, inbox, 4)
    await store.write(lambda db: messages.move(db, inbox.id, [1, 3], trash.id))
    assert since(store, inbox, 0) == [(1, 1), (3, 3)]
    await store.write(lambda db: rename_mailbox(db, ana.id, "INBOX", "old"))
    assert since(store, inbox, 0) == [(1, 1), (2, 4), (3, 3)]  # 3 again: no message stood between 2 and 4
    await store.write(lambda db: messages.move(db, trash.id, None, trash.id))
    assert since(store, trash, 0) == [(1, 2)]


async def test_gaps_that_were_there_before_make_no_more_rows(store: Store, ana: Account) -> None:
    inbox = box(store, ana)
    await fill(store, inbox, 100)
    await remove(store, inbox, *range(2, 101, 2))
    assert count(store, "expunged") == 50
    modseq = box(store, ana).highestmodseq
    await remove(store, inbox, *range(1, 101, 2))
    assert since(store, inbox, modseq) == [(1, 99)]


async def test_the_oldest_are_dropped_and_the_client_of_then_is_known(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_SPANS", 10)
    monkeypatch.setattr(history, "KEPT_SPANS", 5)
    inbox = box(store, ana)
    await fill(store, inbox, 40)
    modseqs = []
    for uid in range(1, 31, 2):
        modseqs.append(box(store, ana).highestmodseq)
        await remove(store, inbox, uid)
        await store.read(check_invariants)
    known = [since(store, inbox, modseq) is not None for modseq in modseqs]
    assert known == sorted(known)
    assert 5 <= known.count(True) <= 10
    first = known.index(True)
    assert since(store, inbox, modseqs[first]) == [(uid, uid) for uid in range(1 + 2 * first, 31, 2)]


async def test_one_removal_with_more_ranges_than_are_kept(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_SPANS", 10)
    monkeypatch.setattr(history, "KEPT_SPANS", 5)
    inbox = box(store, ana)
    await fill(store, inbox, 40)
    before = box(store, ana).highestmodseq
    await remove(store, inbox, *range(1, 40, 2))
    assert since(store, inbox, before) is None
    assert since(store, inbox, box(store, ana).highestmodseq) == []
    await store.read(check_invariants)


async def test_it_survives_restarts_and_goes_with_its_mailbox(tmp_path: Path) -> None:
    store = Store.open(tmp_path, reserve_bytes=0)
    await store.start()
    ana = await store.write(lambda db: create_account(db, "ana@palomar.test", []))
    work = await store.write(lambda db: create_mailbox(db, ana.id, "work"))
    await fill(store, work, 5)
    await remove(store, work, 4, 5)
    await store.close()
    store = Store.open(tmp_path, reserve_bytes=0)
    await store.start()
    assert since(store, work, 0) == [(4, 5)]
    await store.write(lambda db: delete_mailbox(db, ana.id, "work"))
    await swept(store, "expunged")
    await swept(store, "saved")
    await store.close()


async def test_a_release_that_takes_no_notes_is_found_out(tmp_path: Path) -> None:
    store = Store.open(tmp_path, reserve_bytes=0)
    await store.start()
    ana = await store.write(lambda db: create_account(db, "ana@palomar.test", []))
    inbox = box(store, ana)
    await fill(store, inbox, 5)
    await remove(store, inbox, 1)

    def as_the_first_release_does(db: Database) -> None:
        db.execute("DELETE FROM message WHERE mailbox_id = ? AND uid = 3", (inbox.id,))
        db.execute(
            "UPDATE mailbox SET highestmodseq = highestmodseq + 1, messages = messages - 1 WHERE id = ?", (inbox.id,)
        )

    await store.write(as_the_first_release_does)
    assert since(store, inbox, 0) is None
    await store.close()
    store = Store.open(tmp_path, reserve_bytes=0)
    await store.start()
    now = box(store, ana).highestmodseq
    assert since(store, inbox, now - 1) is None
    assert since(store, inbox, now) == []
    await remove(store, inbox, 5)
    assert since(store, inbox, now) == [(5, 5)]
    await store.close()


def test_a_folder_from_before_begins_its_history_with_the_migration() -> None:
    db = Database(":memory:")
    migrate(db, MIGRATIONS[:2])
    db.execute("INSERT INTO account (id, name, created_at) VALUES (1, 'ana@palomar.test', 0)")
    db.execute(
        "INSERT INTO mailbox (id, account_id, name, uidvalidity, uidnext, highestmodseq, messages)"
        " VALUES (7, 1, 'INBOX', 5, 31, 40, 2), (8, 1, 'Sent', 6, 1, 1, 0)"
    )
    migrate(db, MIGRATIONS)
    assert expunged_since(db, 7, 39, FOREVER) is None
    assert expunged_since(db, 7, 40, FOREVER) == []
    assert expunged_since(db, 8, 1, FOREVER) == []
    history.mend_history(db)
    assert db.execute("SELECT gone, history_from FROM mailbox ORDER BY id").fetchall() == [(28, 40), (0, 1)]


class Client:
    """Keeps a copy of a mailbox by what the store says has changed since its last visit."""

    def __init__(self) -> None:
        self.modseq = 0
        self.known: dict[int, int] = {}

    def visit(self, db: sqlite3.Connection, mailbox_id: int) -> None:
        (highest,) = db.execute("SELECT highestmodseq FROM mailbox WHERE id = ?", (mailbox_id,)).fetchone()
        flags = dict(messages.list_flags(db, mailbox_id))
        gone = expunged_since(db, mailbox_id, self.modseq, highest)
        if gone is None:
            self.known = {uid: bits for uid, bits in self.known.items() if uid in flags}
        else:
            for first, last in gone:
                assert not any(first <= uid <= last for uid in flags), "a message that is there was told as gone"
                self.known = {uid: bits for uid, bits in self.known.items() if not first <= uid <= last}
        for uid, modseq in changed_since(db, mailbox_id, self.modseq):
            assert self.modseq < modseq <= highest
            self.known[uid] = flags[uid]
        self.modseq = highest
        assert self.known == flags


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "expunge", "flag", "away", "back", "visit", "visit"]), st.integers(0, 255)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([2, 5, 1000]))
def test_a_client_that_comes_now_and_then_misses_nothing(steps: list[tuple[str, int]], most: int) -> None:
    db = Database(":memory:")
    migrate(db, MIGRATIONS)
    ana = create_account(db, "ana@palomar.test", [])
    inbox = create_mailbox(db, ana.id, "a").id
    other = create_mailbox(db, ana.id, "b").id
    clients = [Client(), Client()]
    kept = history.MAX_SPANS, history.KEPT_SPANS
    history.MAX_SPANS, history.KEPT_SPANS = most, max(1, most // 2)
    try:
        for step, number in steps:
            uids = [uid for uid, _ in messages.list_flags(db, inbox)]
            chosen = [uid for place, uid in enumerate(uids) if number >> place % 8 & 1]
            match step:
                case "add":
                    _add(db, inbox, 1 + number % 5)
                case "expunge":
                    messages.set_flags(db, inbox, chosen, add=DELETED)
                    messages.expunge(db, inbox)
                case "flag":
                    messages.set_flags(db, inbox, chosen, replace=number & 7)
                case "away":
                    messages.move(db, inbox, chosen, other)
                case "back":
                    messages.move(db, other, None, inbox)
                case "visit":
                    clients[number % 2].visit(db, inbox)
        for client in clients:
            client.visit(db, inbox)
        check_invariants(db)
    finally:
        history.MAX_SPANS, history.KEPT_SPANS = kept


def _add(db: Database, mailbox_id: int, number: int) -> None:
    """Messages without texts, which is all that is needed here."""
    for _ in range(number):
        filing = db.next_filing_id
        db.next_filing_id += 1
        db.execute("INSERT INTO body VALUES (?, 1, 0, 0, NULL, NULL, 0, x'', x'', x'', x'', NULL)", (filing,))
        db.execute("INSERT INTO filing VALUES (?, 1, ?, x'')", (filing, filing))
        uid, modseq, _ = messages.take_uids(db, mailbox_id, 1, unseen=1, octets=0)
        db.execute("INSERT INTO message VALUES (?, ?, 0, ?, 0, 7, ?, ?)", (mailbox_id, uid, modseq, filing, filing))
