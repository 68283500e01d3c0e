"""SORT against a plain sort of what Python's own email package reads, and what is kept between two of them."""

from __future__ import annotations

import random
from array import array
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from appliance.mail.subject import base_subject, collation_key
from appliance.store.messages import expunge
from appliance.wire.imap import envelope
from plugins.imap4 import columns, sort
from plugins.imap4.protocol_sort import Criterion
from plugins.imap4.sort_block import SortBlock, make_sort_blocks, sorted_places
from plugins.imap4.sort_keys import octets, read_envelope
from tests.plugins.imap4.office import Client, Office

LETTERS = (
    (
        b'From: "Zoe Adler" <b@x.test>\r\nTo: ana@palomar.test\r\nCc: c@x.test\r\nSubject: Re: apples\r\n'
        b"Date: Tue, 2 Jan 2024 10:00:00 +0000\r\n\r\nlong text here\r\n"
    ),
    (
        b"From: a@x.test\r\nTo: luis@palomar.test\r\nSubject: [list] Bananas\r\n"
        b"Date: Mon, 1 Jan 2024 23:00:00 -0500\r\n\r\nx\r\n"
    ),
    (
        b'From: =?utf-8?q?=C3=84rger?= <c@x.test>\r\nTo: "Bo" <zz@palomar.test>\r\nCc: a@x.test\r\nSubject: apples\r\n'
        b"Date: Tue, 2 Jan 2024 09:00:00 +0000\r\n\r\nmiddle\r\n"
    ),
    b"Subject: cherries {5}\r\n\r\nno date\r\n",
)


async def numbers(client: Client, command: str) -> list[int]:
    (line,) = [line for line in await client.ok(command) if line.startswith(b"* SORT")]
    return [int(word) for word in line.split()[2:]]


@pytest.fixture
async def client(here: Office) -> Client:
    await here.put(*LETTERS)
    return await here.login("INBOX")


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        ("SUBJECT", [1, 3, 2, 4]),
        ("REVERSE SUBJECT", [4, 2, 1, 3]),  # what is alike keeps its order
        ("SUBJECT DATE", [3, 1, 2, 4]),
        ("DATE", [4, 2, 3, 1]),  # without a Date field by internal date
        ("REVERSE DATE", [1, 3, 2, 4]),
        ("FROM", [4, 2, 1, 3]),
        ("TO", [4, 1, 2, 3]),
        ("CC", [2, 4, 3, 1]),
        ("SIZE", [4, 2, 1, 3]),
        ("ARRIVAL", [1, 2, 3, 4]),
        ("DISPLAYFROM", [4, 2, 3, 1]),
        ("DISPLAYTO", [4, 1, 3, 2]),
        ("REVERSE ARRIVAL REVERSE SIZE", [3, 1, 2, 4]),
    ],
)
async def test_every_criterion(client: Client, criteria: str, found: list[int]) -> None:
    assert await numbers(client, f"SORT ({criteria}) UTF-8 ALL") == found
    assert await numbers(client, f"UID SORT ({criteria}) UTF-8 ALL") == found  # kept from the first time


async def test_only_what_matches_is_sorted(client: Client) -> None:
    assert await numbers(client, "SORT (REVERSE SIZE) UTF-8 SUBJECT apples") == [3, 1]
    assert await numbers(client, "SORT (SIZE) UTF-8 SUBJECT pears") == []
    assert await numbers(client, "SORT (SIZE) UTF-8 4") == [4]


async def test_results_of_esort_come_in_the_order_of_the_criteria(client: Client) -> None:
    lines = await client.ok("SORT RETURN (MIN MAX ALL COUNT) (SUBJECT DATE) UTF-8 ALL")
    assert lines[0].endswith(b") MIN 3 MAX 4 COUNT 4 ALL 3,1,2,4")
    lines = await client.ok("SORT RETURN (PARTIAL 2:3) (SUBJECT DATE) UTF-8 ALL")
    assert lines[0].endswith(b") PARTIAL (2:3 1,2)")
    await client.ok("SORT RETURN (SAVE PARTIAL 1:2) (SUBJECT DATE) UTF-8 ALL")
    assert await client.ok("SEARCH $") == [b"* SEARCH 1 3"]


@pytest.mark.parametrize("inline", [0, 500])  # without and with answers that are kept
async def test_mail_that_comes_and_goes_is_sorted_with_what_was_kept(
    client: Client, here: Office, monkeypatch: pytest.MonkeyPatch, inline: int
) -> None:
    monkeypatch.setattr(sort, "INLINE", inline)
    await numbers(client, "SORT (SUBJECT) UTF-8 ALL")
    await here.put(b"Subject: aardvark\r\n\r\n")
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2], deleted_only=False))
    assert await numbers(client, "SORT (SUBJECT) UTF-8 ALL") == [1, 3, 2, 4]  # before the client is told
    await client.ok("NOOP")
    assert await numbers(client, "UID SORT (SUBJECT) UTF-8 ALL") == [5, 1, 3, 4]


async def test_an_answer_that_is_kept_is_for_the_same_question_only(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sort, "INLINE", 0)
    for _ in range(2):
        assert await numbers(client, "SORT (SUBJECT) UTF-8 ALL") == [1, 3, 2, 4]
        assert await numbers(client, "SORT (REVERSE SUBJECT) UTF-8 ALL") == [4, 2, 1, 3]
        assert await numbers(client, "SORT (SUBJECT) UTF-8 2:4") == [3, 2, 4]
    await client.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)")
    await client.ok("EXPUNGE")
    assert await numbers(client, "SORT (SUBJECT) UTF-8 ALL") == [2, 1, 3]
    assert await numbers(client, "UID SORT (SUBJECT) UTF-8 ALL") == [3, 2, 4]


async def test_an_unknown_charset_is_refused_by_name(client: Client) -> None:
    assert (await client.completion("SORT (DATE) KOI8-R ALL")).startswith("NO [BADCHARSET (US-ASCII UTF-8)]")


@pytest.mark.parametrize("batch", [1, 7, 1000])
async def test_a_large_mailbox_in_batches(here: Office, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(columns, "BATCH", batch)
    chance = random.Random(4)
    words = ["Re: x", "[l] x", "Fwd: y", "y", "", "Ä", "ä", "a"]
    letters = [b"Subject: %b\r\nX: %d\r\n\r\n" % (chance.choice(words).encode(), number) for number in range(60)]
    await here.put(*letters)
    client = await here.login("INBOX")
    for command in ("SORT (SUBJECT) UTF-8 ALL", "SORT (SUBJECT) UTF-8 NOT 1:50"):
        subjects = [message_from_bytes(one, policy=policy.default)["Subject"] or "" for one in letters]
        keys = [collation_key(base_subject(subject)[0]) for subject in subjects]
        wanted = range(50, 60) if "NOT" in command else range(60)
        assert await numbers(client, command) == [place + 1 for place in sorted(wanted, key=keys.__getitem__)]


@given(st.binary(max_size=40), st.binary(max_size=40), st.lists(st.sampled_from([b"a@x", b'"q\\"" <b@y>', b"g: c@z;"])))
def test_a_stored_envelope_is_read_back(subject: bytes, date: bytes, to: list[bytes]) -> None:
    fields = {b"Subject": subject, b"Date": date, b"To": b", ".join(to), b"Message-ID": b"<1@x>"}
    header = b"".join(b"%b: %b\r\n" % (name, value.translate(None, b"\r\n\0")) for name, value in fields.items())
    message = Message.parse(header + b"\r\n")
    found = read_envelope(envelope(message))
    stored = {field.name: field.value.strip(b" \t") for field in message.fields()}
    assert octets(found.subject) == stored[b"subject"]
    assert octets(found.message_id) == b"<1@x>"
    assert (found.to != b"NIL") == bool(to)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3), st.integers(0, 3)), max_size=20), st.booleans())
def test_places_are_put_in_order(rows: list[tuple[int, int, int]], reverse: bool) -> None:
    made = make_sort_blocks([(uid, size, at, b"") for uid, (_, size, at) in enumerate(rows, 1)], [b"SIZE", b"ARRIVAL"])
    blocks = {"SIZE": made[:1], "ARRIVAL": made[1:]}
    uids = array("I", range(1, len(rows) + 2))  # the last one is gone
    places = sorted_places(uids, [Criterion("SIZE", reverse), Criterion("ARRIVAL")], blocks)
    sign = -1 if reverse else 1
    assert places == sorted(range(len(rows)), key=lambda place: (sign * rows[place][1], rows[place][2], place))


def test_blocks_that_follow_one_another_are_one() -> None:
    texts = SortBlock(array("I", [1]), [b"a"]).followed_by(SortBlock(array("I", [2]), [b"b"]))
    assert (list(texts.uids), texts.values, texts.octets > 100) == ([1, 2], [b"a", b"b"], True)
