"""QRESYNC (RFC 7162 section 3.2): clients that come back hear what has changed and what is gone, and nothing else."""

from __future__ import annotations

import pytest

from appliance.store import history
from appliance.store.messages import expunge, set_flags
from tests.plugins.imap4.office import Client, Office
from tests.plugins.imap4.test_condstore import highest

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 11)]


async def remove(here: Office, *uids: int) -> None:
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), list(uids), deleted_only=False))


async def flag(here: Office, *uids: int) -> None:
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), list(uids), add=4))


async def enabled(here: Office, mailbox: str = "") -> Client:
    client = await here.login()
    assert await client.ok("ENABLE QRESYNC") == [b"* ENABLED QRESYNC"]
    if mailbox:
        await client.ok(f"SELECT {mailbox}")
    return client


async def resync(client: Client, parameters: str) -> list[bytes]:
    """What SELECT tells beyond its usual answers."""
    lines = await client.ok(f"SELECT INBOX (QRESYNC ({parameters}))")
    return [line for line in lines if line.startswith(b"* VANISHED") or b" FETCH " in line or b"UIDFETCH" in line]


async def validity(here: Office) -> int:
    lines = await (await here.login()).ok("STATUS INBOX (UIDVALIDITY)")
    return int(lines[0].rstrip(b")").split()[-1])


async def test_a_client_comes_back(here: Office) -> None:
    await here.put(*MESSAGES)
    now, uidvalidity = await highest(await here.login()), await validity(here)
    await flag(here, 3, 5)
    await remove(here, 2, 6, 7)
    await here.put(MESSAGES[0])
    client = await enabled(here)
    assert await resync(client, f"{uidvalidity} {now}") == [
        b"* VANISHED (EARLIER) 2,6:7",
        b"* 2 FETCH (UID 3 FLAGS (\\Recent \\Flagged) MODSEQ (%d))" % (now + 1),
        b"* 4 FETCH (UID 5 FLAGS (\\Recent \\Flagged) MODSEQ (%d))" % (now + 1),
        b"* 8 FETCH (UID 11 FLAGS (\\Recent) MODSEQ (%d))" % (now + 3),
    ]
    assert await resync(client, f"{uidvalidity} {now} 1:5,7") == [
        b"* VANISHED (EARLIER) 2,7",
        b"* 2 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ (%d))" % (now + 1),
        b"* 4 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (%d))" % (now + 1),
    ]
    assert await resync(client, f"{uidvalidity} {now + 1}") == [
        b"* VANISHED (EARLIER) 2,6:7",
        b"* 8 FETCH (UID 11 FLAGS () MODSEQ (%d))" % (now + 3),
    ]
    assert await resync(client, f"{uidvalidity} {now + 3}") == []
    assert await resync(client, f"{uidvalidity} {now + 99}") == []
    assert await resync(client, f"{uidvalidity + 1} {now}") == []


async def test_it_must_be_enabled_first(here: Office) -> None:
    client = await here.login("INBOX")
    assert await client.completion("SELECT Sent (QRESYNC (1 2))") == "BAD QRESYNC must be enabled first"
    await client.ok("CHECK")  # the mailbox is still selected
    assert await client.completion("UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)") == (
        "BAD VANISHED needs QRESYNC enabled"
    )


async def test_a_client_from_before_the_history_is_told_all_that_is_missing(
    here: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_SPANS", 2)
    monkeypatch.setattr(history, "KEPT_SPANS", 1)
    await here.put(*MESSAGES)
    now, uidvalidity = await highest(await here.login()), await validity(here)
    await remove(here, 1)
    for uid in (3, 6, 8):
        await remove(here, uid)
    client = await enabled(here)
    assert await resync(client, f"{uidvalidity} {now}") == [b"* VANISHED (EARLIER) 1,3,6,8"]
    assert await resync(client, f"{uidvalidity} {now} 3:7,10:12") == [b"* VANISHED (EARLIER) 3,6"]
    # Message 4 was number 4 when the client was here; now it is number 2. Only number 1, UID 2, may still match.
    assert await resync(client, f"{uidvalidity} {now + 1} 1:10 (1,3 2,5)") == [b"* VANISHED (EARLIER) 6,8"]
    assert await resync(client, f"{uidvalidity} {now + 1} 1:10 (1,2 2,5)") == [b"* VANISHED (EARLIER) 3,6,8"]
    assert await resync(client, f"{uidvalidity} {now + 3} 1:10 (1 1)") == [b"* VANISHED (EARLIER) 8"]


async def test_fetch_with_vanished(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await enabled(here, "INBOX")
    now = await highest(client)
    await remove(here, 2, 9, 10)
    await flag(here, 4)
    await client.ok("NOOP")
    assert await client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {now} VANISHED)") == [
        b"* VANISHED (EARLIER) 2,9:10",
        b"* 3 FETCH (UID 4 FLAGS (\\Recent \\Flagged) MODSEQ (%d))" % (now + 2),
    ]
    assert await client.ok(f"UID FETCH 5:9 (FLAGS) (CHANGEDSINCE {now} VANISHED)") == [b"* VANISHED (EARLIER) 9"]
    assert await client.ok(f"UID FETCH 1:9 (FLAGS) (CHANGEDSINCE {now + 2} VANISHED)") == []


async def test_vanished_takes_the_place_of_expunge(here: Office) -> None:
    await here.put(*MESSAGES)
    client, other = await enabled(here, "INBOX"), await here.login("INBOX")
    now = await highest(client)
    await remove(here, 2, 3, 9)
    assert await client.ok("NOOP") == [b"* VANISHED 2:3,9", b"* 7 RECENT"]
    assert await other.ok("NOOP") == [b"* 9 EXPUNGE", b"* 3 EXPUNGE", b"* 2 EXPUNGE"]
    await client.ok("STORE 1,7 +FLAGS.SILENT (\\Deleted)")
    assert await client.command("EXPUNGE") == (
        [b"* VANISHED 1,10", b"* 5 RECENT"],
        b"OK [HIGHESTMODSEQ %d] EXPUNGE completed" % (now + 3),
    )
    lines, completion = await client.command("UID MOVE 4 Sent")
    assert lines[0].startswith(b"* OK [COPYUID ")
    assert lines[1:] == [b"* VANISHED 4", b"* 4 RECENT"]
    assert completion == b"OK [HIGHESTMODSEQ %d] MOVE completed" % (now + 4)
    client.send(b"x IDLE\r\n")
    assert await client.line() == b"+ idling"
    await remove(here, 5)
    assert await client.line() == b"* VANISHED 5"


async def test_while_an_expunge_waits_no_later_change_is_told(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await enabled(here, "INBOX")
    now = await highest(client)
    await remove(here, 2)
    await flag(here, 5)
    # Numbers may not move under FETCH. A flag told now would let the client come back with a modseq past the EXPUNGE.
    settled = b"* OK [HIGHESTMODSEQ %d] Highest" % now
    assert await client.ok("FETCH 1 UID") == [b"* 1 FETCH (UID 1)", settled]
    assert await client.ok("STORE 3 +FLAGS.SILENT (\\Seen)") == [
        b"* 3 FETCH (UID 3 MODSEQ (%d))" % (now + 3),
        settled,
    ]
    assert await client.ok("NOOP") == [
        b"* VANISHED 2",
        b"* 9 RECENT",
        b"* 4 FETCH (UID 5 FLAGS (\\Recent \\Flagged) MODSEQ (%d))" % (now + 2),
    ]


async def test_enabling_with_a_mailbox_selected_tells_where_the_client_is(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    lines = await client.ok("ENABLE QRESYNC UNKNOWN condstore")
    assert lines[0] == b"* ENABLED QRESYNC CONDSTORE"
    assert lines[1].startswith(b"* OK [HIGHESTMODSEQ ")


async def test_a_history_of_many_ranges_comes_on_lines_of_bounded_length(here: Office) -> None:
    for _ in range(13):
        await here.put(*MESSAGES * 10)
    now, uidvalidity = await highest(await here.login()), await validity(here)
    await remove(here, *range(1, 1301, 2))
    lines = await resync(await enabled(here), f"{uidvalidity} {now}")
    assert [line.count(b",") + 1 for line in lines] == [500, 150]
    assert lines[0].startswith(b"* VANISHED (EARLIER) 1,3,5,")
