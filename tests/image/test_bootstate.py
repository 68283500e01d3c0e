"""The state of the slots: its format, and what each event makes of it."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image.bootstate import SIZE, BootState, BootStateError, decode

SLOT = st.sampled_from(["A", "B"])


@st.composite
def states(draw: st.DrawFn) -> BootState:
    first = draw(SLOT)
    trial = draw(st.sampled_from([None, "B" if first == "A" else "A"]))
    return BootState(first, trial, draw(st.integers(0, 9)) if trial else 0, draw(st.sampled_from([None, "A", "B"])))


@given(states())
def test_what_is_written_is_read(state: BootState) -> None:
    data = state.encode()
    assert len(data) == SIZE
    assert decode(data) == state


@given(states(), st.integers(0, SIZE * 8 - 1))
def test_no_flipped_bit_goes_unseen(state: BootState, bit: int) -> None:
    data = bytearray(state.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BootStateError, match="checksum"):
        decode(bytes(data))


@given(st.binary(max_size=SIZE - 4))
def test_only_known_errors_come_from_any_bytes(body: bytes) -> None:
    body = body.ljust(SIZE - 4, b"\0")
    with pytest.raises(BootStateError):
        decode(zlib.crc32(body).to_bytes(4, "little") + body)


def test_the_format_is_u_boots() -> None:
    data = BootState().encode()
    assert data[:4] == zlib.crc32(data[4:]).to_bytes(4, "little")
    assert data[4:].rstrip(b"\0").split(b"\0") == [
        b"palomar_first=A",
        b"palomar_trial=none",
        b"palomar_left=0",
        b"palomar_gave_up=none",
    ]


def test_the_factory_starts_a_then_b() -> None:
    assert BootState().order == ("A", "B")


def test_a_trial_comes_first_until_its_tries_are_used_up() -> None:
    state = BootState().try_slot("B", tries=2)
    orders = []
    for _ in range(3):
        orders.append(state.order)
        state = state.counted()
    assert orders == [("B", "A"), ("B", "A"), ("A", "B")]
    assert state.trial == "B"  # the update tells by this that its slot did not come up


def test_a_good_slot_is_not_counted() -> None:
    assert BootState("B").counted() == BootState("B")


def test_good_ends_the_trial() -> None:
    assert BootState().try_slot("B").counted().mark_good("B") == BootState("B")
    assert BootState().try_slot("B").counted().mark_good("A") == BootState("A")


def test_giving_up_names_the_slot_and_takes_the_other() -> None:
    state = BootState().give_up("A")
    assert (state.order, state.gave_up) == (("B", "A"), "A")


def test_the_good_slot_is_not_put_on_trial() -> None:
    with pytest.raises(BootStateError, match="is the good one"):
        BootState().try_slot("A")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"palomar_first=C\0", "no slot 'C'"),
        (b"palomar_first=A\0palomar_left=x\0", "'x' tries"),
        (b"palomar_first=A\0palomar_left=2\0", "without a trial"),
        (b"palomar_first=A\0palomar_trial=A\0", "at once"),
        (b"palomar_trial=B\0", "no first slot"),
    ],
)
def test_what_cannot_be_is_refused(text: bytes, words: str) -> None:
    body = text.ljust(SIZE - 4, b"\0")
    with pytest.raises(BootStateError, match=words):
        decode(zlib.crc32(body).to_bytes(4, "little") + body)


def test_a_file_of_another_size_is_refused() -> None:
    with pytest.raises(BootStateError, match="has 3 bytes"):
        decode(b"abc")
