"""The machine's limits, and properties that hold for any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from plugins.imap4 import protocol
from plugins.imap4.protocol import AppendMessage, BadCommand, Continue, ImapServer, MessageChunk
from plugins.imap4.protocol_command import Command, Login, State
from plugins.imap4.protocol_parse import MAX_DEPTH, MAX_LIST, MAX_RANGES, MAX_TAG
from tests.plugins.imap4.playing import play


def machine(state: State = State.NOT_AUTHENTICATED) -> ImapServer:
    made = ImapServer()
    made.state = state
    return made


def test_a_line_without_end_closes_the_connection_at_the_limit() -> None:
    server = machine()
    server.receive(b"a" * protocol.MAX_LINE)
    assert server.next_event() is None
    server.receive(b"a")
    with pytest.raises(ProtocolError) as caught:
        server.next_event()
    assert caught.value.reply == b"* BYE [TOOBIG] Line too long\r\n"
    assert server.closed
    server.receive(b"a1 NOOP\r\n")
    assert server.next_event() is None


@pytest.mark.parametrize(
    ("state", "limit"),
    [(State.NOT_AUTHENTICATED, protocol.MAX_LITERAL), (State.AUTHENTICATED, protocol.MAX_LITERAL_AFTER)],
)
def test_a_literal_over_the_limit_is_refused_before_it_is_awaited(state: State, limit: int) -> None:
    server = machine(state)
    server.receive(b"a1 ID ({%d}\r\n" % limit)
    assert server.next_event() == Continue()
    server = machine(state)
    server.receive(b"a1 ID ({%d}\r\na2 NOOP\r\n" % (limit + 1))
    assert server.next_event() == BadCommand(b"a1", "literal too long", too_big=True)
    assert server.next_event() == Command(b"a2", "NOOP")


def test_a_non_synchronising_literal_over_the_limit_is_thrown_away() -> None:
    server = machine()
    size = protocol.MAX_LITERAL + 1
    server.receive(b"a1 LOGIN {%d+}\r\n" % size)
    assert server.next_event() == BadCommand(b"a1", "literal too long", too_big=True)
    for _ in range(size):
        server.receive(b"x")
        assert server.next_event() is None
        assert len(server._buffer) == 0
    server.receive(b" {3+}\r\nabc\r\na2 NOOP\r\n")
    assert server.next_event() == Command(b"a2", "NOOP")


def test_what_comes_unasked_is_short_before_login() -> None:
    """LITERAL- (RFC 7888 section 5)."""
    server = machine()
    server.receive(b"a1 LOGIN {%d+}\r\n" % protocol.MAX_LITERAL_MINUS + b"x" * protocol.MAX_LITERAL_MINUS + b" y\r\n")
    assert isinstance(server.next_event(), Login)
    size = protocol.MAX_LITERAL_MINUS + 1
    server.receive(b"a2 LOGIN {%d+}\r\n" % size + b"x" * size + b" y\r\na3 LOGIN {%d}\r\n" % size)
    assert server.next_event() == BadCommand(b"a2", "literal too long", too_big=True)
    assert server.next_event() == Continue()
    server = machine(State.AUTHENTICATED)
    server.receive(b"a4 APPEND INBOX {%d+}\r\n" % size)
    assert isinstance(server.next_event(), AppendMessage)


def test_many_literals_may_not_pass_the_limit_of_a_command() -> None:
    server = machine()
    events = []
    piece = b"{%d+}\r\n" % protocol.MAX_LITERAL_MINUS + b"x" * protocol.MAX_LITERAL_MINUS + b" "
    server.receive(b"a1 ID (" + piece * 16)
    while (event := server.next_event()) is not None:
        events.append(event)
    assert events == [BadCommand(b"a1", "literal too long", too_big=True)]


def test_unwanted_literals_before_login_close_the_connection() -> None:
    server = machine()
    server.receive(b"a1 LOGIN {%d+}\r\n" % (protocol.MAX_COMMAND + 1))
    with pytest.raises(ProtocolError, match="literal too long"):
        server.next_event()


def test_a_command_of_several_lines_is_bounded_as_a_whole() -> None:
    server = machine()
    half = b"x" * (protocol.MAX_LINE - 100)
    server.receive(b"a1 LOGIN {0+}\r\n " + half + b"\r\n")
    assert isinstance(server.next_event(), Login)
    server.receive(b"a1 LOGIN " + half + b" {0+}\r\n " + half + b"\r\n")
    assert server.next_event() == BadCommand(b"a1", "command too long", too_big=True)


def test_announcing_many_empty_literals_is_linear() -> None:
    server = machine(State.AUTHENTICATED)
    count = protocol.MAX_COMMAND_AFTER // 6 - 10
    server.receive(b"a1 ID (" + b"{0+}\r\n" * count + b")\r\n")
    assert isinstance(server.next_event(), BadCommand)


def test_nesting_is_bounded() -> None:
    deep = b"(" * MAX_DEPTH + b"SEEN" + b")" * MAX_DEPTH
    assert play(b"a SEARCH " + deep + b"\r\n", 9999, State.SELECTED)[0].startswith("a SEARCH")
    for program in (b"(" * (MAX_DEPTH + 1), b"NOT " * (MAX_DEPTH + 1), b"OR " * (MAX_DEPTH + 1)):
        assert play(b"a SEARCH " + program + b"\r\n", 9999, State.SELECTED) == ["a BAD nested too deeply"]


def test_numbers_of_members_are_bounded() -> None:
    sets = b",".join([b"1"] * (MAX_RANGES + 1))
    flags = b" ".join([b"a"] * (MAX_LIST + 1))
    for command, text in (
        (b"FETCH " + sets + b" FLAGS", "sequence set too long"),
        (b"STORE 1 FLAGS (" + flags + b")", "list too long"),
        (b"STORE 1 FLAGS " + flags, "list too long"),
        (b"FETCH 1 (" + b" ".join(b"BODY[%d]" % part for part in range(1, 300)) + b")", "too many data items"),
        (b"SEARCH " + b" ".join([b"SEEN"] * 1001), "too many search keys"),
        (b"SEARCH TEXT " + b"x" * 1001, "search string too long"),
        (b"SEARCH " + b" ".join([b"BODY x"] * 51), "too many search keys"),
        (b"COPY 1 " + b"x" * 1001, "mailbox name too long"),
    ):
        assert play(b"a " + command + b"\r\n", 99999, State.SELECTED) == [f"a BAD {text}"]
    assert play(b"a" * (MAX_TAG + 1) + b" NOOP\r\n", 9999) == ["* BAD tag too long"]


def test_message_octets_are_handed_out_as_they_come() -> None:
    server = machine(State.AUTHENTICATED)
    size = 3 * protocol.MAX_CHUNK + 5
    server.receive(b"a1 APPEND INBOX {%d}\r\n" % size)
    assert isinstance(server.next_event(), AppendMessage)
    assert server.next_event() is None
    assert server.take_message() == protocol.CONTINUE
    server.receive(b"x" * size)
    sizes = []
    while isinstance(event := server.next_event(), MessageChunk):
        sizes.append(len(event.data))
    assert sizes == [protocol.MAX_CHUNK] * 3 + [5]


def test_take_and_refuse_need_an_announced_message() -> None:
    server = machine(State.AUTHENTICATED)
    for call in (server.take_message, server.refuse_message):
        with pytest.raises(RuntimeError):
            call()


def test_bytes_behind_starttls_end_the_session() -> None:
    assert play(b"a1 STARTTLS\r\na2 CAPABILITY\r\n", 9999) == [
        "a1 STARTTLS",
        "ProtocolError data pipelined after STARTTLS",
    ]


WORDS = st.sampled_from(
    [
        b"a1", b"*", b"+", b"NOOP", b"LOGIN", b"APPEND", b"SELECT", b"FETCH", b"UID", b"SEARCH", b"STORE", b"LIST",
        b"IDLE", b"DONE", b"AUTHENTICATE", b"INBOX", b"Refused", b"1:*", b"1,2", b"(", b")", b"(FLAGS UID)", b"BODY[",
        b"BODY.PEEK[HEADER.FIELDS (a)]<0.5>", b"]", b'"a b"', b'"', b"\\Seen", b"+FLAGS", b"{3}", b"{3+}", b"{0+}",
        b"{9000}", b"{9000+}", b"{70000+}", b"abc", b"\r\n", b"\r\n", b"\r\n", b" ", b" ", b" ", b"\r", b"\n", b"\0",
        b"NOT", b"OR", b"CHARSET UTF-8", b"TEXT", b"&AOQ-", b"\xc3\xa4", b'"01-Feb-1994 00:00:00 +0000"',
        b"(CHANGEDSINCE 5 VANISHED)", b"(UNCHANGEDSINCE 5)", b"(QRESYNC (1 2 3:4 (5 6)))", b"(CONDSTORE)", b"QRESYNC",
        b"MODSEQ", b"ENABLE", b"BINARY[1]<0.5>", b"BINARY.SIZE[]", b"EMAILID", b"UNAUTHENTICATE", b"+FLAGS.SILENT",
        b"CATENATE (", b"URL /a/;UID=1", b"TEXT {3+}", b"UTF8 (~{3+}", b"REPLACE 1", b"URL {9+}", b"a1 APPEND INBOX ",
        b"a1 NOTIFY SET ", b"STATUS", b"(selected (", b"MessageNew (uid)", b"MessageExpunge",
        b"(subtree ({1+}", b"NONE)",
    ]
)  # fmt: skip
WIRE = st.lists(st.one_of(WORDS, st.binary(max_size=4)), max_size=40).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(WIRE, st.sampled_from(list(State)))
def test_events_do_not_depend_on_how_tcp_cut_the_bytes(data: bytes, state: State) -> None:
    assert play(data, 1, state) == play(data, 1 << 20, state)


COMMANDS = st.sampled_from(
    [
        b"a1 LOGIN {3}\r\nana {6+}\r\nsecret\r\n",
        b"a2 APPEND INBOX (\\Seen) {5+}\r\nhello\r\n",
        b"a3 APPEND Refused {5+}\r\nhello {3+}\r\nabc\r\n",
        b"a4 FETCH 1:* (FLAGS BODY[HEADER.FIELDS ({4+}\r\nFrom)])\r\n",
        b"a5 SEARCH CHARSET UTF-8 OR SUBJECT {3+}\r\nabc NOT (SEEN)\r\n",
        b"a6 IDLE\r\nDONE\r\n",
        b"a7 LIST (SPECIAL-USE) {0+}\r\n (a b) RETURN (STATUS (UNSEEN))\r\n",
        b"a9 UID FETCH 1:* (FLAGS BINARY.PEEK[1.2]<0.5>) (CHANGEDSINCE 5 VANISHED)\r\n",
        b"b1 SELECT {5+}\r\nINBOX (QRESYNC (67890007 9006011 41,43:211 (1:3 41:43)) CONDSTORE)\r\n",
        b"b2 UID STORE 1:3 (UNCHANGEDSINCE 12) -FLAGS.SILENT (\\Seen a)\r\n",
        b'b3 SEARCH MODSEQ "/flags/\\\\seen" all 7 EMAILID E1 SAVEDSINCE 1-Feb-2023\r\n',
        b"b4 APPEND INBOX CATENATE (URL {9+}\r\n/a/;UID=1 TEXT {3+}\r\nabc UTF8 (~{2}\r\nab)) (\\Seen) {1+}\r\nx\r\n",
        b'b5 REPLACE 3 Refused CATENATE (URL "/a/;UID=1" TEXT {3+}\r\nabc URL {4+}\r\n/b/;)\r\n',
        b"b6 NOTIFY SET STATUS (selected (MessageNew (uid) MessageExpunge)) (subtree ({1+}\r\na b) (MailboxName))\r\n",
        b"a8 LOGIN {9000+}\r\n" + b"x" * 9000 + b" y\r\n",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(COMMANDS, max_size=8).map(b"".join), st.integers(1, 40), st.data())
def test_good_commands_with_one_octet_changed(data: bytes, size: int, draw: st.DataObject) -> None:
    if data:
        place = draw.draw(st.integers(0, len(data) - 1))
        data = data[:place] + draw.draw(st.binary(max_size=2)) + data[place + 1 :]
    assert play(data, size, State.SELECTED) == play(data, 1 << 20, State.SELECTED)
