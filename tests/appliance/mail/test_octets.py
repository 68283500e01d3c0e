"""Searching in mappings finds what searching in bytes finds, across every window's edge."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail import octets
from appliance.mail.octets import count_lines, find, occurrences


@given(
    st.lists(st.sampled_from([b"ab", b"a", b"\n", b"xxx"])).map(b"".join),
    st.sampled_from([b"ab", b"aab", b"a", b"\n"]),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(4, 8),
)
def test_a_view_is_searched_like_bytes(text, needle, start, length, window):
    end = min(start + length, len(text))
    view = memoryview(text)
    previous = octets._WINDOW, octets._MAX_WINDOW
    octets._WINDOW = octets._MAX_WINDOW = window
    try:
        assert find(view, needle, start, end) == find(text, needle, start, end)
        assert list(occurrences(view, needle, start, end)) == list(occurrences(text, needle, start, end))
        assert count_lines(view, start, end) == count_lines(text, start, end)
    finally:
        octets._WINDOW, octets._MAX_WINDOW = previous


@pytest.mark.parametrize("make", [bytes, memoryview])
def test_a_needle_over_the_edge_of_the_first_window(make):
    text = make(b"x" * (octets._WINDOW - 2) + b"needle" + b"x" * 9000 + b"needle")
    assert list(occurrences(text, b"needle", 0, len(text))) == [octets._WINDOW - 2, len(text) - 6]
    assert find(text, b"needle", 0, len(text) - 1) == octets._WINDOW - 2
    assert find(text, b"needle", octets._WINDOW, len(text) - 1) == -1


@given(
    st.lists(st.sampled_from([b"\r\n--b", b"-", b"--b", b"\r\n", b"ab", b"-" * 63])).map(b"".join),
    st.integers(0, 4),
)
def test_where_the_mark_stands_changes_nothing(text, mark):
    needle, end = b"\r\n--b", max(len(text) - 1, 0)
    expected = [match.start() for match in re.compile(needle).finditer(text, 1, end)]
    assert list(occurrences(text, needle, 1, end, mark=mark)) == expected
