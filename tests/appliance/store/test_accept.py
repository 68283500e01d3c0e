"""Taking mail: filings and queue in one transaction, quotas, several messages in one group."""

from __future__ import annotations

import asyncio
import random

import pytest

from appliance.errors import NotFoundError, QuotaError, StoreError
from appliance.mail.message import Message
from appliance.store import SEEN, Accepted, Account, Change, Filed, Filing, Store, accounts, bodies, queue, texts
from appliance.store.mailboxes import delete_mailbox
from tests.appliance.store.samples import (
    ENVELOPE,
    PREFIX,
    Clock,
    accept,
    box,
    count,
    message,
    rows,
    swept,
    uids,
    wish,
)


async def stored(store: Store, account: Account, mailbox: str = "INBOX") -> list[bytes]:
    found = await store.load_many(rows(store, box(store, account, mailbox)))
    return [bytes(one) for one in found]


@pytest.mark.parametrize("size", [0, 2, 100, 511, 512, 3000, 31_000, 33_000, 200_000, 1_200_000])
@pytest.mark.parametrize("repeats", [False, True])
async def test_what_goes_in_comes_out_octet_for_octet(store: Store, ana: Account, size: int, repeats: bool) -> None:
    text = b"again and again\r\n" * (size // 17) if repeats else random.Random(size).randbytes(size)
    sent = Message.parse(b"Subject: x\r\n\r\n" + text)
    done = await accept(store, sent, ana)
    assert done == Accepted(done.body_id, (Filed(ana.id, box(store, ana).id, 1),))
    assert await stored(store, ana) == [PREFIX + bytes(sent)]
    assert bytes(await store.load(done.body_id)) == bytes(sent)
    headers = await store.load_many(rows(store, box(store, ana)), headers_only=True)
    assert bytes(headers[0]) == PREFIX + sent.header
    assert rows(store, box(store, ana))[0].size == len(PREFIX) + sent.size


async def test_a_text_in_a_mapping_is_taken(store: Store, ana: Account) -> None:
    octets = b"Subject: x\r\n\r\n" + b"x" * 300_000
    await accept(store, Message.parse(memoryview(octets)), ana)
    assert await stored(store, ana) == [PREFIX + octets]


async def test_one_body_for_all_filings_and_the_queue(store: Store, ana: Account, luis: Account) -> None:
    heard: list[Change] = []
    store.changes.subscribe(None, heard.append)
    filings = [
        Filing(ana.id, "INBOX", b"Delivered-To: ana\r\n"),
        Filing(luis.id, "Junk", b"Delivered-To: luis\r\n", SEEN, ("$Junk",)),
        Filing(ana.id, "Archive"),
    ]
    done = await store.accept(message(), filings, [wish(), wish("dora@example.net")], ENVELOPE, trace_id="t")
    assert [(one.account_id, one.uid) for one in done.filed] == [(ana.id, 1), (luis.id, 1), (ana.id, 1)]
    assert count(store, "body") == 1
    assert count(store, "filing") == 3
    assert await stored(store, luis, "Junk") == [b"Delivered-To: luis\r\n" + bytes(message())]
    assert await stored(store, ana, "Archive") == [bytes(message())]
    assert rows(store, box(store, luis, "Junk"))[0].flags == SEEN | 1 << 8
    assert box(store, luis, "Junk").unseen == 0
    assert done.queue_id is not None
    queued, entries = store.peek(lambda db: queue.entries_of(db, done.queue_id or 0))
    assert (queued.sender, queued.ret, queued.envid, queued.body) == (ENVELOPE.sender, "HDRS", "e+1", "8BITMIME")
    assert [entry.recipient.address.domain for entry in entries] == ["example.org", "example.net"]
    assert {(one.mailbox_id, one.added, one.flags) for one in heard} == {
        (one.mailbox_id, (1,), ((1, SEEN | 1 << 8 if one.account_id == luis.id else 0),)) for one in done.filed
    }


async def test_mail_without_filings_is_only_queued(store: Store) -> None:
    done = await store.accept(message(), [], [wish()], ENVELOPE, trace_id="t")
    assert done.filed == ()
    assert count(store, "queue_entry") == 1
    with pytest.raises(StoreError):
        await store.accept(message(), [], [wish()], None, trace_id="t")


MULTIPART = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\nOne\r\n--b\r\nContent-Type: application/pdf\r\n\r\n%b\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("octets", "hold", "parts"),
    [(100, False, 0), (40_000, False, 0), (100, True, 2), (bodies.ALWAYS_DESCRIBED, False, 2)],
)
async def test_what_is_only_sent_on_is_one_piece_of_text(store: Store, octets: int, hold: bool, parts: int) -> None:
    sent = Message.parse(MULTIPART % (b"x" * octets))
    done = await store.accept(sent, [], [wish(hold=hold)], ENVELOPE, trace_id="t")
    assert bytes(await store.load(done.body_id)) == bytes(sent)
    async with store.reading(done.body_id) as stored:
        assert len(stored.structure.parts) == parts
        assert stored.structure.end == len(sent.text)
        assert b"".join([piece async for piece in stored.pieces()]) == bytes(sent)
    searched = await store.each_body([done.body_id], lambda _, one: bytes(one.text), reach=lambda part: part.end)
    assert searched == [bytes(sent.text)]


async def test_the_internal_date_is_the_clocks_or_the_callers(store: Store, ana: Account, clock: Clock) -> None:
    await accept(store, message(), ana)
    clock.at += 60
    await accept(store, message(), ana)
    await store.accept(message(), [Filing(ana.id)], [], None, trace_id="t", internal_at=5)
    found = [row.internal_at for row in rows(store, box(store, ana))]
    assert found == [int(clock.at) - 60, int(clock.at), 5]


async def test_a_group_gives_each_its_own_answer(store: Store, ana: Account, luis: Account) -> None:
    await store.write(lambda db: accounts.set_quota(db, luis.name, message().size + len(PREFIX) + 5))
    groups = store._writer.groups
    answers = await asyncio.gather(
        accept(store, message(1), ana),
        accept(store, message(2), luis),
        accept(store, message(3), luis),
        accept(store, message(4), luis, ana),
        store.accept(message(5), [Filing(999)], [], None, trace_id="t"),
        store.accept(message(6), [Filing(ana.id, "a//b")], [], None, trace_id="t"),
        accept(store, message(7), ana),
        return_exceptions=True,
    )
    assert store._writer.groups == groups + 1
    kinds = [type(answer) for answer in answers]
    assert kinds == [Accepted, Accepted, QuotaError, QuotaError, NotFoundError, StoreError, Accepted]
    assert await stored(store, ana) == [PREFIX + bytes(message(1)), PREFIX + bytes(message(7))]
    assert count(store, "body") == 3


async def test_a_quota_counts_what_is_stored_now(store: Store, ana: Account) -> None:
    size = message().size + len(PREFIX)
    await store.write(lambda db: accounts.set_quota(db, ana.name, 2 * size))
    await accept(store, message(), ana)
    await accept(store, message(), ana, mailbox="Archive")
    with pytest.raises(QuotaError):
        await accept(store, message(), ana)
    with pytest.raises(QuotaError):
        await store.append(box(store, ana).id, [(message(), 0, (), 1)])
    await store.write(lambda db: delete_mailbox(db, ana.id, "Archive"))
    await accept(store, message(), ana)


async def test_append_gives_uids_in_order_all_or_none(store: Store, ana: Account) -> None:
    inbox = box(store, ana)
    origin = object()
    heard: list[Change] = []
    store.changes.subscribe(inbox.id, heard.append)
    items = [(message(1), SEEN, ("work",), 100), (message(2, 50_000), 0, (), 200), (message(3), 0, (), 300)]
    assert await store.append(inbox.id, items, origin) == [1, 2, 3]
    assert [(row.flags, row.internal_at) for row in rows(store, inbox)] == [(SEEN | 1 << 8, 100), (0, 200), (0, 300)]
    assert await stored(store, ana) == [bytes(one[0]) for one in items]
    assert [(one.added, one.origin) for one in heard] == [((1, 2, 3), origin)]
    size = sum(one[0].size for one in items)
    await store.write(lambda db: accounts.set_quota(db, ana.name, size + message(4).size))
    with pytest.raises(QuotaError):
        await store.append(inbox.id, [(message(4), 0, (), 1), (message(5), 0, (), 1)])
    assert uids(store, inbox) == [1, 2, 3]
    with pytest.raises(NotFoundError):
        await store.append(999, [(message(), 0, (), 1)])


async def test_large_texts_lie_in_segments_and_small_ones_in_rows(store: Store, ana: Account) -> None:
    await accept(store, message(1, 20_000), ana)
    await accept(store, message(2, 150_000), ana)
    found = store.peek(lambda db: db.execute("SELECT segment, text IS NULL FROM body ORDER BY id").fetchall())
    assert found == [(None, 0), (1, 1)]


async def test_compression_is_kept_only_where_it_saves(store: Store, ana: Account) -> None:
    await accept(store, Message(b"A: b\r\n\r\n", b"the same words again and again\r\n" * 100), ana)
    await accept(store, Message(b"A: b\r\n\r\n", random.Random(1).randbytes(3000)), ana)
    found = store.peek(lambda db: db.execute("SELECT codec, text_size, stored FROM body ORDER BY id").fetchall())
    assert found[0][0] == texts.ZSTD
    assert found[0][2] < found[0][1] // 10
    assert found[1] == (texts.RAW, 3000, 3000)


async def test_a_caller_who_goes_away_leaves_a_whole_message_or_none(store: Store, ana: Account) -> None:
    tasks = [asyncio.ensure_future(accept(store, message(number, 100_000), ana)) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.write(lambda _: None)
    found = await stored(store, ana)
    assert {PREFIX + bytes(message(number, 100_000)) for number in range(1, 20, 2)} <= set(found)
    assert len(found) == len(set(found))
    await store.tidy(everything=True)
    assert store._segments._in_flight == {}


async def test_load_of_what_is_not_there(store: Store, ana: Account) -> None:
    done = await accept(store, message(), ana)
    for wanted in ((999, None), (done.body_id, 999)):
        with pytest.raises(NotFoundError):
            await store.load(*wanted)


# ── out of the queue into mailboxes ───────────────────────────────────────────────────────────────────────────────


async def waiting(store: Store, *addresses: str) -> list[int]:
    """Queue a message; the ids of its entries."""
    done = await store.accept(message(), [], [wish(one, "local") for one in addresses], ENVELOPE, trace_id="t")
    return store.peek(lambda db: queue.entry_ids_of(db, done.queue_id or 0))


async def file(store: Store, account: Account, entry_id: int, **facts: object) -> Accepted:
    filing = Filing(account.id, "INBOX", **facts)  # type: ignore[arg-type]
    return await store.accept(message(), [filing], [], ENVELOPE, trace_id="t", settles=[entry_id])


@pytest.mark.parametrize("variant", [None, message(2)])
async def test_a_filing_settles_its_entry_and_no_other(store: Store, ana: Account, variant: Message | None) -> None:
    first, second = await waiting(store, "ana@palomar.test", "ana+x@palomar.test")
    await file(store, ana, first, variant=variant)
    assert [entry.id for _, entry in store.peek(queue.list_queue)] == [second]
    await file(store, ana, second, variant=variant)
    assert count(store, "queue_entry") == count(store, "queued") == 0
    assert len(await stored(store, ana)) == 2
    await swept(store, left=2)


async def test_an_entry_files_once(store: Store, ana: Account) -> None:
    (entry,) = await waiting(store, "ana@palomar.test")
    both = await asyncio.gather(*[file(store, ana, entry) for _ in range(2)], return_exceptions=True)
    assert sorted(type(one).__name__ for one in both) == ["Accepted", "NotFoundError"]
    with pytest.raises(NotFoundError, match="not in the queue any more"):
        await file(store, ana, entry, variant=message(2))
    assert uids(store, box(store, ana)) == [1]


async def test_what_cannot_be_filed_stays_in_the_queue(store: Store, ana: Account) -> None:
    (entry,) = await waiting(store, "ana@palomar.test")
    await store.write(lambda db: accounts.set_quota(db, ana.name, 10))
    for variant in (None, message(2)):
        with pytest.raises(QuotaError):
            await file(store, ana, entry, variant=variant)
    assert [one.id for _, one in store.peek(queue.list_queue)] == [entry]
    assert await stored(store, ana) == []


async def test_an_entry_may_become_others(store: Store) -> None:
    (entry,) = await waiting(store, "ana@palomar.test")
    await store.accept(message(), [], [wish("ana@elsewhere.test")], ENVELOPE, trace_id="t", settles=[entry])
    assert [str(one.recipient.address) for _, one in store.peek(queue.list_queue)] == ["ana@elsewhere.test"]


async def test_each_message_of_a_group_keeps_what_is_its_own(store: Store, ana: Account, luis: Account) -> None:
    sent = [message(number) for number in range(47)]  # by statements of 32, 8, 4, 2 and 1 rows
    groups = store._writer.groups
    accepted = await asyncio.gather(*(accept(store, one, ana if n % 3 else luis) for n, one in enumerate(sent)))
    assert store._writer.groups == groups + 1
    for n, (one, answer) in enumerate(zip(sent, accepted, strict=True)):
        assert bytes(await store.load(answer.body_id)) == bytes(one)
        assert answer.filed[0].account_id == (ana.id if n % 3 else luis.id)
    assert await stored(store, ana) == [PREFIX + bytes(one) for n, one in enumerate(sent) if n % 3]
    assert await stored(store, luis) == [PREFIX + bytes(one) for one in sent[::3]]
