"""The machine of POP3: the same events however TCP cuts the bytes, and named limits."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from plugins.pop3.protocol import MAX_AUTH_LINE, MAX_COMMAND, AuthLine, Command, Pop3Server

fragments = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b" ", b"\0", b"USER ana", b"auth ", b"AUTH", b"RETR 1", b"\x16\x03", b"\xff", b"." * 700]
)
wire = st.lists(fragments | st.binary(max_size=20)).map(b"".join)


def events(pieces: list[bytes]) -> list[object]:
    """What the machine makes of the pieces; it is told to expect an AUTH line after each AUTH."""
    machine = Pop3Server()
    found: list[object] = []
    try:
        for piece in pieces:
            machine.receive(piece)
            while (event := machine.next_event()) is not None:
                found.append(event)
                if isinstance(event, Command) and event.verb == "AUTH":
                    machine.expect_auth()
    except ProtocolError as error:
        found += [str(error), error.reply[:5], error.reply[-2:], machine.closed]
        with contextlib.suppress(ProtocolError):  # it never speaks again
            found.append(machine.next_event())
    return found


@given(wire)
def test_events_do_not_depend_on_how_tcp_cut_the_bytes(data: bytes) -> None:
    found = events([data])
    assert events([bytes([byte]) for byte in data]) == found
    assert all(isinstance(event, Command | AuthLine) for event in found) or found[-3:] == [b"-ERR ", b"\r\n", True]


def test_commands_and_arguments() -> None:
    assert events([b"retr 1\r\nPASS  two  words \r\nNOOP\r\n\r\nX\xff y\r\n"]) == [
        Command("RETR", b"1"),
        Command("PASS", b" two  words "),
        Command("NOOP", b""),
        Command("", b""),
        Command("X\ufffd", b"y"),
    ]


def test_the_line_after_a_challenge_is_no_command() -> None:
    assert events([b"AUTH PLAIN\r\n*\r\nNOOP\r\n"]) == [Command("AUTH", b"PLAIN"), AuthLine(b"*"), Command("NOOP", b"")]


@pytest.mark.parametrize("data", [b"\n", b"\r\r\n", b"NOOP\n", b"NO\rOP\r\n", b"NO\0OP\r\n", b"NOOP\r\n\n"])
def test_only_crlf_ends_a_line(data: bytes) -> None:
    assert events([data])[-4] == "a CR, LF or NUL that is no line end"


@pytest.mark.parametrize("verb", [b"PASS ", b"AUTH "])
def test_lines_are_limited_before_they_have_ended(verb: bytes) -> None:
    limit = MAX_AUTH_LINE if verb == b"AUTH " else MAX_COMMAND
    longest = verb + b"x" * (limit - len(verb) - 2) + b"\r\n"
    assert len(events([longest])) == 1
    assert isinstance(events([longest])[0], Command)
    assert events([longest[:-2] + b"x\r\n"])[:1] == ["line too long"]
    assert events([longest[:-2] + b"xx"])[:1] == ["line too long"]


def test_tls_must_not_be_started_over_pipelined_bytes() -> None:
    machine = Pop3Server()
    machine.receive(b"STLS\r\nNOOP\r\n")
    assert machine.next_event() == Command("STLS", b"")
    assert machine.pending
    with pytest.raises(ProtocolError, match="pipelined"):
        machine.start_tls()
    with pytest.raises(ProtocolError, match="pipelined"):
        machine.next_event()


def test_tls_starts_a_new_dialogue() -> None:
    machine = Pop3Server()
    machine.receive(b"STLS\r\n")
    assert machine.next_event() == Command("STLS", b"")
    machine.expect_auth()
    machine.start_tls()
    machine.receive(b"NOOP\r\n")
    assert machine.next_event() == Command("NOOP", b"")


def test_a_handshake_without_stls_is_told_so() -> None:
    machine = Pop3Server()
    machine.receive(b"\x16\x03\x01\x02\x00\x01")
    with pytest.raises(ProtocolError, match="handshake") as caught:
        machine.next_event()
    assert b"STLS" in caught.value.reply
