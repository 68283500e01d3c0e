"""Mailboxes, mail in and out of them, submission, queue, trace."""

from __future__ import annotations

import base64
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from appliance.calls import all_calls, transfer
from appliance.control import CallError
from appliance.mail.address import Address
from appliance.mail.envelope import Recipient
from appliance.mail.message import Message
from appliance.store.accounts import create_account
from appliance.store.mailboxes import list_subscriptions
from tests.appliance.calls.conftest import Desk

ANA = "ana@palomar.test"
SMALL = b"Subject: small\r\n\r\ntext\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 40_000


def items(*letters: tuple[bytes, dict[str, Any]]) -> list[Any]:
    made: list[Any] = []
    for data, facts in letters:
        made.append({"size": len(data), **facts})
        made += [base64.b64encode(data[at : at + 100_000]).decode() for at in range(0, len(data), 100_000)]
    return made


async def names(desk: Desk) -> list[str]:
    return [row["name"] for row in await desk.ask("mailbox.list", account=ANA)]


async def test_mailboxes_are_made_renamed_subscribed_and_deleted(desk: Desk) -> None:
    await desk.ask("mailbox.create", account=ANA, name="Projects/Harbour")
    await desk.ask("mailbox.rename", account=ANA, name="Projects", new_name="Work")
    assert {"Work", "Work/Harbour"} <= set(await names(desk))
    await desk.ask("mailbox.subscribe", account=ANA, name="Work/Harbour", subscribed=False)
    (found,) = [row for row in await desk.ask("mailbox.list", account=ANA) if row["name"] == "Work/Harbour"]
    assert not found["subscribed"]
    await desk.ask("mailbox.delete", account=ANA, name="Work/Harbour")
    assert "Work/Harbour" not in await names(desk)


@pytest.mark.parametrize("call", ["mailbox.delete", "mailbox.export", "mailbox.subscribe", "mailbox.rename"])
async def test_an_unknown_mailbox_has_a_remedy(desk: Desk, call: str) -> None:
    more = {"mailbox.subscribe": {"name": "No", "subscribed": True}, "mailbox.export": {"mailbox": "No"}}
    arguments = more.get(call, {"name": "No"} | ({"new_name": "Yes"} if call == "mailbox.rename" else {}))
    ask = desk.pieces if call == "mailbox.export" else desk.ask
    if call == "mailbox.subscribe":
        await ask(call, account=ANA, **arguments)  # RFC 3501 section 6.3.6: the name need not exist
        return
    with pytest.raises(CallError, match="mailbox No") as caught:
        await ask(call, account=ANA, **arguments)
    assert "mailbox list" in caught.value.remedy


async def test_imported_mail_comes_out_as_it_went_in(desk: Desk) -> None:
    facts = {"flags": ["\\Seen", "\\Flagged"], "keywords": ["$Forwarded", "todo"], "at": 1_700_000_000}
    given = items((SMALL, facts), (LARGE, {}), (b"", {}))
    done = await desk.ask("mailbox.import", given, account=ANA, mailbox="Old/2025")
    assert done == {"messages": 3, "bytes": len(SMALL) + len(LARGE)}
    head, *rest = await desk.pieces("mailbox.export", account=ANA, mailbox="Old/2025")
    assert head == {"messages": 3, "bytes": len(SMALL) + len(LARGE)}
    letters = [item for item in rest if isinstance(item, dict)]
    assert {key: letters[0][key] for key in facts} == facts
    assert [letter["size"] for letter in letters] == [len(SMALL), len(LARGE), 0]
    assert b"".join(base64.b64decode(item) for item in rest if isinstance(item, str)) == SMALL + LARGE


async def test_a_large_message_is_exported_without_being_held_in_memory(desk: Desk) -> None:
    large = b"Subject: large\r\n\r\n" + random.Random(1).randbytes(4 << 20).hex().encode()  # 8 MiB
    await desk.ask("mailbox.import", items((large, {})), account=ANA, mailbox="Old")
    tracemalloc.start()
    try:
        exported = all_calls()["mailbox.export"].start(desk.core, _nothing(), {"account": ANA, "mailbox": "Old"})
        total = 0
        async for item in exported:
            if isinstance(item, str):
                total = zlib.crc32(base64.b64decode(item), total)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == zlib.crc32(large)
    assert peak < len(large) // 4


async def _nothing() -> AsyncIterator[Any]:
    for item in ():
        yield item


async def test_batches_are_written_as_they_fill(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BATCH_MESSAGES", 3)
    done = await desk.ask("mailbox.import", items(*[(SMALL, {})] * 7), account=ANA, mailbox="INBOX")
    assert done["messages"] == 7
    assert len(await desk.office.inbox(ANA)) == 7


@pytest.mark.parametrize(
    "bad",
    [
        ["not a letter"],
        [{"size": 5}],
        [{"size": 5}, {"size": 5}],
        [{"size": 5}, "!!!!"],
        [{"size": 2}, base64.b64encode(b"too much").decode()],
        [{"size": "5"}],
        [{"size": 1, "odd": 1}],
    ],
)
async def test_a_stream_that_is_no_mail_is_refused(desk: Desk, bad: list[Any]) -> None:
    with pytest.raises(CallError) as caught:
        await desk.ask("mailbox.import", bad, account=ANA, mailbox="INBOX")
    assert caught.value.kind == "ArgumentError"
    assert await desk.office.inbox(ANA) == []


async def send(desk: Desk, *recipients: str, sender: str = ANA, data: bytes = SMALL, **more: Any) -> Any:
    pieces = [base64.b64encode(data).decode()]
    return await desk.ask("send", pieces, sender=sender, recipients=list(recipients), **more)


async def test_a_sent_message_is_filed(desk: Desk) -> None:
    done = await send(desk, "luis@palomar.test")
    assert (done["accepted"], done["filed"], done["queued"], done["refused"]) == (True, 1, False, [])
    (message,) = await desk.office.inbox("luis@palomar.test")
    assert message.endswith(SMALL)


async def test_refused_recipients_are_told(desk: Desk) -> None:
    done = await send(desk, "luis@palomar.test", "nobody@palomar.test")
    assert done["accepted"]
    assert done["refused"][0]["address"] == "nobody@palomar.test"
    assert done["refused"][0]["reply"].startswith("550")
    assert not (await send(desk, "nobody@palomar.test"))["accepted"]


async def test_what_cannot_be_sent(desk: Desk) -> None:
    with pytest.raises(CallError, match="no mail address") as caught:
        await send(desk, "not sense")
    assert "ana@example.org" in caught.value.remedy
    with pytest.raises(CallError, match="no mail address"):
        await send(desk, "luis@palomar.test", sender="@palomar.test")
    with pytest.raises(CallError, match="RET") as caught:
        await send(desk, "luis@palomar.test", ret="some")
    assert caught.value.remedy
    with pytest.raises(CallError, match="NOTIFY"):
        await send(desk, "luis@palomar.test", notify=["never", "delay"])


async def test_names_without_a_domain_are_of_our_first_one(desk: Desk) -> None:
    done = await send(desk, "ana", "root", sender="luis")
    assert (done["filed"], [one["address"] for one in done["refused"]]) == (1, ["root@palomar.test"])
    (message,) = await desk.office.inbox(ANA)
    assert b"Return-Path: <luis@palomar.test>\r\n" in message


async def test_what_is_asked_about_notifications_goes_along(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, seen = desk.core.intake.submit, []

    async def watched(message: Message, sender: Address, recipients: list[Recipient], **more: Any) -> Any:
        seen.append((recipients[0].notify, more["envelope"].ret, more["envelope"].envid))
        return await submit(message, sender, recipients, **more)

    monkeypatch.setattr(desk.core.intake, "submit", watched)
    await send(desk, "luis@palomar.test", notify=["success", "DELAY"], ret="hdrs", envid="QQ314159")
    assert seen == [({"SUCCESS", "DELAY"}, "HDRS", "QQ314159")]


async def test_the_trace_tells_the_whole_way_of_what_matches(desk: Desk) -> None:
    done = await send(desk, "luis@palomar.test")
    await send(desk, "ana@palomar.test", sender="luis@palomar.test")
    rows = await desk.ask("trace.find", text="from luis@palomar.test")
    assert len({row["trace_id"] for row in rows}) == 1
    assert {row["what"] for row in rows} == {"submit", "accepted"}
    assert [row["trace_id"] for row in await desk.ask("trace.find", text=done["trace_id"])] == [done["trace_id"]] * 2
    assert await desk.ask("trace.find", text="nothing like it") == []


async def test_the_trace_is_found_by_message_id(desk: Desk) -> None:
    done = await send(desk, "luis@palomar.test", data=b"Message-ID: <one.two@palomar.test>\r\n\r\ntext\r\n")
    rows = await desk.ask("trace.find", text="<one.two@palomar.test>")
    assert {row["trace_id"] for row in rows} == {done["trace_id"]}


async def test_status_counts(desk: Desk) -> None:
    lines = {label: (value, level) for label, value, level in await desk.ask("status")}
    assert lines["Accounts"] == ("2", "info")
    assert lines["Queue"][0].startswith("0 messages")
    assert "Clock" not in lines


async def test_status_tells_of_a_clock_in_doubt(desk: Desk) -> None:
    desk.core.time_state = "unset"
    lines = {label: level for label, _, level in await desk.ask("status")}
    assert lines["Clock"] == "warning"


@pytest.fixture
async def waiting(desk: Desk) -> Desk:
    """Two messages wait: one for two recipients of elsewhere.test, one for example.org."""
    from appliance.mail.address import Address
    from appliance.mail.delivery import Route
    from appliance.mail.envelope import Envelope, Recipient
    from appliance.mail.message import Message
    from appliance.store import QueueWish

    for sender, recipients in ((ANA, ["a@elsewhere.test", "b@elsewhere.test"]), ("", ["c@example.org"])):
        wishes = [QueueWish(Recipient(Address.parse(one)), Route("relay", one.partition("@")[2])) for one in recipients]
        envelope = Envelope(Address.parse(sender) if sender else None)
        await desk.core.store.accept(Message.parse(SMALL), (), wishes, envelope, trace_id="t1")
    return desk


async def states(desk: Desk, **arguments: Any) -> list[tuple[str, str]]:
    return [(row["recipient"], row["state"]) for row in await waits(desk, **arguments)]


async def waits(desk: Desk, limit: int = 1000, **where: Any) -> list[dict[str, Any]]:
    pieces = await desk.pieces("queue.list", where=where or {"everything": True}, limit=limit)
    return [row for piece in pieces for row in piece]


async def test_the_queue_is_listed_and_shown(waiting: Desk) -> None:
    rows = await waits(waiting)
    assert [row["recipient"] for row in rows] == ["a@elsewhere.test", "b@elsewhere.test", "c@example.org"]
    assert (rows[0]["sender"], rows[2]["sender"]) == (ANA, "")
    assert rows[0]["size"] == len(SMALL)
    assert await states(waiting, domains=["Example.org"]) == [("c@example.org", "active")]
    assert len(await waits(waiting, limit=1)) == 1
    (one,) = await waiting.ask("queue.explain", name=rows[1]["name"], header=True)
    assert (one["recipient"], one["header"]) == ("b@elsewhere.test", "Subject: small\r\n\r\n")
    both = await waiting.ask("queue.explain", name=rows[0]["name"].partition(".")[0])
    assert len(both) == 2


async def test_entries_are_held_released_retried_and_removed(waiting: Desk) -> None:
    first, second, third = [row["name"] for row in await waits(waiting)]
    assert await waiting.ask("queue.hold", where={"names": [second], "domains": ["example.org"]}) == 2
    assert [state for _, state in await states(waiting)] == ["active", "held", "held"]
    assert await waiting.ask("queue.retry", where={"everything": True}) == 1
    assert await waiting.ask("queue.release", where={"names": [third]}) == 1
    assert await waiting.ask("queue.remove", where={"names": [first.partition(".")[0]]}) == 2
    assert await states(waiting) == [("c@example.org", "active")]
    assert await waiting.ask("queue.remove", where={"everything": True}) == 1
    assert await states(waiting) == []


@pytest.mark.parametrize("name", ["99", "99.0", "1.70000", "x", "1.2.3", "", "-1"])
async def test_an_entry_that_is_not_there(waiting: Desk, name: str) -> None:
    with pytest.raises(CallError):
        await waiting.ask("queue.remove", where={"names": [name]})
    assert len(await waits(waiting)) == 3


async def test_a_mailbox_is_shared_shown_and_unshared(desk: Desk) -> None:
    office = "office@palomar.test"
    await desk.core.store.write(lambda db: create_account(db, office))
    await desk.ask("mailbox.role", account=office, is_role=True)
    done = await desk.ask("mailbox.share", account=office, name="inbox", whom=ANA, rights="dlr")
    shown = f"Shared Folders/{office}/INBOX"
    assert done == {"account": office, "name": "INBOX", "whom": ANA, "rights": "lrxte", "shown_as": shown}
    await desk.ask("mailbox.share", account=office, name="Sent", whom="-anyone", rights="l", subscribe=False)
    assert await desk.ask("mailbox.shares", account=office) == [
        {"name": "INBOX", "whom": ANA, "rights": "lrxte"},
        {"name": "Sent", "whom": "-anyone", "rights": "l"},
    ]
    ana = desk.core.store.directory.account(ANA)
    assert ana is not None
    assert shown in desk.core.store.peek(lambda db: list_subscriptions(db, ana.id))
    await desk.ask("mailbox.share", account=office, name="INBOX", whom=ANA, rights="")
    assert len(await desk.ask("mailbox.shares", account=office)) == 1
    assert shown not in desk.core.store.peek(lambda db: list_subscriptions(db, ana.id))


@pytest.mark.parametrize(("whom", "rights"), [("nobody@palomar.test", "lr"), (ANA, "lrz")])
async def test_what_cannot_be_shared_says_why(desk: Desk, whom: str, rights: str) -> None:
    with pytest.raises(CallError) as caught:
        await desk.ask("mailbox.share", account=ANA, name="INBOX", whom=whom, rights=rights)
    assert caught.value.remedy
