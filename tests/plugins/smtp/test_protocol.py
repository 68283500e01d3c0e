"""The server's machine: what comes out of which bytes, however TCP cut them."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.mail.reply import Reply
from plugins.smtp import protocol
from plugins.smtp.protocol import (
    LONG_COMMAND,
    LONG_LINE,
    MAX_LINE,
    MAX_TEXT_LINE,
    NOT_UTF8,
    NUL_IN_COMMAND,
    NUL_IN_MESSAGE,
    STRAY_LINE_END,
    TOO_BIG,
    AuthLine,
    BadLine,
    BodyChunk,
    BodyEnd,
    Chunk,
    Command,
    Event,
    SmtpServer,
)

SIZES = [1, 2, 3, 7, 65536]
MAX_SIZE = 1000


def play(
    data: bytes, size: int = 65536, *, max_size: int = MAX_SIZE, max_discarded: int = 500
) -> list[Event | ProtocolError | bytes]:
    """Feed bytes in pieces. DATA is answered with 354, AUTH with 334; pieces of a body are joined."""
    machine = SmtpServer(max_size, max_discarded=max_discarded)
    seen: list[Event | ProtocolError | bytes] = []
    try:
        for start in range(0, len(data), size):
            machine.receive(data[start : start + size])
            while (event := machine.next_event()) is not None:
                if isinstance(event, BodyChunk):
                    if seen and isinstance(seen[-1], bytes):
                        seen[-1] += event.data
                    else:
                        seen.append(event.data)
                    continue
                if isinstance(event, BodyEnd) and event.fault is not None and isinstance(seen[-1], bytes):
                    seen.pop()  # nobody keeps what a refused message began with
                seen.append(event)
                if event == Command("DATA", ""):
                    machine.expect_text()
                elif isinstance(event, Command) and event.verb == "AUTH":
                    machine.expect_auth()
                elif isinstance(event, Command) and event.verb in {"MAIL", "RSET"}:
                    machine.begin_message(binary=event.argument == "FROM:<> BODY=BINARYMIME")
    except ProtocolError as error:
        if seen and isinstance(seen[-1], bytes):
            seen.pop()
        seen.append(error)
        assert machine.closed
        with pytest.raises(ProtocolError):
            machine.next_event()
    return seen


def comparable(seen: list[Event | ProtocolError | bytes]) -> list[object]:
    """The same with errors as text; a body that never ended is left out, as it may be cut anywhere."""
    if seen and isinstance(seen[-1], bytes):
        seen = seen[:-1]
    return [(str(item), item.reply) if isinstance(item, ProtocolError) else item for item in seen]


def text(body: bytes, size: int = 65536, **limits: int) -> tuple[bytes, Reply | None]:
    """Send DATA and a body up to its end; return what came out and the fault."""
    seen = play(b"DATA\r\n" + body, size, **limits)
    end = seen[-1]
    assert isinstance(end, BodyEnd), seen
    return b"".join(item for item in seen if isinstance(item, bytes)), end.fault


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", SIZES)
def test_commands(size: int) -> None:
    wire = b"ehlo load.test\r\nMAIL FROM:<a@b> SIZE=1  \r\nRCPT TO:<\xc3\xbc@b>\r\nNOOP\r\n\r\nx y z\r\n QUIT\r\n"
    assert play(wire, size) == [
        Command("EHLO", "load.test"),
        Command("MAIL", "FROM:<a@b> SIZE=1"),
        Command("RCPT", "TO:<ü@b>"),
        Command("NOOP", ""),
        Command("", ""),
        Command("X", "y z"),
        Command("", "QUIT"),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "wire",
    [
        b"NOOP\n",
        b"NOOP\nQUIT\r\n",
        b"NOOP\rQUIT\r\n",
        b"NOOP\r\r\n",
        b"\n",
        b"\rNOOP\r\n",
        b"NOOP\r\n\nQUIT\r\n",
        b"NOOP\r\nQUIT\n\r\n",
    ],
)
def test_a_bare_cr_or_lf_ends_the_dialogue(wire: bytes, size: int) -> None:
    seen = play(wire, size)
    assert isinstance(seen[-1], ProtocolError)
    assert seen[-1].reply == b"500 5.5.2 A CR or LF that is no line end\r\n"
    assert Command("QUIT", "") not in seen


@pytest.mark.parametrize("size", SIZES)
def test_bad_lines_are_answered_and_the_dialogue_goes_on(size: int) -> None:
    long = b"x" * 995
    mail = b"MAIL FROM:<a@b> X=" + b"y" * 2028
    wire = b"NO\0OP\r\nN\xff\r\nNOOP " + long + b"\r\n" + mail + b"\r\n" + mail + b"y\r\nNOOP\r\n"
    assert play(wire, size) == [
        BadLine(NUL_IN_COMMAND),
        BadLine(NOT_UTF8),
        BadLine(LONG_COMMAND),
        Command("MAIL", mail[5:].decode()),
        BadLine(LONG_COMMAND),
        Command("NOOP", ""),
    ]


@pytest.mark.parametrize("size", [7, 65536])
@pytest.mark.parametrize("extra", [0, 1])
def test_a_line_beyond_every_limit_ends_the_dialogue(size: int, extra: int) -> None:
    line = b"AUTH " + b"x" * (MAX_LINE - 7 + extra)
    seen = play(line + b"\r\nNOOP\r\n", size)
    if extra:
        assert isinstance(seen[0], ProtocolError)
        assert seen[0].reply == b"500 5.5.2 Line too long\r\n"
    else:
        assert seen == [Command("AUTH", line[5:].decode()), AuthLine(b"NOOP")]


def test_an_endless_line_is_not_kept() -> None:
    machine = SmtpServer(MAX_SIZE)
    machine.receive(b"x" * MAX_LINE)
    with pytest.raises(ProtocolError):
        machine.next_event()


@pytest.mark.parametrize("size", SIZES)
def test_tls_on_a_clear_port_is_told_apart(size: int) -> None:
    seen = play(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n", size)
    assert isinstance(seen[0], ProtocolError)
    assert "TLS" in str(seen[0])


@pytest.mark.parametrize("size", SIZES)
def test_auth_lines(size: int) -> None:
    wire = b"AUTH LOGIN\r\n" + b"A" * 5000 + b"\r\nNOOP\r\n"
    assert play(wire, size) == [Command("AUTH", "LOGIN"), AuthLine(b"A" * 5000), Command("NOOP", "")]


def test_start_tls_needs_an_empty_buffer() -> None:
    machine = SmtpServer(MAX_SIZE)
    machine.receive(b"STARTTLS\r\nMAIL FROM:<evil@test>\r\n")
    assert machine.next_event() == Command("STARTTLS", "")
    assert machine.pending
    with pytest.raises(ProtocolError, match="pipelined"):
        machine.start_tls()
    assert machine.closed


def test_start_tls_with_half_a_command() -> None:
    machine = SmtpServer(MAX_SIZE)
    machine.receive(b"STARTTLS\r\nMA")
    assert machine.next_event() == Command("STARTTLS", "")
    with pytest.raises(ProtocolError):
        machine.start_tls()


def test_start_tls_goes_on_with_commands() -> None:
    machine = SmtpServer(MAX_SIZE)
    machine.receive(b"STARTTLS\r\n")
    assert machine.next_event() == Command("STARTTLS", "")
    assert not machine.pending
    machine.start_tls()
    machine.receive(b"EHLO x\r\n")
    assert machine.next_event() == Command("EHLO", "x")


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"a\r\n..\r\nb\r\n.c\r\n.\r\n", b"a\r\n.\r\nb\r\nc\r\n"),
        (b"\xff\xfe\r\n\r\n\r\n.\r\n", b"\xff\xfe\r\n\r\n\r\n"),
        (b"a" * 900 + b"\r\n.\r\n", b"a" * 900 + b"\r\n"),
    ],
)
def test_text(wire: bytes, body: bytes, size: int) -> None:
    assert text(wire, size) == (body, None)


@pytest.mark.parametrize("size", SIZES)
def test_commands_behind_the_text(size: int) -> None:
    assert play(b"DATA\r\na\r\n.\r\nMAIL FROM:<a@b>\r\nDATA\r\n.\r\nQUIT\r\n", size) == [
        Command("DATA", ""),
        b"a\r\n",
        BodyEnd(True, None),
        Command("MAIL", "FROM:<a@b>"),
        Command("DATA", ""),
        BodyEnd(True, None),
        Command("QUIT", ""),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "end",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\r\n\0.\r\n",
        b"\n\r\n.\r\r\n",
    ],
)
def test_no_other_end_ends_the_text(end: bytes, size: int) -> None:
    """Each was taken for the end of a message by some server: SMTP smuggling (CVE-2023-51764 and its kin)."""
    smuggled = b"MAIL FROM:<evil@test>\r\n"
    seen = play(b"DATA\r\nSubject: x\r\n\r\nbody" + end + smuggled + b"\r\n.\r\nQUIT\r\n", size)
    assert seen[0] == Command("DATA", "")
    assert isinstance(seen[1], BodyEnd)
    assert seen[1].fault in (STRAY_LINE_END, NUL_IN_MESSAGE)
    assert seen[2:] == [Command("QUIT", "")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"a\nb\r\n", STRAY_LINE_END),
        (b"\n\r\n", STRAY_LINE_END),
        (b"a\rb\r\n", STRAY_LINE_END),
        (b"a\r\r\n", STRAY_LINE_END),
        (b"\r\r\n", STRAY_LINE_END),
        (b"a\r\n\n", STRAY_LINE_END),
        (b"a\0b\r\n", NUL_IN_MESSAGE),
        (b"a\n\0b\r\n", STRAY_LINE_END),
        (b"a\0b\n\r\n", NUL_IN_MESSAGE),
        (b"x" * 999 + b"\r\n", TOO_BIG),
        (b"x" * 999 + b"\n\r\n", STRAY_LINE_END),
        (b"x" * 1000 + b"\n\r\n", TOO_BIG),
        (b"." + b"x" * 999 + b"\r\n", TOO_BIG),
        (b"x\r\n" * 334, TOO_BIG),
    ],
)
def test_faults(body: bytes, fault: Reply, size: int) -> None:
    ended = b"\r\n.\r\n" if not body.endswith(b"\r\n") else b".\r\n"
    assert text(body + ended, size)[1] == fault
    assert play(b"DATA\r\n" + body + ended + b"QUIT\r\n", size)[-1] == Command("QUIT", "")


@pytest.mark.parametrize("size", SIZES)
def test_the_largest_message_passes(size: int) -> None:
    body = b"..\r\n" + b"x" * 995 + b"\r\n"
    assert len(body) - 1 == MAX_SIZE
    assert text(body + b".\r\n", size) == (body[1:], None)


@pytest.mark.parametrize("size", [4099, 1 << 20])
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"x" * (MAX_TEXT_LINE - 2), None),
        (b"x" * (MAX_TEXT_LINE - 1), LONG_LINE),
        (b"." + b"x" * (MAX_TEXT_LINE - 2), None),
        (b"." + b"x" * (MAX_TEXT_LINE - 1), LONG_LINE),
        (b"x" * (MAX_TEXT_LINE - 1) + b"\r", STRAY_LINE_END),
        (b"x" * MAX_TEXT_LINE + b"\r", LONG_LINE),
        (b"x" * (MAX_TEXT_LINE - 2) + b"\rx", STRAY_LINE_END),
        (b"x" * (2 * MAX_TEXT_LINE), LONG_LINE),
        (b"\n" + b"x" * (2 * MAX_TEXT_LINE), STRAY_LINE_END),
    ],
)
def test_long_lines(line: bytes, fault: Reply | None, size: int) -> None:
    body = b"a: b\r\n\r\n" + line + b"\r\nlast\r\n"
    kept, found = text(body + b".\r\n", size, max_size=1 << 20)
    assert found == fault
    if fault is None:
        assert kept == body.replace(b"\r\n.", b"\r\n")


@pytest.mark.parametrize("dot", [b"", b"."])
@pytest.mark.parametrize("cut", [MAX_TEXT_LINE - 1, MAX_TEXT_LINE, MAX_TEXT_LINE + 1, MAX_TEXT_LINE + 2])
def test_a_long_line_cut_just_at_the_limit(cut: int, dot: bytes) -> None:
    body = dot + b"x" * (MAX_TEXT_LINE + 1) + b"\r\n.\r\n"
    machine = SmtpServer(1 << 20)
    machine.expect_text()
    machine.receive(body[:cut])
    assert machine.next_event() is None
    machine.receive(body[cut:])
    assert machine.next_event() == BodyEnd(True, LONG_LINE)


@pytest.mark.parametrize("size", [7, 65536])
@pytest.mark.parametrize("line", [b"x" * 40 + b"\r\n", b"x\n", b"\0"])
def test_more_than_is_worth_reading_ends_the_dialogue(line: bytes, size: int) -> None:
    seen = play(b"DATA\r\n" + line * (80_000 // len(line)), size)
    assert isinstance(seen[-1], ProtocolError)
    assert seen[-1].reply[:3] in (b"552", b"554")


def test_memory_stays_bounded_while_a_text_is_thrown_away() -> None:
    machine = SmtpServer(1000, max_discarded=1 << 30)
    machine.receive(b"DATA\r\n")
    machine.next_event()
    machine.expect_text()
    for _ in range(100):
        machine.receive(b"x" * 65536)
        assert machine.next_event() is None
        assert len(machine._buffer) - machine._position <= MAX_TEXT_LINE
    machine.receive(b"\r\n.\r\n")
    assert machine.next_event() == BodyEnd(True, TOO_BIG)


@pytest.mark.parametrize("size", SIZES)
def test_discard_gives_out_nothing_but_the_end(size: int) -> None:
    machine = SmtpServer(MAX_SIZE)
    machine.expect_text()
    machine.discard()
    seen = []
    wire = b".a\r\n.\r\nNOOP\r\n"
    for start in range(0, len(wire), size):
        machine.receive(wire[start : start + size])
        while (event := machine.next_event()) is not None:
            seen.append(event)
    assert seen == [BodyEnd(True, None), Command("NOOP", "")]


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", SIZES)
def test_chunks(size: int) -> None:
    assert play(b"MAIL x\r\nBDAT 6\r\na\r\nb\r\nBDAT 5 LAST\r\n.\r\n\r\nQUIT\r\n", size) == [
        Command("MAIL", "x"),
        Chunk(6, False),
        b"a\r\nb\r\n",
        BodyEnd(False, None),
        Chunk(5, True),
        b".\r\n\r\n",
        BodyEnd(True, None),
        Command("QUIT", ""),
    ]


@pytest.mark.parametrize("size", SIZES)
def test_chunks_are_not_unstuffed_and_may_be_cut_in_a_line_end(size: int) -> None:
    wire = b"MAIL x\r\nBDAT 6\r\n..\r\na\rBDAT 0\r\nbdat 4 last\r\n\n.\r\nNOOP\r\n"
    assert play(wire, size) == [
        Command("MAIL", "x"),
        Chunk(6, False),
        b"..\r\na",
        BodyEnd(False, None),
        Chunk(0, False),
        BodyEnd(False, None),
        Chunk(4, True),
        b"\r\n.\r\n",
        BodyEnd(True, None),
        Command("NOOP", ""),
    ]


@pytest.mark.parametrize("size", SIZES)
def test_a_last_chunk_gets_the_line_end_that_it_lacks(size: int) -> None:
    assert play(b"BDAT 1 LAST\r\naBDAT 0 LAST\r\nBDAT 1\r\naBDAT 0 LAST\r\n", size) == [
        Chunk(1, True),
        b"a\r\n",
        BodyEnd(True, None),
        Chunk(0, True),
        BodyEnd(True, None),
        Chunk(1, False),
        b"a",
        BodyEnd(False, None),
        Chunk(0, True),
        b"\r\n",
        BodyEnd(True, None),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("body", [b"a\nb\r\n", b"a\rb\r\n", b"ab\r", b"\n", b"\r"])
def test_stray_line_ends_in_chunks(body: bytes, size: int) -> None:
    for cut in range(len(body) + 1):
        wire = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (cut, body[:cut], len(body) - cut, body[cut:])
        seen = play(wire, size)
        assert seen[-1] == BodyEnd(True, STRAY_LINE_END), cut


def test_a_chunk_over_the_limit_is_known_before_its_octets_come() -> None:
    machine = SmtpServer(1000, max_discarded=500)
    machine.receive(b"BDAT 1501 LAST\r\n")
    with pytest.raises(ProtocolError) as caught:
        machine.next_event()
    assert caught.value.reply == bytes(TOO_BIG)


@pytest.mark.parametrize("size", SIZES)
def test_a_chunk_a_little_over_the_limit_is_read_and_refused(size: int) -> None:
    seen = play(b"BDAT 600\r\n" + b"x" * 600 + b"BDAT 600 LAST\r\n" + b"x" * 600 + b"NOOP\r\n", size)
    assert seen == [
        Chunk(600, False),
        b"x" * 600,
        BodyEnd(False, None),
        Chunk(600, True),
        BodyEnd(True, TOO_BIG),
        Command("NOOP", ""),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "argument", [b"", b"x", b"-1", b"+1", b"1 FIRST", b"1 LAST LAST", b"LAST", b"1e3", b"0x10", b"1" * 13, b"\xd9\xa1"]
)
def test_a_chunk_without_a_size_ends_the_dialogue(argument: bytes, size: int) -> None:
    seen = play(b"BDAT " + argument + b"\r\nMAIL FROM:<evil@test>\r\n", size)
    assert len(seen) == 1
    assert isinstance(seen[0], ProtocolError)
    assert seen[0].reply.startswith(b"501 5.5.4 ")


@pytest.mark.parametrize("size", SIZES)
def test_discarded_chunks_leave_no_trace(size: int) -> None:
    machine = SmtpServer(MAX_SIZE)
    seen: list[object] = []
    wire = b"BDAT 4\r\na\nb\rBDAT 3 LAST\r\n\0\0\0MAIL x\r\nBDAT 3 LAST\r\na\r\n"
    for start in range(0, len(wire), size):
        machine.receive(wire[start : start + size])
        while (event := machine.next_event()) is not None:
            if isinstance(event, BodyChunk):
                assert seen[-1] == Chunk(3, True)
                continue
            seen.append(event)
            if event == Command("MAIL", "x"):
                machine.begin_message()
            elif isinstance(event, Chunk) and Command("MAIL", "x") not in seen:
                machine.discard()
    assert seen == [
        Chunk(4, False),
        BodyEnd(False, None),
        Chunk(3, True),
        BodyEnd(True, None),
        Command("MAIL", "x"),
        Chunk(3, True),
        BodyEnd(True, None),
    ]


@pytest.mark.parametrize("size", [4099, 1 << 20])
def test_long_lines_across_chunks(size: int) -> None:
    half = MAX_TEXT_LINE // 2
    for extra, fault in ((0, None), (1, LONG_LINE)):
        rest = half + extra
        wire = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (half, b"x" * half, rest, b"x" * (rest - 2) + b"\r\n")
        assert play(wire, size, max_size=1 << 20)[-1] == BodyEnd(True, fault)


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = st.sampled_from(
    [
        *(b"\r\n", b"\r", b"\n", b".", b"..", b"\r\n.\r\n", b"\n.\n", b"\r\n.\n", b"\n.\r\n", b".\r\n", b"\0", b" "),
        *(b"DATA\r\n", b"MAIL FROM:<a@b>\r\n", b"RSET\r\n", b"NOOP\r\n", b"AUTH X\r\n", b"EHLO x\r\n", b"\x16\x03"),
        *(b"BDAT 3\r\n", b"BDAT 7 LAST\r\n", b"BDAT 0 LAST\r\n", b"BDAT 20\r\n", b"BDAT 9000\r\n", b"BDAT\r\n"),
        *(b"x" * 30, b"y\r\n" * 10, b"\xff", "ü".encode(), b"a: b\r\n\r\n"),
    ]
)
WIRE = st.lists(WORDS | st.binary(max_size=5), max_size=25).map(b"".join)


OCTETS = st.lists(st.sampled_from([b"\0", b"\r", b"\n", b"\r\n", b".", b"\r\n.\r\n", b"BDAT 3\r\n", b"\xff", b"x"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(OCTETS.map(b"".join), min_size=1, max_size=4), st.sampled_from(SIZES))
def test_a_binary_message_comes_out_as_it_is_and_the_next_is_held_to_lines(chunks: list[bytes], size: int) -> None:
    wire = b"MAIL FROM:<> BODY=BINARYMIME\r\n"
    for number, chunk in enumerate(chunks, 1):
        wire += b"BDAT %d%b\r\n%b" % (len(chunk), b" LAST" if number == len(chunks) else b"", chunk)
    wire += b"MAIL FROM:<>\r\nBDAT 1 LAST\r\n\0NOOP\r\n"
    seen = play(wire, size)
    assert b"".join(item for item in seen if isinstance(item, bytes)) == b"".join(chunks)
    ends = [item for item in seen if isinstance(item, BodyEnd)]
    assert [end.fault for end in ends] == [None] * len(chunks) + [NUL_IN_MESSAGE]
    assert seen[-1] == Command("NOOP", "")


@settings(max_examples=500, deadline=None)
@given(WIRE, st.integers(20, 60), st.integers(0, 60))
@example(b"DATA\r\n\r\n.\r", 20, 20)
@example(b"DATA\r\nAUTH X\r\n\r\n\r\n\r\n\r\n\r\nAUTH X\r\n", 20, 0)
@example(b"DATA\r\nx\n.\r\nMAIL FROM:<a@b>\r\n", 20, 20)
@example(b"DATA\r\n" + b"x" * 40 + b"\r\n.\r\n", 20, 20)
@example(b"BDAT 3\r\na\r\rBDAT 7 LAST\r\n\nabcdef", 20, 20)
def test_events_do_not_depend_on_how_tcp_cut_the_bytes(wire: bytes, max_size: int, max_discarded: int) -> None:
    whole = comparable(play(wire, max_size=max_size, max_discarded=max_discarded))
    single = comparable(play(wire, 1, max_size=max_size, max_discarded=max_discarded))
    assert single == whole


@settings(max_examples=300, deadline=None)
@given(WIRE, WIRE)
def test_a_message_ends_where_a_strict_reader_says(body: bytes, behind: bytes) -> None:
    """The end is the first CRLF . CRLF behind `DATA CRLF`, counting that CRLF; nothing else, whatever is inside."""
    wire = body + b"\r\n.\r\n" + behind
    framed = b"\r\n" + wire
    end = framed.index(b"\r\n.\r\n") + 5 - 2
    machine = SmtpServer(1 << 20)
    machine.expect_text()
    machine.receive(wire)
    taken = b""
    while isinstance(event := machine.next_event(), BodyChunk):
        taken += event.data
    assert isinstance(event, BodyEnd)
    assert machine._position == end
    inside = wire[: end - 3]
    strict = inside.count(b"\r\n") == inside.count(b"\r") == inside.count(b"\n") and b"\0" not in inside
    assert (event.fault is None) == strict
    if strict:
        assert taken == (b"\r\n" + inside).replace(b"\r\n.", b"\r\n")[2:]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([1, 3, 65536]))
def test_only_protocol_error_escapes(data: bytes, size: int) -> None:
    for item in play(data, size):
        assert isinstance(item, bytes | Command | Chunk | BadLine | AuthLine | BodyEnd | ProtocolError)


def test_many_pipelined_commands_take_linear_time() -> None:
    machine = SmtpServer(MAX_SIZE)
    machine.receive(b"\r\n" * 130_000)
    began = time.process_time()
    count = 0
    while machine.next_event() is not None:
        count += 1
    assert count == 130_000
    assert time.process_time() - began < 2.0


def test_every_fault_fits_its_code() -> None:
    replies = [value for value in vars(protocol).values() if isinstance(value, Reply)]
    assert len(replies) == 7
    assert all(reply.permanent and reply.enhanced for reply in replies)
