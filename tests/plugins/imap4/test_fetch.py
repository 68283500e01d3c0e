"""FETCH: every item, partial and large ones, \\Seen, and messages that are gone."""

from __future__ import annotations

import asyncio
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import NotFoundError
from appliance.mail.headers import select_fields
from appliance.mail.message import Message
from appliance.store.messages import expunge
from appliance.store.model import Change, FlagEdit
from appliance.store.texts import PIECE
from plugins.imap4 import fetch, fetch_plan, fetch_portion, fetch_texts
from plugins.imap4.fetch_batch import SLICE
from plugins.imap4.fetch_portion import LARGE
from plugins.imap4.fetch_section import cut, header_section
from plugins.imap4.protocol_fetch import parse_items
from plugins.imap4.protocol_parse import Cursor
from tests.plugins.imap4.office import LUIS, Client, Office, office

PLAIN = (
    b"Received: from x\r\n by y\r\nFrom: Ana <ana@palomar.test>\r\nTo: luis@palomar.test\r\n"
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nDate: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
    b"Message-ID: <1@palomar.test>\r\n\r\nHello\r\n"
)
PLAIN_HEADER, _, PLAIN_TEXT = PLAIN.partition(b"\r\n\r\n")
PLAIN_HEADER += b"\r\n\r\n"

INNER = b"Subject: inner\r\nFrom: b@c\r\n\r\nInside\r\n"
NESTED = (
    b"Subject: outer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\npreamble\r\n"
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nfirst\r\n"
    b"--x\r\nContent-Type: message/rfc822\r\nContent-Description: a letter\r\n\r\n" + INNER + b"\r\n"
    b"--x--\r\nepilogue\r\n"
)


def literal(octets: bytes) -> bytes:
    return b"{%d}\r\n%b" % (len(octets), octets)


async def one(client: Client, command: str) -> bytes:
    (line,) = await client.ok(command)
    return line


async def test_items_of_the_row_and_the_view(here: Office) -> None:
    await here.put(PLAIN, b"Subject: two\r\n\r\n", flags=2)
    client = await here.login("INBOX")
    assert await client.ok("FETCH 1:* (FLAGS UID)") == [
        b"* 1 FETCH (FLAGS (\\Recent \\Answered) UID 1)",
        b"* 2 FETCH (FLAGS (\\Recent \\Answered) UID 2)",
    ]
    assert await client.ok("UID FETCH 2,7 FLAGS") == [b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Answered))"]
    assert await one(client, "FETCH 2 FAST") == (
        b'* 2 FETCH (FLAGS (\\Recent \\Answered) INTERNALDATE "14-Nov-2023 22:13:20 +0000" RFC822.SIZE 16)'
    )
    assert await one(client, "FETCH 1 RFC822.SIZE") == b"* 1 FETCH (RFC822.SIZE %d)" % len(PLAIN)


async def test_envelope_and_structure(here: Office) -> None:
    await here.put(PLAIN, NESTED)
    client = await here.login("INBOX")
    envelope = (
        b'ENVELOPE ("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "=?utf-8?q?gr=C3=BC=C3=9Fe?=" '
        b'(("Ana" NIL "ana" "palomar.test")) (("Ana" NIL "ana" "palomar.test")) (("Ana" NIL "ana" "palomar.test")) '
        b'((NIL NIL "luis" "palomar.test")) NIL NIL NIL "<1@palomar.test>")'
    )
    assert await one(client, "FETCH 1 ENVELOPE") == b"* 1 FETCH (" + envelope + b")"
    assert (await one(client, "FETCH 1 ALL")).endswith(b"RFC822.SIZE %d " % len(PLAIN) + envelope + b")")
    full = await one(client, "FETCH 1 FULL")
    assert full.endswith(b'BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1))')
    extended = await one(client, "FETCH 2 BODYSTRUCTURE")
    plain = await one(client, "FETCH 2 BODY")
    assert b'"mixed" ("boundary" "x")' in extended
    assert plain.endswith(b'"mixed"))')
    assert b'("message" "rfc822" NIL NIL "a letter" "7bit" %d (NIL "inner"' % len(INNER) in plain


@pytest.mark.parametrize(
    ("item", "octets"),
    [
        ("BODY[]", PLAIN),
        ("RFC822", PLAIN),
        ("BODY[HEADER]", PLAIN_HEADER),
        ("RFC822.HEADER", PLAIN_HEADER),
        ("BODY[TEXT]", PLAIN_TEXT),
        ("RFC822.TEXT", PLAIN_TEXT),
        ("BODY[1]", PLAIN_TEXT),
        ("BODY[HEADER.FIELDS (Received TO)]", b"Received: from x\r\n by y\r\nTo: luis@palomar.test\r\n\r\n"),
        ("BODY[HEADER.FIELDS (X-None)]", b"\r\n"),
        (
            "BODY[HEADER.FIELDS.NOT (Received From Subject Date Message-ID)]",
            b"To: luis@palomar.test\r\n\r\n",
        ),
    ],
)
async def test_sections_of_a_plain_message(here: Office, item: str, octets: bytes) -> None:
    await here.put(PLAIN)
    client = await here.login("INBOX")
    peek = item.replace("BODY[", "BODY.PEEK[")
    assert await one(client, f"FETCH 1 {peek}") in {
        b"* 1 FETCH (%b %b)" % (item.encode(), literal(octets)),
        b"* 1 FETCH (%b %b FLAGS (\\Recent \\Seen))" % (item.encode(), literal(octets)),
    }


@pytest.mark.parametrize(
    ("section", "octets"),
    [
        ("1", b"first"),
        ("1.MIME", b"Content-Type: text/plain; charset=utf-8\r\n\r\n"),
        ("2", INNER),
        ("2.HEADER", b"Subject: inner\r\nFrom: b@c\r\n\r\n"),
        ("2.TEXT", b"Inside\r\n"),
        ("2.1", b"Inside\r\n"),
        ("2.MIME", b"Content-Type: message/rfc822\r\nContent-Description: a letter\r\n\r\n"),
        ("2.HEADER.FIELDS (from)", b"From: b@c\r\n\r\n"),
        ("2.HEADER.FIELDS.NOT (from)", b"Subject: inner\r\n\r\n"),
        ("3", None),
        ("1.HEADER", None),
        ("1.2", None),
        ("2.1.1", None),
    ],
)
async def test_sections_of_a_nested_message(here: Office, section: str, octets: bytes | None) -> None:
    await here.put(NESTED)
    client = await here.login("INBOX")
    expected = b"NIL" if octets is None else literal(octets)
    label = section.encode()
    assert await one(client, f"FETCH 1 BODY.PEEK[{section}]") == b"* 1 FETCH (BODY[%b] %b)" % (label, expected)


@pytest.mark.parametrize(
    ("item", "label", "octets"),
    [
        ("BODY.PEEK[]<0.10>", b"BODY[]<0>", PLAIN[:10]),
        (f"BODY.PEEK[]<{len(PLAIN_HEADER) - 3}.6>", b"BODY[]<%d>" % (len(PLAIN_HEADER) - 3), b"\n\r\nHel"),
        ("BODY.PEEK[]<100000.5>", b"BODY[]<100000>", b""),
        ("BODY.PEEK[TEXT]<2.100>", b"BODY[TEXT]<2>", b"llo\r\n"),
        ("BODY.PEEK[1]<1.2>", b"BODY[1]<1>", b"el"),
        ("BODY.PEEK[HEADER]<9.4>", b"BODY[HEADER]<9>", b" fro"),
        ("BODY.PEEK[HEADER.FIELDS (To)]<4.4>", b"BODY[HEADER.FIELDS (To)]<4>", b"luis"),
    ],
)
async def test_partial_fetch(here: Office, item: str, label: bytes, octets: bytes) -> None:
    await here.put(PLAIN)
    client = await here.login("INBOX")
    assert await one(client, f"FETCH 1 {item}") == b"* 1 FETCH (%b %b)" % (label, literal(octets))


async def test_items_of_all_kinds_in_one_answer(here: Office) -> None:
    await here.put(PLAIN)
    client = await here.login("INBOX")
    line = await one(
        client,
        "UID FETCH 1 (BODY.PEEK[TEXT] INTERNALDATE BODY.PEEK[HEADER.FIELDS (To)] RFC822.SIZE BODY ENVELOPE FLAGS "
        "BODYSTRUCTURE)",
    )
    names = re.findall(
        rb"UID|BODY\[TEXT\]|INTERNALDATE|BODY\[HEADER\.FIELDS|RFC822\.SIZE|BODY \(|ENVELOPE|FLAGS|STRUCT", line
    )
    assert names == [
        b"UID", b"BODY[TEXT]", b"INTERNALDATE", b"BODY[HEADER.FIELDS", b"RFC822.SIZE", b"BODY (", b"ENVELOPE", b"FLAGS",
        b"STRUCT",
    ]  # fmt: skip


async def test_reading_sets_seen_in_one_write_and_tells_it(here: Office) -> None:
    await here.put(PLAIN, PLAIN, PLAIN)
    watcher = await here.login("INBOX")
    client = await here.login("INBOX")
    changes: list[Change] = []
    here.store.changes.subscribe(here.mailbox_id(), changes.append)
    lines = await client.ok("FETCH 1:2 BODY[TEXT]")
    assert lines == [b"* %d FETCH (BODY[TEXT] %b FLAGS (\\Seen))" % (n, literal(PLAIN_TEXT)) for n in (1, 2)]
    assert [change.edits for change in changes] == [(FlagEdit(1, 2, 1, 0),)]
    assert await client.ok("FETCH 1 RFC822.TEXT") == [b"* 1 FETCH (RFC822.TEXT %b)" % literal(PLAIN_TEXT)]
    assert await client.ok("NOOP") == []
    assert await watcher.ok("NOOP") == [
        b"* 1 FETCH (UID 1 FLAGS (\\Recent \\Seen))",
        b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Seen))",
    ]


async def test_peeking_and_read_only_mailboxes_do_not_set_seen(here: Office) -> None:
    await here.put(PLAIN)
    client = await here.login("INBOX")
    await client.ok("FETCH 1 (BODY.PEEK[] RFC822.HEADER)")
    await client.ok("EXAMINE INBOX")
    await client.ok("FETCH 1 BODY[]")
    assert await client.ok("FETCH 1 FLAGS") == [b"* 1 FETCH (FLAGS ())"]


async def test_large_messages_go_out_in_slices(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_texts, "SLICE", 1000)
    large = PLAIN_HEADER + b"0123456789abcdef" * (LARGE // 16)
    await here.put(large, PLAIN)
    client = await here.login("INBOX")
    lines = await client.ok("FETCH 1:2 (UID BODY.PEEK[] FLAGS)")
    assert lines == [
        b"* %d FETCH (UID %d BODY[] %b FLAGS (\\Recent))" % (n, n, literal(octets))
        for n, octets in ((1, large), (2, PLAIN))
    ]
    assert await one(client, "FETCH 1 BODY.PEEK[]<500000.70000>") == b"* 1 FETCH (BODY[]<500000> %b)" % literal(
        large[500000:570000]
    )


async def test_of_a_large_message_only_what_is_asked_for_is_read(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients fetch such a message in many small pieces: reading it anew for each would cost the square of its size."""
    text = random.Random(1).randbytes(LARGE // 2).hex().encode()
    await here.put(PLAIN_HEADER + text)
    client = await here.login("INBOX")
    read: list[int] = []
    real = os.pread

    def pread(descriptor: int, count: int, position: int) -> bytes:
        read.append(count)
        return real(descriptor, count, position)

    monkeypatch.setattr(os, "pread", pread)
    for start in (0, 70_000, 900_000, len(text) - 5):
        read.clear()
        octets = text[start : start + 70_000]
        line = await one(client, f"FETCH 1 BODY.PEEK[TEXT]<{start}.70000>")
        assert line == b"* 1 FETCH (BODY[TEXT]<%d> %b)" % (start, literal(octets))
        assert sum(read) < 2 * PIECE
    read.clear()
    assert await one(client, "FETCH 1 BODY.PEEK[HEADER]") == b"* 1 FETCH (BODY[HEADER] %b)" % literal(PLAIN_HEADER)
    assert await one(client, "FETCH 1 BODY.PEEK[2]") == b"* 1 FETCH (BODY[2] NIL)"
    assert sum(read) < 1000  # where the frames are, but none of them


@pytest.mark.parametrize("section", ["", "TEXT", "1", "1.MIME", "2", "2.HEADER.FIELDS (from)", "2.TEXT", "3", "3.MIME"])
async def test_sections_of_a_large_message(tmp_path: Path, section: str) -> None:
    """The same octets as a message in memory gives, whole and in parts."""
    filler = random.Random(2).randbytes(400_000).hex().encode()
    inner = b"Subject: inner\r\nFrom: b@c\r\n\r\n" + filler[:500_000] + b"\r\n"
    octets = (
        b"Subject: outer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\npreamble\r\n"
        b"--x\r\nContent-Type: text/plain\r\n\r\n%b\r\n"
        b"--x\r\nContent-Type: message/rfc822\r\n\r\n%b\r\n--x--\r\n" % (filler, inner)
    )
    message = Message.parse(octets)
    path, _, what = section.partition(".") if section != "TEXT" else ("", "", "TEXT")
    numbers = (int(path),) if path else ()
    if what.startswith("HEADER.FIELDS"):
        expected: bytes | None = b"From: b@c\r\n\r\n"
    else:
        expected = message.section(numbers, what)
    async with office(tmp_path) as here:
        await here.put(octets)
        client = await here.login("INBOX")
        label = section.encode()
        answer = b"NIL" if expected is None else literal(expected)
        assert await one(client, f"FETCH 1 BODY.PEEK[{section}]") == b"* 1 FETCH (BODY[%b] %b)" % (label, answer)
        for start, count in ((0, 7), (3, 200_000), (399_990, 300_000), (600_000, 1 << 31)):
            answer = b"NIL" if expected is None else literal(expected[start : start + count])
            line = await one(client, f"FETCH 1 BODY.PEEK[{section}]<{start}.{count}>")
            assert line == b"* 1 FETCH (BODY[%b]<%d> %b)" % (label, start, answer)


async def test_stretches_of_one_text(here: Office) -> None:
    """Side by side, far apart, one inside the other, and empty ones."""
    parts = [b"first", b"", random.Random(7).randbytes(150_000).hex().encode(), b"last"]
    octets = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    octets += b"".join(b"--x\r\nContent-Type: image/png\r\n\r\n%b\r\n" % part for part in parts) + b"--x--\r\n"
    await here.put(octets)
    client = await here.login("INBOX")
    text = octets.partition(b"\r\n\r\n")[2]
    expected = {str(number).encode(): part for number, part in enumerate(parts, 1)} | {b"": octets, b"TEXT": text}
    for asked in ([b"2"], [b"1", b"2"], [b"4", b"1"], [b"TEXT", b"2"], [b"1", b"2", b"3", b"4"], [b"", b"3", b"2"]):
        items = b" ".join(b"BODY.PEEK[%b]" % label for label in asked).decode()
        answer = b" ".join(b"BODY[%b] %b" % (label, literal(expected[label])) for label in asked)
        assert await one(client, f"FETCH 1 ({items})") == b"* 1 FETCH (%b)" % answer


async def test_several_items_of_a_large_message(here: Office) -> None:
    octets = PLAIN_HEADER + random.Random(3).randbytes(LARGE).hex().encode()
    await here.put(octets)
    client = await here.login("INBOX")
    line = await one(client, "FETCH 1 (BODY.PEEK[HEADER] UID BODY.PEEK[TEXT]<5.9> BODY.PEEK[] RFC822.SIZE)")
    start = len(PLAIN_HEADER) + 5
    assert line == b"* 1 FETCH (BODY[HEADER] %b UID 1 BODY[TEXT]<5> %b BODY[] %b RFC822.SIZE %d)" % (
        literal(PLAIN_HEADER),
        literal(octets[start : start + 9]),
        literal(octets),
        len(octets),
    )


async def test_a_large_message_that_is_expunged_on_its_way_comes_whole(here: Office) -> None:
    octets = PLAIN_HEADER + random.Random(4).randbytes(4 << 20).hex().encode()
    await here.put(octets)
    client = await here.login("INBOX")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.send(b"x FETCH 1 BODY.PEEK[]\r\n")
    await until_it_waits(here)
    mailbox_id = here.mailbox_id()
    await here.store.write(lambda db: expunge(db, mailbox_id, None, deleted_only=False))
    for _ in range(3):
        await here.store.write(lambda _: None)  # the sweeper works behind others
        await here.store.tidy(everything=True)
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    lines, completion = await client.until(b"x")
    assert lines == [b"* 1 FETCH (BODY[] %b)" % literal(octets)]
    assert completion.startswith(b"OK")


@pytest.mark.parametrize("frame", [0, 5])
async def test_a_large_message_that_is_damaged(here: Office, caplog: pytest.LogCaptureFixture, frame: int) -> None:
    """What is found before anything is sent is answered; behind that only the connection's end says it."""
    await here.put(PLAIN, PLAIN_HEADER + random.Random(5).randbytes(LARGE).hex().encode())
    [number] = here.store._segments.numbers()
    path = here.store._segments.path(number)
    stored = bytearray(path.read_bytes())
    stored[len(stored) * (2 * frame + 1) // 32] ^= 1  # 16 frames
    path.write_bytes(stored)
    client = await here.login("INBOX")
    client.send(b"x FETCH 2 BODY.PEEK[]\r\n")
    if not frame:
        assert (await client.until(b"x"))[1].startswith(b"NO [CANNOT] body 2: frame 0: ")
        await client.ok("FETCH 1 BODY.PEEK[]")
        return
    announced = re.search(rb"BODY\[\] \{(\d+)\}", await client.reader.readline())
    assert announced is not None
    async with asyncio.timeout(60):
        assert len(await client.reader.read(-1)) < int(announced[1])
    assert "a message of ana@palomar.test broke off on its way: body 2: frame 5: " in caplog.text


async def test_fifty_clients_that_never_read_cost_little(here: Office) -> None:
    await here.put(PLAIN_HEADER + random.Random(6).randbytes(6 << 20).hex().encode())
    other = await here.login("INBOX", account=LUIS)
    clients = [await here.login("INBOX") for _ in range(50)]
    before = pss()
    for client in clients:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"x FETCH 1 BODY.PEEK[]\r\n")
    await until_it_waits(here, len(clients))
    await other.ok("NOOP")
    assert pss() - before < 60 << 20


def pss() -> int:
    """The octets of memory of this process."""
    return int(re.search(r"^Pss: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)[1]) * 1024  # type: ignore[index]


async def until_it_waits(here: Office, count: int = 1) -> None:
    """Go on until so many connections wait for clients that do not read."""
    async with asyncio.timeout(60):
        while sum(connection._drain_waiter is not None for connection in here.listeners[0].connections) < count:
            await here.store.read(lambda _: None)


async def test_many_copies_of_a_message_in_one_answer_go_out_one_by_one(here: Office) -> None:
    """However often a message is asked for by one command, it does not have to fit into memory that often."""
    octets = PLAIN_HEADER + b"x" * 100_000
    await here.put(octets)
    client = await here.login("INBOX")
    items = " ".join(f"BODY.PEEK[]<{start}.1000000>" for start in range(50))
    (line,) = await client.ok(f"FETCH 1 ({items})")
    assert line == b"* 1 FETCH (%b)" % b" ".join(
        b"BODY[]<%d> %b" % (start, literal(octets[start:])) for start in range(50)
    )


async def test_long_headers_make_short_batches(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_plan, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(fetch_plan, "MAX_ANSWER", 1000)
    messages = [b"Subject: %b\r\n\r\n" % (b"%d" % n * 600) for n in range(7)]
    await here.put(*messages)
    client = await here.login("INBOX")
    reads = 0
    read = here.store.read

    def counted(fn: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(fn)

    monkeypatch.setattr(here.store, "read", counted)
    lines = await client.ok("FETCH 1:* BODY.PEEK[HEADER]")
    assert lines == [b"* %d FETCH (BODY[HEADER] %b)" % (n, literal(octets)) for n, octets in enumerate(messages, 1)]
    assert reads == 4


async def test_more_messages_than_one_batch(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((fetch, "VIEW_BATCH"), (fetch, "STORE_BATCH"), (fetch_texts, "BATCH")):
        monkeypatch.setattr(module, name, 3)
    await here.put(*[b"Subject: %d\r\n\r\n%d\r\n" % (n, n) for n in range(1, 12)])
    client = await here.login("INBOX")
    everything = range(1, 12)
    assert await client.ok("FETCH 1:* UID") == [b"* %d FETCH (UID %d)" % (n, n) for n in everything]
    assert await client.ok("FETCH 1:* RFC822.SIZE") == [
        b"* %d FETCH (RFC822.SIZE %d)" % (n, 15 + 2 * len(str(n))) for n in everything
    ]
    assert await client.ok("FETCH 1:* BODY.PEEK[TEXT]") == [
        b"* %d FETCH (BODY[TEXT] %b)" % (n, literal(b"%d\r\n" % n)) for n in everything
    ]
    assert await client.ok("FETCH 11,1:2,2 UID") == [b"* %d FETCH (UID %d)" % (n, n) for n in (1, 2, 11)]


async def test_an_answer_goes_out_when_it_is_long_enough(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_portion, "TEXT_BATCH", 1000)
    monkeypatch.setattr(fetch_portion, "LARGE", 1500)
    texts = [b"%d" % n * 300 for n in range(9)]
    texts[4] *= 10
    mime = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n"
    await here.put(*[mime + text + b"\r\n--x\r\n\r\n" + b"z" * 5000 + b"\r\n--x--" for text in texts])
    client = await here.login("INBOX")
    reads = 0
    read = here.store.read

    def counted(fn: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(fn)

    monkeypatch.setattr(here.store, "read", counted)
    lines = await client.ok("FETCH 1:* BODY.PEEK[1]")
    assert lines == [b"* %d FETCH (BODY[1] %b)" % (n, literal(text)) for n, text in enumerate(texts, 1)]
    assert reads >= 3  # four, the large one, four, and whatever the large one takes: never one for each
    assert reads <= 6
    one = b"* 5 FETCH (BODY[1]<3> %b)" % literal(texts[4][3:8])
    assert await client.ok("FETCH 5 BODY.PEEK[1]<3.5>") == [one]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("asked", ["1:*", "3"])
async def test_a_text_that_is_not_where_it_stood_is_looked_for_once_more(
    here: Office, monkeypatch: pytest.MonkeyPatch, times: int, asked: str
) -> None:
    await here.put(*[b"Subject: %d\r\n\r\n%d\r\n" % (n, n) for n in range(1, 5)])
    client = await here.login("INBOX")
    stretch_in = here.store.stretch_in
    failures = [3] * times

    def moved(found: Any, start: int, end: int, *, at_once: bool = False) -> list[bytes | memoryview]:
        if found.row.uid in failures:
            failures.remove(found.row.uid)
            raise NotFoundError("compaction has moved it")
        return stretch_in(found, start, end, at_once=at_once)

    monkeypatch.setattr(here.store, "stretch_in", moved)
    lines, completion = await client.command(f"FETCH {asked} BODY.PEEK[TEXT]")
    found = [n for n in range(1, 5) if (n == 3 or asked == "1:*") and (n != 3 or times == 1)]
    assert lines == [b"* %d FETCH (BODY[TEXT] %b)" % (n, literal(b"%d\r\n" % n)) for n in found]
    assert completion.startswith(b"OK" if times == 1 else b"NO [EXPUNGEISSUED]")


async def test_a_uid_that_is_gone_is_no_error(here: Office) -> None:
    """RFC 9051 section 6.4.9. After a NO, imapclient throws away what it was given."""
    await here.put(*[b"Subject: %d\r\n\r\nText\r\n" % n for n in range(1, 4)])
    client = await here.login("INBOX")
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2], deleted_only=False))
    lines, completion = await client.command("UID FETCH 1:* BODY.PEEK[TEXT]")
    assert lines[:2] == [b"* %d FETCH (UID %d BODY[TEXT] %b)" % (n, n, literal(b"Text\r\n")) for n in (1, 3)]
    assert b"* 2 EXPUNGE" in lines[2:]
    assert completion == b"OK [EXPUNGEISSUED] Some of the messages were expunged"


async def test_messages_that_another_session_expunged(here: Office) -> None:
    await here.put(*[b"Subject: %d\r\n\r\nText\r\n" % n for n in range(1, 6)])
    client = await here.login("INBOX")
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2, 4], deleted_only=False))
    for item, octets in (
        ("RFC822.SIZE", b"20"),
        ("BODY.PEEK[TEXT]", literal(b"Text\r\n")),
        ("BODY.PEEK[1]", literal(b"Text\r\n")),
    ):
        label = item.replace(".PEEK", "").encode()
        lines, completion = await client.command(f"FETCH 1:* {item}")
        assert lines == [b"* %d FETCH (%b %b)" % (n, label, octets) for n in (1, 3, 5)]
        assert completion == b"NO [EXPUNGEISSUED] Some of the messages were expunged"
    for item in ("ENVELOPE", "BODYSTRUCTURE", "BODY.PEEK[HEADER]", "(UID BODY ENVELOPE BODY.PEEK[HEADER])"):
        lines, completion = await client.command(f"FETCH 1:* {item}")
        assert [int(line.split()[1]) for line in lines] == [1, 3, 5]
        assert completion[:2] == b"NO"
    lines, completion = await client.command("FETCH 2 BODY.PEEK[]")
    assert (lines, completion[:2]) == ([], b"NO")
    assert await client.ok("NOOP") == [b"* 4 EXPUNGE", b"* 2 EXPUNGE", b"* 3 RECENT"]
    assert len(await client.ok("FETCH 1:* RFC822.SIZE")) == 3


@pytest.mark.parametrize("numbers", ["4", "1:9", "*:9", "2,77"])
async def test_message_numbers_that_are_not_there(here: Office, numbers: str) -> None:
    await here.put(PLAIN, PLAIN)
    client = await here.login("INBOX")
    assert await client.completion(f"FETCH {numbers} FLAGS") == "BAD no such message number"
    assert await client.ok("UID FETCH 9 FLAGS") == []
    assert len(await client.ok("UID FETCH 9:* FLAGS")) == 1  # `*` is the last one, whatever stands before
    await client.ok("SELECT Sent")
    assert await client.completion("FETCH 1:* FLAGS") == "BAD no such message number"
    assert await client.ok("UID FETCH 1:* FLAGS") == []


async def test_a_client_that_does_not_read_holds_up_only_itself(tmp_path: Path) -> None:
    async with office(tmp_path, compress=False) as here:
        large = PLAIN_HEADER + b"x" * (8 << 20)
        await here.put(large)
        slow, other = await here.login("INBOX"), await here.login("INBOX")
        slow.writer.transport.pause_reading()
        slow.send(b"x FETCH 1 BODY.PEEK[]\r\n")
        waiting: list[int] = []
        while not waiting:
            await other.ok("NOOP")
            sizes = [connection._transport.get_write_buffer_size() for connection in here.listeners[0].connections]
            waiting = [size for size in sizes if size]
        assert max(waiting) < 2 * SLICE
        slow.writer.transport.resume_reading()
        lines, _ = await slow.until(b"x")
        assert lines == [b"* 1 FETCH (BODY[] %b)" % literal(large)]


def test_cut() -> None:
    for first in range(8):
        for count in range(1, 9):
            assert (
                b"".join(cut([b"ab", memoryview(b"cde"), b"", b"f"], first, count)) == b"abcdef"[first : first + count]
            )


@pytest.mark.parametrize(
    "header", [b"\r\n", b"", b"A: 1\r\n\r\n", b"to: 1\nTO: 2\r\n\r\n", b"To: 1", b"X: 1\r\n to: 2\r\nTo :3\r\n\r\n"]
)
def test_the_fast_way_to_choose_fields_does_as_the_slow_one(header: bytes) -> None:
    (item,) = parse_items(Cursor(b'BODY[HEADER.FIELDS (To "X-A%d")]'))
    assert header_section(item, header) == select_fields(header, [b"to", b"x-a%d"])


async def test_previews_are_the_first_words(here: Office) -> None:
    await here.put(b"Subject: x\r\n\r\nHello there\r\n", "Subject: y\r\n\r\nGrüße\r\n".encode())
    client = await here.login("INBOX")
    lines = [line for line in await client.ok("FETCH 1:2 (PREVIEW (LAZY) UID)") if b"FETCH" in line]
    assert lines == [
        b'* 1 FETCH (PREVIEW "Hello there" UID 1)',
        "* 2 FETCH (PREVIEW {7}\r\nGrüße UID 2)".encode(),
    ]
    assert await client.ok("SEARCH SEEN") == [b"* SEARCH"]
