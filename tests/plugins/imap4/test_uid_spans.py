"""Ranges of UIDs agree with sets of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from plugins.imap4.resync import matched_uid
from plugins.imap4.uid_spans import SPANS_A_LINE, gaps, intersection, merged, spans_of_set, vanished_lines
from plugins.imap4.view import View

SPANS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1])))


def members(spans: object) -> set[int]:
    return {uid for first, last in spans for uid in range(first, last + 1)}  # type: ignore[attr-defined]


@given(SPANS)
def test_merged_holds_the_same_and_neither_overlaps_nor_touches(spans: list[tuple[int, int]]) -> None:
    found = merged(spans)
    assert members(found) == members(spans)
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(found))


@given(SPANS, SPANS)
def test_intersection(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    found = list(intersection(merged(some), merged(others)))
    assert members(found) == members(some) & members(others)
    assert found == sorted(found)


@given(st.sets(st.integers(1, 20)), st.integers(0, 25))
def test_gaps(uids: set[int], last: int) -> None:
    there = sorted(uids)
    assert members(gaps(there, last)) == set(range(1, last + 1)) - uids
    if there and there[-1] - there[0] + 1 == len(there):
        assert members(gaps(range(there[0], there[-1] + 1), last)) == set(range(1, last + 1)) - uids


def test_sets_of_the_wire() -> None:
    assert spans_of_set(((5, 3), (0, 9), (4, 4)), 12) == [(3, 5), (9, 12)]
    assert spans_of_set(((0, 0),), 1) == [(1, 1)]
    assert vanished_lines([], earlier=True) == b""
    assert vanished_lines([(1, 1), (3, 9)], earlier=False) == b"* VANISHED 1,3:9\r\n"
    assert vanished_lines([(n, n) for n in range(1, 2 * SPANS_A_LINE, 2)] + [(9999, 9999)], earlier=True).endswith(
        b"\r\n* VANISHED (EARLIER) 9999\r\n"
    )


@given(st.sets(st.integers(1, 40), min_size=1), st.data())
def test_a_match_tells_below_what_nothing_is_gone(uids: set[int], draw: st.DataObject) -> None:
    """The client held `before`; messages were removed from it at random."""
    before = sorted(uids)
    kept = [uid for uid in before if draw.draw(st.booleans())]
    places = draw.draw(st.lists(st.integers(0, len(before) - 1), unique=True, min_size=1).map(sorted))
    numbers = tuple((place + 1, place + 1) for place in places)
    matched = matched_uid(View(kept, [0] * len(kept), ()), numbers, tuple((before[p], before[p]) for p in places))
    assert [uid for uid in before if uid <= matched] == [uid for uid in kept if uid <= matched]
    intact = [before[p] for p in places if kept[: p + 1] == before[: p + 1]]
    assert matched == max(intact, default=0)


def test_matches_that_reach_beyond_everything_cost_little() -> None:
    view = View(range(1, 100), [0] * 99, ())
    assert matched_uid(view, ((1, 0xFFFF_FFFF),), ((1, 0xFFFF_FFFF),)) == 99
