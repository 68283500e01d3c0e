"""The memory of recent changes against the whole list of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.model import Change, FlagEdit
from plugins.imap4 import recent_changes
from plugins.imap4.recent_changes import RecentChanges

BOX = 3
UIDS = st.lists(st.integers(1, 9), unique=True, max_size=4).map(lambda uids: tuple(sorted(uids)))


def changed(modseq: int, *, box: int = BOX, added: tuple[int, ...] = (), flags: tuple[int, ...] = ()) -> Change:
    return Change(box, 1, modseq, added=added, flags=tuple((uid, 0) for uid in sorted({*added, *flags})))


@given(st.lists(UIDS, min_size=1, max_size=12), st.integers(0, 14), st.integers(1, 8))
def test_it_tells_the_last_change_of_each_message_or_nothing(
    changes: list[tuple[int, ...]], since: int, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_changes, "MAX_UIDS", most)
        recent = RecentChanges()
        for modseq, uids in enumerate(changes, 2):
            recent.note(changed(modseq, flags=uids))
        last = len(changes) + 1
        found = recent.changed_since(BOX, since, last)
        if found is not None:
            expected = {uid: modseq for modseq, uids in enumerate(changes, 2) if modseq > since for uid in uids}
            assert found == sorted(expected.items())
        assert recent.changed_since(BOX, since, last + 1) is None  # one that is committed and not published yet
        assert found is not None or since < last
        assert found is not None or since < 1 or sum(map(len, changes)) > most


def test_after_a_removal_or_the_edit_of_a_range_the_store_is_asked() -> None:
    recent = RecentChanges()
    recent.note(changed(5, added=(1, 2)))
    assert recent.changed_since(BOX, 4, 5) == [(1, 5), (2, 5)]
    recent.note(Change(BOX, 1, 6, edits=(FlagEdit(2, 2, 8, 0),)))
    assert recent.changed_since(BOX, 4, 6) == [(1, 5), (2, 6)]
    recent.note(Change(BOX, 1, 7, expunged=(1,)))
    assert recent.changed_since(BOX, 6, 7) is None
    assert recent.changed_since(BOX, 7, 7) == []
    recent.note(Change(BOX, 1, 8, edits=(FlagEdit(2, 9, 8, 0),)))
    assert recent.changed_since(BOX, 7, 8) is None


def test_a_gap_begins_it_anew() -> None:
    recent = RecentChanges()
    recent.note(changed(5, added=(1,)))
    recent.note(changed(9, added=(2,)))  # a restore has raised the modseq
    assert recent.changed_since(BOX, 5, 9) is None
    assert recent.changed_since(BOX, 8, 9) == [(2, 9)]


def test_the_mailboxes_that_have_changed_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_changes, "MAX_MAILBOXES", 2)
    recent = RecentChanges()
    for box, modseq in ((1, 2), (2, 2), (1, 3), (3, 2)):
        recent.note(changed(modseq, box=box, added=(modseq,)))
    assert recent.changed_since(2, 1, 2) is None
    assert recent.changed_since(1, 1, 3) == [(2, 2), (3, 3)]
