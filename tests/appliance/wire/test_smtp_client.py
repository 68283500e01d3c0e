"""The client machine: replies matched to commands, however the bytes come; nothing but commands goes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MessageError, ProtocolError
from appliance.wire.smtp_client import (
    GREETING,
    MAX_COMMAND,
    TEXT,
    UNASKED,
    Answer,
    ClientMachine,
    checked,
    stuffed,
)

EHLO = b"250-mx.example greets you\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-AUTH=LOGIN PLAIN\r\n250 8BITMIME\r\n"


def greeted(extensions: bytes = EHLO, *, lmtp: bool = False) -> ClientMachine:
    machine = ClientMachine(lmtp=lmtp)
    machine.receive(b"220 mx.example\r\n")
    assert machine.next_event() is not None
    machine.hello("me.example")
    machine.receive(extensions)
    assert machine.next_event() is not None
    return machine


def answers(machine: ClientMachine, pieces: list[bytes]) -> list[str]:
    """What comes out of a machine that gets the bytes in these pieces; only ProtocolError may escape."""
    out: list[str] = []
    try:
        for piece in pieces:
            machine.receive(piece)
            while (answer := machine.next_event()) is not None:
                out.append(f"{answer.verb} {answer.reply.code} {answer.reply.enhanced} {answer.reply.text}")
    except ProtocolError as error:
        out.append(f"ProtocolError {error}")
    return out


def test_hello_reads_the_extensions() -> None:
    machine = greeted()
    assert machine.peer_name == "mx.example"
    assert machine.extensions == {"PIPELINING": "", "SIZE": "1000", "AUTH": "LOGIN PLAIN", "8BITMIME": ""}


def test_helo_offers_no_extensions_whatever_it_says() -> None:
    machine = greeted()
    machine.hello("me.example", extended=False)
    machine.receive(b"250-old\r\n250 PIPELINING\r\n")
    assert machine.next_event() is not None
    assert machine.extensions == {}


def test_pipelined_replies_are_matched_in_order() -> None:
    machine = greeted()
    sent = machine.command("MAIL", "FROM:<a@b.c>") + machine.command("RCPT", "TO:<d@e.f>") + machine.command("DATA")
    assert sent == b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"
    assert machine.unanswered == 3
    got = answers(machine, [b"250 2.1.0 ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n354 go\r\n"])
    assert got == ["MAIL 250 2.1.0 ok", "RCPT 550 5.1.1 no\nsuch user", "DATA 354  go"]


def test_without_pipelining_a_command_waits_for_its_reply() -> None:
    machine = greeted(b"250 old.example\r\n")
    machine.command("MAIL", "FROM:<>")
    with pytest.raises(ValueError, match="RCPT must wait for the reply to MAIL"):
        machine.command("RCPT", "TO:<a@b.c>")


@pytest.mark.parametrize("verb", ["EHLO", "STARTTLS", "AUTH", "DATA", "QUIT"])
def test_some_commands_end_a_group(verb: str) -> None:
    machine = greeted()
    machine.command(verb, "x")
    with pytest.raises(ValueError, match=f"RSET must wait for the reply to {verb}"):
        machine.command("RSET")


@pytest.mark.parametrize("bad", ["\r\nRCPT TO:<x@y.z>", "\n", "\0", "\x7f", "\t"])
def test_no_control_character_gets_into_a_command(bad: str) -> None:
    machine = greeted()
    with pytest.raises(ValueError, match="control character in MAIL command"):
        machine.command("MAIL", f"FROM:<a{bad}@b.c>")
    with pytest.raises(ValueError, match="control character in AUTH response"):
        machine.respond(bad.encode())
    assert machine.unanswered == 0


def test_command_length_is_limited() -> None:
    machine = greeted()
    fits = "x" * (MAX_COMMAND - len("RCPT "))
    assert len(machine.command("RCPT", fits)) == MAX_COMMAND + 2
    with pytest.raises(ValueError, match="RCPT command too long"):
        machine.command("RCPT", fits + "x")


def test_data_injected_before_the_handshake_is_refused() -> None:
    machine = greeted()
    machine.command("STARTTLS")
    machine.receive(b"220 go\r\n250-evil.example\r\n250 AUTH PLAIN\r\n")
    answer = machine.next_event()
    assert answer is not None
    assert answer.verb == "STARTTLS"
    with pytest.raises(ProtocolError, match="data pipelined after STARTTLS"):
        machine.start_tls()
    assert machine.closed


def test_half_a_line_before_the_handshake_is_refused() -> None:
    machine = greeted()
    machine.command("STARTTLS")
    machine.receive(b"220 go\r\n25")
    machine.next_event()
    with pytest.raises(ProtocolError):
        machine.start_tls()


def test_tls_forgets_what_was_learnt_in_clear() -> None:
    machine = greeted()
    machine.command("STARTTLS")
    machine.receive(b"220 go\r\n")
    machine.next_event()
    machine.start_tls()
    assert machine.extensions == {}
    assert machine.peer_name == ""


def test_an_unasked_421_is_told_and_other_unasked_replies_are_errors() -> None:
    machine = greeted()
    machine.receive(b"421 4.3.2 shutting down\r\n")
    answer = machine.next_event()
    assert answer is not None
    assert (answer.verb, answer.reply.code) == (UNASKED, 421)
    assert machine.closed

    machine = greeted()
    machine.receive(b"250 surprise\r\n")
    with pytest.raises(ProtocolError, match="not asked for"):
        machine.next_event()


def test_a_421_closes_the_dialogue() -> None:
    machine = greeted()
    machine.command("MAIL", "FROM:<>")
    machine.command("RCPT", "TO:<a@b.c>")
    machine.receive(b"421 bye\r\n250 never\r\n")
    answer = machine.next_event()
    assert isinstance(answer, Answer)
    assert answer.verb == "MAIL"
    assert machine.closed
    assert machine.next_event() is None


def test_text_is_answered_once_by_smtp_and_per_accepted_recipient_by_lmtp() -> None:
    for lmtp, verbs in ((False, [TEXT]), (True, [TEXT, TEXT])):
        machine = greeted(lmtp=lmtp)
        for command in ("MAIL", "RCPT", "RCPT", "RCPT", "DATA"):
            machine.command(command, "x")
        answers(machine, [b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n"])
        assert machine.end_of_text() == b".\r\n"
        assert machine.unanswered == len(verbs)
        got = answers(machine, [b"250 one\r\n", b"250 two\r\n"])
        assert [line.split(" ")[0] for line in got if not line.startswith("Protocol")] == verbs


def test_bdat_is_pipelined_with_its_recipients() -> None:
    machine = greeted()
    sent = machine.command("MAIL", "FROM:<>") + machine.command("RCPT", "TO:<a@b.c>") + machine.chunk(12)
    assert sent.endswith(b"BDAT 12 LAST\r\n")
    got = answers(machine, [b"250 ok\r\n250 ok\r\n250 stored\r\n"])
    assert got[-1] == f"{TEXT} 250  stored"


replies = st.lists(
    st.sampled_from(
        [
            b"250 ok\r\n",
            b"250-a\r\n250 b\r\n",
            b"250-a\r\n550 b\r\n",
            b"550 5.1.1 no\r\n",
            b"354\r\n",
            b"421 4.0.0 bye\r\n",
            b"199 x\r\n",
            b"garbage\r\n",
            b"250 bare\n",
            b"250 cr\rcr\r\n",
            b"250-" + b"x" * 2100 + b"\r\n",
            b"250 \xff\xfe\r\n",
            b"250-\r\n" * 300,
            b"25",
        ]
    )
    | st.binary(max_size=20),
    max_size=8,
).map(b"".join)


@given(replies)
def test_answers_do_not_depend_on_how_tcp_cut_the_bytes(data: bytes) -> None:
    def machine() -> ClientMachine:
        machine = greeted()
        for verb in ("MAIL", "RCPT", "RCPT", "RCPT"):
            machine.command(verb, "x")
        return machine

    assert answers(machine(), [bytes([byte]) for byte in data]) == answers(machine(), [data])


def test_greeting_is_an_answer_too() -> None:
    assert answers(ClientMachine(), [b"554 5.7.1 go away\r\n"]) == [f"{GREETING} 554 5.7.1 go away"]


# ── the message ───────────────────────────────────────────────────────────────────────────────────────────────────


def unstuffed(data: bytes) -> bytes:
    """What a receiver makes of it: line by line, slowly and surely."""
    lines = data.split(b"\r\n")
    assert lines.pop() == b""
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)


lines = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x", b"x.", b"\x80"]), max_size=8)


@given(lines, st.booleans())
def test_stuffing_is_undone_by_a_receiver_and_hides_no_end(lines: list[bytes], ended: bool) -> None:
    message = b"\r\n".join(lines) + (b"\r\n" if ended else b"")
    whole = b"".join(stuffed([message]))
    assert b"".join(stuffed([message[n : n + 1] for n in range(len(message))])) == whole
    assert whole == b"" or whole.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + whole
    if whole:
        assert unstuffed(whole) == (message if message.endswith(b"\r\n") else message + b"\r\n")


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b"."]), max_size=8))
def test_a_bare_cr_or_lf_is_refused_wherever_the_chunks_end(pieces: list[bytes]) -> None:
    message = b"".join(pieces)
    bare = message.replace(b"\r\n", b"")
    for chunks in ([message], [message[n : n + 1] for n in range(len(message))]):
        if b"\r" in bare or b"\n" in bare:
            with pytest.raises(MessageError, match="bare CR or LF"):
                list(stuffed(chunks))
        else:
            assert b"".join(checked(chunks)) == message
