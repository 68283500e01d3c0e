"""CATENATE (RFC 4469): messages made from parts that are in mailboxes already, with the URLs of RFC 5092."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config import Bind
from appliance.spool import IN_MEMORY, Spool
from appliance.store.accounts import set_quota
from appliance.store.mailboxes import create_mailbox
from plugins.imap4.config import Imap4Config
from plugins.imap4.protocol_append import MAX_PARTS
from plugins.imap4.protocol_fetch import Section
from plugins.imap4.protocol_parse import GrammarError
from plugins.imap4.protocol_url import MAX_URL, MessageUrl, parse_url, shown_url
from tests.plugins.imap4.office import ANA, LUIS, Client, Office, office

HEADER = b'Subject: two parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
MIME = b"Content-Type: text/plain\r\n\r\n"
PART = b"the first part"
MESSAGE = HEADER + b"--b\r\n" + MIME + PART + b"\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n"


async def appended(client: Client, parts: bytes, mailbox: bytes = b"Drafts") -> bytes:
    """The octets of the message that is made."""
    completion = (await client.command(b"APPEND %b CATENATE (%b)" % (mailbox, parts)))[1]
    assert completion.startswith(b"OK [APPENDUID "), completion
    await client.ok(b"SELECT " + mailbox)
    (line,) = await client.ok("FETCH * BODY.PEEK[]")
    await client.ok("SELECT INBOX")
    return line.partition(b"}\r\n")[2].removesuffix(b")")


@pytest.mark.parametrize(
    ("parts", "made"),
    [
        (b"URL /INBOX/;UID=1", MESSAGE),
        (b"URL ;UID=1", MESSAGE),
        (b'URL "/INBOX/;UID=1/;SECTION=HEADER" TEXT {3+}\r\nabc', HEADER + b"abc"),
        (b"URL /inbox/;uid=1/;section=1.MIME URL /INBOX/;UID=1/;SECTION=1", MIME + PART),
        (b"URL /INBOX/;UID=1/;SECTION=1/;PARTIAL=4.5", PART[4:9]),
        (b"URL /INBOX/;UID=1/;PARTIAL=400 TEXT {1+}\r\nx", MESSAGE[400:] + b"x"),
        (b'URL "/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(SUBJECT)"', b"Subject: two parts\r\n\r\n"),
        (b"TEXT {8+}\r\na: b\r\n\r\n TEXT {0+}\r\n TEXT {3+}\r\nc\rd", b"a: b\r\n\r\nc\r\nd"),
        (b"TEXT {5+}\r\na: b\r TEXT {2+}\r\n\n\r", b"a: b\r\n\r\n"),
        (b"URL {16}\r\n/INBOX/;UID=1/;S URL /INBOX/;UID=1", None),
    ],
)
async def test_parts_are_joined_octet_by_octet(here: Office, parts: bytes, made: bytes | None) -> None:
    await here.put(MESSAGE)
    client = await here.login("INBOX")
    if made is not None:
        assert await appended(client, parts) == made
        assert await client.ok("FETCH 1 FLAGS") == [b"* 1 FETCH (FLAGS ())"], "copying sets nothing"
    else:
        assert (await client.completion(b"APPEND Drafts CATENATE (%b)" % parts)).startswith("NO [BADURL ")


@pytest.mark.parametrize(
    "url",
    [
        "/INBOX/;UID=2",
        "/INBOX/;UID=1/;SECTION=3",
        "/INBOX/;UID=1/;SECTION=HEADER.FIELDS",
        "/INBOX;UIDVALIDITY=1/;UID=1",
        "/Nowhere/;UID=1",
        "/INBOX",
        "/../INBOX/;UID=1",
        "/INBOX/;UID=1;URLAUTH=anonymous",
        "imap://ana@palomar.test/INBOX/;UID=1",
        "//palomar.test/INBOX/;UID=1",
        "/INBOX/;UID=1?SUBJECT%20x",
        "INBOX/;UID=1",
        "x]y",
    ],
)
async def test_urls_that_name_nothing_here_are_told(here: Office, url: str) -> None:
    await here.put(MESSAGE)
    client = await here.login()
    completion = await client.completion(f'APPEND INBOX CATENATE (TEXT {{3+}}\r\nabc URL "{url}" URL /INBOX/;UID=99)')
    assert completion.startswith(f'NO [BADURL "{shown_url(url.encode())}"] '), completion
    assert completion.count("]") == 1
    assert await client.ok("STATUS INBOX (MESSAGES UIDNEXT)") == [b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2)"]


async def test_a_literal_behind_a_bad_url_is_not_asked_for(here: Office) -> None:
    client = await here.login()
    assert (await client.completion("APPEND INBOX CATENATE (URL /a/;UID=1 TEXT {100}")).startswith("NO [BADURL ")
    text = b"b CREATE Smuggled\r\n"
    command = b"APPEND INBOX CATENATE (URL /a/;UID=1 TEXT {%d+}\r\n%b)" % (len(text), text)
    assert (await client.completion(command)).startswith("NO [BADURL ")
    assert not any(b"Smuggled" in line for line in await client.ok('LIST "" *'))


async def test_the_mailboxes_of_others_are_out_of_reach(here: Office) -> None:
    await here.store.write(lambda db: create_mailbox(db, here.store.directory.account(LUIS).id, "Secret"))  # type: ignore[union-attr]
    await here.put(MESSAGE, mailbox="Secret", account=LUIS)
    client = await here.login(account=ANA)
    for name in ("Secret", f"{LUIS}/Secret", f"user/{LUIS}/Secret"):
        completion = await client.completion(f'APPEND INBOX CATENATE (URL "/{name}/;UID=1")')
        assert completion.startswith("NO [BADURL "), completion


async def test_names_are_in_utf8_under_their_encoding(here: Office) -> None:
    client = await here.login()
    await client.ok("CREATE Entw&APw-rfe")
    await here.put(MESSAGE, mailbox="Entwürfe")
    await client.ok("SELECT INBOX")
    assert await appended(client, b'URL "/Entw%C3%BCrfe/;UID=1"') == MESSAGE
    for name in ("Entw&APw-rfe", "Entw%FCrfe", "Entw%00rfe"):
        assert (await client.completion(f'APPEND INBOX CATENATE (URL "/{name}/;UID=1")')).startswith("NO [BADURL ")


async def test_several_messages_are_all_or_none(here: Office) -> None:
    await here.put(MESSAGE)
    client = await here.login("INBOX")
    await client.ok(b"APPEND INBOX {8+}\r\na: b\r\n\r\n (\\Seen) CATENATE (URL ;UID=1) {8+}\r\nc: d\r\n\r\n")
    assert await client.ok("FETCH 2:4 (RFC822.SIZE FLAGS)") == [
        b"* 2 FETCH (RFC822.SIZE 8 FLAGS (\\Recent))",
        b"* 3 FETCH (RFC822.SIZE %d FLAGS (\\Recent \\Seen))" % len(MESSAGE),
        b"* 4 FETCH (RFC822.SIZE 8 FLAGS (\\Recent))",
    ]
    command = b"APPEND INBOX CATENATE (URL ;UID=1) {8+}\r\na: b\r\n\r\n CATENATE (URL ;UID=99)"
    assert (await client.completion(command)).startswith("NO [BADURL ")
    for empty in (b"(TEXT {0+}\r\n)", b"(URL ;UID=1/;PARTIAL=9999)"):
        assert (await client.completion(b"APPEND INBOX CATENATE " + empty)).startswith("NO [CANNOT] An empty")
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 4)"]


async def test_a_draft_is_replaced_by_what_is_made_of_it(here: Office) -> None:
    await here.put(MESSAGE)
    client = await here.login("INBOX")
    lines = await client.ok(b"UID REPLACE 1 INBOX (\\Draft) CATENATE (TEXT {7+}\r\nTo: a\r\n URL /INBOX/;UID=1)")
    assert lines[0].startswith(b"* OK [APPENDUID ")
    assert b"* 1 EXPUNGE" in lines
    (line,) = await client.ok("FETCH 1 (UID BODY.PEEK[])")
    assert line.startswith(b"* 1 FETCH (UID 2 BODY[] ")
    assert line.endswith(b"\r\nTo: a\r\n" + MESSAGE + b")")


async def test_a_message_is_too_big_before_its_parts_are_copied(tmp_path: Path) -> None:
    listen = (Bind.parse(f"unix:{tmp_path / 'imap.sock'}"),)
    async with office(tmp_path, Imap4Config(listen=listen, listen_tls=(), max_append=65536)) as here:
        await here.put(b"Subject: x\r\n\r\n" + b"x" * 30_000)
        client = await here.login("INBOX")
        assert (await client.completion("APPEND INBOX CATENATE (URL ;UID=1 URL ;UID=1)")).startswith("OK")
        three = "APPEND INBOX CATENATE (URL ;UID=1 URL ;UID=1 URL ;UID=1)"
        assert (await client.completion(three)).startswith("NO [TOOBIG] ")
        two_and_text = "APPEND INBOX CATENATE (URL ;UID=1 URL ;UID=1 TEXT {9999}"
        assert (await client.completion(two_and_text)).startswith("NO [TOOBIG] ")
        await here.store.write(lambda db: set_quota(db, ANA, 100_000))
        assert (await client.completion("APPEND INBOX CATENATE (URL ;UID=1)")).startswith("NO [OVERQUOTA] ")


async def test_a_large_message_is_joined_in_the_spool(here: Office) -> None:
    large = MESSAGE + b"0123456789\r\n" * 400_000
    await here.put(large)
    client = await here.login("INBOX")
    await client.ok("APPEND Drafts CATENATE (URL ;UID=1/;SECTION=HEADER URL ;UID=1/;SECTION=TEXT)")
    await client.ok("SELECT Drafts")
    assert await client.ok("FETCH 1 RFC822.SIZE") == [b"* 1 FETCH (RFC822.SIZE %d)" % len(large)]
    assert len(large) > IN_MEMORY
    assert Spool.shared_room == 16 << 20
    assert list(here.folder.glob("spool/*")) == []


async def test_nul_and_utf8_in_parts(here: Office) -> None:
    client = await here.login("INBOX")
    assert (await client.completion(b"APPEND INBOX CATENATE (TEXT {3+}\r\na\0b)")).startswith("NO [CANNOT]")
    command = b"APPEND INBOX CATENATE (UTF8 (~{6+}\r\n\xc3\xa4\xc3\xb6\xc3\xbc))"
    assert (await client.completion(command)).startswith("BAD")
    await client.ok("ENABLE UTF8=ACCEPT")
    await client.ok(command)


async def test_parts_are_counted(here: Office) -> None:
    await here.put(MESSAGE)
    client = await here.login("INBOX")
    url = b"URL ;UID=1/;PARTIAL=0.1"
    await client.ok(b"APPEND INBOX CATENATE (%b)" % b" ".join([url] * MAX_PARTS))
    command = b"APPEND INBOX CATENATE (%b)" % b" ".join([url] * (MAX_PARTS + 1))
    assert await client.completion(command) == "BAD too many parts"
    literal = b"URL {10+}\r\n;UID=1/;PA"
    command = b"APPEND INBOX CATENATE (%b)" % b" ".join([literal] * (MAX_PARTS + 1))
    assert await client.completion(command) == "BAD too many parts"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        (b"/a%2Fb/c;UIDVALIDITY=7/;UID=9", MessageUrl("a/b/c", 7, 9, Section(), None)),
        (b"/a&b=c@d:e/;uid=1/;section=text", MessageUrl("a&b=c@d:e", 0, 1, Section((), "TEXT"), None)),
        (b"/a%3BUID%3D3/;UID=1", MessageUrl("a;UID=3", 0, 1, Section(), None)),
        (b";UID=1/;PARTIAL=7", MessageUrl("", 0, 1, Section(), (7, 0xFFFF_FFFF))),
        (b"/a..b/;UID=1", MessageUrl("a..b", 0, 1, Section(), None)),
        (b"/a/;UID=0", None),
        (b"/a;UIDVALIDITY=0/;UID=1", None),
        (b"/a/;UID=4294967296", None),
        (b"/a/;UID=1/;PARTIAL=0.0", None),
        (b"/a/;UID=1/;PARTIAL=0.1/;SECTION=1", None),
        (b"/a b/;UID=1", None),
        (b"/a%2/;UID=1", None),
        (b"/a/./b/;UID=1", None),
        (b"/;UID=1", None),
        (b"", None),
        (b"/" + b"a" * MAX_URL + b"/;UID=1", None),
        (b"/" + b"a" * 1001 + b"/;UID=1", None),
        (b"/a/;UID=1/;SECTION=" + b"1." * 101 + b"1", None),
    ],
)
def test_urls(url: bytes, meant: MessageUrl | None) -> None:
    if meant is not None:
        assert parse_url(url) == meant
    else:
        with pytest.raises(GrammarError):
            parse_url(url)


PIECES = st.sampled_from(
    [
        b"/",
        b";UID=",
        b";uidvalidity=",
        b"1",
        b"%2f",
        b"%zz",
        b";SECTION=",
        b"HEADER",
        b".",
        b"a",
        b";PARTIAL=",
        b"\xff",
        b" ",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=3)), max_size=20).map(b"".join))
def test_any_octets_are_a_url_or_refused(url: bytes) -> None:
    shown = shown_url(url)
    assert shown.isascii()
    assert shown.isprintable()
    assert not set(shown) & set(' ]\\"')
    with contextlib.suppress(GrammarError):
        assert parse_url(url).uid > 0
