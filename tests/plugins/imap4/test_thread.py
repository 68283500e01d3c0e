"""THREAD: both algorithms, step by step as RFC 5256 section 3 has them, and against hostile references."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.messages import expunge
from plugins.imap4.thread_build import Forest, Letter, by_references, by_subject, written
from tests.plugins.imap4.office import Client, Office


def letter(id_: str, references: str = "", subject: str = "", at: int = 0) -> Letter:
    """`subject` begins with `+` for an answer."""
    answer = subject.startswith("+")
    return Letter(id_.encode(), tuple(references.encode().split()), subject.lstrip("+").encode(), answer, at)


def threads(*letters: Letter) -> str:
    return written(by_references(letters), range(1, len(letters) + 1)).decode()


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        pytest.param([], "", id="none"),
        pytest.param([letter("a"), letter("b")], "(1)(2)", id="strangers"),
        pytest.param([letter("a"), letter("b", "a"), letter("c", "a b")], "(1 2 3)", id="a chain"),
        pytest.param([letter("a"), letter("b", "a"), letter("c", "a")], "(1 (2)(3))", id="two answers"),
        pytest.param([letter("c", "a b"), letter("b", "a"), letter("a")], "(3 2 1)", id="the answer first"),
        pytest.param([letter("b", "x"), letter("c", "x")], "((1)(2))", id="answers to what is not there"),
        pytest.param([letter("b", "x")], "(1)", id="an only answer to it moves up"),
        pytest.param([letter("a"), letter("c", "a x y")], "(1 2)", id="gaps in a chain close"),
        pytest.param([letter("a", "b"), letter("b", "a")], "(2 1)", id="a loop of two"),
        pytest.param([letter("a", "a")], "(1)", id="a loop of one"),
        pytest.param([letter("a"), letter("a"), letter("b", "a")], "(1 3)(2)", id="an id twice"),
        pytest.param([letter("a", at=9), letter("b", at=1)], "(2)(1)", id="by date"),
        pytest.param([letter("a", "", "s"), letter("b", "", "+s")], "(1 2)", id="an answer by its subject"),
        pytest.param([letter("a", "", "+s"), letter("b", "", "s")], "(2 1)", id="the answer came first"),
        pytest.param([letter("a", "", "s"), letter("b", "", "s")], "((1)(2))", id="one subject, no answer"),
        pytest.param([letter("a"), letter("b")], "(1)(2)", id="no subject joins nothing"),
        pytest.param(
            [letter("a", "x", "s"), letter("b", "x", "+s"), letter("c", "", "+s")], "((1)(2)(3))", id="below a gap"
        ),
        pytest.param(
            [letter("a", "x", "s"), letter("b", "x", "s"), letter("c", "y", "s"), letter("d", "y", "s")],
            "((1)(2)(3)(4))",
            id="two gaps with one subject",
        ),
        pytest.param(
            [letter("a", "", "+s"), letter("b", "", "+s"), letter("c", "", "+s")], "((1)(2)(3))", id="three answers"
        ),
        pytest.param(
            [letter("a", at=1), letter("b", "a", at=5), letter("c", "a", at=3), letter("d", "b", at=4)],
            "(1 (3)(2 4))",
            id="siblings by date",
        ),
    ],
)
def test_references(letters: list[Letter], expected: str) -> None:
    assert threads(*letters) == expected


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ([letter("", "", "s", 5), letter("", "", "s", 3), letter("", "", "t", 4)], "(2 1)(3)"),
        ([letter("", "", "s", 1), letter("", "", "s", 2), letter("", "", "s", 3)], "(1 (2)(3))"),
    ],
)
def test_ordered_subject(letters: list[Letter], expected: str) -> None:
    assert written(by_subject(letters), range(1, 9)).decode() == expected


IDS = st.sampled_from(["a", "b", "c", "d", "e", ""])
LETTERS = st.lists(
    st.builds(
        letter,
        IDS,
        st.lists(IDS.filter(bool), max_size=4).map(" ".join),
        st.sampled_from(["", "s", "+s", "t", "+t"]),
        st.integers(0, 5),
    ),
    max_size=12,
)


def places(forest: Forest) -> list[int]:
    found, todo = [], list(forest.roots)
    while todo:
        node = todo.pop()
        found.append(node)
        todo += forest.children[node]
    return sorted(node for node in found if not forest.is_dummy(node))


@given(LETTERS)
def test_every_message_stands_in_exactly_one_place(letters: list[Letter]) -> None:
    for forest in (by_references(letters), by_subject(letters)):
        assert places(forest) == list(range(len(letters)))
        text = written(forest, range(1, len(letters) + 1)).decode()
        assert text.count("(") == text.count(")")
        assert sorted(map(int, text.replace("(", " ").replace(")", " ").split())) == list(range(1, len(letters) + 1))


@given(LETTERS)
def test_no_empty_place_stands_for_one_message_only(letters: list[Letter]) -> None:
    forest = by_references(letters)
    for node in range(len(letters), len(forest.parents)):
        if node in forest.roots:
            assert len(forest.children[node]) > 1


def test_references_made_to_take_long_do_not() -> None:
    count = 5_000
    names = [f"m{number}" for number in range(count)]
    chain = [letter(name, " ".join(names[max(0, place - 50) : place])) for place, name in enumerate(names)]
    circle = [letter(name, names[(place + 1) % count]) for place, name in enumerate(names)]
    for letters in (chain, chain[::-1], circle):
        started = time.process_time()
        text = written(by_references(letters), range(1, count + 1))
        assert text.count(b"(") == 1
        assert time.process_time() - started < 5


FIRST = b"Message-ID: <1@x>\r\nSubject: lunch\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\n"
SECOND = b"Message-ID: <2@x>\r\nIn-Reply-To: Your letter <1@x> of Monday\r\nSubject: Re: lunch\r\n\r\n"
THIRD = b'Message-ID: <3@x>\r\nReferences: <1@x>\r\n <"2"@x>\r\nSubject: other\r\n\r\n'
FOURTH = b"Subject: Fwd: lunch\r\nDate: Thu, 4 Jan 2024 10:00:00 +0000\r\n\r\n"


async def answer(client: Client, command: str) -> bytes:
    (line,) = [line for line in await client.ok(command) if line.startswith(b"* THREAD")]
    return line


@pytest.fixture
async def client(here: Office) -> Client:
    await here.put(FIRST, SECOND, THIRD, FOURTH)
    return await here.login("INBOX")


async def test_a_mailbox_by_references_and_by_subject(client: Client) -> None:
    assert await answer(client, "THREAD REFERENCES UTF-8 ALL") == b"* THREAD (1 (2 3)(4))"
    assert await answer(client, "THREAD ORDEREDSUBJECT UTF-8 ALL") == b"* THREAD (2 (1)(4))(3)"
    assert await answer(client, "THREAD REFERENCES UTF-8 NOT 1") == b"* THREAD ((2 3)(4))"
    assert await answer(client, "THREAD REFERENCES UTF-8 SUBJECT none") == b"* THREAD"


async def test_an_answer_that_was_kept_is_given_only_for_the_same_messages(client: Client, here: Office) -> None:
    assert await answer(client, "UID THREAD REFERENCES UTF-8 ALL") == b"* THREAD (1 (2 3)(4))"
    await here.put(b"References: <3@x>\r\n\r\n")
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [1], deleted_only=False))
    await client.ok("NOOP")
    assert await answer(client, "UID THREAD REFERENCES UTF-8 ALL") == b"* THREAD ((2 3 5)(4))"
    assert await answer(client, "THREAD REFERENCES UTF-8 ALL") == b"* THREAD ((1 2 4)(3))"
    assert await answer(client, "THREAD REFERENCES UTF-8 ALL") == b"* THREAD ((1 2 4)(3))"
