"""Short bodies that were read lately are kept, few octets of them, and come back as they are."""

from __future__ import annotations

import pytest

from appliance.store import Account, Store, recent
from appliance.store.bodies import StoredBody
from appliance.store.messages import expunge
from appliance.store.recent import RecentBodies
from appliance.store.texts import RAW, Place
from tests.appliance.store.samples import PREFIX, accept, box, message


def body(octets: int) -> StoredBody:
    return StoredBody(b"", Place(RAW, octets, None, 0, octets, bytes(octets)), b"")


def test_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "LIMIT", 3 * (1000 + recent._OVERHEAD))
    kept, bodies = RecentBodies(), {number: body(1000) for number in range(5)}
    for number in range(3):
        kept.keep((number, 1), bodies[number])
        kept.keep((number, 1), bodies[number])
    assert kept.get((0, 1)) is bodies[0]
    kept.keep((3, 1), bodies[3])
    assert [kept.get((number, 1)) is bodies[number] for number in range(4)] == [True, False, True, True]
    assert kept.get((0, 2)) is None
    kept.keep((4, 1), body(recent.SHORT + 1))
    assert kept.get((4, 1)) is None


@pytest.mark.parametrize("octets", [300, 10_000, 100_000])
async def test_the_second_read_is_like_the_first(store: Store, ana: Account, octets: int) -> None:
    sent = message(1, octets)
    await accept(store, sent, ana)
    inbox = box(store, ana)
    size = len(sent.text)
    for start, end in ((0, size), (5, 9), (0, size), (0, 0), (size, size), (size - 1, size)):
        [found] = await store.read(lambda db: list(store.found_in(db, inbox.id, 1, 9)))
        assert found.header == PREFIX + sent.header
        assert (found.text_size, found.row.size) == (size, len(PREFIX) + sent.size)
        assert found.structure == sent.structure
        assert b"".join(store.stretch_in(found, start, end)) == bytes(sent.text[start:end])
    await store.write(lambda db: expunge(db, inbox.id, None, deleted_only=False))
    assert await store.read(lambda db: list(store.found_in(db, inbox.id, 1, 9))) == []
