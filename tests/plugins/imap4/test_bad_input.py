"""Commands that were made to hurt: all are answered NO or BAD or cheaply, and nobody else has to wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from plugins.imap4 import protocol
from plugins.imap4.protocol_command import State
from plugins.imap4.protocol_grammar import COMMANDS
from tests.plugins.imap4.office import Office
from tests.plugins.imap4.playing import play

COSTLY_S = 1.0  # processor time of one command, that of the store's threads included
MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(500)]

WIDE = ",".join(["1:4294967295"] * 4500)
ODD = ",".join(["4294967295:1,*:1"] * 3500)
SETS = (
    f"FETCH {WIDE} FLAGS",
    f"UID FETCH {WIDE} FLAGS",
    f"UID FETCH {ODD} (UID)",
    f"UID SEARCH UID {WIDE}",
    f"SEARCH {ODD}",
    f"UID SEARCH RETURN (PARTIAL -1:-4294967295) NOT UID {WIDE}",
    f"UID STORE {WIDE} +FLAGS.SILENT (a)",
    f"UID STORE {ODD} (UNCHANGEDSINCE 1) +FLAGS (b)",
    f"UID COPY {WIDE} Nowhere",
    f"UID EXPUNGE {ODD}",
    f"UID SORT (DATE) UTF-8 UID {WIDE}",
    f"UID THREAD REFERENCES UTF-8 UID {ODD}",
    f"SELECT INBOX (QRESYNC (1 1 {WIDE[:30_000].rpartition(',')[0]}))",
    "UID FETCH 1:* (UID) (CHANGEDSINCE 9223372036854775807 VANISHED)",
    "UID SEARCH MODSEQ 9223372036854775807",
)


@pytest.mark.parametrize("command", SETS, ids=lambda command: command[:40])
async def test_sets_that_mean_all_thousands_of_times(here: Office, command: str) -> None:
    await here.put(*MESSAGES)
    client, other = await here.login(), await here.login("INBOX")
    await client.ok("ENABLE QRESYNC")
    await client.ok("SELECT INBOX")
    started = time.process_time()
    (lines, completion), _ = await asyncio.gather(client.command(command), other.ok("NOOP"))
    assert completion.startswith((b"OK", b"NO", b"BAD")), completion
    assert len(lines) <= len(MESSAGES) + 5
    assert time.process_time() - started < COSTLY_S


NAMES = (
    b'"a\\"',  # a quote that does not end
    b"{4+}\r\na\0bc",
    b"&",
    b"&AGEAYg",  # base64 that does not end
    b"&AGEAYg-",  # letters that need none
    b"&2AA-",  # half a surrogate pair
    b"&AAAA-",  # NUL
    b"&AA0ACg-",  # a line end
    b"&*-",
    b"&AOQ-&AOQ-",  # two runs where one is right
    b'"\xc0\xaf"',  # an overlong slash
    b'"\xed\xa0\x80"',  # a surrogate in UTF-8
    b'"\xff"',
    b'"a//b"',
    b'"/a"',
    b'".."',
    b'"../../etc/passwd"',
    b'"a/./b"',
    b'"a/../b"',
    b"a/" * 30 + b"a",
    b"a" * 501,
    b'"' + b"x" * 10_000 + b'"',
    b"{10000+}\r\n" + b"x" * 10_000,
    b"&" + b"AOQ" * 1_000 + b"-",
)
ON_NAMES = (
    b"CREATE %b",
    b"RENAME Sent %b",
    b"SELECT %b",
    b"STATUS %b (MESSAGES)",
    b"DELETE %b",
    b"APPEND %b {1+}\r\nx",
    b"APPEND %b CATENATE (TEXT {1+}\r\nx)",
    b"GETMETADATA %b /private/x",
)


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:24]))
async def test_names_that_no_mailbox_can_have(here: Office, name: bytes, utf8: bool) -> None:
    client = await here.login()
    if utf8:
        await client.ok("ENABLE UTF8=ACCEPT")
    if utf8 and name.startswith(b"&"):
        return  # under UTF8=ACCEPT that is a name like any other (RFC 6855 section 3)
    before = await client.ok('LIST "" *')
    for command in ON_NAMES:
        lines, completion = await client.command(command % name)
        assert completion.startswith((b"NO ", b"BAD ")), (command, completion)
        assert lines == []
    assert await client.ok('LIST "" *') == before


BIG = 60_000
BOMBS = {
    "many groups": "NOTIFY SET " + " ".join(["(personal NONE)"] * 3_000),
    "many names": "NOTIFY SET (mailboxes (" + " ".join(["a"] * 20_000) + ") NONE)",
    "many events": "NOTIFY SET (personal (" + " ".join(["MailboxName"] * 4_000) + "))",
    "many items": "NOTIFY SET (selected (MessageNew (" + " ".join(["UID"] * 9_000) + ") MessageExpunge))",
    "nested groups": "NOTIFY SET " + "(" * BIG,
    "nested names": "NOTIFY SET (mailboxes " + "(" * BIG,
    "many parts": "APPEND INBOX CATENATE (" + "URL /a/;UID=1 " * 4_000 + ")",
    "a long URL": 'APPEND INBOX CATENATE (URL "/' + "a/" * 25_000 + ';UID=1")',
    "an encoded URL": 'APPEND INBOX CATENATE (URL "/' + "%41" * 15_000 + '/;UID=1")',
    "a deep section": 'APPEND INBOX CATENATE (URL "/INBOX/;UID=1/;SECTION=' + "1." * 10_000 + '1")',
    "nested parts": "APPEND INBOX CATENATE " + "(" * BIG,
    "many patterns": 'LIST "" (' + " ".join(["*"] * 20_000) + ")",
    "many entries": "GETMETADATA INBOX (" + " ".join(["/private/x"] * 4_000) + ")",
    "many criteria": "SORT (" + " ".join(["DATE"] * 9_000) + ") UTF-8 ALL",
    "many results": "SEARCH RETURN (" + " ".join(["MIN"] * 9_000) + ") ALL",
    "many sources": "ESEARCH IN (" + " ".join(["personal"] * 5_000) + ") ALL",
    "many parameters": "SELECT INBOX (" + " ".join(["CONDSTORE"] * 5_000) + ")",
    "many names to enable": "ENABLE " + " ".join(["X"] * 9_000),
    "a long word": "X" * BIG,
    "nothing but spaces": " " * BIG,
    "nothing but brackets": "FETCH 1 BODY[" + "[" * BIG,
}


@pytest.mark.parametrize("what", BOMBS)
async def test_grammars_without_measure(here: Office, what: str) -> None:
    await here.put(MESSAGES[0])
    client, other = await here.login("INBOX"), await here.login("INBOX")
    started = time.process_time()
    (lines, completion), _ = await asyncio.gather(client.command(BOMBS[what]), other.ok("NOOP"))
    assert completion.startswith((b"BAD ", b"NO ")) or (what == "many results" and lines), completion
    assert len(completion) < 6_000
    assert time.process_time() - started < COSTLY_S
    await client.ok("NOOP")


@pytest.mark.parametrize("state", [State.NOT_AUTHENTICATED, State.AUTHENTICATED])
def test_what_one_command_can_hold_is_far_less_before_login(state: State) -> None:
    """Literals without end, each of them permitted: what is kept of them is bounded."""
    machine = protocol.ImapServer()
    machine.state = state
    tracemalloc.start()
    try:
        machine.receive(b"a ID (")
        for _ in range(2_000):
            if machine.closed:
                break
            machine.receive(b"{1000+}\r\n" + b"x" * 1000 + b" ")
            with contextlib.suppress(ProtocolError):
                while machine.next_event() is not None:
                    pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    limit = protocol.MAX_COMMAND_AFTER if state else protocol.MAX_COMMAND
    assert peak < 4 * limit
    assert machine.closed is (state is State.NOT_AUTHENTICATED), "what strangers go on sending is not read for long"
    assert protocol.MAX_COMMAND_AFTER >= 4 * protocol.MAX_COMMAND
    assert protocol.MAX_LITERAL_AFTER >= 8 * protocol.MAX_LITERAL


def test_urls_in_literals_cost_no_more_than_their_number() -> None:
    """Each makes its line be read again; the limit of parts holds before that becomes much."""
    wire = b"a APPEND INBOX CATENATE (" + b"URL {1+}\r\na " * 15_000 + b"TEXT {1+}\r\nx)\r\nb NOOP\r\n"
    started = time.process_time()
    said = play(wire, 1 << 20, State.AUTHENTICATED)
    assert said == ["a BAD too many parts", "b NOOP"]
    assert time.process_time() - started < COSTLY_S


VERBS = sorted({*COMMANDS, "APPEND", "REPLACE", "UID REPLACE"})
PIECES = st.sampled_from(
    [
        *(verb.encode() for verb in VERBS),
        *(b" ", b" ", b" ", b"(", b")", b"(", b")", b'"', b'"a"', b"\\", b"[", b"]", b"<0.1>", b"\0", b"\xff"),
        *(b"1", b"1:*", b"*", b"$", b"4294967296", b"INBOX", b"a/b", b"NIL", b"&AOQ-", b"\r\n", b"\r\n"),
        *(b"{1+}\r\nx", b"{0+}\r\n", b"{1}\r\nx", b"~{1+}\r\nx", b"{99999+}\r\n"),
        *(b"SET", b"NONE", b"STATUS", b"selected", b"personal", b"mailboxes", b"MessageNew", b"MessageExpunge"),
        *(b"MailboxName", b"CATENATE", b"URL", b"TEXT", b"UTF8", b"/INBOX/;UID=1", b"RETURN", b"PARTIAL 1:2", b"IN"),
        *(b"ALL", b"NOT", b"OR", b"CHARSET", b"UTF-8", b"FLAGS", b"BODY", b"BODY.PEEK", b"HEADER.FIELDS", b"BINARY"),
        *(b"QRESYNC", b"CHANGEDSINCE", b"/private/x", b"DEPTH", b"MAXSIZE", b"USE", b"DATE", b"REVERSE", b"REFERENCES"),
    ]
)
LINE = st.tuples(st.sampled_from(VERBS), st.lists(PIECES, max_size=12)).map(
    lambda made: b"a " + made[0].encode() + b" " + b"".join(made[1]) + b"\r\n"
)


@settings(max_examples=400, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=3).map(b"".join), st.sampled_from(list(State)), st.integers(1, 9))
def test_every_grammar_reads_anything_in_any_pieces(wire: bytes, state: State, size: int) -> None:
    whole = play(wire, 1 << 20, state)
    assert play(wire, size, state) == whole
    assert play(wire, 1, state) == whole
