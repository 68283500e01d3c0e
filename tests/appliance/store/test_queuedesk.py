"""The queue as people choose from it, see it and sum it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.store import QueueWish, Store, queue, queuedesk
from appliance.store.queuedesk import Selection
from tests.appliance.store.samples import Clock, message

ANA = Address("ana", "office.test")
Chosen = dict[str, Any]


async def put(store: Store, sender: Address | None, *addresses: str, hold: bool = False, **terms: Any) -> list[int]:
    """Queue one message by relay to the domains of its recipients; returns the entries' ids."""
    wishes = [
        QueueWish(
            Recipient(Address.parse(one)), Route("relay", one.rpartition("@")[2]), hold, "hijacked" if hold else ""
        )
        for one in addresses
    ]
    done = await store.accept(message(), [], wishes, Envelope(sender, **terms), trace_id="t")
    assert done.queue_id is not None
    return store.peek(lambda db: queue.entry_ids_of(db, done.queue_id or 0))


@pytest.fixture
async def full(store: Store, clock: Clock) -> Store:
    """Five entries, one of them deferred for four hours, one held."""
    (old,) = await put(store, ANA, "luis@sub.example.org")
    event = queue.Event(int(clock()), "deferred", "451 4.7.1 Greylisted, 100% sure", "mx[192.0.2.1]:25")
    clock.at += 4 * 3600
    step = queue.Deferral(old, int(clock()) + 900, 7, 4 * 3600, int(clock()), event.text, True, event)
    await store.write(lambda db: queue.defer(db, [step]))
    await put(store, None, "a@example.org", '"x@y"@example.net')
    await put(store, ANA, "b@example.org", hold=True)
    await put(store, Address("luis", "office.test"), "c_d@example.com", release_at=int(clock()) + 7200)
    clock.at += 60
    return store


def names(store: Store, clock: Clock, **chosen: Any) -> str:
    """The local parts of those that are meant, in order; they are the same for each way to ask."""
    selection, now = Selection(**chosen), int(clock())
    rows = store.peek(lambda db: queuedesk.listed(db, selection, now))
    ids = store.peek(lambda db: queuedesk.chosen_ids(db, selection, now))
    assert [queuedesk.name_of(one) for one in ids] == [row["name"] for row in rows]
    assert store.peek(lambda db: queuedesk.count(db, selection, now)) == len(ids)
    return " ".join(row["recipient"].rpartition("@")[0] for row in rows)


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, 'luis a "x@y" b c_d'),
        ({"domains": ("example.org",)}, "a b"),
        ({"domains": ("example.org",), "subdomains": True}, "luis a b"),
        ({"domains": ("example.org", "example.net")}, 'a "x@y" b'),
        ({"domains": ("y",)}, ""),
        ({"sender": "ana@office.test"}, "luis b"),
        ({"sender": "ANA@*"}, "luis b"),
        ({"sender": "office.test"}, "luis b c_d"),
        ({"sender": "<>"}, 'a "x@y"'),
        ({"recipient": "c_d@example.com"}, "c_d"),
        ({"recipient": "c%d@example.com"}, ""),
        ({"recipient": "*@example.*"}, 'a "x@y" b c_d'),
        ({"reason": "greylisted"}, "luis"),
        ({"reason": "100%"}, "luis"),
        ({"reason": "10%0"}, ""),
        ({"reason": "hijacked"}, "b"),
        ({"state": "held"}, "b"),
        ({"state": "active"}, 'luis a "x@y" c_d'),
        ({"state": "damaged"}, ""),
        ({"via": "example.net"}, '"x@y"'),
        ({"older_s": 4 * 3600}, "luis"),
        ({"newer_s": 3600}, 'a "x@y" b c_d'),
        ({"released": True}, 'luis a "x@y" b'),
        ({"sender": "office.test", "state": "active", "older_s": 60}, "luis c_d"),
    ],
)
async def test_what_is_meant(full: Store, clock: Clock, chosen: Chosen, found: str) -> None:
    assert names(full, clock, **chosen) == found


async def test_names_and_domains_are_alternatives(full: Store, clock: Clock) -> None:
    first = full.peek(lambda db: queuedesk.chosen_ids(db, Selection(), 0))[0]
    assert names(full, clock, ids=(first,), domains=("example.com",)) == "luis c_d"
    assert names(full, clock, ids=(first,), domains=("example.com",), sender="ana@office.test") == "luis"
    assert names(full, clock, ids=()) == ""


async def test_a_row_tells_all(full: Store, clock: Clock) -> None:
    rows = full.peek(lambda db: queuedesk.listed(db, Selection(), int(clock())))
    first, last = rows[0], rows[-1]
    assert (first["sender"], first["attempts"], first["waited_s"], first["age_s"]) == (str(ANA), 7, 14400, 14460)
    assert (first["last_reply"], first["transport"], first["next_hop"]) == (
        "451 4.7.1 Greylisted, 100% sure", "relay", "sub.example.org"
    )  # fmt: skip
    assert (last["state"], last["release_at"], last["age_s"]) == ("active", int(clock()) - 60 + 7200, 60)
    assert (rows[3]["state"], rows[3]["last_reply"]) == ("held", "hijacked")
    page = full.peek(lambda db: queuedesk.listed(db, Selection(), int(clock()), limit=2))
    assert [row["name"] for row in page] == [row["name"] for row in rows[:2]]


async def test_the_summary_counts_by_domain_and_age(full: Store, clock: Clock) -> None:
    now = int(clock())
    found = full.peek(lambda db: queuedesk.summary(db, Selection(), now))
    assert [(name, total) for name, total, _ in found] == [
        ("example.org", 2), ("example.com", 1), ("example.net", 1), ("sub.example.org", 1)
    ]  # fmt: skip
    assert [sum(ages) for _, _, ages in found] == [2, 1, 1, 1]
    assert found[0][2][0] == 2
    assert found[3][2][queuedesk.AGES_MIN.index(320)] == 1
    by_sender = full.peek(lambda db: queuedesk.summary(db, Selection(domains=("example.org",)), now, by="sender"))
    assert [(name, total) for name, total, _ in by_sender] == [("", 1), ("office.test", 1)]
    by_hop = full.peek(lambda db: queuedesk.summary(db, Selection(), now, by="hop"))
    assert by_hop[0][:2] == ("relay example.org", 2)


async def test_octets_that_are_no_text_are_shown_all_the_same(tmp_path: Path, clock: Clock) -> None:
    def damage(db: Any) -> None:
        db.execute("UPDATE queue_entry SET address = CAST(x'ff40ff' AS TEXT), last_reply = CAST(x'fe' AS TEXT)")
        db.execute("UPDATE queue_entry SET held = 77")
        db.execute("DELETE FROM queued")

    store = Store.open(tmp_path / "damaged", now=clock, reserve_bytes=0)
    await store.start()
    try:
        await put(store, ANA, "a@example.org", "b@example.org")
        await store.write(damage)
        rows = store.peek(lambda db: queuedesk.listed(db, Selection(), int(clock())))
        assert [(row["recipient"], row["state"], row["sender"]) for row in rows] == [
            ("\ufffd@\ufffd", "damaged", "")
        ] * 2
        assert len(store.peek(lambda db: queuedesk.summary(db, Selection(), int(clock())))) == 1
        assert store.peek(queue.queue_counts) == (0, 0, 0, 2)
    finally:
        await store.close()


def test_everything() -> None:
    assert Selection().everything
    assert Selection(released=True).everything
    assert not Selection(ids=()).everything
