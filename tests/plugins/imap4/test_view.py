"""The view against a model that is a plain dict."""

from __future__ import annotations

import sys
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.store.model import FlagEdit
from plugins.imap4.protocol_parse import Cursor, GrammarError
from plugins.imap4.view import View, flag_text, uid_set

FLAGS = st.one_of(st.integers(0, 31), st.integers(0, (1 << 62) - 1))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(st.integers(1, 3), FLAGS), max_size=5)),
        st.tuples(st.just("update"), st.lists(st.tuples(st.integers(0, 60), FLAGS), max_size=5)),
        st.tuples(st.just("edit"), st.builds(FlagEdit, st.integers(1, 40), st.integers(1, 60), FLAGS, FLAGS)),
        st.tuples(st.just("remove"), st.sets(st.integers(0, 60), max_size=5)),
    ),
    max_size=20,
)


def flags_of(view: View) -> list[int]:
    """The flag bits of all its messages."""
    return [view._palette[mark] for mark in view._marks]


@settings(deadline=None)
@given(STEPS)
def test_the_view_is_what_a_dict_would_be(steps: list[tuple[str, object]]) -> None:
    view = View((), (), ())
    model: dict[int, int] = {}
    last = 0
    for step, argument in steps:
        if step == "add":
            rows = []
            for gap, flags in argument:  # type: ignore[attr-defined]
                last += gap
                rows.append((last, flags))
            view.append([uid for uid, _ in rows], [flags for _, flags in rows])
            model.update(rows)
        elif step == "update":
            wanted = dict(sorted(argument))  # type: ignore[call-overload]
            changed = [uid for uid, flags in wanted.items() if uid in model and model[uid] != flags]
            assert view.update(list(wanted.items())) == changed
            model.update({uid: flags for uid, flags in wanted.items() if uid in model})
        elif step == "edit":
            span = sorted((argument.first_uid, argument.last_uid))  # type: ignore[attr-defined]
            edited = {
                uid: (flags & ~argument.remove) | argument.add  # type: ignore[attr-defined]
                for uid, flags in model.items()
                if span[0] <= uid <= span[1]
            }
            assert view.edit(argument) == [uid for uid, flags in edited.items() if model[uid] != flags]  # type: ignore[arg-type]
            model.update(edited)
        else:
            view.remove(sorted(index for uid in argument if (index := view.index(uid)) >= 0))  # type: ignore[attr-defined]
            model = {uid: flags for uid, flags in model.items() if uid not in argument}  # type: ignore[operator]
        everything = range(len(view))
        assert list(view.uids) == list(model)
        assert list(view.uids_at(everything)) == list(model)
        assert flags_of(view) == list(model.values())
        assert view.flag_texts(everything) == [flag_text(flags, ()) for flags in model.values()]
        assert [view.index(uid) for uid in model] == list(everything)
        for bit in (1, 8):
            assert view.with_flags(everything, bit, present=True) == [
                index for index, flags in enumerate(model.values()) if flags & bit
            ]
    for bits in (1, 5):
        lacking = [place for place, uid in enumerate(sorted(model)) if model[uid] & bits != bits]
        assert view.first_without(bits) == (lacking[0] if lacking else -1)


@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=5))
def test_sets_of_numbers(count: int, members: list[tuple[int, int]]) -> None:
    view = View(range(101, 101 + count), [0] * count, ())
    spans = [sorted((first or count, last or count)) for first, last in members]
    expected = sorted({number - 1 for first, last in spans for number in range(first, last + 1) if 0 < number <= count})
    assert list(view.select(tuple(members), by_uid=False, strict=False)) == expected
    if any(last > count or first == 0 for first, last in spans):
        with pytest.raises(GrammarError):
            view.select(tuple(members), by_uid=False)
    else:
        assert list(view.select(tuple(members), by_uid=False)) == expected


@given(st.sets(st.integers(1, 15)), st.lists(st.tuples(st.integers(0, 17), st.integers(0, 17)), min_size=1, max_size=5))
def test_sets_of_uids(uids: set[int], members: list[tuple[int, int]]) -> None:
    view = View(sorted(uids), [0] * len(uids), ())
    greatest = max(uids, default=0)
    spans = [sorted((first or greatest, last or greatest)) for first, last in members]
    wanted = {uid for first, last in spans for uid in range(first, last + 1)}
    assert list(view.uids_at(view.select(tuple(members), by_uid=True))) == sorted(uids & wanted)


def test_many_different_flags_take_wider_marks() -> None:
    view = View(range(1, 70_001), range(70_000), ())
    assert flags_of(view) == list(range(70_000))
    view = View(range(1, 301), [0] * 300, ())
    for flags in range(5000):
        view.update([(flags % 300 + 1, flags)])
    assert flags_of(view) == [flags + 4800 if flags < 200 else flags + 4500 for flags in range(300)]
    assert len(view._palette) < 1000
    assert isinstance(view._marks, array)


def test_an_edit_takes_every_value_along() -> None:
    view = View(range(1, 301), range(0, 600, 2), ())
    assert view.edit(FlagEdit(1, 280, 1, 0)) == list(range(1, 281))
    assert flags_of(view) == [*range(1, 560, 2), *range(560, 600, 2)]
    view = View(range(1, 251), range(0, 500, 2), ())
    assert isinstance(view._marks, bytearray)
    assert len(view.edit(FlagEdit(1, 250, 1, 0))) == 250
    assert flags_of(view) == list(range(1, 500, 2))
    assert view.edit(FlagEdit(1, 250, 8, (1 << 63) - 1)) == list(range(1, 251))
    assert set(flags_of(view)) == {8}


def test_a_hundred_thousand_messages_are_small() -> None:
    view = View(range(2, 200_002, 2), [1] * 100_000, ())
    assert isinstance(view.uids, array)
    assert sys.getsizeof(view.uids) + sys.getsizeof(view._marks) < 600_000
    assert list(view.uids_at(view.select(((100, 110), (0, 0)), by_uid=True))) == [100, 102, 104, 106, 108, 110, 200_000]


def test_uids_without_gaps_are_a_range() -> None:
    view = View(range(5, 10), [0] * 5, ())
    view.append([10, 11], [0, 0])
    assert view.uids == range(5, 12)
    view.append([13], [0])
    assert list(view.uids) == [5, 6, 7, 8, 9, 10, 11, 13]
    view.remove([7])
    assert view.uids == range(5, 12)


def test_flag_texts_tell_keywords_and_recent_messages() -> None:
    view = View([1, 2, 3], [0, 1 | 1 << 8, 1 << 9], ("$Work",))
    view.add_recent(2, 3)
    assert view.flag_texts(range(3)) == [b"", b"\\Recent \\Seen $Work", b"\\Recent"]
    view.set_keywords(("$Work", "later"))
    assert view.flag_texts([2]) == [b"\\Recent later"]
    assert view.flag_texts(range(1, 3)) == [b"\\Recent \\Seen $Work", b"\\Recent later"]
    assert view.flag_texts([0, 2]) == [b"", b"\\Recent later"]
    assert view.flag_texts([0]) == [b""]
    view.add_recent(4, 3)
    view.add_recent(4, 4)
    view.append([4, 6], [0, 0])
    view.add_recent(6, 6)
    assert view.count_recent() == 4
    view.remove([1])
    assert view.count_recent() == 3


@given(st.sets(st.integers(1, 40), min_size=1))
def test_uid_sets_read_back_as_they_were(uids: set[int]) -> None:
    text = uid_set(sorted(uids))
    members = Cursor(text).sequence_set()
    assert {uid for first, last in members for uid in range(first, last + 1)} == uids
    assert text.count(b",") == sum(1 for uid in uids if uid + 1 not in uids) - 1


def test_a_uid_set_of_nothing() -> None:
    assert uid_set([]) == b""


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_the_uids_that_are_there(held: set[int], asked: set[int]) -> None:
    view = View(sorted(held), [0] * len(held), ())
    assert view.present(asked) == held & asked
    assert view.places(sorted(asked)) == [place for place, uid in enumerate(sorted(held)) if uid in asked]
