"""What a filter does to a header, by libmilter's rules, and what it cannot do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.mail.message import Message
from plugins.milter import protocol_draft
from plugins.milter.protocol import ChangeHeader, NewBody, PutHeader
from plugins.milter.protocol_draft import Draft

OWN = b"Received: from a\r\n\tby b\r\n"
GIVEN = OWN + b"From: ana@palomar.test\r\nX-A: 1\r\nSubject:  two\r\n lines\r\nx-a: 2\r\n\r\ntext\r\n"


def after(*edits: PutHeader | ChangeHeader | NewBody, given: bytes = GIVEN, leading_space: bool = False) -> bytes:
    draft = Draft(Message.parse(given), leading_space=leading_space)
    for edit in edits:
        draft.apply(edit)
    return bytes(draft.message())


def test_what_is_shown() -> None:
    assert list(Draft(Message.parse(GIVEN)).shown()) == [
        (b"From", b"ana@palomar.test"),
        (b"X-A", b"1"),
        (b"Subject", b"two\n lines"),
        (b"x-a", b"2"),
    ]
    shown = list(Draft(Message.parse(GIVEN), leading_space=True).shown())
    assert shown[2] == (b"Subject", b"  two\n lines")


def test_nothing_done_is_the_same_message() -> None:
    message = Message.parse(GIVEN)
    assert Draft(message).message() is message


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        (PutHeader(b"X-B", b"3"), b"x-a: 2\r\n", b"x-a: 2\r\nX-B: 3\r\n"),
        (PutHeader(b"X-B", b"3", 0), OWN, b"X-B: 3\r\n" + OWN),
        (PutHeader(b"X-B", b"3", 1), OWN, OWN + b"X-B: 3\r\n"),
        (PutHeader(b"X-B", b"3", 2), b"X-A: 1\r\n", b"X-B: 3\r\nX-A: 1\r\n"),
        (PutHeader(b"X-B", b"3", 99), b"x-a: 2\r\n", b"x-a: 2\r\nX-B: 3\r\n"),
        (PutHeader(b"X-B", b"one\n two\nthree"), b"x-a: 2\r\n", b"x-a: 2\r\nX-B: one\r\n two\r\n\tthree\r\n"),
        (PutHeader(b"X-B", b"one\r\n\r\nbody?"), b"x-a: 2\r\n", b"x-a: 2\r\nX-B: one\r\n\tbody?\r\n"),
        (ChangeHeader(b"X-A", b"9", 2), b"x-a: 2\r\n", b"X-A: 9\r\n"),
        (ChangeHeader(b"x-a", b"", 1), b"X-A: 1\r\n", b""),
        (ChangeHeader(b"X-A", b"", 3), b"", b""),
        (ChangeHeader(b"X-A", b"9", 3), b"x-a: 2\r\n", b"x-a: 2\r\nX-A: 9\r\n"),
        (ChangeHeader(b"Received", b"", 1), b"", b""),
        (NewBody(b"new\n"), b"text\r\n", b"new\r\n"),
    ],
)
def test_edits(edit: PutHeader | ChangeHeader | NewBody, old: bytes, new: bytes) -> None:
    assert after(edit) == GIVEN.replace(old, new, 1)


def test_edits_follow_each_other() -> None:
    """A field put before our own moves the places of the others."""
    done = after(PutHeader(b"Top", b"1", 0), PutHeader(b"Next", b"2", 1), ChangeHeader(b"Next", b"3", 1), NewBody(b"a"))
    assert done.startswith(b"Top: 1\r\n" + OWN + b"Next: 3\r\nFrom:")
    assert done.endswith(b"\r\n\r\na")


def test_a_value_with_its_own_space() -> None:
    assert b"X-B:3\r\n" in after(PutHeader(b"X-B", b"3"), leading_space=True)


@pytest.mark.parametrize("given_", [b"Subject: x\r\n", b"\r\ntext", b"", OWN + b"\r\n", b"no field\r\n\r\ntext\r\n"])
def test_odd_messages(given_: bytes) -> None:
    done = after(PutHeader(b"X-B", b"3"), given=given_)
    assert Message.parse(done).get(b"x-b") == b"3"
    assert bytes(Message.parse(done).text) == bytes(Message.parse(given_).text)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_draft, "MAX_NEW_TEXT", 10)
    with pytest.raises(ProtocolError):
        after(NewBody(b"x" * 6), NewBody(b"x" * 6))
    with pytest.raises(ProtocolError):
        after(PutHeader(b"X", b"x" * (1 << 20)))


EDITS = st.one_of(
    st.builds(PutHeader, st.just(b"X-New"), st.binary(max_size=40), st.none() | st.integers(0, 12)),
    st.builds(ChangeHeader, st.sampled_from([b"X-A", b"Subject", b"X-New"]), st.binary(max_size=40), st.integers(0, 4)),
)


@given(st.lists(EDITS, max_size=8))
def test_no_edit_reaches_the_text_or_our_own_field(edits: list[PutHeader | ChangeHeader]) -> None:
    done = Message.parse(after(*edits))
    assert bytes(done.text) == b"text\r\n"
    assert done.get(b"received") == b"from a\r\n\tby b"
    assert done.get(b"from") == b"ana@palomar.test"
