"""Mailboxes: names, hierarchy, INBOX, subscriptions, UIDVALIDITY, \\Recent, keywords (RFC 3501)."""

from __future__ import annotations

from functools import partial

import pytest

from appliance.errors import ExistsError, NotFoundError, StoreError
from appliance.store import MAX_KEYWORDS, Account, Change, Mailbox, Store, mailboxes
from appliance.store.annotations import set_annotations
from appliance.store.mailboxes import (
    MAX_LEVELS,
    MAX_NAME,
    claim_recent,
    create_mailbox,
    delete_mailbox,
    get_mailbox,
    list_subscriptions,
    normal_name,
    recent_from,
    rename_mailbox,
    set_subscribed,
)
from appliance.store.model import MailboxEvent, Notice
from tests.appliance.store.samples import Clock, accept, box, count, message, rows, swept, uids


async def make(store: Store, account: Account, name: str) -> Mailbox:
    return await store.write(lambda db: create_mailbox(db, account.id, name))


def names(store: Store, account: Account) -> dict[str, bool]:
    """Names and whether they can be selected, without the first mailboxes."""
    found = store.peek(lambda db: mailboxes.list_mailboxes(db, account.id))
    return {one.name: one.selectable for one in found if not one.special_use and one.name != "INBOX"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("inbox", "INBOX"), ("Inbox/a", "INBOX/a"), ("a/inbox", "a/inbox"), ("Cafe\u0301", "Caf\u00e9"), ("a b", "a b")],
)
def test_the_normal_form_of_a_name(given: str, kept: str) -> None:
    assert normal_name(given) == kept


@pytest.mark.parametrize(
    "name", ["", "/", "a//b", "/a", "a/", "..", "a/../b", "./a", "a\x00b", "a\r\nb", "a\u2028b", "x" * (MAX_NAME + 1)]
)
def test_a_bad_name(name: str) -> None:
    with pytest.raises(StoreError):
        normal_name(name)


def test_levels_are_limited() -> None:
    assert normal_name("/".join("a" * MAX_LEVELS))
    with pytest.raises(StoreError):
        normal_name("/".join("a" * (MAX_LEVELS + 1)))


async def test_create_makes_the_levels_above_as_mere_places(store: Store, ana: Account) -> None:
    await make(store, ana, "a/b/c")
    assert names(store, ana) == {"a": False, "a/b": False, "a/b/c": True}
    made = await make(store, ana, "a/")  # a trailing delimiter says that children will follow
    assert made.selectable
    with pytest.raises(ExistsError):
        await make(store, ana, "a")
    with pytest.raises(ExistsError):
        await make(store, ana, "inbox")


async def test_a_place_cannot_be_filed_into_but_becomes_a_mailbox_when_mail_comes(store: Store, ana: Account) -> None:
    await make(store, ana, "a/b")
    await accept(store, message(), ana, mailbox="a")
    assert names(store, ana) == {"a": True, "a/b": True}


async def test_filing_makes_the_mailbox_and_subscribes_it(store: Store, ana: Account) -> None:
    await accept(store, message(), ana, mailbox="Lists/python")
    assert box(store, ana, "Lists/python").subscribed
    assert uids(store, box(store, ana, "Lists/python")) == [1]


async def test_uidvalidity_is_never_given_twice(store: Store, ana: Account, clock: Clock) -> None:
    given = set()
    for number in range(5):
        clock.at -= 1000 * (number % 2)  # a clock that jumps back changes nothing
        given.add((await make(store, ana, "x")).uidvalidity)
        await store.write(lambda db: delete_mailbox(db, ana.id, "x"))
    assert len(given) == 5
    assert sorted(given) == list(range(min(given), min(given) + 5))


async def test_delete_keeps_the_subscription_and_tells_the_watchers(store: Store, ana: Account) -> None:
    await accept(store, message(), ana, mailbox="x")
    mailbox = box(store, ana, "x")
    heard: list[Change] = []
    store.changes.subscribe(mailbox.id, heard.append)
    await store.write(lambda db: delete_mailbox(db, ana.id, "x"))
    assert heard == [Change(mailbox.id, ana.id, mailbox.highestmodseq + 1, expunged=(1,))]
    assert store.peek(lambda db: get_mailbox(db, ana.id, "x")) is None
    assert store.peek(lambda db: mailboxes.mailbox_by_id(db, mailbox.id)) is None
    assert "x" in store.peek(lambda db: list_subscriptions(db, ana.id))
    assert (await make(store, ana, "x")).subscribed


async def test_an_account_s_watchers_hear_of_names_subscriptions_and_annotations(store: Store, ana: Account) -> None:
    heard: list[Notice] = []
    end = store.changes.subscribe_account(ana.id, heard.append)
    me = object()
    await store.write(lambda db: create_mailbox(db, ana.id, "a/b", subscribe=True), origin=me)
    await store.write(lambda db: rename_mailbox(db, ana.id, "a/b", "c"))
    mailbox = box(store, ana, "c")
    values = [("/private/x", b"1"), ("/shared/y", None)]
    await store.write(lambda db: set_annotations(db, ana.id, mailbox.id, values))
    await store.write(lambda db: set_subscribed(db, ana.id, "c", subscribed=False))
    await store.write(lambda db: delete_mailbox(db, ana.id, "c"))
    assert [one for one in heard if isinstance(one, MailboxEvent)] == [
        MailboxEvent(ana.id, "created", "a"),
        MailboxEvent(ana.id, "created", "a/b"),
        MailboxEvent(ana.id, "subscription", "a/b"),
        MailboxEvent(ana.id, "renamed", "c", "a/b"),
        MailboxEvent(ana.id, "annotations", "c", entries=("/private/x",), seen_by=ana.id),
        MailboxEvent(ana.id, "annotations", "c", entries=("/shared/y",)),
        MailboxEvent(ana.id, "deleted", "c"),
    ]
    assert [one.origin is me for one in heard[:4]] == [True, True, True, False]
    assert sum(isinstance(one, Change) for one in heard) == 1
    end()
    await make(store, ana, "d")
    assert len(heard) == 8


async def test_delete_of_a_mailbox_with_children_leaves_a_place(store: Store, ana: Account) -> None:
    await make(store, ana, "a")
    await make(store, ana, "a/b")
    await accept(store, message(), ana, mailbox="a")
    before = box(store, ana, "a")
    await store.write(lambda db: delete_mailbox(db, ana.id, "a"))
    assert names(store, ana) == {"a": False, "a/b": True}
    with pytest.raises(StoreError):
        await store.write(lambda db: delete_mailbox(db, ana.id, "a"))
    again = await make(store, ana, "a")
    assert again.messages == 0
    assert again.uidvalidity > before.uidvalidity
    await store.write(lambda db: delete_mailbox(db, ana.id, "a/b"))
    await store.write(lambda db: delete_mailbox(db, ana.id, "a"))
    assert names(store, ana) == {}


async def test_inbox_cannot_be_deleted_and_nothing_that_is_not_there(store: Store, ana: Account) -> None:
    with pytest.raises(StoreError):
        await store.write(lambda db: delete_mailbox(db, ana.id, "inbox"))
    with pytest.raises(NotFoundError):
        await store.write(lambda db: delete_mailbox(db, ana.id, "nothing"))


async def test_a_deleted_mailbox_is_emptied_in_steps(store: Store, ana: Account) -> None:
    for number in range(3):
        await accept(store, message(number), ana, mailbox="x")
    await store.write(lambda db: delete_mailbox(db, ana.id, "x"))
    await swept(store, "mailbox WHERE account_id IS NULL")
    assert count(store, "body") == count(store, "filing") == count(store, "message") == 0


async def test_rename_takes_the_children_along(store: Store, ana: Account) -> None:
    for name in ("a/b", "a/b/c", "a/bx"):
        await make(store, ana, name)
    before = box(store, ana, "a/b")
    after = await store.write(lambda db: rename_mailbox(db, ana.id, "a/b", "z/y"))
    assert (after.id, after.uidvalidity) == (before.id, before.uidvalidity)
    assert names(store, ana) == {"a": False, "a/bx": True, "z": False, "z/y": True, "z/y/c": True}


async def test_rename_refuses(store: Store, ana: Account) -> None:
    await make(store, ana, "a/b")
    for name, new_name, error in (
        ("nothing", "x", NotFoundError),
        ("a/b", "Sent", ExistsError),
        ("a", "a/b/c", StoreError),
        ("a/b", "", StoreError),
    ):
        with pytest.raises(error):
            await store.write(partial(rename_mailbox, account_id=ana.id, name=name, new_name=new_name))


async def test_rename_of_inbox_moves_its_messages_and_leaves_it_there(store: Store, ana: Account) -> None:
    await make(store, ana, "INBOX/child")
    await accept(store, message(1), ana)
    await accept(store, message(2), ana, flags=1)
    target = await store.write(lambda db: rename_mailbox(db, ana.id, "INBOX", "old"))
    assert [(row.uid, row.flags) for row in rows(store, target)] == [(1, 0), (2, 1)]
    inbox = box(store, ana)
    assert (inbox.messages, inbox.unseen, inbox.bytes, inbox.uidnext) == (0, 0, 0, 3)
    assert names(store, ana) == {"INBOX/child": True, "old": True}


async def test_subscriptions_need_no_mailbox(store: Store, ana: Account) -> None:
    await store.write(lambda db: set_subscribed(db, ana.id, "not there", subscribed=True))
    assert "not there" in store.peek(lambda db: list_subscriptions(db, ana.id))
    await store.write(lambda db: set_subscribed(db, ana.id, "not there", subscribed=False))
    await store.write(lambda db: set_subscribed(db, ana.id, "inbox", subscribed=False))
    assert set(store.peek(lambda db: list_subscriptions(db, ana.id))) == {"Archive", "Drafts", "Junk", "Sent", "Trash"}
    assert not box(store, ana).subscribed


async def test_recent_messages_are_claimed_once(store: Store, ana: Account) -> None:
    inbox = box(store, ana)
    await accept(store, message(1), ana)
    await accept(store, message(2), ana)
    assert store.peek(lambda db: recent_from(db, inbox.id)) == 1
    assert await store.write(lambda db: claim_recent(db, inbox.id)) == 1
    assert await store.write(lambda db: claim_recent(db, inbox.id)) == 3
    await accept(store, message(3), ana)
    assert store.peek(lambda db: recent_from(db, inbox.id)) == 3
    with pytest.raises(NotFoundError):
        await store.write(lambda db: claim_recent(db, 999))


async def test_keywords_get_bits_and_are_compared_without_case(store: Store, ana: Account) -> None:
    inbox = box(store, ana)
    first = await store.write(lambda db: mailboxes.keyword_bits(db, inbox.id, ("$Forwarded", "Work")))
    assert first == (1 << 8) | (1 << 9)
    assert await store.write(lambda db: mailboxes.keyword_bits(db, inbox.id, ("WORK",))) == 1 << 9
    assert box(store, ana).keywords == ("$Forwarded", "Work")
    assert store.peek(lambda db: mailboxes.keyword_names(db, inbox.id)) == ("$Forwarded", "Work")


async def test_a_mailbox_has_so_many_keywords_and_no_more(store: Store, ana: Account) -> None:
    inbox = box(store, ana)
    names = tuple(f"k{number}" for number in range(MAX_KEYWORDS))
    bits = await store.write(lambda db: mailboxes.keyword_bits(db, inbox.id, names))
    assert bits == sum(1 << bit for bit in range(8, 63))
    with pytest.raises(StoreError, match="at most"):
        await store.write(lambda db: mailboxes.keyword_bits(db, inbox.id, ("one more",)))
    for bad in ("", "a\rb", "x" * 101):
        with pytest.raises(StoreError):
            await store.write(partial(mailboxes.keyword_bits, mailbox_id=inbox.id, names=(bad,)))
    await accept(store, message(), ana, flags=1, keywords=(names[-1],))
    assert rows(store, inbox)[0].flags == (1 << 62) | 1


async def test_mailboxes_of_an_account_are_limited(store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailboxes, "MAX_MAILBOXES", 7)
    await make(store, ana, "one")
    with pytest.raises(StoreError, match="at most"):
        await make(store, ana, "two")


async def test_special_uses_are_those_of_the_standard(store: Store, ana: Account) -> None:
    made = await store.write(lambda db: create_mailbox(db, ana.id, "Everything", special_use="\\All"))
    assert made.special_use == "\\All"
    with pytest.raises(StoreError):
        await store.write(lambda db: create_mailbox(db, ana.id, "x", special_use="\\Mine"))
