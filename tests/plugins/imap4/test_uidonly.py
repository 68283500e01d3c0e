"""UIDONLY (RFC 9586), UNAUTHENTICATE (RFC 8437), and signs of life (RFC 9585)."""

from __future__ import annotations

import pytest

from appliance.store.messages import expunge, set_flags
from plugins.imap4 import progress, transfer
from tests.plugins.imap4.office import ANA, LUIS, Office

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 6)]


@pytest.mark.parametrize(
    "command",
    [
        "FETCH 1 FLAGS",
        "STORE 1 +FLAGS (\\Seen)",
        "SEARCH ALL",
        "COPY 1 Sent",
        "MOVE 1 Sent",
        "UID SEARCH 1:3",
        "UID SEARCH OR SEEN NOT (DELETED 1:*)",
    ],
)
async def test_message_numbers_are_refused(here: Office, command: str) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    assert await client.ok("ENABLE UIDONLY") == [b"* ENABLED UIDONLY"]
    assert (await client.completion(command)).startswith("BAD [UIDREQUIRED] ")
    await client.ok("CHECK")


async def test_uids_take_the_place_of_numbers(here: Office) -> None:
    await here.put(*MESSAGES)
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [1], deleted_only=False))
    client = await here.login()
    await client.ok("ENABLE UIDONLY QRESYNC")
    lines = await client.ok("SELECT INBOX")
    assert not [line for line in lines if b"UNSEEN" in line]
    assert await client.ok("UID FETCH 2:3 (FLAGS)") == [b"* %d UIDFETCH (FLAGS (\\Recent))" % uid for uid in (2, 3)]
    assert await client.ok("UID FETCH 2 (UID BODY.PEEK[TEXT])") == [b"* 2 UIDFETCH (UID 2 BODY[TEXT] {0}\r\n)"]
    assert await client.ok("UID FETCH * (RFC822.SIZE)") == [b"* 5 UIDFETCH (RFC822.SIZE 14)"]
    assert await client.ok("UID STORE 4 +FLAGS (\\Seen)") == [b"* 4 UIDFETCH (FLAGS (\\Recent \\Seen) MODSEQ (4))"]
    assert await client.ok("UID SEARCH SEEN") == [b"* SEARCH 4"]
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [3], add=8))
    assert await client.ok("NOOP") == [b"* 3 UIDFETCH (FLAGS (\\Recent \\Deleted) MODSEQ (5))"]
    assert await client.command("EXPUNGE") == (
        [b"* VANISHED 3", b"* 3 RECENT"],
        b"OK [HIGHESTMODSEQ 6] EXPUNGE completed",
    )
    assert (await client.completion("SELECT INBOX (QRESYNC (1 2 3 (4 5)))")).startswith("BAD [UIDREQUIRED]")


async def test_without_qresync_removals_are_told_by_uids_too(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login()
    await client.ok("ENABLE UIDONLY")
    await client.ok("SELECT INBOX")
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2, 4], deleted_only=False))
    assert await client.ok("NOOP") == [b"* VANISHED 2,4", b"* 3 RECENT"]


async def test_another_account_logs_in_on_the_same_connection(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.connect()
    assert (await client.completion("UNAUTHENTICATE")) == "BAD log in first"
    await client.ok(f"LOGIN {ANA} palomar")
    await client.ok("ENABLE UIDONLY CONDSTORE")
    await client.ok("SELECT INBOX")
    completion = await client.completion("UNAUTHENTICATE")
    assert completion.startswith("OK [CAPABILITY IMAP4rev1 ")
    assert "AUTH=PLAIN" in completion
    assert "UNAUTHENTICATE" not in completion
    assert (await client.completion("SELECT INBOX")) == "BAD log in first"
    await client.ok(f"LOGIN {LUIS} palomar")
    lines = await client.ok("SELECT INBOX")
    assert b"* 0 EXISTS" in lines
    await here.put(*MESSAGES, account=LUIS)
    await client.ok("NOOP")
    assert await client.ok("STORE 1 +FLAGS (\\Seen)") == [b"* 1 FETCH (UID 1 FLAGS (\\Recent \\Seen))"]
    await client.ok("LOGOUT")


async def test_connections_are_counted_for_the_account_that_is_logged_in(here: Office) -> None:
    client = await here.connect()
    for _ in range(120):  # more than one account may have at a time
        await client.ok(f"LOGIN {ANA} palomar")
        await client.ok("UNAUTHENTICATE")
    await client.ok(f"LOGIN {ANA} palomar")


async def test_long_commands_give_signs_of_life(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    assert await client.ok("SEARCH TEXT nothing") == [b"* SEARCH"]
    monkeypatch.setattr(progress, "INTERVAL_S", 0.0)
    monkeypatch.setattr(transfer, "MANY", 1)
    client.send(b"a-1 COPY 1:5 Sent\r\n")
    lines, completion = await client.until(b"a-1")
    assert set(lines) == {b'* OK [INPROGRESS ("a-1" 0 5)] Still at work'}
    assert completion.startswith(b"OK [COPYUID ")
    client.send(b"a-2 SEARCH TEXT nothing\r\n")
    lines, completion = await client.until(b"a-2")
    assert lines == [b'* OK [INPROGRESS ("a-2" 0 5)] Still at work', b"* SEARCH"]
