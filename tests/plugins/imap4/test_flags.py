"""STORE, keywords, \\Recent, and what other sessions hear of it."""

from __future__ import annotations

import pytest

from appliance.store.mailboxes import keyword_bits, recent_from
from appliance.store.messages import expunge, set_flags
from appliance.store.model import ALL_FLAGS, Change, FlagEdit
from plugins.imap4 import selected, store_flags
from tests.plugins.imap4.office import Office

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 6)]


async def test_store_tells_all_new_flags_and_silent_tells_none(here: Office) -> None:
    await here.put(*MESSAGES)
    client, other = await here.login("INBOX"), await here.login("INBOX")
    assert await client.ok("STORE 2:3 +FLAGS (\\Seen \\flagged)") == [
        b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Seen \\Flagged))",
        b"* 3 FETCH (UID 3 FLAGS (\\Recent \\Seen \\Flagged))",
    ]
    assert await client.ok("UID STORE 3,99 -FLAGS \\Flagged") == [b"* 3 FETCH (UID 3 FLAGS (\\Recent \\Seen))"]
    assert await client.ok("STORE 1:5 FLAGS.SILENT (\\Draft)") == []
    assert await client.ok("FETCH 1:5 FLAGS") == [b"* %d FETCH (FLAGS (\\Recent \\Draft))" % n for n in range(1, 6)]
    assert await client.ok("STORE 1 +FLAGS (\\Draft)") == [b"* 1 FETCH (UID 1 FLAGS (\\Recent \\Draft))"]
    assert await client.ok("STORE 1 FLAGS ()") == [b"* 1 FETCH (UID 1 FLAGS (\\Recent))"]
    told = await other.ok("NOOP")
    assert told[0] == b"* 1 FETCH (UID 1 FLAGS ())"
    assert told[1:] == [b"* %d FETCH (UID %d FLAGS (\\Draft))" % (n, n) for n in range(2, 6)]
    assert await client.ok("NOOP") == []


async def test_keywords_are_made_up_and_told_before_they_are_used(here: Office) -> None:
    await here.put(*MESSAGES)
    client, other = await here.login("INBOX"), await here.login("INBOX")
    permitted = b"* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft %b\\*)] Flags permitted"
    assert await client.ok("STORE 1 +FLAGS ($Work Later)") == [
        b"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $Work Later)",
        permitted % b"$Work Later ",
        b"* 1 FETCH (UID 1 FLAGS (\\Recent $Work Later))",
    ]
    assert await client.ok("STORE 2 +FLAGS ($WORK)") == [b"* 2 FETCH (UID 2 FLAGS (\\Recent $Work))"]
    assert (await other.ok("NOOP"))[1:] == [
        permitted % b"$Work Later ",
        b"* 1 FETCH (UID 1 FLAGS ($Work Later))",
        b"* 2 FETCH (UID 2 FLAGS ($Work))",
    ]
    assert await other.ok("SEARCH KEYWORD $work") == [b"* SEARCH 1 2"]
    assert await other.ok("SEARCH UNKEYWORD later NOT KEYWORD none") == [b"* SEARCH 2 3 4 5"]
    assert (await other.ok("SELECT INBOX"))[:3] == [
        b"* OK [CLOSED] The mailbox before is left",
        b"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $Work Later)",
        permitted % b"$Work Later ",
    ]


async def test_flags_that_cannot_be_set(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    assert await client.completion("STORE 1 +FLAGS (\\Nonsense)") == "BAD There is no such system flag"
    assert await client.ok("STORE 1 +FLAGS (\\Recent)") == [b"* 1 FETCH (UID 1 FLAGS (\\Recent))"]
    assert await client.completion("STORE 9 +FLAGS (\\Seen)") == "BAD no such message number"
    for n in range(56):
        completion = await client.completion(f"STORE 1 +FLAGS.SILENT (k{n})")
    assert completion == "NO [CANNOT] a mailbox has at most 55 keywords"
    (line,) = [line for line in await client.ok("SELECT INBOX") if b"PERMANENTFLAGS" in line]
    assert b"\\*" not in line
    await client.ok("EXAMINE INBOX")
    assert await client.completion("STORE 1 +FLAGS (\\Seen)") == "NO [READ-ONLY] The mailbox was opened read-only"


async def test_large_sets_are_written_in_pieces(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_flags, "MAX_UIDS", 2)
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    changes: list[Change] = []
    here.store.changes.subscribe(here.mailbox_id(), changes.append)
    assert len(await client.ok("STORE 1:* +FLAGS (\\Seen)")) == 5
    assert [change.edits for change in changes] == [
        (FlagEdit(1, 2, 1, 0),), (FlagEdit(3, 4, 1, 0),), (FlagEdit(5, 5, 1, 0),)
    ]  # fmt: skip


async def test_messages_side_by_side_are_set_as_ranges_scattered_ones_as_a_list(
    here: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_flags, "MAX_RANGES", 2)
    await here.put(*MESSAGES)
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2], deleted_only=False))
    client, other = await here.login("INBOX"), await here.login("INBOX")
    changes: list[Change] = []
    here.store.changes.subscribe(here.mailbox_id(), changes.append)
    expected = [b"* %d FETCH (UID %d FLAGS (%b))" % (n, n + (n > 1), b"\\Recent \\Flagged") for n in range(1, 5)]
    assert await client.ok("STORE 1:* +FLAGS (\\Flagged)") == expected
    assert len(await client.ok("STORE 1,3:4 FLAGS.SILENT ($Work)")) == 2  # FLAGS and PERMANENTFLAGS
    assert await client.ok("UID STORE 3 -FLAGS.SILENT (\\Flagged)") == []
    # What is gone between two neighbours does not part them; the second edit's keyword is known before it is told.
    assert [(change.flags, change.edits) for change in changes] == [
        ((), (FlagEdit(1, 5, 4, 0),)),
        ((), (FlagEdit(1, 1, 1 << 8, ALL_FLAGS), FlagEdit(4, 5, 1 << 8, ALL_FLAGS))),
        ((), (FlagEdit(3, 3, 0, 4),)),
    ]
    assert (await other.ok("NOOP"))[2:] == [
        b"* %d FETCH (UID %d FLAGS (%b))" % (number, uid, text)
        for number, uid, text in ((1, 1, b"$Work"), (2, 3, b""), (3, 4, b"$Work"), (4, 5, b"$Work"))
    ]
    await here.put(*MESSAGES)
    await client.ok("NOOP")
    changes.clear()
    assert await client.ok("STORE 1,3,5,7 +FLAGS.SILENT (\\Draft)") == []
    assert [len(change.flags) for change in changes] == [4]
    assert await client.ok("SEARCH DRAFT") == [b"* SEARCH 1 3 5 7"]


async def test_the_last_change_wins_whatever_the_order_of_notices(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    inbox = here.mailbox_id()
    await here.store.write(lambda db: set_flags(db, inbox, [1], add=4))
    await here.store.write(lambda db: set_flags(db, inbox, [2], add=4))
    # What others did is told even to the silent, as it is now.
    assert await client.ok("STORE 1 FLAGS.SILENT (\\Seen)") == [
        b"* 1 FETCH (UID 1 FLAGS (\\Recent \\Seen))",
        b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Flagged))",
    ]
    assert (await client.ok("FETCH 1:2 FLAGS")) == [
        b"* 1 FETCH (FLAGS (\\Recent \\Seen))",
        b"* 2 FETCH (FLAGS (\\Recent \\Flagged))",
    ]


async def test_recent_belongs_to_the_first_session_that_hears_of_a_message(here: Office) -> None:
    await here.put(*MESSAGES[:2])
    watcher = await here.login()
    assert b"* 2 RECENT" in await watcher.ok("EXAMINE INBOX")
    first = await here.login()
    assert b"* 2 RECENT" in await first.ok("SELECT INBOX")
    second = await here.login()
    assert b"* 0 RECENT" in await second.ok("SELECT INBOX")
    await here.put(MESSAGES[2])
    assert await second.ok("NOOP") == [b"* 3 EXISTS", b"* 1 RECENT"]
    assert await first.ok("NOOP") == [b"* 3 EXISTS"]
    assert await first.ok("FETCH 1:3 FLAGS") == [
        b"* 1 FETCH (FLAGS (\\Recent))", b"* 2 FETCH (FLAGS (\\Recent))", b"* 3 FETCH (FLAGS ())",
    ]  # fmt: skip
    assert await second.ok("SEARCH RECENT") == [b"* SEARCH 3"]
    assert await second.ok("SEARCH OLD") == [b"* SEARCH 1 2"]
    assert await first.ok("SEARCH NEW") == [b"* SEARCH 1 2"]
    for client in (first, second, watcher):
        await client.ok("LOGOUT")
        assert await client.line() == b""
    await here.store.write(lambda _: None)  # what was begun before it is written before it
    assert here.store.peek(lambda db: recent_from(db, here.mailbox_id())) == 4


async def test_large_changes_of_ones_own_are_no_reason_to_read_again(
    here: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selected, "MAX_PENDING", 3)
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    assert await client.ok("STORE 1:5 +FLAGS.SILENT (\\Seen)") == []
    assert await client.ok("FETCH 5 FLAGS") == [b"* 5 FETCH (FLAGS (\\Recent \\Seen))"]


async def test_notices_that_carry_flags_or_come_late(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    inbox = here.mailbox_id()
    here.store.changes.publish(
        [
            Change(inbox, 1, 50, added=(5, 6, 7), flags=((6, 1), (7, 2))),
            Change(inbox, 1, 51, expunged=(2, 6, 99)),
            Change(inbox, 1, 52, flags=((3, 4), (99, 1))),
        ]
    )
    assert await client.ok("NOOP") == [
        b"* 2 EXPUNGE",
        b"* 5 EXISTS",
        b"* 2 FETCH (UID 3 FLAGS (\\Recent \\Flagged))",
    ]
    assert await client.ok("FETCH 5 (UID FLAGS)") == [b"* 5 FETCH (UID 7 FLAGS (\\Recent \\Answered))"]


async def test_missed_notices_are_made_up_for(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selected, "MAX_PENDING", 3)
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    inbox = here.mailbox_id()
    await here.put(*MESSAGES)
    await here.store.write(lambda db: set_flags(db, inbox, [2, 7], add=keyword_bits(db, inbox, ["new"])))
    await here.store.write(lambda db: set_flags(db, inbox, [3, 4], add=1))
    await here.store.write(lambda db: expunge(db, inbox, [1, 4, 8], deleted_only=False))
    assert await client.ok("STORE 5 +FLAGS.SILENT (\\Seen)") == [
        b"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft new)",
        b"* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft new \\*)] Flags permitted",
        b"* 9 EXISTS",
        b"* 9 RECENT",
        b"* 2 FETCH (UID 2 FLAGS (\\Recent new))",
        b"* 3 FETCH (UID 3 FLAGS (\\Recent \\Seen))",
        b"* 5 FETCH (UID 5 FLAGS (\\Recent \\Seen))",
    ]
    assert await client.ok("NOOP") == [b"* 4 EXPUNGE", b"* 1 EXPUNGE", b"* 7 RECENT"]
    assert [line.split()[4] for line in await client.ok("FETCH 1:* UID")] == [
        b"2)",
        b"3)",
        b"5)",
        b"6)",
        b"7)",
        b"9)",
        b"10)",
    ]
