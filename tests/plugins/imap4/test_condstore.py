"""CONDSTORE (RFC 7162 section 3.1): modification sequences, and changes of flags that nobody else has touched."""

from __future__ import annotations

import re

import pytest

from appliance.store.messages import expunge, set_flags
from tests.plugins.imap4.office import Client, Office

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 6)]


def modseq_of(lines: list[bytes]) -> int:
    """The one value of HIGHESTMODSEQ in responses."""
    (found,) = {match[1] for line in lines if (match := re.search(rb"HIGHESTMODSEQ (\d+)", line))}
    return int(found)


async def highest(client: Client, mailbox: str = "INBOX") -> int:
    return modseq_of(await client.ok(f"STATUS {mailbox} (HIGHESTMODSEQ)"))


@pytest.mark.parametrize(
    "command",
    [
        "ENABLE CONDSTORE",
        "FETCH 1 MODSEQ",
        "FETCH 1 FLAGS (CHANGEDSINCE 1)",
        "SEARCH MODSEQ 1",
        "STATUS Sent (HIGHESTMODSEQ)",
        "STORE 1 (UNCHANGEDSINCE 1) +FLAGS.SILENT (\\Seen)",
        "SELECT INBOX (CONDSTORE)",
    ],
)
async def test_every_enabling_command_makes_news_carry_modseqs(here: Office, command: str) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    now = await highest(await here.login())
    lines = await client.ok(command)
    assert modseq_of([line for line in lines if line.startswith(b"* OK")]) == now
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [2], add=1))
    (line,) = await client.ok("NOOP")
    assert line.startswith(b"* 2 FETCH (UID 2 FLAGS (")
    assert line.endswith(b"\\Seen) MODSEQ (%d))" % (now + 1))


async def test_without_it_nothing_carries_modseqs(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [2], add=1))
    assert await client.ok("NOOP") == [b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Seen))"]
    assert await client.ok("STORE 3 +FLAGS.SILENT (\\Seen)") == []


async def test_fetch_tells_modseqs_and_only_what_has_changed(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    (start,) = {line.split(b"(")[2] for line in await client.ok("FETCH 1:* MODSEQ") if b"FETCH" in line}
    modseq = int(start.rstrip(b")"))
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [2, 4], add=4))
    await client.ok("NOOP")
    assert await client.ok(f"FETCH 1:3 FLAGS (CHANGEDSINCE {modseq})") == [
        b"* 2 FETCH (FLAGS (\\Recent \\Flagged) MODSEQ (%d))" % (modseq + 1)
    ]
    assert await client.ok(f"UID FETCH 1:* (RFC822.SIZE) (CHANGEDSINCE {modseq})") == [
        b"* %d FETCH (UID %d RFC822.SIZE 14 MODSEQ (%d))" % (uid, uid, modseq + 1) for uid in (2, 4)
    ]
    assert await client.ok(f"FETCH 1:* FLAGS (CHANGEDSINCE {modseq + 1})") == []
    assert len(await client.ok("FETCH 1:* FLAGS (CHANGEDSINCE 0)")) == 5
    assert await client.ok(f"FETCH 4,1 (BODY.PEEK[TEXT]) (CHANGEDSINCE {modseq})") == [
        b"* 4 FETCH (BODY[TEXT] {0}\r\n MODSEQ (%d))" % (modseq + 1)
    ]


async def test_a_change_still_to_be_told_does_not_raise_what_is_told(here: Office) -> None:
    """Flags and modseq belong together: else a client that comes back with this modseq would miss the change."""
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    now = await highest(client)
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [1], add=1))
    lines = await client.ok("FETCH 1 (FLAGS MODSEQ)")
    assert lines == [
        b"* 1 FETCH (FLAGS (\\Recent) MODSEQ (%d))" % now,
        b"* 1 FETCH (UID 1 FLAGS (\\Recent \\Seen) MODSEQ (%d))" % (now + 1),
    ]


async def test_flags_that_fetch_sets_come_with_their_modseq_once(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    now = await highest(client)
    assert await client.ok("FETCH 2 (BODY[TEXT])") == [
        b"* 2 FETCH (BODY[TEXT] {0}\r\n FLAGS (\\Recent \\Seen) MODSEQ (%d))" % (now + 1)
    ]


async def test_store_tells_modseqs_also_when_silent(here: Office) -> None:
    await here.put(*MESSAGES)
    client, other = await here.login("INBOX"), await here.login("INBOX")
    now = await highest(client)
    assert await client.ok("STORE 1:2 +FLAGS.SILENT (\\Seen)") == [
        b"* %d FETCH (UID %d MODSEQ (%d))" % (uid, uid, now + 1) for uid in (1, 2)
    ]
    assert await client.ok("STORE 2:3 +FLAGS (\\Seen)") == [
        b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Seen) MODSEQ (%d))" % (now + 1),
        b"* 3 FETCH (UID 3 FLAGS (\\Recent \\Seen) MODSEQ (%d))" % (now + 2),
    ]
    assert await other.ok("NOOP") == [b"* %d FETCH (UID %d FLAGS (\\Seen))" % (uid, uid) for uid in (1, 2, 3)]


async def test_store_leaves_alone_what_has_changed_since(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    now = await highest(client)
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [2, 4], add=4))
    lines, completion = await client.command(f"STORE 1:4 (UNCHANGEDSINCE {now}) +FLAGS.SILENT (\\Deleted)")
    assert completion == b"OK [MODIFIED 2,4] Some messages have changed meanwhile"
    assert lines == [
        b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Flagged) MODSEQ (%d))" % (now + 1),
        b"* 4 FETCH (UID 4 FLAGS (\\Recent \\Flagged) MODSEQ (%d))" % (now + 1),
        b"* 1 FETCH (UID 1 MODSEQ (%d))" % (now + 2),
        b"* 3 FETCH (UID 3 MODSEQ (%d))" % (now + 2),
    ]
    lines, completion = await client.command(f"UID STORE 4:5 (UNCHANGEDSINCE {now + 1}) FLAGS (\\Seen)")
    assert completion == b"OK Conditional STORE completed"
    assert lines == [b"* %d FETCH (UID %d FLAGS (\\Recent \\Seen) MODSEQ (%d))" % (uid, uid, now + 3) for uid in (4, 5)]
    assert await client.completion("UID STORE 5 (UNCHANGEDSINCE 0) FLAGS ()") == (
        "OK [MODIFIED 5] Some messages have changed meanwhile"
    )


async def test_store_on_messages_that_are_gone(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    now = await highest(client)
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2], deleted_only=False))
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [3], add=4))
    command = f"STORE 1:3 (UNCHANGEDSINCE {now}) +FLAGS.SILENT (\\Seen)"
    assert await client.completion(command) == "NO [MODIFIED 3] Some of the messages were expunged"
    assert await client.completion("UID STORE 2 (UNCHANGEDSINCE 99) +FLAGS.SILENT (\\Seen)") == (
        "OK Conditional STORE completed"
    )


async def test_search_by_modseq_tells_the_highest_of_what_it_found(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    now = await highest(client)
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [2], add=4))
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [4], add=4))
    await client.ok("NOOP")
    assert await client.ok(f"SEARCH MODSEQ {now + 1}") == [b"* SEARCH 2 4 (MODSEQ %d)" % (now + 2)]
    assert await client.ok(f"UID SEARCH NOT MODSEQ {now + 1}") == [b"* SEARCH 1 3 5 (MODSEQ %d)" % now]
    assert await client.ok(f'SEARCH OR SUBJECT 3 MODSEQ "/flags/\\\\flagged" all {now + 2}') == [
        b"* SEARCH 3 4 (MODSEQ %d)" % (now + 2)
    ]
    assert await client.ok(f"SEARCH MODSEQ {now + 3}") == [b"* SEARCH"]
    assert (await client.completion("SEARCH " + "MODSEQ 1 " * 20 + "MODSEQ 1")).startswith("BAD too many")


async def test_expunge_close_and_move_tell_how_far_the_client_is(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    now = await highest(client)
    await client.ok("STORE 2:4 +FLAGS.SILENT (\\Deleted)")
    assert await client.command("UID EXPUNGE 2") == (
        [b"* 2 EXPUNGE", b"* 4 RECENT"],
        b"OK [HIGHESTMODSEQ %d] UID EXPUNGE completed" % (now + 2),
    )
    assert await client.completion("MOVE 1 Sent") == f"OK [HIGHESTMODSEQ {now + 3}] MOVE completed"
    assert await client.completion("CLOSE") == f"OK [HIGHESTMODSEQ {now + 4}] CLOSE completed"
    await client.ok("SELECT INBOX")
    assert await client.completion("CLOSE") == "OK CLOSE completed"
    assert await client.completion("EXPUNGE") == "BAD not permitted without a selected mailbox, or after login"


async def test_close_does_not_claim_what_the_client_was_not_told(here: Office) -> None:
    await here.put(*MESSAGES)
    client, other = await here.login("INBOX"), await here.login("INBOX")
    now = await highest(client)
    await client.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    told_before = now + 1
    # Between the news and the end of CLOSE another session changes something: the client will not hear of it.
    writes = here.store.write

    async def write_after_another(*call: object, **options: object) -> object:
        here.store.write = writes  # type: ignore[method-assign]
        await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [3], add=4), origin=other)
        return await here.store.write(*call, **options)  # type: ignore[arg-type]

    here.store.write = write_after_another  # type: ignore[method-assign, assignment]
    assert await client.completion("CLOSE") == f"OK [HIGHESTMODSEQ {told_before}] CLOSE completed"


async def test_a_set_that_no_message_has_is_still_an_error(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    assert (await client.completion("FETCH 9 FLAGS (CHANGEDSINCE 1)")).startswith("BAD")
