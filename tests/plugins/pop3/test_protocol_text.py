"""Dots, listings, and the first lines of a text."""

import poplib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.pop3 import protocol_text
from plugins.pop3.protocol_text import Stuffer, err, listing, ok, retrieved, stuffed, top_length

texts = st.lists(st.sampled_from([b"\r\n", b".", b"..", b"a", b"\r", b"\n", b".\r\n"]) | st.binary(max_size=3)).map(
    b"".join
)


def unstuffed(data: bytes) -> bytes:
    """What a client makes of it: the lines up to the one with the single dot, one dot less where there were two."""
    assert data.endswith(b"\r\n.\r\n") or data == b".\r\n"
    lines = data.removesuffix(b".\r\n").split(b"\r\n")
    assert b"." not in lines
    return b"\r\n".join(line.removeprefix(b".") for line in lines)


@given(texts, st.integers(1, 6))
def test_a_client_gets_what_was_stored(data: bytes, stretch: int) -> None:
    before, protocol_text._STRETCH = protocol_text._STRETCH, stretch
    try:
        got = unstuffed(stuffed(data))
    finally:
        protocol_text._STRETCH = before
    assert got == (data if data.endswith(b"\r\n") or not data else data + b"\r\n")


@given(texts, st.integers(1, 5))
def test_pieces_are_stuffed_like_the_whole(data: bytes, size: int) -> None:
    stuffer = Stuffer()
    pieces = [stuffer.feed(data[start : start + size]) for start in range(0, len(data), size)]
    assert b"".join([*pieces, stuffer.feed(b""), stuffer.finish()]) == stuffed(data)


@given(st.lists(texts, max_size=5))
def test_a_text_in_pieces_is_answered_like_the_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert stuffed(*map(memoryview, pieces)) == stuffed(whole)
    header, *text = pieces or [b""]
    assert retrieved(header, text) == b"+OK %d octets\r\n" % len(whole) + stuffed(whole)


@given(texts, st.integers(0, 6), st.integers(1, 7))
def test_top_counts_lines(data: bytes, lines: int, block: int) -> None:
    before, protocol_text._BLOCK = protocol_text._BLOCK, block
    try:
        end = top_length(len(data), lambda start, stop: data[start:stop], lines)
    finally:
        protocol_text._BLOCK = before
    assert data[:end] == b"".join(_lines(data)[:lines])


def _lines(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def test_responses() -> None:
    assert ok() == b"+OK\r\n"
    assert ok("done") == b"+OK done\r\n"
    assert err("no") == b"-ERR no\r\n"
    assert err("no", "SYS/TEMP") == b"-ERR [SYS/TEMP] no\r\n"
    assert listing("here", ["a", "b"]) == b"+OK here\r\na\r\nb\r\n.\r\n"
    assert listing("here", []) == b"+OK here\r\n.\r\n"


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_python_understands_it(size: int) -> None:
    class Reader(poplib.POP3):
        def __init__(self, data: bytes) -> None:
            self.lines = data.splitlines(keepends=True)
            self._debugging = 0

        def _getline(self) -> tuple[bytes, int]:
            line = self.lines.pop(0).removesuffix(b"\r\n")
            return line, len(line) + 2

    stuffer = Stuffer()
    text = b"a\r\n.b\r\n..c\r\n.\r\nd"
    wire = b"".join(stuffer.feed(text[at : at + size]) for at in range(0, len(text), size)) + stuffer.finish()
    assert Reader(b"+OK\r\n" + wire)._getlongresp()[1] == [b"a", b".b", b"..c", b".", b"d"]
