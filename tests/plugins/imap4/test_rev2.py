"""IMAP4rev2 (RFC 9051) for clients that enable it: what differs, and that it is offered only when it is whole."""

from __future__ import annotations

import pytest

from appliance.store.messages import expunge, set_flags
from plugins.imap4 import basic
from tests.plugins.imap4.office import Client, Office
from tests.plugins.imap4.test_login import capabilities

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 4)]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What IMAP4rev2 needs beside this is there."""
    monkeypatch.setattr(basic, "_REV2_NEEDS", frozenset({"UIDPLUS"}))


async def rev2(here: Office, mailbox: str = "") -> Client:
    client = await here.login()
    assert await client.ok("ENABLE imap4REV2") == [b"* ENABLED IMAP4rev2"]
    if mailbox:
        await client.ok(f"SELECT {mailbox}")
    return client


async def test_it_is_offered_when_all_it_needs_is_there(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "_REV2_NEEDS", frozenset({"UIDPLUS", "X-NONE"}))
    client = await here.connect()
    assert b"IMAP4rev2" not in capabilities(client.greeting)
    await client.ok("LOGIN ana@palomar.test palomar")
    assert await client.ok("ENABLE IMAP4rev2") == [b"* ENABLED"]
    monkeypatch.setattr(basic, "_REV2_NEEDS", frozenset({"UIDPLUS"}))
    client = await here.connect()
    assert client.greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 ")


async def test_nothing_is_recent_and_the_first_unseen_is_not_told(here: Office, whole: None) -> None:
    await here.put(*MESSAGES)
    client = await rev2(here)
    lines = await client.ok("SELECT inbox")
    assert [line for line in lines if b"RECENT" in line.upper() or b"UNSEEN" in line] == []
    assert lines[-1] == b'* LIST () "/" INBOX'
    assert await client.ok("FETCH 1:3 FLAGS") == [b"* %d FETCH (FLAGS ())" % number for number in (1, 2, 3)]
    await here.put(MESSAGES[0])
    assert await client.ok("NOOP") == [b"* 4 EXISTS"]
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2], deleted_only=False))
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [3], add=1))
    assert await client.ok("NOOP") == [b"* 2 EXPUNGE", b"* 2 FETCH (UID 3 FLAGS (\\Seen))"]
    other = await here.login()
    assert b"* 3 RECENT" in await other.ok("SELECT INBOX")  # nobody else has heard of them


async def test_enabled_with_a_mailbox_selected(here: Office, whole: None) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    await client.ok("ENABLE IMAP4rev2")
    assert await client.ok("FETCH 1 FLAGS") == [b"* 1 FETCH (FLAGS ())"]
    assert await client.ok("NOOP") == []


async def test_leaving_a_mailbox_for_another_is_told(here: Office, whole: None) -> None:
    client = await rev2(here, "INBOX")
    assert (await client.ok("SELECT Sent"))[0] == b"* OK [CLOSED] The mailbox before is left"
    assert (await client.command("EXAMINE nope"))[0] == [b"* OK [CLOSED] The mailbox before is left"]
    assert not [line for line in await client.ok("SELECT Sent") if b"CLOSED" in line]


async def test_names_are_utf8(here: Office, whole: None) -> None:
    client, old = await rev2(here), await here.login()
    await client.ok('CREATE "Entwürfe & mehr"')
    assert await old.ok('LIST "" Entw*') == [b'* LIST (\\HasNoChildren) "/" "Entw&APw-rfe &- mehr"']
    assert await client.ok('LIST "" "Entwü*"') == ['* LIST (\\HasNoChildren) "/" "Entwürfe & mehr"'.encode()]
    assert await client.ok('STATUS "Entwürfe & mehr" (MESSAGES)') == [
        '* STATUS "Entwürfe & mehr" (MESSAGES 0)'.encode()
    ]
    assert (await client.ok('SELECT "Entwürfe & mehr"'))[-1] == '* LIST () "/" "Entwürfe & mehr"'.encode()
    name = "Entwürfe & mehr".encode()
    await client.ok(b"APPEND {%d+}\r\n%b {5+}\r\nA: b\n" % (len(name), name))
    await client.ok(b'COPY 1 "%b"' % name)
    assert await client.ok('LIST "" "&APw-*"') == []
    assert await client.completion(b'SELECT "\xfc"') == "BAD mailbox name is not UTF-8"
    await client.ok('SUBSCRIBE "Entwürfe & mehr"')
    assert '* LSUB () "/" "Entwürfe & mehr"'.encode() in await client.ok('LSUB "" *')


async def test_a_new_name_is_told_with_the_old_one(here: Office, whole: None) -> None:
    client, old = await rev2(here), await here.login()
    await client.ok("CREATE a/b")
    assert await client.ok('RENAME a/b "c ö"') == ['* LIST () "/" "c ö" ("OLDNAME" (a/b))'.encode()]
    decomposed = "o\u0308"
    assert await client.ok(f'CREATE "{decomposed}"') == [f'* LIST () "/" "ö" ("OLDNAME" ("{decomposed}"))'.encode()]
    assert await client.ok("RENAME INBOX saved") == []
    assert await old.ok("RENAME saved kept") == []


async def test_a_place_with_mailboxes_below_cannot_go(here: Office) -> None:
    client = await here.login()
    await client.ok("CREATE a/b")
    assert (await client.completion("DELETE a")).startswith("NO [HASCHILDREN] ")


async def test_status_counts_what_is_deleted(here: Office, whole: None) -> None:
    await here.put(*MESSAGES)
    await here.put(MESSAGES[0], flags=8)
    client = await rev2(here)
    assert await client.ok("STATUS INBOX (DELETED SIZE)") == [b"* STATUS INBOX (DELETED 1 SIZE 56)"]
    assert await client.ok("STATUS Sent (DELETED)") == [b"* STATUS Sent (DELETED 0)"]
