"""Mailboxes that are known from the last look are looked up anew after every commit."""

from __future__ import annotations

import pytest

from appliance.store import Account, Database, Mailbox, Store, known
from appliance.store.mailboxes import create_mailbox, rename_mailbox, set_subscribed
from tests.appliance.store.samples import accept, box, message


async def test_what_is_committed_is_seen_at_once(store: Store, ana: Account) -> None:
    assert store.mailbox(ana.id, "INBOX") == store.mailbox(ana.id, "inbox") == box(store, ana)
    assert store.mailbox(ana.id, "Later") is store.mailbox(ana.id, "a//b") is None
    await accept(store, message(1), ana)
    assert store.mailbox(ana.id, "INBOX") == box(store, ana)
    assert box(store, ana).messages == 1
    await store.write(lambda db: create_mailbox(db, ana.id, "Later"))
    assert store.mailbox(ana.id, "Later") == box(store, ana, "Later")
    await store.write(lambda db: set_subscribed(db, ana.id, "Later", subscribed=True))
    later = store.mailbox(ana.id, "Later")
    assert later is not None
    assert later.subscribed
    await store.write(lambda db: rename_mailbox(db, ana.id, "Later", "Now"))
    assert store.mailbox(ana.id, "Later") is None
    assert store.mailbox(ana.id + 1, "Now") is None


async def test_while_nothing_is_written_the_database_is_asked_once(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_KNOWN", 2)
    looks: list[str] = []
    real = known.get_mailbox

    def looked(db: Database, account_id: int, name: str) -> Mailbox | None:
        looks.append(name)
        return real(db, account_id, name)

    monkeypatch.setattr(known, "get_mailbox", looked)
    for name in ("INBOX", "Drafts", "Drafts", "INBOX", "Sent", "Sent", "INBOX"):
        assert store.mailbox(ana.id, name) is not None
    assert looks == ["INBOX", "Drafts", "Sent", "INBOX"]  # the third one takes the place of the first two
    assert store.mailbox(ana.id, "Nowhere") is store.mailbox(ana.id, "Nowhere") is None
    assert looks[4:] == ["Nowhere", "Nowhere"]
