"""The one door: routing, judging, filing, and that a 250 means stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.config import CoreConfig
from appliance.errors import StoreFullError
from appliance.hookspecs import hookimpl
from appliance.intake import combine
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.edited import Edited
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Finding, Judgement
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.planning import MAX_CRASHES
from appliance.routing import MAX_ALIAS_DEPTH
from appliance.store.queue import list_queue
from plugins.mda.delivery import LocalTransport
from tests.appliance.office import MESSAGE, office, plugin_of


class Outside:
    """Stands in for the relay role: everything that is not local goes to transport `relay`."""

    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        return Route("relay", recipient.address.domain)


OUTSIDE = ("relay", Outside())


async def test_a_message_is_filed_with_its_own_header_lines(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        reply = await o.send("ana@palomar.test")
        assert (reply.code, reply.enhanced) == (250, "2.0.0")
        (stored,) = await o.inbox("ana@palomar.test")
    assert stored == (b"Return-Path: <luis@elsewhere.test>\r\nDelivered-To: ana@palomar.test\r\n" + bytes(MESSAGE))


async def test_two_recipients_share_one_body(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await o.send("ana@palomar.test", "luis@palomar.test", "ANA@palomar.test")
        assert len(await o.inbox("ana@palomar.test")) == 1
        assert len(await o.inbox("luis@palomar.test")) == 1
        bodies = o.store.peek(lambda db: db.execute("SELECT count(*) FROM body").fetchone()[0])
    assert bodies == 1


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("nobody@palomar.test", (550, "5.1.1")),
        ("someone@elsewhere.test", (550, "5.7.1")),
        ("ana%elsewhere.test@palomar.test", (550, "5.1.1")),
        ("elsewhere.test!ana@palomar.test", (550, "5.1.1")),
        ('"ana@elsewhere.test"@palomar.test', (550, "5.1.1")),
        ("ana@[127.0.0.1]", (550, "5.7.1")),
        ("ana@elsewhere.test.palomar.test", (550, "5.7.1")),
        ("ána@palomar.test", (550, "5.1.1")),
        ("ana@xn--plomar-qta.test", (550, "5.7.1")),
    ],
)
async def test_who_is_refused_at_rcpt(tmp_path: Path, address: str, status: tuple[int, str]) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        reply = await o.rcpt(o.begin(), address)
    assert (reply.code, reply.enhanced) == status


@pytest.mark.parametrize(
    ("session", "may"),
    [
        ({"account": "ana@palomar.test"}, True),
        ({"peer_ip": "127.0.0.1"}, False),
        ({"peer_ip": "::1"}, False),
        ({"peer_ip": ""}, False),
        ({"role": "lmtp", "peer_ip": ""}, False),
        ({"peer_ip": "192.168.7.9"}, True),
        ({"peer_ip": "::ffff:192.168.7.9"}, True),
        ({"peer_ip": "192.168.8.9"}, False),
        ({"peer_ip": "fe80::1%eth0"}, False),
    ],
)
async def test_who_may_relay(tmp_path: Path, session: dict[str, Any], may: bool) -> None:
    config = CoreConfig(domains=("palomar.test",), relay_networks=("192.168.7.0/24",))
    async with office(tmp_path, OUTSIDE, config=config) as o:
        reply = await o.send("someone@elsewhere.test", **session)
        assert reply.positive is may
        assert len(o.queued) == may


async def test_sub_addresses_aliases_redirects_catch_all_and_postmaster(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.alias("info@palomar.test", "ana@palomar.test", "luis@palomar.test")
        await o.alias("ana+news@palomar.test", "luis@palomar.test")
        await o.account("gone@palomar.test", redirect="new@elsewhere.test")
        await o.domain("catch.test", catch_all="ana@palomar.test")
        assert (await o.send("Ana+Lists@palomar.test")).positive
        assert len(await o.inbox("ana@palomar.test")) == 1
        assert (await o.send("info@palomar.test")).positive
        assert (await o.send("ana+news@palomar.test")).positive
        assert len(await o.inbox("luis@palomar.test")) == 2
        assert (await o.send("anything@catch.test")).positive
        assert (await o.send("POSTMASTER@palomar.test")).positive
        assert (await o.send("postmaster@mail.palomar.test")).positive
        assert len(await o.inbox("ana@palomar.test")) == 5
        assert (await o.send("gone@palomar.test")).positive
        ((accepted, _),) = o.queued
        assert accepted.filed == ()


async def test_an_alias_passes_on_what_the_sender_asked(tmp_path: Path) -> None:
    asked = []

    async def route_recipient(recipient: Recipient) -> None:
        asked.append(recipient)

    async with office(tmp_path, ("spy", plugin_of(route_recipient=route_recipient))) as o:
        await o.alias("info@palomar.test", "ana@palomar.test")
        transaction = o.begin()
        recipient = Recipient(Address.parse("info@palomar.test"), notify=frozenset({"NEVER"}))
        assert (await o.intake.recipient(transaction, recipient)).positive
        assert transaction.envelope.recipients == [recipient]
        ((routed,),) = transaction.routed
    assert routed.recipient.orcpt == "rfc822;info@palomar.test"
    assert routed.recipient.notify == {"NEVER"}


@pytest.mark.parametrize(
    ("asked", "members"), [({"SUCCESS"}, {"NEVER"}), ({"SUCCESS", "DELAY"}, {"DELAY"}), ({"FAILURE"}, {"FAILURE"})]
)
async def test_success_of_an_address_of_several_is_told_as_expanded(
    tmp_path: Path, asked: set[str], members: set[str]
) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.alias("all@palomar.test", "ana@palomar.test", "x@elsewhere.test", "y@elsewhere.test")
        transaction = o.begin()
        recipient = Recipient(Address.parse("all@palomar.test"), notify=frozenset(asked))
        assert (await o.intake.recipient(transaction, recipient)).positive
        assert combine(await o.intake.accept(transaction, MESSAGE)).positive
        assert o.told == (["expanded all@palomar.test"] if "SUCCESS" in asked else [])
        pairs = await o.store.read(list_queue)
        assert [(entry.recipient.notify, entry.recipient.orcpt) for _, entry in pairs] == [
            (frozenset(members), "rfc822;all@palomar.test")
        ] * 2
        # An alias of one passes everything on, and so does each member to those behind it.
        await o.alias("one@palomar.test", "ana@palomar.test")
        o.told.clear()
        assert (await o.send("one@palomar.test")).positive
        assert o.told == []


async def test_alias_loops_end(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await o.alias("a@palomar.test", "b@palomar.test")
        await o.alias("b@palomar.test", "a@palomar.test")
        for n in range(MAX_ALIAS_DEPTH + 1):
            await o.alias(f"n{n}@palomar.test", f"n{n + 1}@palomar.test")
        assert (await o.rcpt(o.begin(), "a@palomar.test")).enhanced == "5.4.6"
        assert (await o.rcpt(o.begin(), "n0@palomar.test")).enhanced == "5.4.6"


async def test_a_dead_member_of_an_alias_is_reported_by_the_queue(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await o.alias("info@palomar.test", "ana@palomar.test", "nobody@palomar.test")
        assert (await o.send("info@palomar.test")).positive
        assert len(await o.inbox("ana@palomar.test")) == 1
        assert len(o.queued) == 1
        ((queued, entry),) = await o.store.read(list_queue)
        assert str(entry.recipient.address) == "nobody@palomar.test"
        (outcome,) = await LocalTransport(o.core).deliver_queued(Envelope(None), queued, [entry], MESSAGE)
    assert (outcome.status, outcome.reply.enhanced) == ("failed", "5.1.1")


async def test_a_full_mailbox_is_refused_early_and_late(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await o.account("small@palomar.test", quota_bytes=300)
        transaction = o.begin()
        transaction.envelope.size = 5000
        assert (await o.rcpt(transaction, "small@palomar.test")).enhanced == "4.2.2"
        big = Message.parse(b"Subject: big\r\n\r\n" + b"x" * 400 + b"\r\n")
        assert (await o.send("small@palomar.test", message=big)).enhanced == "5.2.2"
        # With another recipient DATA has one reply: the full one is kept for the queue, not lost.
        assert (await o.send("small@palomar.test", "ana@palomar.test", message=big)).positive
        assert len(o.queued) == 1
        assert len(await o.inbox("ana@palomar.test")) == 1


async def test_whoever_asks_hears_that_the_mail_was_filed(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        transaction = o.begin(account="luis@palomar.test")
        for address, notify in (
            ("ana@palomar.test", "SUCCESS"),
            ("luis@palomar.test", "NEVER"),
            ("x@y.test", "SUCCESS"),
        ):
            recipient = Recipient(Address.parse(address), notify=frozenset({notify}))
            assert (await o.intake.recipient(transaction, recipient)).positive
        assert combine(await o.intake.accept(transaction, MESSAGE)).positive
        assert o.told == ["ana@palomar.test"]


async def test_only_what_was_filed_is_told_as_filed(tmp_path: Path) -> None:
    async def file_message(account: Any) -> Any:
        return [] if account.name.startswith("luis") else None

    async with office(tmp_path, OUTSIDE, ("sieve", plugin_of(file_message=file_message))) as o:
        for name in ("r1", "r2", "both"):
            await o.alias(f"{name}@palomar.test", "x@y.test", *(["ana@palomar.test"] if name == "both" else []))
        await o.alias("a2@palomar.test", "ana@palomar.test")
        transaction = o.begin(account="luis@palomar.test")
        for name in ("r1", "r2", "both", "ana", "a2", "luis"):
            recipient = Recipient(Address.parse(f"{name}@palomar.test"), notify=frozenset({"SUCCESS"}))
            assert (await o.intake.recipient(transaction, recipient)).positive
        assert combine(await o.intake.accept(transaction, MESSAGE)).positive
        assert len(await o.inbox("ana@palomar.test")) == 1
        assert len(await o.store.read(list_queue)) == 1
        assert o.told == ["ana@palomar.test", "a2@palomar.test", "expanded both@palomar.test"]


async def test_lmtp_hears_of_each_recipient(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await o.account("small@palomar.test", quota_bytes=100)
        transaction = o.begin(role="lmtp", peer_ip="")
        for name in ("ana", "small", "luis"):
            assert (await o.rcpt(transaction, f"{name}@palomar.test")).positive
        replies = await o.intake.accept(transaction, MESSAGE)
        assert [reply.code for reply in replies] == [250, 552, 250]
        assert o.queued == []


async def test_mail_loops_are_cut(tmp_path: Path) -> None:
    received = b"Received: from a by b; Mon, 06 May 2024 10:00:00 +0200\r\n"
    async with office(tmp_path) as o:
        assert (await o.send("ana@palomar.test", message=MESSAGE.prepend(received * 51))).enhanced == "5.4.6"
        assert (await o.send("ana@palomar.test", message=MESSAGE.prepend(received * 50))).positive
        looped = MESSAGE.prepend(b"Delivered-To: ana@palomar.test\r\n")
        assert (await o.send("ana@palomar.test", message=looped)).enhanced == "5.4.6"


ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


@pytest.mark.parametrize(
    ("facts", "asked"),
    [
        ({}, ["mechanisms", "policy"]),
        ({"account": LUIS}, []),
        ({"role": "submission"}, []),
        ({"role": "local"}, []),
        ({"peer_ip": "192.0.2.77"}, []),
    ],
)
async def test_strangers_alone_are_authenticated(tmp_path: Path, facts: dict[str, str], asked: list[str]) -> None:
    phases: list[str] = []

    async def authenticate_message(phase: str) -> None:
        phases.append(phase)

    config = CoreConfig(hostname="mail.palomar.test", domains=("palomar.test",), relay_networks=("192.0.2.77/32",))
    plugin = plugin_of(authenticate_message=authenticate_message)
    async with office(tmp_path, ("filter", plugin), config=config) as made:
        assert (await made.send(ANA, **facts)).positive
    assert phases == asked


async def judged(tmp_path: Path, actions: dict[str, str], *, role: str = "mx") -> tuple[Any, dict[str, list[bytes]]]:
    """One message to ana and luis, each with an action of its own: what the peer hears, and who has it where."""

    async def score_message() -> list[Finding]:
        return [Finding("test", "spam", 3.0, "It smells", "test=spam")]

    async def score_recipient(recipient: Recipient, account: Any) -> list[Finding]:
        assert account.name == str(recipient.address)
        return [Finding("own", "spam", 4.0, "She does not like it")]

    async def judge_recipient(recipient: Recipient, findings: Sequence[Finding]) -> Judgement:
        score = sum(finding.score for finding in findings)
        return Judgement(actions[str(recipient.address)], score, "it smells", b"X-Spam-Flag: YES\r\n")  # type: ignore[arg-type]

    plugin = plugin_of(score_message=score_message, score_recipient=score_recipient, judge_recipient=judge_recipient)
    async with office(tmp_path, ("filter", plugin)) as made:
        transaction = made.begin(role=role)
        for one in (ANA, LUIS):
            assert (await made.rcpt(transaction, one)).positive
        replies = await made.intake.accept(transaction, MESSAGE)
        places = {
            f"{who} {box}": texts
            for who in (ANA, LUIS)
            for box in ("INBOX", "Junk")
            if (texts := await made.inbox(who, box))
        }
        held = await made.store.read(list_queue)
        told = [row for row in made.trace.rows if row[1] == "filters"]
        return ([reply.code for reply in replies], told, held), places


@pytest.mark.parametrize(
    ("ana", "luis", "codes", "where"),
    [
        ("accept", "accept", [250, 250], {f"{ANA} INBOX", f"{LUIS} INBOX"}),
        ("accept", "junk", [250, 250], {f"{ANA} INBOX", f"{LUIS} Junk"}),
        ("accept", "refuse", [250, 250], {f"{ANA} INBOX", f"{LUIS} Junk"}),  # DATA has one reply, and nothing bounces
        ("refuse", "refuse", [550, 550], set()),
        ("defer", "defer", [451, 451], set()),
        ("refuse", "junk", [250, 250], {f"{ANA} Junk", f"{LUIS} Junk"}),
    ],
)
async def test_each_recipient_has_a_verdict_of_its_own(
    tmp_path: Path, ana: str, luis: str, codes: list[int], where: set[str]
) -> None:
    (heard, told, _), places = await judged(tmp_path, {ANA: ana, LUIS: luis})
    assert heard == codes
    assert set(places) == where
    for texts in places.values():
        assert b"Authentication-Results: mail.palomar.test;\r\n test=spam\r\nX-Spam-Flag: YES\r\n" in texts[0]
    assert [row[2:] for row in told][:2] == [
        ("found", "+3.00 test spam: It smells"), ("found", f"+4.00 own spam for {ANA}: She does not like it"),
    ]  # fmt: skip
    assert told[2][3] == f"{ANA}: {ana} at 7.0, it smells"


async def test_lmtp_tells_each_recipient_s_verdict(tmp_path: Path) -> None:
    (heard, _, _), places = await judged(tmp_path, {ANA: "accept", LUIS: "refuse"}, role="lmtp")
    assert heard == [250, 550]
    assert set(places) == {f"{ANA} INBOX"}


async def test_quarantine_is_a_held_entry_that_says_why(tmp_path: Path) -> None:
    (heard, _, held), places = await judged(tmp_path, {ANA: "accept", LUIS: "quarantine"})
    assert heard == [250, 250]
    assert [(str(entry.recipient.address), entry.state, entry.last_reply) for _, entry in held] == [
        (LUIS, "held", "it smells")
    ]
    assert set(places) == {f"{ANA} INBOX"}


async def test_who_defers_what_others_take_gets_it_from_the_queue(tmp_path: Path) -> None:
    (heard, _, waiting), places = await judged(tmp_path, {ANA: "accept", LUIS: "defer"})
    assert heard == [250, 250]
    assert set(places) == {f"{ANA} INBOX"}
    assert [(str(entry.recipient.address), entry.state) for _, entry in waiting] == [(LUIS, "active")]


async def test_results_in_our_name_are_not_believed(tmp_path: Path) -> None:
    async def score_message() -> list[Finding]:
        return [Finding("spf", "fail", header="spf=fail")]

    forged = b"Authentication-Results: mail.PALOMAR.test; spf=pass\r\nX-Spam-Flag: NO\r\n"
    others = b"Authentication-Results: mail.elsewhere.test; spf=pass\r\n"
    async with office(tmp_path, ("filter", plugin_of(score_message=score_message))) as made:
        assert (await made.send(ANA, message=MESSAGE.prepend(forged + others))).code == 250
        (text,) = await made.inbox(ANA)
    assert text.count(b"mail.palomar.test;") == 1
    assert b"spf=fail" in text
    assert others in text
    assert b"X-Spam-Flag" not in text


@pytest.mark.parametrize(
    ("finding", "code", "mailbox"),
    [
        (Finding("f", "spam", action="refuse"), 550, None),
        (Finding("f", "unsure", action="defer"), 451, None),
        (Finding("f", "unavailable", absence="defer"), 451, None),
        (Finding("f", "unavailable"), 250, "INBOX"),
        (Finding("f", "spam", action="junk"), 250, "Junk"),
    ],
)
async def test_the_judgement_decides(tmp_path: Path, finding: Finding, code: int, mailbox: str | None) -> None:
    async def score_message() -> list[Finding]:
        return [finding]

    async with office(tmp_path, ("filter", plugin_of(score_message=score_message))) as o:
        assert (await o.send("ana@palomar.test")).code == code
        counts = {box: len(await o.inbox("ana@palomar.test", box)) for box in ("INBOX", "Junk")}
    assert counts == {box: int(box == mailbox) for box in ("INBOX", "Junk")}


async def test_quarantine_keeps_the_message_held(tmp_path: Path) -> None:
    async def score_message() -> list[Finding]:
        return [Finding("f", "odd", action="quarantine")]

    async with office(tmp_path, ("filter", plugin_of(score_message=score_message))) as o:
        assert (await o.send("ana@palomar.test")).positive
        assert await o.inbox("ana@palomar.test") == []
        (held,) = await o.store.read(list_queue)
    assert held[1].state == "held"
    assert held[1].route.transport == "local"


async def test_one_account_gets_its_own_variant(tmp_path: Path) -> None:
    async def transform_inbound(message: Message, account: Any) -> Message | None:
        return Message(message.header, b"decrypted\r\n") if account.name.startswith("ana") else None

    async with office(tmp_path, OUTSIDE, ("gateway", plugin_of(transform_inbound=transform_inbound))) as o:
        assert (await o.send("ana@palomar.test", "luis@palomar.test", "x@y.test", account="luis@palomar.test")).positive
        assert (await o.inbox("ana@palomar.test"))[0].endswith(b"decrypted\r\n")
        assert (await o.inbox("luis@palomar.test"))[0].endswith(b"How are you?\r\n")
        ((accepted, _),) = o.queued
        assert bytes(await o.store.load(accepted.body_id)) == bytes(MESSAGE)
        assert (await o.send("ana@palomar.test")).positive
        assert len(await o.inbox("ana@palomar.test")) == 2


async def test_a_gateway_that_crashes_again_and_again_is_passed_over(tmp_path: Path) -> None:
    async def transform_inbound() -> None:
        raise RuntimeError("broken on purpose")

    async with office(tmp_path, ("gateway", plugin_of(transform_inbound=transform_inbound))) as o:
        tries = [MESSAGE.prepend(b"Received: from a.test; try %d\r\n" % number) for number in range(MAX_CRASHES)]
        codes = [(await o.send("ana@palomar.test", message=message)).code for message in tries]
        assert codes == [451, 451, 250]
        other = MESSAGE.prepend(b"X-Other: 1\r\n")
        assert (await o.send("ana@palomar.test", message=other)).code == 451


async def test_one_full_member_of_an_alias_does_not_stop_the_others(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await o.account("small@palomar.test", quota_bytes=100)
        await o.alias("office@palomar.test", "small@palomar.test", "ana@palomar.test")
        big = Message.parse(b"Subject: big\r\n\r\n" + b"x" * 400 + b"\r\n")
        assert (await o.send("office@palomar.test", message=big)).positive
        assert len(await o.inbox("ana@palomar.test")) == 1
        transaction = o.begin()
        transaction.envelope.size = 5000
        assert (await o.rcpt(transaction, "office@palomar.test")).positive
        assert combine(await o.intake.accept(transaction, MESSAGE)).positive
        assert len(await o.inbox("ana@palomar.test")) == 2
        waiting = await o.store.read(list_queue)
    assert [str(entry.recipient.address) for _, entry in waiting] == ["small@palomar.test"] * 2


@pytest.mark.parametrize("given", ["Palomar.Test", "bücher.test", "xn--bcher-kva.test"])
async def test_our_domains_are_known_however_they_are_written(tmp_path: Path, given: str) -> None:
    config = CoreConfig(domains=(given,), hostname="Mail.Palomar.Test", postmaster=f"eva@{given}")
    names = {"Palomar.Test": ("palomar.test", "PALOMAR.test")}.get(given, ("bücher.test", "xn--bcher-kva.test"))
    async with office(tmp_path, config=config) as o:
        await o.account(f"eva@{given}")
        for name in names:
            assert (await o.send(f"eva@{name}")).positive
        assert (await o.rcpt(o.begin(), "postmaster@mail.palomar.test")).positive


class Failing:
    """A plugin that fails as long as it is told to."""

    def __init__(self, hook: str) -> None:
        self.failing = True

        async def fail() -> None:
            if self.failing:
                raise RuntimeError("broken on purpose")

        self.plugin = plugin_of(**{hook: fail})


@pytest.mark.parametrize("hook", ["own_recipient", "file_message", "smtp_recipient"])
async def test_our_own_mail_waits_in_the_queue_while_a_plugin_fails(tmp_path: Path, hook: str) -> None:
    failing = Failing(hook)
    recipient = Recipient(Address.parse("ana@palomar.test"))
    async with office(tmp_path, ("broken", failing.plugin)) as o:
        submitted = await o.intake.submit(MESSAGE, None, [recipient], origin="bounce")
        assert submitted.accepted is not None
        assert submitted.refused == ()
        assert await o.inbox("ana@palomar.test") == []
        ((queued, entry),) = await o.store.read(list_queue)
        assert (entry.route.transport, entry.route.next_hop) == ("local", "ana@palomar.test")
        failing.failing = False
        (outcome,) = await LocalTransport(o.core).deliver_queued(Envelope(None), queued, [entry], MESSAGE)
        assert outcome.status == "delivered"
        assert await o.store.read(list_queue) == []
        assert len(await o.inbox("ana@palomar.test")) == 1


async def test_our_own_mail_to_a_full_mailbox_is_told_as_refused(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await o.account("small@palomar.test", quota_bytes=10)
        recipient = Recipient(Address.parse("small@palomar.test"))
        submitted = await o.intake.submit(MESSAGE, None, [recipient], origin="bounce")
        assert submitted.accepted is None
        ((refused, reply),) = submitted.refused
    assert (refused, reply.enhanced) == (recipient, "5.2.2")


async def test_what_the_appliance_writes_is_shown_and_what_it_passes_on_is_not(tmp_path: Path) -> None:
    shown: list[list[str]] = []

    async def message_written(envelope: Envelope, message: Message) -> Message:
        shown.append([str(recipient.address) for recipient in envelope.recipients])
        return message.prepend(b"X-Signed: yes\r\n")

    async def message_received() -> Any:
        raise AssertionError("nobody who sees mail from the network sees this")

    plugin = plugin_of(message_written=message_written, message_received=message_received)
    async with office(tmp_path, ("signer", plugin)) as o:
        recipient = Recipient(Address.parse("ana@palomar.test"))
        for written in (True, False):
            submitted = await o.intake.submit(MESSAGE, None, [recipient], origin="bounce", written=written)
            assert submitted.accepted is not None
        assert shown == [["ana@palomar.test"]]
        assert [b"X-Signed: yes\r\n" in text for text in await o.inbox("ana@palomar.test")] == [True, False]


async def test_a_milter_may_refuse_or_change(tmp_path: Path) -> None:
    async def message_received(message: Message) -> Any:
        return Reply(550, "5.7.1", "No") if b"Hello" in message.header else message.prepend(b"X-Seen: yes\r\n")

    async with office(tmp_path, ("milter", plugin_of(message_received=message_received))) as o:
        assert (await o.send("ana@palomar.test")).code == 550
        other = Message.parse(b"Subject: Other\r\n\r\nx\r\n")
        assert (await o.send("ana@palomar.test", message=other)).positive
        assert b"X-Seen: yes\r\n" in (await o.inbox("ana@palomar.test"))[0]


def editing(**edits: Any) -> Any:
    """A plugin that gives every message another envelope."""

    async def message_received(envelope: Any, message: Message) -> Any:
        recipients = [Recipient(Address.parse(text)) for text in edits.get("recipients", ())]
        return Edited(message.prepend(b"X-Seen: yes\r\n"), None, recipients, edits.get("quarantine", ""))

    return ("milter", plugin_of(message_received=message_received))


async def test_a_milter_may_readdress(tmp_path: Path) -> None:
    """Whoever is added goes anywhere, as mail of our own does: the peer has no say in it."""
    wanted = ("luis@palomar.test", "archive@elsewhere.test")
    async with office(tmp_path, editing(recipients=wanted), OUTSIDE) as o:
        assert (await o.send("ana@palomar.test")).positive
        assert await o.inbox("ana@palomar.test") == []
        assert b"X-Seen: yes\r\n" in (await o.inbox("luis@palomar.test"))[0]
        ((queued, entry),) = await o.store.read(list_queue)
        assert (str(entry.recipient.address), queued.sender) == ("archive@elsewhere.test", None)


async def test_a_milter_may_throw_a_message_away(tmp_path: Path) -> None:
    async with office(tmp_path, editing()) as o:
        assert (await o.send("ana@palomar.test", "luis@palomar.test")).positive
        assert await o.inbox("ana@palomar.test") == []
        assert "discarded" in [row[2] for row in o.trace.rows]


async def test_nothing_is_lost_when_nobody_takes_what_a_milter_chose(tmp_path: Path) -> None:
    async with office(tmp_path, editing(recipients=("nobody@palomar.test",))) as o:
        reply = await o.send("ana@palomar.test")
        assert (reply.code, reply.enhanced) == (550, "5.1.1")


async def test_nobody_is_left_out_when_the_way_of_one_added_cannot_be_found(tmp_path: Path) -> None:
    async def own_recipient(recipient: Recipient) -> None:
        if recipient.address.local == "archive":
            raise RuntimeError("broken on purpose")

    wanted = ("ana@palomar.test", "archive@elsewhere.test", "luis@palomar.test")
    broken = ("broken", plugin_of(own_recipient=own_recipient))
    async with office(tmp_path, broken, editing(recipients=wanted), OUTSIDE) as o:
        assert (await o.send("ana@palomar.test", "luis@palomar.test")).code == 451
        assert await o.inbox("ana@palomar.test") == []


async def test_a_recipient_that_a_milter_added_is_tried_again_by_the_peer(tmp_path: Path) -> None:
    async with office(tmp_path, editing(recipients=("ana@palomar.test", "full@palomar.test"))) as o:
        await o.account("full@palomar.test", quota_bytes=1)
        transaction = o.begin()
        transaction.envelope.size = 100
        assert (await o.rcpt(transaction, "ana@palomar.test")).positive
        (reply,) = await o.intake.accept(transaction, MESSAGE)
        assert (reply.code, reply.enhanced) == (452, "4.2.2")
        assert await o.inbox("ana@palomar.test") == []


async def test_a_milter_may_hold_a_message(tmp_path: Path) -> None:
    async with office(tmp_path, editing(recipients=("ana@palomar.test",), quarantine="odd")) as o:
        assert (await o.send("ana@palomar.test")).positive
        assert await o.inbox("ana@palomar.test") == []
        ((_, entry),) = await o.store.read(list_queue)
        assert entry.state == "held"


async def test_lmtp_answers_for_those_it_named(tmp_path: Path) -> None:
    async with office(tmp_path, editing(recipients=("luis@palomar.test", "nobody@palomar.test"))) as o:
        transaction = o.begin(role="lmtp")
        for address in ("ana@palomar.test", "luis@palomar.test"):
            assert (await o.rcpt(transaction, address)).positive
        assert [reply.code for reply in await o.intake.accept(transaction, MESSAGE)] == [250, 250]


async def test_an_unknown_recipient_is_no_matter_for_plugins(tmp_path: Path) -> None:
    asked: list[str] = []

    async def smtp_recipient(recipient: Recipient) -> None:
        asked.append(str(recipient.address))

    async with office(tmp_path, ("guard", plugin_of(smtp_recipient=smtp_recipient))) as o:
        transaction = o.begin()
        assert (await o.rcpt(transaction, "nobody@palomar.test")).code == 550
        assert (await o.rcpt(transaction, "ana@palomar.test")).positive
    assert asked == ["ana@palomar.test"]


async def test_a_plugin_that_cannot_file_defers_and_loses_nothing(tmp_path: Path) -> None:
    async def file_message(account: Any) -> None:
        if account.name.startswith("ana"):
            raise RuntimeError("broken on purpose")

    async with office(tmp_path, ("sieve", plugin_of(file_message=file_message))) as o:
        assert (await o.send("ana@palomar.test")).code == 451
        assert (await o.send("ana@palomar.test", "luis@palomar.test")).positive
        ((accepted, _),) = o.queued
        assert len(accepted.filed) == 1


async def test_a_full_store_is_a_452(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with office(tmp_path) as o:

        async def full(*_: Any, **__: Any) -> None:
            raise StoreFullError("no room")

        monkeypatch.setattr(o.store, "accept", full)
        reply = await o.send("ana@palomar.test")
    assert (reply.code, reply.enhanced) == (452, "4.3.1")


async def test_our_own_process_may_send_anywhere(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        recipients = [Recipient(Address.parse(a)) for a in ("a@x.test", "ana@palomar.test", "no@palomar.test")]
        submitted = await o.intake.submit(MESSAGE, None, recipients, origin="bounce")
        assert submitted.accepted is not None
        assert [str(recipient.address) for recipient, _ in submitted.refused] == ["no@palomar.test"]
        (stored,) = await o.inbox("ana@palomar.test")
        assert stored.startswith(b"Return-Path: <>\r\n")
        nothing = await o.intake.submit(MESSAGE, None, recipients[2:], origin="bounce")
        assert nothing.accepted is None


async def test_accept_and_refusal_leave_a_trace(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await o.send("ana@palomar.test")
        await o.send("nobody@palomar.test")
        await o.send("ana@palomar.test", message=MESSAGE.prepend(b"Delivered-To: ana@palomar.test\r\n"))
        steps = [(who, what) for _, who, what, _ in o.trace.rows]
        told = o.trace.rows[-1][3]
    assert steps == [("intake", "accepted"), ("rcpt", "nobody@palomar.test"), ("intake", "refused")]
    assert "from luis@elsewhere.test to ana@palomar.test" in told


async def test_mail_for_a_detail_can_go_to_the_mailbox_of_that_name(tmp_path: Path) -> None:
    async with office(tmp_path, file_by_detail=True) as o:
        assert (await o.send("ana+Archive@palomar.test", "ana+nowhere@palomar.test")).positive
        assert len(await o.inbox("ana@palomar.test", "Archive")) == 1
        assert len(await o.inbox("ana@palomar.test")) == 1


def test_the_mildest_refusal_is_the_one_reply() -> None:
    gone, later, stored = Reply(550, "5.1.1", "a"), Reply(451, "4.3.0", "b"), Reply(250, "2.0.0", "c")
    assert combine([gone, later, stored]) is stored
    assert combine([gone, later]) is later
    assert combine([gone, replace(gone, text="d")]) is gone


async def test_unknown_recipients_of_a_shared_domain_are_passed_on(tmp_path: Path) -> None:
    async def route_recipient() -> Route:
        return Route("relay", "[192.0.2.1]")

    outer = plugin_of(route_recipient=route_recipient)
    async with office(tmp_path, ("outer", outer), shared_domains=("palomar.test",)) as made:
        assert (await made.send("ben@palomar.test", "ana@palomar.test")).code == 250
        ((accepted, _),) = made.queued
        assert len(accepted.filed) == 1
        await made.domain("other.test")
        assert (await made.send("ben@other.test")).enhanced == "5.1.1"


async def test_filters_get_what_was_read_in_images(tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []

    async def message_texts(message: Message) -> list[str]:
        return ["cheap watches"]

    async def score_message(texts: Sequence[str]) -> None:
        seen.append(tuple(texts))

    plugins = (("a", plugin_of(message_texts=message_texts)), ("b", plugin_of(score_message=score_message)))
    for number, loaded in enumerate((plugins, plugins[1:])):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with office(folder, *loaded) as one:
            assert (await one.send("ana@palomar.test")).positive
    assert seen == [("cheap watches",), ()]
