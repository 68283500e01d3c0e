"""Lists of members: who may write, what members get, who hears of failures."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import StoreFullError
from appliance.hookspecs import hookimpl
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Recipient
from appliance.mail.message import Message
from appliance.queue.destinations import envelope_of
from appliance.store import MailingList, QueuedMessage, QueueEntry
from appliance.store.lists import MAX_DEPTH, add_members, create_list
from appliance.store.queue import list_queue, settle
from plugins.mda.delivery import LocalTransport
from plugins.mda.lists import ListTransport, distributed
from tests.appliance.office import MESSAGE, Office, office

TEAM, BOSS, LUIS = "team@palomar.test", "boss@elsewhere.test", "luis@elsewhere.test"


class Outside:
    """Stands in for the relay role."""

    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        return Route("relay", recipient.address.domain)


@pytest.fixture
async def o(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path, ("relay", Outside())) as made:
        await make(made, TEAM, LUIS, "ana@palomar.test")
        yield made


async def make(o: Office, address: str, *members: str, **options: Any) -> None:
    await o.store.write(lambda db: create_list(db, address, owner=BOSS, **options))
    await o.store.write(lambda db: add_members(db, address, members))


def waiting(o: Office, transport: str) -> list[tuple[QueuedMessage, QueueEntry]]:
    return [pair for pair in o.store.peek(list_queue) if pair[1].route.transport == transport]


async def run_lists(o: Office) -> list[Outcome]:
    """What the queue would do with what waits for lists."""
    outcomes = []
    for message, entry in waiting(o, "list"):
        outcomes += await ListTransport(o.core).deliver_queued(
            envelope_of(message, [entry]), message, [entry], await o.store.load(message.body_id)
        )
        await o.store.write(lambda db, done=entry.id: settle(db, done))  # type: ignore[misc]
    return outcomes


async def test_a_message_for_the_list_goes_to_all_with_the_owner_as_sender(o: Office) -> None:
    assert (await o.send(TEAM)).positive
    assert await o.inbox("ana@palomar.test") == []  # 250 means: in the queue; members are served from there
    (outcome,) = await run_lists(o)
    assert (outcome.status, outcome.reply.code) == ("delivered", 250)
    (filed,) = await o.inbox("ana@palomar.test")
    assert filed.startswith(
        b"Return-Path: <team-owner@palomar.test>\r\nDelivered-To: ana@palomar.test\r\n"
        b"Delivered-To: team@palomar.test\r\nList-Id: <team.palomar.test>\r\nList-Post: <mailto:team@palomar.test>\r\n"
    )
    assert filed.endswith(bytes(MESSAGE))
    assert b"Precedence: list\r\n" in filed
    ((message, entry),) = waiting(o, "relay")
    assert (str(message.sender), str(entry.recipient.address)) == ("team-owner@palomar.test", LUIS)
    assert (entry.recipient.via, entry.recipient.notify, message.ret) == ("", frozenset(), "HDRS")
    assert waiting(o, "list") == []


async def test_members_that_are_refused_are_told_to_the_owner(o: Office) -> None:
    await o.store.write(lambda db: add_members(db, TEAM, ["nobody@palomar.test"]))
    await o.send(TEAM)
    await run_lists(o)
    ((message, entry),) = waiting(o, "local")
    assert str(message.sender) == "team-owner@palomar.test"
    stored = await o.store.load(message.body_id)
    (outcome,) = await LocalTransport(o.core).deliver_queued(envelope_of(message, [entry]), message, [entry], stored)
    assert (outcome.status, outcome.reply.enhanced) == ("failed", "5.1.1")
    told = o.begin(None)
    assert (await o.rcpt(told, "team-owner@palomar.test")).positive
    assert [str(one.recipient.address) for one in told.routed[0]] == [BOSS]


@pytest.mark.parametrize("name", ["team-owner", "Team-Request", "team-bounces"])
async def test_mail_for_the_owner_reaches_the_owner_whoever_writes(o: Office, name: str) -> None:
    transaction = o.begin("stranger@elsewhere.test")
    assert (await o.rcpt(transaction, f"{name}@palomar.test")).positive
    assert [str(one.recipient.address) for one in transaction.routed[0]] == [BOSS]
    assert (await o.rcpt(transaction, "other-owner@palomar.test")).code == 550


@pytest.mark.parametrize(
    ("post", "session", "sender", "taken"),
    [
        ("members", {}, LUIS, True),
        ("members", {}, "LUIS@elsewhere.test", True),
        ("members", {}, BOSS, True),
        ("members", {}, "stranger@elsewhere.test", False),
        ("members", {"account": "ana@palomar.test"}, "ana+x@palomar.test", True),
        ("members", {"account": "luis@palomar.test"}, "luis@palomar.test", False),
        ("members", {}, None, False),
        ("accounts", {"account": "luis@palomar.test"}, "luis@palomar.test", True),
        ("accounts", {}, "luis@palomar.test", False),
        ("accounts", {}, LUIS, False),
        ("accounts", {"role": "local", "peer_ip": ""}, "luis@palomar.test", True),
        ("accounts", {"role": "local", "peer_ip": ""}, LUIS, False),
        ("anyone", {}, "stranger@elsewhere.test", True),
        ("anyone", {}, None, False),
    ],
)
async def test_who_may_write(
    tmp_path: Path, post: Any, session: dict[str, Any], sender: str | None, taken: bool
) -> None:
    async with office(tmp_path, ("relay", Outside())) as o:
        await make(o, TEAM, LUIS, "ana@palomar.test", post=post)
        await o.alias("everybody@palomar.test", TEAM)
        for address in (TEAM, "team+x@palomar.test", "everybody@palomar.test"):
            reply = await o.rcpt(o.begin(sender, **session), address)
            expected = taken and not (session.get("role") == "local" and address.startswith("every"))
            assert (reply.code, reply.enhanced) == ((250, "2.1.5") if expected else (550, "5.7.2"))


async def test_no_way_round_by_an_alias_that_others_are_on_too(tmp_path: Path) -> None:
    async with office(tmp_path, ("relay", Outside())) as o:
        await make(o, TEAM, "ana@palomar.test", post="accounts")
        await o.alias("all@palomar.test", TEAM, "luis@palomar.test")
        assert (await o.send("all@palomar.test", sender="ana@palomar.test")).positive  # forged
        ((message, entry),) = waiting(o, "local")
        stored = await o.store.load(message.body_id)
        envelope = envelope_of(message, [entry])
        (outcome,) = await LocalTransport(o.core).deliver_queued(envelope, message, [entry], stored)
        assert (outcome.status, outcome.reply.enhanced) == ("failed", "5.7.2")


async def test_lists_in_lists_are_one_and_everybody_gets_one(o: Office) -> None:
    await make(o, "all@palomar.test", TEAM, LUIS, "c@elsewhere.test", post="anyone")
    await o.store.write(lambda db: add_members(db, TEAM, ["all@palomar.test", "LUIS@elsewhere.test"]))
    await o.send("all@palomar.test", sender="stranger@elsewhere.test")
    await run_lists(o)
    assert sorted(str(entry.recipient.address) for _, entry in waiting(o, "relay")) == ["c@elsewhere.test", LUIS]
    assert len(await o.inbox("ana@palomar.test")) == 1
    assert (await o.rcpt(o.begin("c@elsewhere.test"), TEAM)).positive  # by the list that is on it


async def test_lists_too_deep_are_told(o: Office) -> None:
    for depth in range(MAX_DEPTH + 1):
        await make(o, f"l{depth}@palomar.test", f"l{depth + 1}@palomar.test", post="anyone")
    await o.send("l0@palomar.test")
    (outcome,) = await run_lists(o)
    assert (outcome.status, outcome.reply.enhanced) == ("failed", "5.3.5")


@pytest.mark.parametrize(
    ("lines", "enhanced"),
    [
        (b"Delivered-To: TEAM@palomar.test\r\n", "5.4.6"),
        (b'List-Id: "Our team" <Team.palomar.test>\r\n', "5.4.6"),
        (b"Auto-Submitted: auto-replied (vacation)\r\n", "5.7.2"),
    ],
)
async def test_what_would_go_round_for_ever_is_refused(o: Office, lines: bytes, enhanced: str) -> None:
    await o.send(TEAM, message=MESSAGE.prepend(lines))
    (outcome,) = await run_lists(o)
    assert (outcome.status, outcome.reply.enhanced) == ("failed", enhanced)
    assert await o.inbox("ana@palomar.test") == []


async def test_an_empty_list_and_one_that_is_gone(o: Office) -> None:
    await make(o, "none@palomar.test", post="anyone")
    await make(o, "gone@palomar.test", LUIS, post="anyone")
    await o.send("none@palomar.test", "gone@palomar.test")
    await o.store.write(lambda db: (db.execute("DELETE FROM list WHERE address LIKE 'gone@%'"), db.touch_directory()))
    assert [outcome.status for outcome in await run_lists(o)] == ["delivered", "failed"]


async def test_the_store_s_trouble_leaves_the_message_in_the_queue(o: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await o.send(TEAM)
    ((message, entry),) = waiting(o, "list")

    async def full(*_: object, **__: object) -> None:
        raise StoreFullError("full")

    accept = o.store.accept
    monkeypatch.setattr(o.store, "accept", full)
    stored = await o.store.load(message.body_id)
    (outcome,) = await ListTransport(o.core).deliver_queued(envelope_of(message, [entry]), message, [entry], stored)
    assert (outcome.status, outcome.reply.code) == ("deferred", 451)
    monkeypatch.setattr(o.store, "accept", accept)
    assert waiting(o, "list")


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Our team", b"List-Id: Our team <team.palomar.test>\r\n"),
        ('Team "A", all', b'List-Id: "Team \\"A\\", all" <team.palomar.test>\r\n'),
        ("Compañía", b"List-Id: =?utf-8?B?Q29tcGHDscOtYQ==?= <team.palomar.test>\r\n"),
        ("ñ" * 30, b"?=\r\n =?utf-8?B?"),
    ],
)
def test_the_title_is_written_as_the_header_wants_it(title: str, shown: bytes) -> None:
    made = distributed(MESSAGE, MailingList(TEAM, title, BOSS))
    assert shown in made.header
    assert made.header.isascii()


def test_fields_of_another_list_go_and_nothing_else_does() -> None:
    other = Message.parse(
        b"Received: x\r\nList-Id: <other>\r\nlist-unsubscribe: <x>,\r\n <y>\r\nReply-To: a@b.test\r\n"
        b"Subject: \xff x\r\n\r\nt\r\n"
    )
    plain = distributed(other, MailingList(TEAM, "", BOSS))
    assert bytes(plain).endswith(b"Received: x\r\nReply-To: a@b.test\r\nSubject: \xff x\r\n\r\nt\r\n")
    assert plain.get_all(b"list-id") == [b"<team.palomar.test>"]
    answered = distributed(other, MailingList(TEAM, "", BOSS, reply_to_list=True))
    assert answered.get_all(b"reply-to") == [b"<team@palomar.test>"]


async def test_a_thousand_members_are_cheap(o: Office) -> None:
    members = [f"member{number}@domain{number % 50}.test" for number in range(1000)]
    await make(o, "big@palomar.test", *members, post="anyone")
    assert (await o.send("big@palomar.test")).positive
    began = time.process_time()
    (outcome,) = await run_lists(o)
    took = time.process_time() - began
    assert outcome.status == "delivered"
    assert len(waiting(o, "relay")) == 1000
    assert o.store.peek(lambda db: db.execute("SELECT count(*) FROM body").fetchone()) == (1,)
    assert took < 5, f"{took:.2f} s of CPU"
