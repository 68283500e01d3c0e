"""APPEND, of one message and of several (RFC 3501 section 6.3.11, RFC 3502, RFC 4315)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Bind
from appliance.mail.message import with_crlf
from appliance.store.accounts import set_quota
from plugins.imap4.append import LineEnds
from plugins.imap4.config import Imap4Config
from tests.plugins.imap4.office import ANA, Office, office

MESSAGE = b"Subject: appended\r\n\r\nText\r\n"


async def test_append_keeps_flags_date_and_octets(here: Office) -> None:
    client, watcher = await here.login("INBOX"), await here.login("INBOX")
    completion = await client.completion(
        b'APPEND INBOX (\\Seen $Work) "17-Jul-1996 02:44:25 +0100" {%d+}\r\n%b' % (len(MESSAGE), MESSAGE)
    )
    assert completion.startswith("OK [APPENDUID ")
    assert completion.endswith(" 1] APPEND completed")
    assert b"* 1 EXISTS" in await watcher.ok("NOOP")
    assert await client.ok("FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])") == [
        b'* 1 FETCH (FLAGS (\\Recent \\Seen $Work) INTERNALDATE "17-Jul-1996 01:44:25 +0000" BODY[] {%d}\r\n%b)'
        % (len(MESSAGE), MESSAGE)
    ]


async def test_a_synchronising_literal_waits_for_leave(here: Office) -> None:
    client = await here.login()
    client.send(b"x APPEND Drafts {%d}\r\n" % len(MESSAGE))
    assert await client.line() == b"+ OK"
    client.send(MESSAGE + b"\r\n")
    assert (await client.line()).startswith(b"x OK [APPENDUID")
    assert await client.ok("STATUS Drafts (MESSAGES)") == [b"* STATUS Drafts (MESSAGES 1)"]


async def test_the_date_is_now_where_none_is_given(here: Office) -> None:
    client = await here.login("INBOX")
    await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE))
    assert await client.ok("FETCH 1 INTERNALDATE") == [b'* 1 FETCH (INTERNALDATE "14-Nov-2023 22:13:20 +0000")']


async def test_several_messages_by_one_command(here: Office) -> None:
    client = await here.login("INBOX")
    client.send(b"x APPEND INBOX (\\Seen) {%d+}\r\n%b {%d}\r\n" % (len(MESSAGE), MESSAGE, len(MESSAGE)))
    assert await client.line() == b"+ OK"
    client.send(MESSAGE + b"\r\n")
    lines, completion = await client.until(b"x")
    assert lines == [b"* 2 EXISTS", b"* 2 RECENT"]
    assert completion.endswith(b" 1:2] APPEND completed")
    assert await client.ok("FETCH 1:2 FLAGS") == [
        b"* 1 FETCH (FLAGS (\\Recent \\Seen))",
        b"* 2 FETCH (FLAGS (\\Recent))",
    ]


async def test_all_or_none_of_several_messages(here: Office) -> None:
    client = await here.login("INBOX")
    literal = b"{%d+}\r\n%b" % (len(MESSAGE), MESSAGE)
    for tail, answer in (
        (b" (\\Nonsense) " + literal, b"BAD There is no such system flag"),
        (b" {3+}\r\na\0b " + literal, b"NO [CANNOT] A message cannot hold NUL"),
        (b" {0+}\r\n", b"NO [CANNOT] An empty message cannot be stored"),
        (b" junk", b"BAD unexpected data after the message"),
        (b" ({3+}\r\nabc", b"BAD expected a flag"),
    ):
        assert (await client.command(b"APPEND INBOX " + literal + tail))[1] == answer
    assert await client.ok("STATUS INBOX (MESSAGES UIDNEXT)") == [b"* STATUS INBOX (MESSAGES 0 UIDNEXT 1)"]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("APPEND nope {99999}", "NO [TRYCREATE] There is no such mailbox"),
        ("APPEND INBOX {52428801}", "NO [TOOBIG] A message has at most 52428800 octets here"),
        ("APPEND INBOX {0}", "NO [CANNOT] An empty message cannot be stored"),
        ("APPEND INBOX (\\Nonsense) {99999}", "BAD There is no such system flag"),
        ("APPEND nope {5+}\r\nhello", "NO [TRYCREATE] There is no such mailbox"),
    ],
)
async def test_what_is_refused_before_the_message_comes(here: Office, command: str, answer: str) -> None:
    client = await here.login()
    assert await client.completion(command) == answer
    await client.ok("NOOP")


async def test_quota_is_asked_before_the_message_comes(here: Office) -> None:
    client = await here.login()
    await here.store.write(lambda db: set_quota(db, ANA, 100))
    assert await client.completion("APPEND INBOX {101}") == "NO [OVERQUOTA] The message would pass the quota"
    await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE))


async def test_a_full_disk_is_told_and_the_session_goes_on(tmp_path: Path) -> None:
    free = 1 << 30
    async with office(tmp_path, free=lambda: free) as here:
        client = await here.login()
        free = 0
        large = MESSAGE + b"x" * 100_000
        command = b"APPEND INBOX {%d+}\r\n%b" % (len(large), large)
        assert (await client.completion(command)) == "NO [UNAVAILABLE] The disk is full; nothing can be stored now"
        free = 1 << 30
        await client.ok(command)


async def test_a_large_message_is_spooled_and_stored_as_it_came(here: Office) -> None:
    client = await here.login("INBOX")
    large = MESSAGE + b"0123456789\r\n" * 60_000
    await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(large), large))
    (line,) = await client.ok("FETCH 1 BODY.PEEK[]")
    assert line == b"* 1 FETCH (BODY[] {%d}\r\n%b)" % (len(large), large)
    assert list(here.folder.glob("spool/*")) == []


async def test_bare_line_ends_are_made_whole(here: Office) -> None:
    client = await here.login("INBOX")
    await client.ok(b"APPEND INBOX {14+}\r\nSubject: a\n\nb\n")
    assert await client.ok("FETCH 1 BODY.PEEK[]") == [b"* 1 FETCH (BODY[] {17}\r\nSubject: a\r\n\r\nb\r\n)"]


async def test_a_message_that_stops_coming_ends_the_session(tmp_path: Path) -> None:
    listen = (Bind.parse(f"unix:{tmp_path / 'imap.sock'}"),)
    async with office(tmp_path, Imap4Config(listen=listen, listen_tls=(), append_timeout=1)) as here:
        client = await here.login()
        client.send(b"x APPEND INBOX {100+}\r\nSubject")
        assert await client.line() == b"* BYE Autologout, nothing came for too long"


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b""]), max_size=30))
def test_line_ends_do_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    ends = LineEnds()
    made = b"".join(ends.repaired(piece, last=place == len(pieces)) for place, piece in enumerate([*pieces, b""]))
    assert made == with_crlf(b"".join(pieces))


async def test_utf8_has_to_be_enabled_before_a_message_in_it(here: Office) -> None:
    client = await here.login("INBOX")
    message = "Subject: Grüße\r\nFrom: Jürgen <jürgen@köln.test>\r\n\r\nschön\r\n".encode()
    command = b"APPEND INBOX UTF8 (~{%d+}\r\n%b)" % (len(message), message)
    assert (await client.completion(command)).startswith("BAD")
    assert await client.ok("ENABLE UTF8=ACCEPT") == [b"* ENABLED UTF8=ACCEPT"]
    await client.ok('CREATE "Entwürfe"')
    await client.ok(command)
    (line,) = [line for line in await client.ok("FETCH 1 BODY.PEEK[]") if b"FETCH" in line]
    assert message in line
    assert any('"Entwürfe"'.encode() in line for line in await client.ok('LIST "" *'))


async def test_octets_that_mail_cannot_hold_are_refused_by_their_code(here: Office) -> None:
    client = await here.login()
    assert (await client.completion(b"APPEND INBOX ~{3+}\r\na\0b")).startswith("NO [UNKNOWN-CTE]")
    assert (await client.completion(b"APPEND INBOX ~{14+}\r\nSubject: x\r\n\r\n")).startswith("OK [APPENDUID")


async def test_replace_puts_one_message_in_the_place_of_another(here: Office) -> None:
    await here.put(*[b"Subject: %d\r\n\r\n" % number for number in range(3)])
    client = await here.login("INBOX")
    lines = await client.ok(b"REPLACE 2 INBOX (\\Draft) {14+}\r\nSubject: n\r\n\r\n")
    assert lines[0].startswith(b"* OK [APPENDUID ")
    assert b"* 2 EXPUNGE" in lines
    assert await client.ok("UID SEARCH ALL") == [b"* SEARCH 1 3 4"]
    await client.ok(b"UID REPLACE 3 Drafts {14+}\r\nSubject: m\r\n\r\n")
    assert await client.ok("UID SEARCH ALL") == [b"* SEARCH 1 4"]
    assert b"* STATUS Drafts (MESSAGES 1)" in await client.ok("STATUS Drafts (MESSAGES)")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"REPLACE 9 INBOX {3}", "BAD"),
        (b"UID REPLACE 9 INBOX {3}", "NO [NONEXISTENT]"),
        (b"REPLACE 1:2 INBOX {3}", "BAD"),
        (b"REPLACE $ INBOX {3}", "BAD"),
        (b"REPLACE 1 Nowhere {3}", "NO [TRYCREATE]"),
    ],
)
async def test_what_replace_refuses_leaves_all_as_it_was(here: Office, command: bytes, answer: str) -> None:
    await here.put(b"Subject: 1\r\n\r\n", b"Subject: 2\r\n\r\n")
    client = await here.login("INBOX")
    assert (await client.completion(command)).startswith(answer)
    assert await client.ok("UID SEARCH ALL") == [b"* SEARCH 1 2"]


async def test_replace_takes_one_message_and_needs_a_mailbox_open_for_writing(here: Office) -> None:
    await here.put(b"Subject: 1\r\n\r\n")
    client = await here.login()
    assert (await client.completion(b"REPLACE 1 INBOX {3+}\r\nabc")).startswith("BAD")
    await client.ok("EXAMINE INBOX")
    assert (await client.completion(b"REPLACE 1 INBOX {3}")).startswith("NO [READ-ONLY]")
    await client.ok("SELECT INBOX")
    assert (await client.completion(b"REPLACE 1 INBOX {4+}\r\n\r\n\r\n {4+}\r\n\r\n\r\n")).startswith("BAD")
    assert await client.ok("UID SEARCH ALL") == [b"* SEARCH 1"]
