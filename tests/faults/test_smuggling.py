"""SMTP smuggling, in and out: one message stays one message, whatever line ends and dots it holds.

CVE-2023-51764 (Postfix), CVE-2023-51765 (Sendmail), CVE-2023-51766 (Exim), CVE-2024-27305 (aiosmtpd) and their kin.
"""

from __future__ import annotations

import base64
import re

import pytest

from tests.e2e.appliance_process import ACCOUNTS, wait_for
from tests.faults.nexthop import NextHop, Taken
from tests.faults.peer import imap, last_number, smtp
from tests.faults.target import Target

SMUGGLED = "MAIL FROM:<admin@palomar.test>{end}RCPT TO:<ana@palomar.test>{end}DATA{end}Subject: smuggled{end}{end}x"

# What some server somewhere takes for the end of a message. Only the last is one.
ENDS = {
    "LF . LF": "\n.\n",
    "LF . CR LF": "\n.\r\n",
    "CR LF . LF": "\r\n.\n",
    "CR . CR": "\r.\r",
    "CR . CR LF": "\r.\r\n",
    "CR LF . CR": "\r\n.\r",
    "CR . LF": "\r.\n",
    "LF . CR": "\n.\r",
    "CR LF . CR CR LF": "\r\n.\r\r\n",
    "CR CR LF . CR CR LF": "\r\r\n.\r\r\n",
    "CR LF LF . LF": "\r\n\n.\n",
    "LF LF . CR LF": "\n\n.\r\n",
    "CR LF NUL . CR LF": "\r\n\0.\r\n",
    "CR LF . NUL CR LF": "\r\n.\0\r\n",
}


@pytest.mark.parametrize("end", ENDS)
def test_what_only_looks_like_the_end_is_none(abused: Target, end: str) -> None:
    with imap(abused) as reader:
        before = last_number(reader)
        for line_end in ("\r\n", "\n"):
            with smtp(abused) as peer:
                peer.say("MAIL FROM:<a@outside.test>")
                peer.say("RCPT TO:<luis@palomar.test>")
                assert peer.say("DATA").startswith(b"354 ")
                peer.send(f"Subject: outer\r\n\r\ntext{ENDS[end]}{SMUGGLED.format(end=line_end)}".encode())
                peer.send(b"\r\n.\r\nNOOP\r\nQUIT\r\n")
                answers = [line[:3] for line in peer.rest().splitlines()]
            assert answers == [b"554", b"250", b"221"], answers
        assert last_number(reader) == before, "a smuggled message was taken"


# What some programs take for an empty line or a dot, and what is nothing but text.
TEXTS = {
    "space . CR LF": "\r\n .\r\n",
    ". space CR LF": "\r\n. \r\n",
    ". tab CR LF": "\r\n.\t\r\n",
    "VT . VT": "\x0b.\x0b",
    "FF . FF": "\x0c.\x0c",
    "NEL . NEL": "\x85.\x85",
    "LS . LS": "\u2028.\u2028",
    "FS . FS": "\x1c.\x1c",
    "overlong CR LF . CR LF": b"\xc0\x8d\xc0\x8a.\xc0\x8d\xc0\x8a".decode("utf-8", "surrogateescape"),
    "quoted-printable": "=0D=0A.=0D=0A",
    "soft break .": "=\r\n..=\r\n",
}


@pytest.mark.parametrize("text", TEXTS)
def test_dots_that_end_nothing_are_text(abused: Target, text: str) -> None:
    """One message comes, with all that was to be smuggled inside of it. What begins with a dot comes without it."""
    octets = TEXTS[text].encode("utf-8", "surrogateescape")
    body = b"Subject: outer\r\n\r\ntext" + octets + SMUGGLED.format(end="\r\n").encode() + b"\r\n"
    with imap(abused, ACCOUNTS[1]) as reader:
        before = last_number(reader)
        with smtp(abused) as peer:
            peer.say("MAIL FROM:<a@outside.test> BODY=8BITMIME")
            peer.say("RCPT TO:<luis@palomar.test>")
            assert peer.say("DATA").startswith(b"354 ")
            peer.send(body + b".\r\nNOOP\r\nQUIT\r\n")
            assert [line[:3] for line in peer.rest().splitlines()] == [b"250", b"250", b"221"]
        assert last_number(reader) == before + 1
        assert body.replace(b"\r\n.", b"\r\n") in reader.command(f"FETCH {before + 1} BODY.PEEK[]")


def test_a_message_that_begins_with_what_looks_like_its_end(abused: Target) -> None:
    """Right behind the 354 a line begins, too."""
    for start in ("\n.\r\n", ".\n", ".\r", "\r.\r\n", "..\n.\r\n"):
        with smtp(abused) as peer:
            peer.say("MAIL FROM:<a@outside.test>")
            peer.say("RCPT TO:<luis@palomar.test>")
            assert peer.say("DATA").startswith(b"354 ")
            peer.send(f"{start}{SMUGGLED.format(end=chr(13) + chr(10))}\r\n.\r\nQUIT\r\n".encode())
            assert [line[:3] for line in peer.rest().splitlines()] == [b"554", b"221"], start


@pytest.mark.parametrize("verb", ["BDAT", "DATA"])
def test_a_whole_dialogue_in_a_message_stays_text(abused: Target, verb: str) -> None:
    """By BDAT a lone dot is a line like any other; by DATA it comes doubled. Neither may begin a second message."""
    inner = "text\r\n.\r\n" + SMUGGLED.format(end="\r\n") + "\r\n.\r\nQUIT\r\n"
    message = f"Subject: outer {verb}\r\n\r\n{inner}".encode()
    with smtp(abused) as peer:
        peer.say("MAIL FROM:<a@outside.test>")
        peer.say("RCPT TO:<ana@palomar.test>")
        if verb == "BDAT":
            peer.send(b"BDAT %d LAST\r\n%b" % (len(message), message))
        else:
            assert peer.say("DATA").startswith(b"354 ")
            peer.send(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert peer.reply().startswith(b"250 ")
        assert peer.say("NOOP").startswith(b"250 ")
    with imap(abused) as reader:
        number = last_number(reader)
        assert message in reader.command(f"FETCH {number} BODY.PEEK[]")


# ── BDAT ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def begun(target: Target, *commands: str) -> list[bytes]:
    """The codes of what a client hears that pipelines a sender, a recipient, and then this."""
    with smtp(target) as peer:
        peer.send(b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<ana@palomar.test>\r\n" + "".join(commands).encode())
        peer.send(b"QUIT\r\n")
        return [line[:3] for line in peer.rest().splitlines()][2:]


def test_sizes_that_are_none_end_the_connection(abused: Target) -> None:
    for size in ("", "-1", "+5", "0x10", "1e3", "5 6", "5 LASTX", "LAST", " 5", "9" * 13, "5;LAST", "١"):
        with smtp(abused) as peer:
            peer.say("MAIL FROM:<a@outside.test>")
            peer.say("RCPT TO:<ana@palomar.test>")
            peer.send(f"BDAT {size}\r\nHELP\r\n".encode())
            said = peer.rest()
        assert said[:1] in {b"4", b"5"}, (size, said)
        assert b"214" not in said, (size, said)


def test_chunks_out_of_order(abused: Target) -> None:
    assert begun(abused, "BDAT 5\r\nHELP\r", "\nBDAT 0 LAST\r\n") == [b"250", b"500"]  # a line end in two
    assert begun(abused, "BDAT 0 LAST\r\n")[0] in {b"554", b"250"}  # an empty message
    assert begun(abused, "BDAT 3\r\na\nb", "BDAT 2 LAST\r\n\r\n") == [b"554", b"503", b"221"]
    assert begun(abused, "BDAT 3\r\na\0b", "BDAT 2 LAST\r\n\r\n") == [b"554", b"503", b"221"]
    assert begun(abused, "BDAT 4\r\nHELP", "DATA\r\n")[1:2] == [b"503"]
    assert begun(abused, "BDAT 4\r\nHELP", "RSET\r\n", "BDAT 4 LAST\r\nHELP") == [b"250", b"250", b"503", b"221"]
    assert begun(abused, "BDAT 4\r\nHELP", "RCPT TO:<luis@palomar.test>\r\n")[1:2] == [b"503"]
    assert begun(abused, "BDAT 4\r\nHELP", "MAIL FROM:<b@outside.test>\r\n")[1:2] == [b"503"]


def test_chunks_without_a_transaction_are_read_past(abused: Target) -> None:
    with smtp(abused) as peer:
        peer.send(b"BDAT 6 LAST\r\nHELP\r\nNOOP\r\n")
        assert [peer.reply()[:3] for _ in range(2)] == [b"503", b"250"]
        peer.say("MAIL FROM:<a@outside.test>")
        peer.say("RCPT TO:<nobody@palomar.test>")
        peer.send(b"BDAT 6 LAST\r\nHELP\r\nNOOP\r\n")
        assert [peer.reply()[:3] for _ in range(2)] == [b"554", b"250"]


def test_chunks_over_the_limit_and_many_small_ones(abused: Target) -> None:
    assert begun(abused, "BDAT 99999999999\r\n")[0][:1] == b"5"
    with smtp(abused) as peer:
        peer.say("MAIL FROM:<a@outside.test>")
        peer.say("RCPT TO:<ana@palomar.test>")
        text = b"Subject: small\r\n\r\n" + b"octet by octet\r\n" * 100
        peer.send(b"".join(b"BDAT 1\r\n%c" % octet for octet in text) + b"BDAT 0 LAST\r\n")
        assert {peer.reply()[:3] for _ in range(len(text) + 1)} == {b"250"}


def test_a_lone_dot_is_no_end_of_chunks(abused: Target) -> None:
    """CVE-2017-16943 and CVE-2017-16944 (Exim): what came behind a dot in a chunk was handled twice, or for ever."""
    assert begun(abused, "BDAT 3\r\n.\r\n", "BDAT 0 LAST\r\n") == [b"250", b"250", b"221"]
    assert begun(abused, "BDAT 1\r\n.", "NOOP\r\n", "BDAT 2 LAST\r\n\r\n") == [b"250", b"250", b"250", b"221"]
    assert begun(abused, "BDAT 6\r\nHELP\r\n", ".\r\n", "RSET\r\n") == [b"250", b"500", b"250", b"221"]
    assert begun(abused, *(["BDAT 1\r\nx", "RSET\r\n"] * 20)) == [b"250", b"250", *[b"503", b"250"] * 19, b"221"]


def test_chunks_do_not_outlive_the_change_to_tls(abused: Target) -> None:
    with smtp(abused) as peer:
        peer.say("MAIL FROM:<a@outside.test>")
        peer.say("RCPT TO:<ana@palomar.test>")
        peer.send(b"BDAT 4\r\nHELP")
        assert peer.reply().startswith(b"250 ")
        assert peer.say("STARTTLS").startswith(b"220 ")
        peer.start_tls()
        peer.send(b"BDAT 4 LAST\r\nHELP")
        assert peer.reply().startswith(b"503 ")
        assert peer.say("DATA").startswith(b"503 ")


def test_a_message_before_the_354(abused: Target) -> None:
    """Whoever does not wait did not read the answers: most likely somebody else speaks through it."""
    assert begun(abused, "DATA\r\nSubject: early\r\n\r\nx\r\n.\r\n") == [b"503"]


# ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def one_message(hop: NextHop, marker: bytes) -> Taken:
    found = wait_for(lambda: [taken for taken in hop.messages if marker in taken.raw], "a message at the next hop")
    assert len(found) == 1
    return found[0]


def is_clean(raw: bytes) -> bool:
    """CRLF only, lines with a dot doubled, and one end."""
    return re.search(rb"\r(?!\n)|(?<!\r)\n|\0", raw) is None and raw.find(b"\r\n.\r\n") == len(raw) - 5


DIALOGUE = b"text\r\n.\r\nMAIL FROM:<admin@outside.test>\r\n..\r\n...\r\n.x\r\n.\r\n"


@pytest.mark.parametrize("verb", ["BDAT", "DATA"])
def test_what_leaves_is_stuffed(office: Target, hop: NextHop, verb: str) -> None:
    message = f"Subject: leaves by {verb}\r\n\r\n".encode() + DIALOGUE
    with smtp(office, "submission") as peer:
        assert peer.say(f"MAIL FROM:<{ACCOUNTS[0]}>").startswith(b"250 ")
        assert peer.say("RCPT TO:<friend@outside.test>").startswith(b"250 ")
        if verb == "BDAT":
            peer.send(b"BDAT %d LAST\r\n%b" % (len(message), message))
        else:
            peer.say("DATA")
            peer.send(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert peer.reply().startswith(b"250 ")
    taken = one_message(hop, f"leaves by {verb}".encode())
    assert is_clean(taken.raw)
    assert taken.message.endswith(message[message.index(b"\r\n\r\n") :])


@pytest.mark.parametrize("end", ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r\n", "\r\n\0.\r\n"], ids=repr)
def test_binary_messages_smuggle_nothing_on(office: Target, hop: NextHop, end: str) -> None:
    """A binary message may hold any octet (RFC 3030); a next hop that knows nothing of that gets none of them."""
    text = f"text{end}{SMUGGLED.format(end=end[:1])}{end}".encode()
    head = f"Subject: binary {end!r}\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\n".encode()
    with smtp(office, "submission") as peer:
        assert peer.say(f"MAIL FROM:<{ACCOUNTS[0]}> BODY=BINARYMIME").startswith(b"250 ")
        assert peer.say("RCPT TO:<friend@outside.test>").startswith(b"250 ")
        peer.send(b"BDAT %d LAST\r\n%b" % (len(head + text), head + text))
        assert peer.reply().startswith(b"250 ")
    taken = one_message(hop, b"Subject: binary " + repr(end).encode())
    assert is_clean(taken.raw)
    encoded = taken.message.partition(b"\r\n\r\n")[2]
    assert text in (base64.b64decode(encoded), encoded)


def test_stray_line_ends_of_our_own_programs_do_not_leave(office: Target, hop: NextHop) -> None:
    """`palomar send` takes text as people write it: what leaves has whole line ends, and no more messages."""
    text = "Subject: from a pipe\n\ntext\n.\nMAIL FROM:<admin@outside.test>\n\r.\rx\r\n.\r\n"
    office.command("send", "-f", ACCOUNTS[0], "friend@outside.test", stdin=text)
    taken = one_message(hop, b"from a pipe")
    assert is_clean(taken.raw)
    assert b"\r\n..\r\nMAIL FROM:<admin@outside.test>\r\n" in taken.raw


def test_addresses_and_parameters_cannot_hold_a_second_command(office: Target, hop: NextHop) -> None:
    with smtp(office, "submission") as peer:
        for line in (
            "MAIL FROM:<ana\r@palomar.test>",
            'MAIL FROM:<"a\r\nRCPT TO:<x@outside.test>"@palomar.test>',
            f"MAIL FROM:<{ACCOUNTS[0]}> ENVID=a+0D+0ARSET",
        ):
            peer.send(line.encode() + b"\r\n")
        assert b"\n" not in peer.rest().replace(b"\r\n", b"")
    with smtp(office, "submission") as peer:
        assert peer.say(f"MAIL FROM:<{ACCOUNTS[0]}> ENVID=a+0D+0ARSET")[:1] == b"5"
        # CVE-2020-28021 and CVE-2020-28026 (Exim): a line end in here became a line of a file in its queue.
        for value in ("a+0AX", "a+0D", "a+00b", "+0A"):
            assert peer.say(f"MAIL FROM:<{ACCOUNTS[0]}> AUTH={value}@palomar.test")[:1] == b"5", value
        assert peer.say(f"MAIL FROM:<{ACCOUNTS[0]}>").startswith(b"250 ")
        assert peer.say("RCPT TO:<friend@outside.test> ORCPT=rfc822;a+0D+0ADATA")[:1] == b"5"
        assert peer.say("RCPT TO:<friend@outside.test> ORCPT=rfc822;a+00b")[:1] == b"5"
        assert peer.say('RCPT TO:<"a\\\nb"@outside.test>')[:1] == b"5"
    assert all(command.endswith(b"\r\n") and command.count(b"\r") == 1 for command in hop.commands)
