"""Rights on mailboxes of others: what an entry gives, whom it reaches, and what goes with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ForbiddenError, LimitError, NotFoundError, StoreError
from appliance.mail.message import Message
from appliance.mail.rights import ALL_RIGHTS, OBSOLETE, edited_rights, effective_rights, normal_rights, shown_rights
from appliance.store import Account, Store, mailboxes, rights, sharing
from appliance.store.accounts import create_account, delete_account
from appliance.store.database import Database
from appliance.store.messages import copy, list_flags
from appliance.store.model import DELETED, SEEN
from appliance.store.rights import EVERYBODY, set_entry

ANAS = "Other Users/ana@palomar.test"
letters = st.text(alphabet=ALL_RIGHTS + "cd")


@given(letters, letters, letters)
def test_rights_are_sets_in_one_order(before: str, given_: str, taken: str) -> None:
    rights_ = normal_rights(before)
    assert normal_rights(rights_) == rights_
    assert list(rights_) == sorted(set(rights_), key=ALL_RIGHTS.index)
    assert set(shown_rights(rights_)) - set(rights_) == {one for one, m in OBSOLETE.items() if set(m) & set(rights_)}
    assert normal_rights(shown_rights("kxte")) == "kxte"
    added = edited_rights(rights_, "+", normal_rights(given_))
    assert set(added) == set(rights_) | set(normal_rights(given_))
    assert set(edited_rights(added, "-", normal_rights(taken))) == set(added) - set(normal_rights(taken))
    assert set(effective_rights([(False, added), (True, normal_rights(taken))])) == set(added) - set(
        normal_rights(taken)
    )


@given(st.text(min_size=1).filter(lambda text: not set(text) <= set(ALL_RIGHTS + "cd")))
def test_other_letters_are_no_rights(text: str) -> None:
    with pytest.raises(ValueError, match="no rights"):
        normal_rights(text)


async def share(store: Store, owner: Account, name: str, identifier: str, given_: str, mode: str = "") -> int:
    def work(db: Database) -> int:
        mailbox = mailboxes.require_mailbox(db, owner.id, name)
        sharing.share(db, mailbox, identifier, given_, mode=mode)
        return mailbox.id

    return await store.write(work)


async def test_a_name_is_found_only_with_a_right(store: Store, ana: Account, luis: Account) -> None:
    assert store.peek(lambda db: sharing.find_access(db, luis.id, f"{ANAS}/INBOX")) is None
    await share(store, ana, "INBOX", luis.name, "lr")
    found = store.peek(lambda db: sharing.find_access(db, luis.id, "Other Users/ANA@palomar.test/inbox"))
    assert found is not None
    assert (found.name, found.rights, found.prefix) == (f"{ANAS}/INBOX", "lr", f"{ANAS}/")
    assert found.mailbox.account_id == ana.id
    assert [one.name for one in store.peek(lambda db: sharing.list_others(db, luis.id))] == [f"{ANAS}/INBOX"]
    with pytest.raises(ForbiddenError):
        store.peek(lambda db: sharing.require_access(db, luis.id, f"{ANAS}/INBOX", "i"))
    await share(store, ana, "INBOX", luis.name, "l", "-")
    assert store.peek(lambda db: sharing.list_others(db, luis.id)) == []
    with pytest.raises(NotFoundError):  # what may not be looked up is not there
        store.peek(lambda db: sharing.require_access(db, luis.id, f"{ANAS}/INBOX", "i"))


async def test_negative_entries_win_and_anyone_is_everybody(store: Store, ana: Account, luis: Account) -> None:
    number = await share(store, ana, "Archive", "anyone", "lrs")
    await share(store, ana, "Archive", f"-{luis.name}", "s")
    assert store.peek(lambda db: rights.rights_on(db, luis.id, number)) == "lr"
    assert store.peek(lambda db: rights.rights_on(db, ana.id, number)) == ALL_RIGHTS
    await share(store, ana, "Archive", "-anyone", "lr")
    assert store.peek(lambda db: rights.rights_on_others(db, luis.id)) == {}
    with pytest.raises(StoreError, match="owner has all"):
        await share(store, ana, "Archive", f"-{ana.name}", "l")
    assert store.peek(lambda db: sharing.described_entries(db, mailboxes.require_mailbox(db, ana.id, "Archive"))) == [
        (ana.name, ALL_RIGHTS), ("anyone", "lrs"), ("-anyone", "lr"), (f"-{luis.name}", "s"),
    ]  # fmt: skip


async def test_a_new_mailbox_has_the_rights_of_the_one_above(store: Store, ana: Account, luis: Account) -> None:
    await share(store, ana, "INBOX", luis.name, "lrk")
    made = await store.write(lambda db: sharing.create_named(db, luis.id, f"{ANAS}/Work/2026"))
    assert (made.name, made.rights) == (f"{ANAS}/Work/2026", "lrk")
    await store.write(lambda db: mailboxes.create_mailbox(db, ana.id, "Work/2027"))
    await store.write(lambda db: mailboxes.create_mailbox(db, ana.id, "Private"))
    names = {one.name.removeprefix(f"{ANAS}/") for one in store.peek(lambda db: sharing.list_others(db, luis.id))}
    assert names == {"INBOX", "Work", "Work/2026", "Work/2027"}
    with pytest.raises(ForbiddenError):
        await store.write(lambda db: sharing.create_named(db, luis.id, "Other Users/nobody@palomar.test/Work"))
    with pytest.raises(ForbiddenError):  # as if it could not be created; not that it is there
        await store.write(lambda db: sharing.create_named(db, luis.id, f"{ANAS}/Private"))
    with pytest.raises(StoreError, match="stands for"):
        await store.write(lambda db: sharing.create_named(db, luis.id, "Shared Folders"))


async def test_renaming_needs_rights_on_all_that_moves(store: Store, ana: Account, luis: Account) -> None:
    await store.write(lambda db: mailboxes.create_mailbox(db, ana.id, "Work"))
    await share(store, ana, "Work", luis.name, "lrkx")
    hidden = await store.write(lambda db: mailboxes.create_mailbox(db, ana.id, "Work/Hidden"))
    await store.write(lambda db: rights.forget_entries(db, hidden.id))
    with pytest.raises(ForbiddenError):
        await store.write(lambda db: sharing.rename_named(db, luis.id, f"{ANAS}/Work", f"{ANAS}/Work2"))
    await store.write(lambda db: set_entry(db, hidden.id, luis.id, "x"))
    with pytest.raises(ForbiddenError):  # nothing gives `k` at the top
        await store.write(lambda db: sharing.rename_named(db, luis.id, f"{ANAS}/Work", f"{ANAS}/Work2"))
    await share(store, ana, "INBOX", luis.name, "k")
    made = await store.write(lambda db: sharing.rename_named(db, luis.id, f"{ANAS}/Work", f"{ANAS}/Work2"))
    assert (made.name, made.rights) == (f"{ANAS}/Work2", "lrkx")
    with pytest.raises(StoreError, match="stays with its owner"):
        await store.write(lambda db: sharing.rename_named(db, luis.id, f"{ANAS}/Work2", "Mine"))
    with pytest.raises(StoreError, match="stays with its owner"):
        await store.write(lambda db: sharing.rename_named(db, luis.id, "Archive", f"{ANAS}/Archive2"))


async def test_entries_go_with_mailbox_and_account(store: Store, ana: Account, luis: Account) -> None:
    await share(store, ana, "Archive", luis.name, "lrx")
    await store.write(lambda db: sharing.delete_named(db, luis.id, f"{ANAS}/Archive"))
    assert store.peek(lambda db: db.execute("SELECT count(*) FROM acl").fetchone()) == (0,)
    await share(store, ana, "Sent", luis.name, "lr")
    await store.write(lambda db: delete_account(db, luis.name))
    again = await store.write(lambda db: create_account(db, luis.name))
    assert store.peek(lambda db: sharing.list_others(db, again.id)) == []


async def test_entries_of_a_mailbox_are_bounded(store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "MAX_ENTRIES", 2)
    inbox = store.peek(lambda db: mailboxes.require_mailbox(db, ana.id, "INBOX"))
    for account_id in (EVERYBODY, 7):
        await store.write(lambda db, account_id=account_id: set_entry(db, inbox.id, account_id, "l"))  # type: ignore[misc]
    with pytest.raises(LimitError):
        await store.write(lambda db: set_entry(db, inbox.id, 8, "l"))
    await store.write(lambda db: set_entry(db, inbox.id, 7, "lr"))


async def test_a_role_stands_under_shared_folders(store: Store, ana: Account, luis: Account) -> None:
    await share(store, ana, "INBOX", luis.name, "lr")
    await store.write(lambda db: sharing.set_role(db, ana.name, role=True))
    names = [one.name for one in store.peek(lambda db: sharing.list_others(db, luis.id))]
    assert names == ["Shared Folders/ana@palomar.test/INBOX"]
    assert store.peek(lambda db: sharing.find_access(db, luis.id, f"{ANAS}/INBOX")) is None
    await store.write(lambda db: sharing.set_role(db, ana.name, role=False))
    assert store.peek(lambda db: sharing.find_access(db, luis.id, f"{ANAS}/INBOX")) is not None


async def test_copies_keep_the_flags_that_may_be_set(store: Store, ana: Account, luis: Account) -> None:
    source = store.peek(lambda db: mailboxes.require_mailbox(db, ana.id, "INBOX"))
    target = store.peek(lambda db: mailboxes.require_mailbox(db, luis.id, "INBOX"))
    uids = await store.append(source.id, [(Message.parse(b"Subject: a\r\n\r\nb\r\n"), SEEN | DELETED, ("$x",), 0)])
    await store.write(lambda db: copy(db, source.id, uids, target.id, flags=DELETED))
    assert [flags for _, flags in store.peek(lambda db: list_flags(db, target.id))] == [DELETED]
    after = store.peek(lambda db: mailboxes.require_mailbox(db, luis.id, "INBOX"))
    assert (after.unseen, after.keywords) == (1, ())
