"""A view that was kept and brought up to date is the view that a fresh look gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.store import Database, history, messages
from appliance.store.accounts import create_account
from appliance.store.mailboxes import create_mailbox, keyword_bits, mailbox_by_id
from appliance.store.messages import flag_columns
from appliance.store.rewind import raise_past
from appliance.store.schema import MIGRATIONS, migrate
from plugins.imap4 import view_cache
from plugins.imap4.view import View
from plugins.imap4.view_cache import Kept, ViewCache, brought_up
from tests.appliance.store.test_history import _add
from tests.plugins.imap4.office import Office

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "expunge", "flag", "keyword", "away", "back", "keep"]), st.integers(0, 255)),
    max_size=30,
)


def shown(view: View) -> list[tuple[int, bytes]]:
    return list(zip(view.uids, view.flag_texts(range(len(view))), strict=True))


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([1, 4, 1000]))
def test_what_is_kept_is_brought_up_to_date(steps: list[tuple[str, int]], most: int) -> None:
    db = Database(":memory:")
    migrate(db, MIGRATIONS)
    ana = create_account(db, "ana@palomar.test", [])
    inbox = create_mailbox(db, ana.id, "a").id
    other = create_mailbox(db, ana.id, "b").id
    kept: Kept | None = None
    limits = history.MAX_SPANS, history.KEPT_SPANS
    history.MAX_SPANS, history.KEPT_SPANS = most, max(1, most // 2)
    try:
        for step, number in [*steps, ("keep", 0)]:
            uids = [uid for uid, _ in messages.list_flags(db, inbox)]
            chosen = [uid for place, uid in enumerate(uids) if number >> place % 8 & 1]
            match step:
                case "add":
                    _add(db, inbox, 1 + number % 5)
                case "expunge":
                    messages.expunge(db, inbox, chosen, deleted_only=False)
                case "flag":
                    messages.set_flags(db, inbox, chosen, replace=number & 7)
                case "keyword":
                    messages.set_flags(db, inbox, chosen, add=keyword_bits(db, inbox, (f"k{number % 3}",)))
                case "away":
                    messages.move(db, inbox, chosen, other)
                case "back":
                    messages.move(db, other, None, inbox)
                case "keep":
                    mailbox = mailbox_by_id(db, inbox)
                    assert mailbox is not None
                    fresh = View(*flag_columns(db, inbox), mailbox.keywords)
                    if kept is not None:
                        made = brought_up(db, kept, mailbox)
                        assert made is None or shown(made) == shown(fresh)
                        assert made is not None or most < 1000
                    kept = Kept(mailbox.uidvalidity, mailbox.highestmodseq, fresh)
    finally:
        history.MAX_SPANS, history.KEPT_SPANS = limits


def test_a_view_of_another_mailbox_or_of_the_future_is_not_used() -> None:
    db = Database(":memory:")
    migrate(db, MIGRATIONS)
    ana = create_account(db, "ana@palomar.test", [])
    inbox = create_mailbox(db, ana.id, "a").id
    _add(db, inbox, 3)
    mailbox = mailbox_by_id(db, inbox)
    assert mailbox is not None
    view = View(*flag_columns(db, inbox), ())
    assert brought_up(db, Kept(mailbox.uidvalidity + 1, mailbox.highestmodseq, view), mailbox) is None
    assert brought_up(db, Kept(mailbox.uidvalidity, mailbox.highestmodseq + 1, view), mailbox) is None
    assert brought_up(db, Kept(mailbox.uidvalidity, mailbox.highestmodseq, View((), (), ())), mailbox) is None
    raise_past(db)
    raised = mailbox_by_id(db, inbox)
    assert raised is not None
    made = brought_up(db, Kept(mailbox.uidvalidity, mailbox.highestmodseq, view), raised)
    assert made is not None
    assert shown(made) == shown(view)


def test_the_cache_is_bounded_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_cache, "MAX_MESSAGES", 10)
    cache = ViewCache()

    def view(count: int) -> View:
        return View(range(1, count + 1), [0] * count, ())

    cache.keep(1, Kept(1, 5, view(4)))
    cache.keep(1, Kept(1, 4, view(3)))
    assert cache.get(1) == Kept(1, 5, cache.get(1).view)  # type: ignore[union-attr]
    cache.keep(2, Kept(1, 1, view(6)))
    cache.keep(3, Kept(1, 1, view(1)))
    assert cache.get(1) is None
    cache.keep(4, Kept(1, 1, view(11)))
    assert cache.get(4) is None
    assert cache.get(2) is not None
    assert cache.get(3) is not None


async def test_a_mailbox_that_has_not_changed_is_not_read_again(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.put(*[b"Subject: x\r\n\r\n"] * 5)
    client = await here.login("INBOX")
    await client.ok("STORE 2 +FLAGS (\\Seen)")
    await client.ok("UNSELECT")

    def unread(*_: object) -> object:
        raise AssertionError("read again")

    monkeypatch.setattr("plugins.imap4.selected.flag_columns", unread)
    await client.ok("SELECT INBOX")
    await here.put(b"Subject: y\r\n\r\n")
    await client.ok("EXAMINE INBOX")
    assert await client.ok("FETCH 1:* FLAGS") == [
        b"* 1 FETCH (FLAGS ())", b"* 2 FETCH (FLAGS (\\Seen))", b"* 3 FETCH (FLAGS ())", b"* 4 FETCH (FLAGS ())",
        b"* 5 FETCH (FLAGS ())", b"* 6 FETCH (FLAGS (\\Recent))",
    ]  # fmt: skip
