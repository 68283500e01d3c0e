"""OBJECTID (RFC 8474) and SAVEDATE (RFC 8514)."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from plugins.imap4.object_id import email_id, email_number, thread_id
from tests.plugins.imap4.office import Client, Office

ROOT = b"Message-ID: <1@x>\r\nSubject: lunch\r\n\r\nText\r\n"
REPLY = b"Message-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\nReferences: <1@x>\r\nSubject: Re: lunch\r\n\r\n"
DEEP = b"References: (all) <1@x>\r\n <2@x>\r\nIn-Reply-To: <2@x>\r\nMessage-ID: <3@x>\r\n\r\n"
BARE = b"Subject: nothing to go by\r\n\r\n"
TODAY, YESTERDAY = b'"14-Nov-2023 22:13:20 +0000"', b'"13-Nov-2023 22:13:20 +0000"'


async def ids(client: Client, name: str, members: str = "1:*") -> list[bytes]:
    lines = await client.ok(f"UID FETCH {members} ({name})")
    return [match[1] for line in lines if (match := re.search(rb"\((\w+)\)\)$", line))]


async def mailbox_id(client: Client, mailbox: str) -> bytes:
    (line,) = await client.ok(f"STATUS {mailbox} (MAILBOXID)")
    match = re.fullmatch(rb"\* STATUS \S+ \(MAILBOXID \((M\d+)\)\)", line)
    assert match
    return match[1]


async def test_a_mailbox_keeps_its_id_when_it_is_renamed(here: Office) -> None:
    client = await here.login()
    completion = await client.completion("CREATE work")
    made = await mailbox_id(client, "work")
    assert completion == f"OK [MAILBOXID ({made.decode()})] CREATE completed"
    await client.ok("RENAME work play")
    assert await mailbox_id(client, "play") == made
    assert b"* OK [MAILBOXID (%b)] Stays with the mailbox" % made in await client.ok("SELECT play")
    await client.ok("DELETE play")
    await client.ok("CREATE play")
    assert await mailbox_id(client, "play") != made
    assert b"* STATUS play (MAILBOXID (%b))" % await mailbox_id(client, "play") in await client.ok(
        'LIST "" play RETURN (STATUS (MAILBOXID))'
    )


async def test_copies_have_the_id_of_the_message(here: Office) -> None:
    await here.put(ROOT, ROOT, BARE)
    client = await here.login("INBOX")
    one, two, three = await ids(client, "EMAILID")
    assert len({one, two, three}) == 3  # what comes twice may well be two
    await client.ok("COPY 1 Sent")
    await client.ok("MOVE 2 Sent")
    await client.ok("RENAME INBOX old")
    await client.ok("SELECT Sent")
    assert await ids(client, "EMAILID") == [one, two]
    assert await client.ok(f"SEARCH EMAILID {two.decode()}") == [b"* SEARCH 2"]
    assert await client.ok(f"SEARCH NOT EMAILID {one.decode()}") == [b"* SEARCH 2"]
    assert await client.ok("SEARCH OR EMAILID x EMAILID E99999999999999999999999") == [b"* SEARCH"]
    await client.ok("SELECT old")
    assert await ids(client, "EMAILID") == [one, three]


async def test_conversations(here: Office) -> None:
    await here.put(ROOT, REPLY, BARE, DEEP, BARE)
    client = await here.login("INBOX")
    root, reply, bare, deep, other = await ids(client, "THREADID")
    assert root == reply == deep
    assert len({root, bare, other}) == 3
    assert await client.ok(f"SEARCH THREADID {root.decode()}") == [b"* SEARCH 1 2 4"]
    assert await client.ok(f"UID SEARCH THREADID {root.decode()} NOT SUBJECT lunch") == [b"* SEARCH 4"]
    (line,) = await client.ok("FETCH 2 (EMAILID THREADID SAVEDATE BODY.PEEK[TEXT])")
    (email,) = await ids(client, "EMAILID", "2")
    assert line == b"* 2 FETCH (EMAILID (%b) THREADID (%b) SAVEDATE %b BODY[TEXT] {0}\r\n)" % (email, root, TODAY)
    assert await client.ok("FETCH 3 (THREADID BODY.PEEK[HEADER.FIELDS (Subject)])") == [
        b"* 3 FETCH (THREADID (%b) BODY[HEADER.FIELDS (Subject)] {%d}\r\n%b)" % (bare, len(BARE), BARE)
    ]


@given(st.binary(max_size=200), st.integers(1, 1 << 60))
def test_any_header_has_a_thread(header: bytes, filing: int) -> None:
    assert re.fullmatch(rb"[A-Za-z][A-Za-z0-9]{0,254}", thread_id(header, filing))
    assert email_number(email_id(filing)) == filing


async def test_save_dates(here: Office) -> None:
    await here.put(ROOT)
    client = await here.login("INBOX")
    await client.ok(b"APPEND INBOX " + YESTERDAY + b" {%d+}\r\n%b" % (len(BARE), BARE))
    assert await client.ok("FETCH 1:2 (INTERNALDATE SAVEDATE)") == [
        b"* 1 FETCH (INTERNALDATE %b SAVEDATE %b)" % (TODAY, TODAY),
        b"* 2 FETCH (INTERNALDATE %b SAVEDATE %b)" % (YESTERDAY, TODAY),
    ]
    for key, found in (
        ("SAVEDON 14-Nov-2023", b" 1 2"),
        ("SAVEDBEFORE 14-Nov-2023", b""),
        ("NOT SAVEDBEFORE 15-Nov-2023", b""),
        ("SAVEDSINCE 14-Nov-2023 BEFORE 14-Nov-2023", b" 2"),
        ("SAVEDATESUPPORTED", b" 1 2"),
    ):
        assert await client.ok(f"SEARCH {key}") == [b"* SEARCH" + found]
    await client.ok("SELECT Sent")
    assert await client.ok("SEARCH SAVEDON 14-Nov-2023") == [b"* SEARCH"]
