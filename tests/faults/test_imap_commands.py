"""IMAP commands without measure: literals announced or endless, nesting, lists, numbers, guesses."""

from __future__ import annotations

import pytest

from tests.faults.peer import PORTS, Peer, greeted, imap
from tests.faults.target import Target

BEFORE = next(port for port in PORTS if port.name == "imap")

HUGE = (2**31, 2**32 + 1, 2**63, 2**64 + 1, 10**18, 10**90)


def ended_or_bad(said: bytes) -> bool:
    return b" BAD " in said or b" NO " in said or b"* BYE" in said


# ── literals ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("plus", ["", "+"], ids=["asking", "unasked"])
def test_huge_literals_before_the_login(abused: Target, plus: str) -> None:
    for size in (9000, *HUGE):
        with greeted(abused, BEFORE) as peer:
            peer.send(f"a LOGIN {{{size}{plus}}}\r\n".encode())
            assert ended_or_bad(peer.line()), size


def test_huge_literals_after_the_login(abused: Target) -> None:
    with selected(abused) as peer:
        for command in ("CREATE", "SEARCH SUBJECT", "LIST", "STATUS"):
            for size in HUGE:
                assert peer.command(f"{command} {{{size}}}").startswith(b"c BAD"), (command, size)
                assert peer.command("NOOP").startswith(b"c OK")


def test_a_huge_message_is_refused_before_it_is_sent(abused: Target) -> None:
    with imap(abused) as peer:
        for size in (2**26, *HUGE):
            assert peer.command(f"APPEND INBOX {{{size}}}").startswith((b"c NO", b"c BAD")), size
            assert peer.command("NOOP").startswith(b"c OK")


@pytest.mark.parametrize("logged_in", [False, True])
def test_a_command_of_literals_without_end(abused: Target, logged_in: bool) -> None:
    """Each is small, but together they never end. No more is kept than the limit of one command."""
    with imap(abused) if logged_in else greeted(abused, BEFORE) as peer:
        peer.send(b"a LOGIN")
        for _ in range(2000):
            peer.send(b" {1000+}\r\n" + b"x" * 1000)
            if peer.ended:
                break
        peer.send(b"\r\n")
        said = b"" if peer.ended and not peer.got else peer.line()
        assert not said or ended_or_bad(said)


def test_a_message_nobody_asked_for_is_read_past(abused: Target) -> None:
    """A refused message that comes all the same is thrown away, and what it holds is no command."""
    with imap(abused) as peer:
        text = b"b CREATE Smuggled\r\n" * 30_000
        peer.send(b"a APPEND Nowhere {%d+}\r\n%b\r\n" % (len(text), text))
        assert peer.answered(b"a").startswith(b"a NO [TRYCREATE]")
        assert b"Smuggled" not in peer.command('LIST "" *')


def test_unwanted_octets_have_a_limit(abused: Target) -> None:
    with imap(abused) as peer:
        peer.send(b"a APPEND Nowhere {%d+}\r\n" % 10**12)
        assert peer.rest().startswith(b"* BYE")


def test_a_literal_that_stops_half_way(abused: Target) -> None:
    with greeted(abused, BEFORE) as peer:
        peer.send(b"a LOGIN {5}\r\n")
        assert peer.line().startswith(b"+")
        peer.send(b"ab")
        peer.half_close()
        assert peer.rest() == b""
    with imap(abused) as peer:
        peer.send(b"a APPEND INBOX {500}\r\n")
        assert peer.line().startswith(b"+")
        peer.send(b"Subject: half\r\n")
        peer.half_close()
        assert b"OK" not in peer.rest()


# ── nesting, lists, numbers ───────────────────────────────────────────────────────────────────────────────────────


def selected(target: Target) -> Peer:
    peer = imap(target)
    assert b"c OK" in peer.command("SELECT INBOX")
    return peer


DEEP = 10_000  # a line holds a little more
UNBOUNDED = {
    "nested parentheses in SEARCH": "SEARCH " + "(" * DEEP + "ALL" + ")" * DEEP,
    "NOT of NOT": "SEARCH " + "NOT " * DEEP + "ALL",
    "OR of OR": "SEARCH " + "OR ALL " * 8000 + "ALL",
    "OR on the left": "SEARCH " + "OR " * 8000 + "ALL " * 8000 + "ALL",
    "many keys": "SEARCH " + "ALL " * (DEEP - 1) + "ALL",
    "nested parentheses in FETCH": "FETCH 1 " + "(" * DEEP + "FLAGS" + ")" * DEEP,
    "many items": "FETCH 1 (" + "UID " * DEEP + "FLAGS)",
    "a deep section": "FETCH 1 BODY[" + "1." * DEEP + "1]",
    "many field names": "FETCH 1 BODY[HEADER.FIELDS (" + "Subject " * 7000 + "To)]",
    "nested parentheses in STORE": "STORE 1 FLAGS " + "(" * DEEP + ")" * DEEP,
    "many flags": "STORE 1 FLAGS (" + " ".join(f"$k{n}" for n in range(4000)) + ")",
    "nested parentheses in LIST": 'LIST "" ' + "(" * DEEP + "*" + ")" * DEEP,
    "nested parentheses in STATUS": "STATUS INBOX " + "(" * DEEP + "MESSAGES" + ")" * DEEP,
    "nested parentheses in ID": "ID " + "(" * DEEP + ")" * DEEP,
    "many fields of ID": "ID (" + ' "name" "x"' * 5000 + ")",
    "nested parentheses in ENABLE": "ENABLE " + "(" * DEEP + ")" * DEEP,
    "a large number": "FETCH " + "9" * 5000 + " FLAGS",
    "a large partial": "FETCH 1 BODY[]<0.99999999999999999999>",
    "a large size": "SEARCH LARGER " + "9" * 5000,
    "many groups of NOTIFY": "NOTIFY SET " + " ".join(["(personal NONE)"] * 3_000),
    "nested parentheses in NOTIFY": "NOTIFY SET " + "(" * DEEP,
    "many parts of CATENATE": "APPEND INBOX CATENATE (" + "URL /a/;UID=1 " * 4_000 + ")",
    "a long URL": 'APPEND INBOX CATENATE (URL "/' + "a/" * 25_000 + ';UID=1")',
    "a deep mailbox name": "CREATE " + "a/" * 500 + "b",
    "a long mailbox name": "CREATE " + "a" * 20_000,
}


@pytest.mark.parametrize("what", UNBOUNDED)
def test_commands_without_measure(abused: Target, what: str) -> None:
    with selected(abused) as peer:
        said = peer.command(UNBOUNDED[what])
        assert b"c NO" in said or b"c BAD" in said, said[-300:]
        assert peer.command("NOOP").startswith(b"c OK")


def test_wildcards_cost_no_more_than_their_length(abused: Target) -> None:
    """Patterns that send a backtracking matcher into the night."""
    with selected(abused) as peer:
        for pattern in (
            "*" * 2000,
            "*a" * 400,
            "%" * 2000,
            "*%" * 500 + "x",
            "(" * 50,
            "[a-z]" * 100,
            ".*" * 400 + "\\",
        ):
            said = peer.command(f'LIST "" "{pattern}"', seconds=2)
            assert b"c OK" in said or b"c BAD" in said


def test_sets_are_not_unfolded(abused: Target) -> None:
    with selected(abused) as peer:
        for numbers in ("1:4294967295," * 4000 + "1", "4294967295:1," * 4000 + "*", "*:1," * 9000 + "1"):
            said = peer.command(f"UID FETCH {numbers} FLAGS", seconds=3)
            assert b"c OK" in said or b"c BAD" in said


def test_bad_commands_in_a_row_end_the_session(abused: Target) -> None:
    with greeted(abused, BEFORE) as peer:
        peer.send(b"a FROBNICATE\r\n" * 200)
        said = peer.rest()
    assert said.count(b"a BAD") < 50
    assert b"* BYE" in said


def test_odd_base64_and_endless_answers_in_authenticate(abused: Target) -> None:
    for answer in (b"=" * 100, b"A" * 20_000, b"\xff\xfe", b"AAAA" * 4000 + b"=", b"!!!!", b"*"):
        with greeted(abused, BEFORE) as peer:
            peer.send(b"a AUTHENTICATE PLAIN\r\n")
            assert peer.line().startswith(b"+")
            peer.send(answer + b"\r\n")
            assert ended_or_bad(peer.line()), answer[:20]
