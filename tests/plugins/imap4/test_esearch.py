"""ESEARCH, SEARCHRES, WITHIN, PARTIAL: what RETURN asks for, and the result that `$` stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from appliance.store.messages import expunge
from plugins.imap4.protocol_return import Partial, Returns
from plugins.imap4.search_answer import result_data, shown_of
from tests.plugins.imap4.office import EPOCH, Client, Office


def letter(number: int) -> bytes:
    return b"From: ana@palomar.test\r\nSubject: letter %d\r\n\r\n%b\r\n" % (number, b"x" * number)


@pytest.fixture
async def client(here: Office) -> Client:
    await here.put(*map(letter, range(1, 8)))
    return await here.login("INBOX")


async def esearch(client: Client, command: bytes) -> list[bytes]:
    return [line.rstrip() for line in await client.ok(command) if b"ESEARCH" in line or line.startswith(b"* S")]


def tag(client: Client, line: bytes) -> bytes:
    return line.split(b'"', 2)[2]


@pytest.mark.parametrize(
    ("command", "data"),
    [
        (b"SEARCH RETURN (MIN) 2:*", b") MIN 2"),
        (b"SEARCH RETURN (MIN MAX COUNT ALL) 2:3,5", b") MIN 2 MAX 5 COUNT 3 ALL 2:3,5"),
        (b"SEARCH RETURN () 1,3", b") ALL 1,3"),
        (b"SEARCH RETURN (MIN MAX ALL) SUBJECT none", b")"),
        (b"SEARCH RETURN (COUNT) SUBJECT none", b") COUNT 0"),
        (b"UID SEARCH RETURN (ALL) SUBJECT letter", b") UID ALL 1:7"),
        (b"SEARCH RETURN (PARTIAL 2:3) 3:*", b") PARTIAL (2:3 4:5)"),
        (b"SEARCH RETURN (PARTIAL -1:-2 COUNT) ALL", b") COUNT 7 PARTIAL (-1:-2 6:7)"),
        (b"SEARCH RETURN (PARTIAL 8:20) ALL", b") PARTIAL (8:20 NIL)"),
        (b"SEARCH RETURN (ALL) MODSEQ 1", b") ALL 1:7 MODSEQ "),
    ],
)
async def test_what_return_asks_for_is_answered(client: Client, command: bytes, data: bytes) -> None:
    (line,) = await esearch(client, command)
    assert line.startswith(b'* ESEARCH (TAG "')
    assert tag(client, line).startswith(data)


async def test_the_saved_result_stands_for_its_messages_in_every_command(client: Client) -> None:
    assert await esearch(client, b"SEARCH RETURN (SAVE) LARGER 60 NOT 7") == []
    saved = await esearch(client, b"SEARCH RETURN (ALL) $")
    await client.ok(b"UID STORE $ +FLAGS.SILENT (\\Flagged)")
    (flagged,) = await esearch(client, b"SEARCH RETURN (ALL) FLAGGED")
    assert tag(client, flagged) == tag(client, saved[0])
    assert await esearch(client, b"SEARCH RETURN (SAVE) 2,4,6") == []
    fetched = [line for line in await client.ok(b"FETCH $ (UID)") if b"FETCH" in line]
    assert [line.split()[1] for line in fetched] == [b"2", b"4", b"6"]
    assert await esearch(client, b"SEARCH $ 4:5") == [b"* SEARCH 4"]
    assert await esearch(client, b"SEARCH NOT $") == [b"* SEARCH 1 3 5 7"]
    assert b"* 10 EXISTS" in await client.ok(b"COPY $ INBOX")


async def test_what_is_expunged_leaves_the_saved_result(client: Client, here: Office) -> None:
    await client.ok(b"SEARCH RETURN (SAVE) 2,4,6")
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [4], deleted_only=False))
    await client.ok(b"NOOP")
    assert await esearch(client, b"UID SEARCH $") == [b"* SEARCH 2 6"]


@pytest.mark.parametrize(
    ("returns", "saved"),
    [
        (b"SAVE", b"2 3 4 5"),
        (b"SAVE MIN", b"2"),
        (b"SAVE MAX", b"5"),
        (b"SAVE MIN MAX", b"2 5"),
        (b"SAVE MIN COUNT", b"2 3 4 5"),
        (b"SAVE MAX ALL", b"2 3 4 5"),
        (b"SAVE PARTIAL 2:3", b"3 4"),
        (b"SAVE PARTIAL 2:3 MAX", b"3 4 5"),
    ],
)
async def test_what_is_saved_is_what_is_answered(client: Client, returns: bytes, saved: bytes) -> None:
    await client.ok(b"SEARCH RETURN (%b) 2:5" % returns)
    assert await esearch(client, b"SEARCH $") == [b"* SEARCH " + saved]


async def test_a_search_that_is_refused_leaves_nothing_saved_and_a_bad_one_what_was(client: Client) -> None:
    await client.ok(b"SEARCH RETURN (SAVE) 2")
    assert (await client.completion(b"SEARCH RETURN (SAVE) FOO")).startswith("BAD")
    assert await esearch(client, b"SEARCH $") == [b"* SEARCH 2"]
    assert (await client.completion(b"SEARCH RETURN (SAVE) CHARSET KOI8-R ALL")).startswith("NO [BADCHARSET")
    assert await esearch(client, b"SEARCH $") == [b"* SEARCH"]


async def test_a_newly_selected_mailbox_has_no_saved_result(client: Client) -> None:
    await client.ok(b"SEARCH RETURN (SAVE) ALL")
    await client.ok(b"SELECT INBOX")
    assert await esearch(client, b"SEARCH $") == [b"* SEARCH"]


async def test_a_window_of_a_fetch(client: Client) -> None:
    lines = [line for line in await client.ok(b"UID FETCH 1:* (FLAGS) (PARTIAL -1:-2)") if b"FETCH" in line]
    assert [line.split()[1] for line in lines] == [b"6", b"7"]
    assert not [line for line in await client.ok(b"UID FETCH 1:* (FLAGS) (PARTIAL 9:20)") if b"FETCH" in line]


async def test_age_counts_from_the_internal_date(here: Office) -> None:
    times = (EPOCH - 7200, EPOCH - 3600, EPOCH - 60)
    await here.store.append(here.mailbox_id(), [(Message.parse(letter(1)), 0, (), at) for at in times])
    client = await here.login("INBOX")
    assert await esearch(client, b"SEARCH OLDER 3600") == [b"* SEARCH 1 2"]
    assert await esearch(client, b"SEARCH YOUNGER 3600") == [b"* SEARCH 2 3"]
    assert await esearch(client, b"SEARCH NOT OLDER 3600 NOT YOUNGER 30") == [b"* SEARCH 3"]


@given(
    st.lists(st.integers(1, 50), unique=True).map(sorted),
    st.tuples(st.integers(1, 60), st.integers(1, 60)).map(sorted),
    st.booleans(),
)
def test_a_window_holds_the_results_at_its_places(numbers: list[int], ends: list[int], backwards: bool) -> None:
    partial = Partial(*ends, backwards=backwards)
    counted = list(reversed(numbers)) if backwards else numbers
    places = partial.of(len(numbers))
    assert [numbers[place] for place in places] == sorted(counted[ends[0] - 1 : ends[1]])


@given(st.lists(st.integers(1, 99), unique=True), st.builds(Returns, *[st.booleans()] * 5))
def test_the_data_name_the_first_the_last_and_the_number(numbers: list[int], returns: Returns) -> None:
    words = result_data(returns, numbers, in_order=False).split()
    data = dict(zip(words[::2], words[1::2], strict=True))
    expected: dict[bytes, str] = {b"COUNT": str(len(numbers))} if returns.count else {}
    if numbers:
        expected |= {b"MIN": str(numbers[0])} if returns.minimum else {}
        expected |= {b"MAX": str(numbers[-1])} if returns.maximum else {}
        expected |= {b"ALL": ",".join(map(str, numbers))} if returns.everything else {}
    assert data == {key: value.encode() for key, value in expected.items()}
    assert set(shown_of(returns, numbers)) <= set(numbers)
