"""What an address of ours sends on: a sender for the next hop, another for notices, and a mark against loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.store.queue import list_queue, queue_counts
from tests.appliance.queue.office import ANA, NEVER, FakeTransport, Office, office, outcome, until, working

SRS = Address.parse("SRS0=x=y=palomar.test=ana@mail.test")


class Rewriter:
    """Gives every message that was sent on the address `SRS`, or breaks."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.breaks = False

    @hookimpl
    async def outbound_sender(self, envelope: Envelope, via: str, route: Route) -> Address | None:
        self.asked.append((via, route.next_hop))
        if self.breaks:
            raise RuntimeError("broken on purpose")
        return SRS if via else None


class SeeingTransport(FakeTransport):
    """Also keeps the senders."""

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        self.senders = [*getattr(self, "senders", []), str(envelope.sender or "<>")]
        return await super().deliver(envelope, recipients, message, route)


def sent_on(address: str, via: str = "info@palomar.test") -> Recipient:
    return Recipient(Address.parse(address), via=via)


@pytest.fixture
async def rewriter() -> Rewriter:
    return Rewriter()


@pytest.fixture
async def place(tmp_path: Path, rewriter: Rewriter) -> AsyncIterator[Office]:
    async with office(tmp_path, rewriter) as made:
        made.transport = SeeingTransport()
        yield made


async def test_each_way_of_sending_on_is_a_delivery_with_its_own_sender_and_mark(place: Office) -> None:
    recipients = ["a@b.test", sent_on("c@b.test"), sent_on("d@b.test"), sent_on("e@b.test", "sales@palomar.test")]
    await place.queue(*recipients, sender="luis@elsewhere.test")
    transport = place.transport
    assert isinstance(transport, SeeingTransport)
    async with working(place):
        await until(lambda: len(transport.delivered) == 3)
        await until(lambda: place.store.peek(queue_counts)[0] == 0)
    found = {
        tuple(names): (sender, raw) for (names, raw), sender in zip(transport.delivered, transport.senders, strict=True)
    }
    assert found["a@b.test",] == ("luis@elsewhere.test", found["a@b.test",][1])
    assert not found["a@b.test",][1].startswith(b"Delivered-To")
    sender, raw = found["c@b.test", "d@b.test"]
    assert (sender, raw.split(b"\r\n")[0]) == (str(SRS), b"Delivered-To: info@palomar.test")
    assert found["e@b.test",][1].startswith(b"Delivered-To: sales@palomar.test\r\nFrom:")
    assert place.store.peek(lambda db: db.execute("SELECT count(*) FROM queue_via").fetchone()) == (0,)


async def test_a_failure_is_told_to_the_sender_that_wrote(place: Office) -> None:
    place.transport.verdict = lambda recipient: outcome(recipient, NEVER)
    recipient = Recipient(Address.parse("c@b.test"), orcpt="rfc822;info@palomar.test", via="info@palomar.test")
    await place.queue(recipient)
    async with working(place):
        await until(lambda: place.notices)
    ((to, text),) = place.notices
    assert to == ANA
    assert "Original-Recipient: rfc822; info@palomar.test\r\nFinal-Recipient: rfc822; c@b.test\r\n" in text


async def test_the_null_sender_stays_and_nobody_is_asked(place: Office, rewriter: Rewriter) -> None:
    await place.queue(sent_on("c@b.test"), sender=None)
    transport = place.transport
    assert isinstance(transport, SeeingTransport)
    async with working(place):
        await until(lambda: transport.delivered)
    assert (transport.senders, rewriter.asked) == (["<>"], [])


async def test_nothing_leaves_with_the_wrong_sender_while_the_plugin_is_broken(
    place: Office, rewriter: Rewriter
) -> None:
    rewriter.breaks = True
    await place.queue(sent_on("c@b.test"))
    async with working(place) as runner:
        await until(lambda: rewriter.asked)
        await until(lambda: [entry.attempts for _, entry in place.store.peek(list_queue)] == [1])
        assert place.transport.delivered == []
        rewriter.breaks = False
        place.now += 3600
        runner.notify()
        await until(lambda: place.transport.delivered)


async def test_the_mark_survives_a_restart(place: Office) -> None:
    await place.queue("a@b.test", sent_on("c@b.test"))
    assert [entry.recipient.via for _, entry in place.store.peek(list_queue)] == ["", "info@palomar.test"]
