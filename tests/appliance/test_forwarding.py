"""Redirects and aliases to other systems: what is queued for whom, copies that stay, loops that end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from appliance.mail.message import Message
from appliance.store import QueueEntry
from appliance.store.queue import list_queue
from plugins.mda.delivery import LocalTransport
from tests.appliance.office import MESSAGE, Office, office

SENT_ON = MESSAGE.prepend(b"Delivered-To: info@palomar.test\r\n")


class Outside:
    """Stands in for the relay role: everything that is not local goes to transport `relay`."""

    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        return Route("relay", recipient.address.domain)


OUTSIDE = ("relay", Outside())


def queued(o: Office) -> list[QueueEntry]:
    return [entry for _, entry in o.store.peek(list_queue)]


async def test_a_redirect_can_keep_a_copy(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.account("gone@palomar.test", redirect="new@elsewhere.test")
        assert (await o.send("gone@palomar.test")).positive
        assert await o.inbox("gone@palomar.test") == []
        await o.store.write(lambda db: keep(db))
        assert (await o.send("gone+shop@palomar.test")).positive
        (kept,) = await o.inbox("gone@palomar.test")
        assert b"Delivered-To: gone+shop@palomar.test\r\n" in kept
        assert [(str(one.recipient.address), one.recipient.via) for one in queued(o)] == [
            ("new@elsewhere.test", "gone@palomar.test"),
            ("new@elsewhere.test", "gone+shop@palomar.test"),
        ]


def keep(db: Any) -> None:
    db.execute("UPDATE account SET redirect_keep = 1 WHERE redirect <> ''")
    db.touch_directory()


async def test_a_recipient_that_the_sender_named_has_no_mark(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.alias("info@palomar.test", "sales@palomar.test")
        await o.alias("sales@palomar.test", "b@elsewhere.test")
        await o.send("a@elsewhere.test", "info@palomar.test", account="ana@palomar.test")
        assert [(str(one.recipient.address), one.recipient.via, one.recipient.orcpt) for one in queued(o)] == [
            ("a@elsewhere.test", "", ""),
            ("b@elsewhere.test", "sales@palomar.test", "rfc822;info@palomar.test"),  # the last that sent it on
        ]


async def test_what_comes_back_from_where_it_was_sent_on_is_refused(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.alias("info@palomar.test", "b@elsewhere.test")
        reply = await o.send("info@palomar.test", message=SENT_ON)
        assert (reply.code, reply.enhanced) == (554, "5.4.6")
        assert queued(o) == []


async def test_a_loop_beside_others_bounces_and_is_not_sent_on(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.alias("info@palomar.test", "b@elsewhere.test")
        await o.alias("both@palomar.test", "info@palomar.test", "ana@palomar.test")
        for addresses in (["info@palomar.test", "luis@palomar.test"], ["both@palomar.test"]):
            assert (await o.send(*addresses, message=SENT_ON)).positive
        assert len(await o.inbox("luis@palomar.test")) == len(await o.inbox("ana@palomar.test")) == 1
        pairs = o.store.peek(list_queue)
        assert [entry.route.transport for _, entry in pairs] == ["local", "local"]
        for pair in pairs:
            (outcome,) = await LocalTransport(o.core).deliver_queued(
                o.begin().envelope, pair[0], [pair[1]], await o.store.load(pair[0].body_id)
            )
            assert (outcome.status, outcome.reply.enhanced) == ("failed", "5.4.6")


async def test_redirects_that_lead_to_each_other_end(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.account("a@palomar.test", redirect="b@palomar.test")
        await o.account("b@palomar.test", redirect="a@palomar.test")
        reply = await o.send("a@palomar.test")
        assert (reply.code, reply.enhanced) == (550, "5.4.6")
        await o.store.write(keep)
        assert (await o.send("a@palomar.test")).positive
        assert len(await o.inbox("a@palomar.test")) == len(await o.inbox("b@palomar.test")) == 1


async def test_a_redirect_whose_target_cannot_be_served_now_waits_beside_the_copy(tmp_path: Path) -> None:
    class Broken:
        broken = True

        @hookimpl(trylast=True)
        async def route_recipient(self, recipient: Recipient) -> Route:
            if self.broken:
                raise RuntimeError("broken on purpose")
            return Route("relay", recipient.address.domain)

    broken = Broken()
    async with office(tmp_path, ("relay", broken)) as o:
        await o.account("gone@palomar.test", redirect="new@elsewhere.test")
        assert (await o.send("gone@palomar.test")).temporary  # nothing is kept here, so the peer shall try again
        await o.store.write(keep)
        assert (await o.send("gone@palomar.test")).positive
        assert len(await o.inbox("gone@palomar.test")) == 1
        ((message, entry),) = o.store.peek(list_queue)
        assert (entry.route.transport, entry.recipient.via) == ("local", "gone@palomar.test")
        broken.broken = False
        stored = await o.store.load(message.body_id)
        (outcome,) = await LocalTransport(o.core).deliver_queued(o.begin().envelope, message, [entry], stored)
        assert outcome.status == "delivered"
        assert [(one.route.transport, one.recipient.via) for one in queued(o)] == [("relay", "gone@palomar.test")]


async def test_an_alias_with_itself_among_its_targets_keeps_what_was_asked(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.alias("team@palomar.test", "team@palomar.test", "ana@palomar.test")
        transaction = o.begin()
        asked = Recipient(Address.parse("team@palomar.test"), frozenset({"NEVER"}), "rfc822;x@y.test")
        assert (await o.intake.recipient(transaction, asked)).positive
        ((ana, team),) = transaction.routed
    assert (team.recipient, ana.recipient.notify) == (asked, {"NEVER"})


async def test_a_long_message_header_is_no_loop(tmp_path: Path) -> None:
    async with office(tmp_path, OUTSIDE) as o:
        await o.alias("info@palomar.test", "b@elsewhere.test")
        other = Message.parse(b"Delivered-To: other@palomar.test\r\nX-Delivered-To: info@palomar.test\r\n\r\n")
        assert (await o.send("info@palomar.test", message=other)).positive
