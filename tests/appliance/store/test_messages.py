"""Messages in mailboxes: rows, flags, COPY, MOVE, EXPUNGE, and what they leave behind."""

from __future__ import annotations

from functools import partial

import pytest

from appliance.errors import NotFoundError, QuotaError
from appliance.store import (
    ANSWERED,
    DELETED,
    FLAGGED,
    SEEN,
    Account,
    Change,
    FlagEdit,
    Mailbox,
    MessageRow,
    Store,
    accounts,
    messages,
    sweep,
)
from appliance.store.model import ALL_FLAGS
from tests.appliance.store.samples import PREFIX, accept, box, count, message, rows, swept, uids


@pytest.fixture
async def inbox(store: Store, ana: Account) -> Mailbox:
    """Five messages, uids 1 to 5, the second one seen."""
    for number in range(1, 6):
        await accept(store, message(number), ana, flags=SEEN if number == 2 else 0)
    return box(store, ana)


def flags(store: Store, mailbox: Mailbox) -> dict[int, int]:
    return {row.uid: row.flags for row in rows(store, mailbox)}


async def test_rows_are_ascending_and_complete(store: Store, ana: Account, inbox: Mailbox) -> None:
    found = rows(store, inbox)
    assert [row.uid for row in found] == [1, 2, 3, 4, 5]
    assert [row.modseq for row in found] == [2, 3, 4, 5, 6]
    assert found[0].size == len(PREFIX) + message(1).size
    assert (inbox.messages, inbox.unseen, inbox.uidnext, inbox.highestmodseq) == (5, 4, 6, 6)
    assert inbox.bytes == sum(row.size for row in found)
    assert store.peek(lambda db: messages.list_rows(db, inbox.id, 3))[0][0] == 4


async def test_sizes_in_the_order_of_the_uids(store: Store, ana: Account, inbox: Mailbox) -> None:
    await store.write(lambda db: messages.expunge(db, inbox.id, [3], deleted_only=False))
    wanted = [(row.uid, row.size) for row in rows(store, inbox)]
    await store.write(lambda db: messages.set_flags(db, inbox.id, [4], add=1 << 62))
    columns = store.peek(lambda db: messages.flag_columns(db, inbox.id))
    assert list(zip(*columns, strict=True)) == store.peek(lambda db: messages.list_flags(db, inbox.id))
    uids_found, sizes = store.peek(lambda db: messages.list_sizes(db, inbox.id))
    assert list(zip(uids_found, sizes, strict=True)) == wanted
    drafts = box(store, ana, "Drafts")
    assert [list(column) for column in store.peek(lambda db: messages.list_sizes(db, drafts.id))] == [[], []]
    assert [list(column) for column in store.peek(lambda db: messages.flag_columns(db, drafts.id))] == [[], []]
    await store.write(lambda db: messages.expunge(db, inbox.id, [1, 2], deleted_only=False))
    assert store.peek(lambda db: messages.flag_columns(db, inbox.id)) == (range(4, 6), [1 << 62, 0])


async def test_what_is_ready_to_send(store: Store, inbox: Mailbox) -> None:
    found = await store.read(lambda db: list(messages.structures(db, inbox.id, 2, 3)))
    assert [uid for uid, _, _ in found] == [2, 3]
    assert b'"number 2"' in found[0][1]
    assert found[0][2].lower().startswith(b'("text" "plain"')
    headers = await store.read(lambda db: list(messages.headers(db, inbox.id, 1, 1)))
    assert headers == [(1, PREFIX + message(1).header)]
    row = rows(store, inbox)[0]
    assert await store.read(lambda db: messages.parts(db, row.body_id))
    with pytest.raises(NotFoundError):
        await store.read(lambda db: messages.parts(db, 999))


async def test_flags_are_added_removed_and_replaced(store: Store, ana: Account, inbox: Mailbox) -> None:
    heard: list[Change] = []
    store.changes.subscribe(inbox.id, heard.append)
    modseq, told = await store.write(lambda db: messages.set_flags(db, inbox.id, [1, 2, 9], add=SEEN))
    assert (modseq, told) == (7, [(1, SEEN), (2, SEEN)])
    assert heard == [Change(inbox.id, ana.id, 7, flags=((1, SEEN),))]  # the second had it
    assert box(store, ana).unseen == 3
    await store.write(lambda db: messages.set_flags(db, inbox.id, [1, 3], replace=FLAGGED | ANSWERED))
    await store.write(lambda db: messages.set_flags(db, inbox.id, [3], remove=FLAGGED, add=DELETED))
    assert flags(store, inbox) == {1: FLAGGED | ANSWERED, 2: SEEN, 3: ANSWERED | DELETED, 4: 0, 5: 0}
    assert box(store, ana).unseen == 4
    await store.write(lambda db: messages.set_flags(db, inbox.id, None, add=SEEN))
    assert box(store, ana).unseen == 0


async def test_a_store_that_changes_nothing_leaves_the_modseq(store: Store, inbox: Mailbox) -> None:
    heard: list[Change] = []
    store.changes.subscribe(inbox.id, heard.append)
    assert await store.write(lambda db: messages.set_flags(db, inbox.id, [2], add=SEEN)) == (6, [(2, SEEN)])
    assert await store.write(lambda db: messages.set_flags(db, inbox.id, [], add=SEEN)) == (6, [])
    assert not heard


async def test_flags_of_whole_ranges_are_edited_at_once(store: Store, ana: Account, inbox: Mailbox) -> None:
    heard: list[Change] = []
    store.changes.subscribe(inbox.id, heard.append)
    spans = [(1, 3), (5, 99)]
    assert await store.write(lambda db: messages.edit_flags(db, inbox.id, spans, add=SEEN | FLAGGED)) == 7
    assert flags(store, inbox) == {1: 5, 2: 5, 3: 5, 4: 0, 5: 5}
    assert [row.modseq for row in rows(store, inbox)] == [7, 7, 7, 5, 7]
    assert box(store, ana).unseen == 1
    assert await store.write(lambda db: messages.edit_flags(db, inbox.id, [(1, 2)], remove=SEEN)) == 8
    assert box(store, ana).unseen == 3
    assert await store.write(lambda db: messages.edit_flags(db, inbox.id, [(2, 5)], add=4, remove=ALL_FLAGS)) == 9
    assert flags(store, inbox) == {1: 4, 2: 4, 3: 4, 4: 4, 5: 4}
    assert [row.modseq for row in rows(store, inbox)] == [8, 8, 9, 9, 9]
    assert box(store, ana).unseen == 5
    assert heard == [
        Change(inbox.id, ana.id, 7, edits=(FlagEdit(1, 3, SEEN | FLAGGED, 0), FlagEdit(5, 99, SEEN | FLAGGED, 0))),
        Change(inbox.id, ana.id, 8, edits=(FlagEdit(1, 2, 0, SEEN),)),
        Change(inbox.id, ana.id, 9, edits=(FlagEdit(2, 5, 4, ALL_FLAGS),)),
    ]


async def test_an_edit_that_changes_nothing_is_not_told(store: Store, inbox: Mailbox) -> None:
    heard: list[Change] = []
    store.changes.subscribe(inbox.id, heard.append)
    for spans, add, remove in (([(2, 2)], SEEN, 0), ([(1, 5)], 0, FLAGGED), ([(7, 9)], SEEN, 0), ([(1, 5)], 0, 0)):
        work = partial(messages.edit_flags, mailbox_id=inbox.id, spans=spans, add=add, remove=remove)
        assert await store.write(work) == 6
    assert not heard
    await store.write(lambda db: messages.edit_flags(db, inbox.id, [(1, 1), (2, 2)], add=SEEN))
    assert [change.edits for change in heard] == [(FlagEdit(1, 1, SEEN, 0),)]
    with pytest.raises(NotFoundError):
        await store.write(lambda db: messages.edit_flags(db, 999, [(1, 5)], add=SEEN))


async def test_unchangedsince_leaves_alone_what_changed(store: Store, inbox: Mailbox) -> None:
    await store.write(lambda db: messages.set_flags(db, inbox.id, [1], add=FLAGGED))
    modseq, told = await store.write(lambda db: messages.set_flags(db, inbox.id, [1, 3], add=DELETED, unchangedsince=6))
    assert (modseq, told) == (8, [(3, DELETED)])
    assert flags(store, inbox)[1] == FLAGGED


async def test_many_scattered_uids_at_once(store: Store, ana: Account, inbox: Mailbox) -> None:
    await store.write(lambda db: messages.set_flags(db, inbox.id, [5, 1, 3], add=FLAGGED))
    assert flags(store, inbox) == {1: FLAGGED, 2: SEEN, 3: FLAGGED, 4: 0, 5: FLAGGED}


async def test_copy_shares_the_body_and_keeps_flags_and_dates(store: Store, ana: Account, inbox: Mailbox) -> None:
    await store.write(lambda db: messages.set_flags(db, inbox.id, [2], add=FLAGGED))
    archive = box(store, ana, "Archive")
    heard: list[Change] = []
    store.changes.subscribe(archive.id, heard.append)
    assert await store.write(lambda db: messages.copy(db, inbox.id, [4, 2], archive.id)) == [(2, 1), (4, 2)]
    assert heard == [Change(archive.id, ana.id, 2, added=(1, 2), flags=((1, SEEN | FLAGGED), (2, 0)))]
    copied, original = rows(store, archive), rows(store, inbox)
    assert copied[0] == MessageRow(
        1, SEEN | FLAGGED, 2, original[1].size, original[1].internal_at, original[1].body_id, original[1].filing_id
    )
    assert count(store, "body") == 5
    assert await store.write(lambda db: messages.copy(db, inbox.id, [77], archive.id)) == []
    with pytest.raises(NotFoundError):
        await store.write(lambda db: messages.copy(db, inbox.id, [1], 999))
    with pytest.raises(NotFoundError):
        await store.write(lambda db: messages.copy(db, inbox.id, [77], 999))


async def test_copy_into_the_same_mailbox(store: Store, inbox: Mailbox) -> None:
    assert await store.write(lambda db: messages.copy(db, inbox.id, [1, 2], inbox.id)) == [(1, 6), (2, 7)]
    assert await store.write(lambda db: messages.expunge(db, inbox.id, [1, 6], deleted_only=False)) == [1, 6]
    assert count(store, "body") == 4


async def test_copy_translates_keywords(store: Store, ana: Account, inbox: Mailbox) -> None:
    await accept(store, message(6), ana, keywords=("red", "blue"))
    await accept(store, message(7), ana, mailbox="Archive", keywords=("blue",))
    archive = box(store, ana, "Archive")
    await store.write(lambda db: messages.copy(db, inbox.id, [6], archive.id))
    assert box(store, ana, "Archive").keywords == ("blue", "red")
    assert flags(store, archive) == {1: 1 << 8, 2: (1 << 8) | (1 << 9)}


async def test_copy_and_move_ask_the_quota(store: Store, ana: Account, luis: Account, inbox: Mailbox) -> None:
    await store.write(lambda db: accounts.set_quota(db, ana.name, inbox.bytes + 10))
    archive, foreign = box(store, ana, "Archive"), box(store, luis, "Archive")
    with pytest.raises(QuotaError):
        await store.write(lambda db: messages.copy(db, inbox.id, [1], archive.id))
    await store.write(lambda db: messages.move(db, inbox.id, [1], archive.id))  # adds nothing
    await store.write(lambda db: accounts.set_quota(db, luis.name, 10))
    with pytest.raises(QuotaError):
        await store.write(lambda db: messages.move(db, inbox.id, [2], foreign.id))
    assert uids(store, inbox) == [2, 3, 4, 5]


async def test_move_takes_messages_away_and_gives_new_uids(store: Store, ana: Account, inbox: Mailbox) -> None:
    trash = box(store, ana, "Trash")
    heard: list[Change] = []
    store.changes.subscribe(None, heard.append)
    assert await store.write(lambda db: messages.move(db, inbox.id, [2, 5], trash.id)) == [(2, 1), (5, 2)]
    assert uids(store, inbox) == [1, 3, 4]
    assert [(one.mailbox_id, one.added, one.expunged) for one in heard] == [
        (inbox.id, (), (2, 5)),
        (trash.id, (1, 2), ()),
    ]
    assert (box(store, ana).messages, box(store, ana).unseen) == (3, 3)
    assert await store.write(lambda db: messages.move(db, inbox.id, [1], inbox.id)) == [(1, 6)]
    assert await store.write(lambda db: messages.move(db, inbox.id, [77], trash.id)) == []


async def test_expunge_takes_deleted_ones_only(store: Store, ana: Account, inbox: Mailbox) -> None:
    await store.write(lambda db: messages.set_flags(db, inbox.id, [1, 3], add=DELETED))
    heard: list[Change] = []
    store.changes.subscribe(inbox.id, heard.append)
    assert await store.write(lambda db: messages.expunge(db, inbox.id, [1, 2])) == [1]
    assert await store.write(lambda db: messages.expunge(db, inbox.id)) == [3]
    assert await store.write(lambda db: messages.expunge(db, inbox.id)) == []
    assert [one.expunged for one in heard] == [(1,), (3,)]
    assert uids(store, inbox) == [2, 4, 5]
    assert count(store, "body") == count(store, "filing") == 3
    await accept(store, message(9), ana)
    assert uids(store, inbox) == [2, 4, 5, 6]  # no uid comes back


async def test_the_last_uid_does_not_come_back_either(store: Store, ana: Account, inbox: Mailbox) -> None:
    await store.write(lambda db: messages.expunge(db, inbox.id, None, deleted_only=False))
    await accept(store, message(9), ana)
    assert uids(store, inbox) == [6]


async def test_a_large_expunge_leaves_the_rest_to_the_sweeper(
    store: Store, inbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "SWEEP_AT_ONCE", 2)
    monkeypatch.setattr(sweep, "STEP", 2)
    await store.write(lambda db: messages.expunge(db, inbox.id, None, deleted_only=False))
    assert uids(store, inbox) == []
    await swept(store)
    assert count(store, "filing") == 0


async def test_a_body_lives_as_long_as_anyone_needs_it(store: Store, ana: Account, luis: Account) -> None:
    done = await accept(store, message(), ana, luis)
    for account in (ana, luis):
        assert count(store, "body") == 1
        mailbox = box(store, account)
        await store.write(lambda db, box=mailbox: messages.expunge(db, box.id, None, deleted_only=False))  # type: ignore[misc]
    assert count(store, "body") == 0
    with pytest.raises(NotFoundError):
        await store.load(done.body_id)
