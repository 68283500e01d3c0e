"""Messages that cost more than they weigh: nesting, parts, headers, addresses, recipients without measure.

Each is sent for real, and then everything is asked that makes the appliance look at it again.
"""

from __future__ import annotations

import time

import pytest

from tests.faults.peer import deliver, imap, last_number, pop3, smtp
from tests.faults.target import Target

GROWTH_MIB = 96  # some of these have many MiB themselves
LOOK_S = 5.0  # for any one answer about such a message

HEAD = "From: a@outside.test\r\nTo: ana@palomar.test\r\nSubject: {}\r\nMIME-Version: 1.0\r\n"


def multiparts(depth: int) -> str:
    """Multiparts in multiparts."""
    opening = "".join(f'Content-Type: multipart/mixed; boundary="{n}"\r\n\r\n--{n}\r\n' for n in range(depth))
    return (
        opening
        + "Content-Type: text/plain\r\n\r\nat the bottom\r\n"
        + "".join(f"--{n}--\r\n" for n in reversed(range(depth)))
    )


def messages(depth: int) -> str:
    """Messages in messages."""
    return "Content-Type: message/rfc822\r\n\r\n" * depth + "Subject: at the bottom\r\n\r\ntext\r\n"


def parts(count: int) -> str:
    """Parts beside each other."""
    return 'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + "--b\r\n\r\nx\r\n" * count + "--b--\r\n"


def same_boundary(depth: int) -> str:
    """Levels that all look for one boundary."""
    return 'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n' * depth


BOMBS = {
    "10,000 multiparts deep": HEAD + multiparts(10_000),
    "10,000 messages deep": HEAD + messages(10_000),
    "10,000 levels of one boundary": HEAD + same_boundary(10_000),
    "100,000 parts": HEAD + parts(100_000),
    "100,000 lines that look like a boundary": HEAD
    + 'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    + "--bx\r\n" * 100_000,
    "30,000 header fields": HEAD + "X-A: b\r\n" * 30_000 + "\r\ntext\r\n",
    "one field of 900 KB": HEAD + "X-A: " + "a\r\n " * 225_000 + "\r\n\r\ntext\r\n",
    "50,000 addresses": HEAD + "Cc: " + ",\r\n ".join(f"u{n}@x.test" for n in range(50_000)) + "\r\n\r\ntext\r\n",
    "nested comments": HEAD + "Cc: " + "(\r\n " * 100_000 + "a@x.test\r\n\r\ntext\r\n",
    "nested groups": HEAD + "Cc: " + "g:\r\n " * 100_000 + ";\r\n\r\ntext\r\n",
    "quotes that do not end": HEAD + 'Cc: "' + "\\\"\r\n " * 100_000 + "\r\n\r\ntext\r\n",
    "continued parameters": HEAD
    + "Content-Type: text/plain"
    + "".join(f";\r\n name*{n}=x" for n in range(30_000))
    + "\r\n\r\ntext\r\n",
    "encoded words": HEAD + "Subject: " + "=?utf-8?B?" + "YWFh" * 15 + "?=\r\n " * 20_000 + "\r\n\r\ntext\r\n",
    "references": HEAD + "References: " + "<a@x.test>\r\n " * 60_000 + "\r\n\r\ntext\r\n",
    "one line of 60,000 octets": HEAD + "\r\n" + "x" * 60_000 + "\r\n",
    "HTML that never closes": HEAD + "Content-Type: text/html\r\n\r\n" + "<div><!-- <a href='\r\n" * 50_000,
    "quoted-printable": HEAD
    + "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    + "=\r\n" * 300_000,
    "base64 of nothing": HEAD
    + "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + "=" * 76 + "\r\n" + ("\r\n" * 200_000),
    "unknown charset": HEAD + "Content-Type: text/plain; charset=" + "x" * 5000 + "\r\n\r\ntext\r\n",
}  # fmt: skip

QUESTIONS = (
    "FETCH {n} (FLAGS UID RFC822.SIZE INTERNALDATE ENVELOPE BODYSTRUCTURE)",
    "FETCH {n} (BODY)",
    "FETCH {n} (BODY.PEEK[" + "1." * 99 + "1] BODY.PEEK[" + "1." * 60 + "MIME])",
    "FETCH {n} (BODY.PEEK[HEADER.FIELDS (SUBJECT FROM X-A)] BODY.PEEK[TEXT]<0.100>)",
    "SEARCH {n} TEXT palomar BODY nothing SUBJECT x CC y HEADER REFERENCES z SENTSINCE 1-Jan-2020",
    "COPY {n} Archive",
)


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_is_taken_or_refused_and_looked_at_in_bounded_time(abused: Target, what: str) -> None:
    said = deliver(abused, BOMBS[what].format(what))
    assert said[:3] in {b"250", b"554", b"552"}, said
    if not said.startswith(b"250"):
        return
    with imap(abused) as reader:
        number = last_number(reader)
        for question in QUESTIONS:
            started = time.monotonic()
            answer = reader.command(question.format(n=number), seconds=LOOK_S)
            assert b"c OK" in answer or b"c NO" in answer, (question, answer[-200:])
            assert time.monotonic() - started < LOOK_S, question
        assert what.encode() in reader.command(f"FETCH {number} ENVELOPE") or "encoded" in what
        assert reader.command(f"STORE {number} +FLAGS.SILENT (\\Deleted)").startswith(b"c OK")
        with pop3(abused) as fetcher:
            fetcher.send(f"TOP {number} 5\r\n".encode())
            assert fetcher.until(b"\r\n.\r\n").startswith(b"+OK")
        assert b"c OK" in reader.command("EXPUNGE")


def test_10_000_levels_by_append(abused: Target) -> None:
    text = BOMBS["10,000 multiparts deep"].format("appended").encode()
    with imap(abused) as peer:
        peer.send(b"c APPEND Archive {%d+}\r\n%b\r\n" % (len(text), text))
        assert peer.answered(b"c").startswith(b"c OK")
        assert b"c OK" in peer.command("SELECT Archive")
        structure = peer.command("FETCH * BODYSTRUCTURE", seconds=LOOK_S)
        assert structure.count(b"(") == structure.count(b")")
        assert b'"mixed"' in structure.lower()
        assert b"c OK" in peer.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        assert b"c OK" in peer.command("CLOSE")


def test_100_000_recipients(abused: Target) -> None:
    """The limit defers those beyond it, as RFC 5321 section 4.5.3.1.10 has it; who goes on is sent away."""
    with smtp(abused) as peer:
        assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
        said: list[bytes] = []
        for start in range(0, 100_000, 500):
            peer.send(b"".join(b"RCPT TO:<ana+%d@palomar.test>\r\n" % n for n in range(start, start + 500)))
            if peer.ended:
                break
            said += [peer.line() for _ in range(500)] if start < 2000 else []
            if start >= 2000:
                break
        rest = peer.rest()
        lines = [*said, *rest.splitlines(keepends=True)]
    taken = sum(line.startswith(b"250 ") for line in lines)
    assert taken == 1000, taken
    assert sum(line.startswith(b"452 4.5.3") for line in lines) >= 1000
    assert lines[-1].startswith(b"421 "), lines[-1]


def test_100_000_unknown_recipients(abused: Target) -> None:
    with smtp(abused) as peer:
        assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
        peer.send(b"".join(b"RCPT TO:<nobody%d@palomar.test>\r\n" % n for n in range(100_000)))
        lines = peer.rest().splitlines()
    assert len(lines) < 50
    assert all(line[:1] in b"45" for line in lines)
    assert lines[-1].startswith(b"421 ")


def test_a_message_over_the_limit_is_read_past_and_refused(abused: Target) -> None:
    with smtp(abused) as peer:
        assert peer.say("MAIL FROM:<a@outside.test> SIZE=99999999999").startswith(b"552 ")
        assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
        assert peer.say("RCPT TO:<ana@palomar.test>").startswith(b"250 ")
        assert peer.say("DATA").startswith(b"354 ")
        piece = (b"x" * 998 + b"\r\n") * 1000
        for _ in range(54):  # 50 MiB and a little
            peer.send(piece)
        peer.send(b".\r\n")
        assert peer.reply().startswith(b"552 ")
        assert peer.say("NOOP").startswith(b"250 ")
