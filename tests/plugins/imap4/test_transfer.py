"""COPY, MOVE, EXPUNGE, and their UIDs (RFC 4315, RFC 6851)."""

from __future__ import annotations

import asyncio

from appliance.store.accounts import set_quota
from appliance.store.mailboxes import mailbox_by_id
from tests.plugins.imap4.office import ANA, Office

MESSAGES = [b"Subject: %d\r\n\r\nText %d\r\n" % (n, n) for n in range(1, 7)]


def validity(here: Office, name: str) -> int:
    mailbox = here.store.peek(lambda db: mailbox_by_id(db, here.mailbox_id(name)))
    assert mailbox is not None
    return mailbox.uidvalidity


async def test_copy_keeps_flags_and_tells_the_new_uids(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    await client.ok("STORE 2 +FLAGS.SILENT (\\Seen $Work)")
    uidvalidity = validity(here, "Archive")
    assert await client.completion("COPY 1:3,6 Archive") == f"OK [COPYUID {uidvalidity} 1:3,6 1:4] COPY completed"
    assert await client.completion("UID COPY 2 archive") == "NO [TRYCREATE] There is no such mailbox"
    assert await client.completion("UID COPY 99 Archive") == "OK COPY completed, no messages found"
    assert here.moved == [(ANA, "INBOX", "Archive", [1, 2, 3, 4])]
    await client.ok("SELECT Archive")
    assert await client.ok("FETCH 2 (FLAGS BODY.PEEK[TEXT])") == [
        b"* 2 FETCH (FLAGS (\\Recent \\Seen $Work) BODY[TEXT] {8}\r\nText 2\r\n)"
    ]
    assert await client.ok("FETCH 2 INTERNALDATE") == [b'* 2 FETCH (INTERNALDATE "14-Nov-2023 22:13:20 +0000")']


async def test_copy_into_the_selected_mailbox_shows_there(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    assert await client.ok("COPY 1:2 INBOX") == [b"* 8 EXISTS", b"* 8 RECENT"]


async def test_move_tells_copyuid_before_expunge(here: Office) -> None:
    await here.put(*MESSAGES)
    client, other = await here.login("INBOX"), await here.login("INBOX")
    lines, completion = await client.command("MOVE 2,4 Trash")
    assert lines == [
        b"* OK [COPYUID %d 2,4 1:2] Moved" % validity(here, "Trash"),
        b"* 4 EXPUNGE",
        b"* 2 EXPUNGE",
        b"* 4 RECENT",
    ]
    assert completion == b"OK MOVE completed"
    assert await other.ok("NOOP") == [b"* 4 EXPUNGE", b"* 2 EXPUNGE"]
    assert await client.completion("UID MOVE 1:9 nope") == "NO [TRYCREATE] There is no such mailbox"
    assert await client.completion("UID MOVE 2 Trash") == "OK MOVE completed, no messages found"
    assert await client.ok("STATUS Trash (MESSAGES)") == [b"* STATUS Trash (MESSAGES 2)"]


async def test_expunge_and_uid_expunge(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    await client.ok("STORE 1,3,5 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("UID EXPUNGE 2:3,77") == [b"* 3 EXPUNGE", b"* 5 RECENT"]
    assert await client.ok("UID EXPUNGE 77") == []
    assert await client.ok("EXPUNGE") == [b"* 4 EXPUNGE", b"* 1 EXPUNGE", b"* 3 RECENT"]
    assert await client.ok("EXPUNGE") == []
    assert await client.ok("FETCH 1:* UID") == [b"* 1 FETCH (UID 2)", b"* 2 FETCH (UID 4)", b"* 3 FETCH (UID 6)"]
    assert here.expunged == [(ANA, "INBOX", [3]), (ANA, "INBOX", [1, 5])]


async def test_copies_over_the_quota_are_refused_as_a_whole(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    used = sum(map(len, MESSAGES))
    await here.store.write(lambda db: set_quota(db, ANA, used + 30))
    assert (await client.completion("COPY 1:2 Sent")).startswith("NO [OVERQUOTA]")
    await client.ok("COPY 1 Sent")
    await client.ok("MOVE 2:* Sent")


async def test_message_numbers_stay_while_commands_use_them(here: Office) -> None:
    """RFC 3501 section 7.4.1: no EXPUNGE while FETCH, STORE or SEARCH is answered."""
    await here.put(*MESSAGES)
    client, other = await here.login("INBOX"), await here.login("INBOX")
    await other.ok("STORE 1:2 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    flags = [b"* %d FETCH (UID %d FLAGS (\\Recent \\Deleted))" % (n, n) for n in (1, 2)]
    assert await client.ok("FETCH 3 UID") == [b"* 3 FETCH (UID 3)", *flags]
    assert await client.ok("SEARCH 1:6") == [b"* SEARCH 1 2 3 4 5 6"]
    assert await client.ok("STORE 3 +FLAGS (\\Seen)") == [b"* 3 FETCH (UID 3 FLAGS (\\Recent \\Seen))"]
    await here.put(MESSAGES[0])
    assert await client.ok("FETCH 3 UID") == [b"* 3 FETCH (UID 3)", b"* 7 EXISTS", b"* 7 RECENT"]
    assert await client.ok("UID FETCH 3 UID") == [b"* 3 FETCH (UID 3)", b"* 2 EXPUNGE", b"* 1 EXPUNGE", b"* 5 RECENT"]
    assert await client.ok("FETCH 1 UID") == [b"* 1 FETCH (UID 3)"]


async def test_two_sessions_that_do_everything_at_once(here: Office) -> None:
    """Whatever they do to one mailbox, both end with the same picture of it, and it is the store's."""
    await here.put(*MESSAGES * 5)
    clients = [await here.login("INBOX") for _ in range(3)]

    async def work(number: int) -> None:
        client = clients[number]
        for turn in range(8):
            await client.ok(f"STORE {1 + (turn + number) % 5} +FLAGS (k{number} \\Flagged)")
            await client.command(f"UID STORE {turn * 3 + number} +FLAGS.SILENT (\\Deleted)")
            await client.ok(f"APPEND INBOX {{{len(MESSAGES[0])}+}}\r\n".encode() + MESSAGES[0])
            await client.ok("EXPUNGE")
            await client.command(f"UID MOVE {turn + 15} Trash")
            await client.ok("FETCH 1:* FLAGS")

    await asyncio.gather(*(work(number) for number in range(3)))
    pictures = []
    for client in clients:
        await client.ok("NOOP")
        rows = [
            line.replace(b"\\Recent ", b"").replace(b"\\Recent", b"")
            for line in await client.ok("FETCH 1:* (UID FLAGS)")
        ]
        pictures.append(rows)
    fresh = await here.login("INBOX")
    rows = [
        line.replace(b"\\Recent ", b"").replace(b"\\Recent", b"") for line in await fresh.ok("FETCH 1:* (UID FLAGS)")
    ]
    assert pictures == [rows] * 3
    assert len(rows) > 5
