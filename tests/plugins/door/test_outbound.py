"""An account that sends more than an office does: its mail is held, and the administrator hears of it once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import StoreFullError
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.store.holds import end_hold, held_accounts
from plugins.door.config import OutboundConfig
from plugins.door.ledger import Ledger
from plugins.door.outbound import Outbound
from plugins.door.usage import Slot, Usage
from tests.appliance.office import MESSAGE
from tests.plugins.door.house import ANA, LUIS, House, house

HOUR_S, DAY_S = 3600, 86_400
LIMITS: dict[str, Any] = {
    "messages_per_hour": 5,
    "messages_per_day": 12,
    "recipients_per_hour": 20,
    "recipients_per_day": 60,
    "new_recipients_per_day": 0,
    "bounces": 4,
}


async def send(here: House, account: str = ANA, *recipients: str) -> None:
    """One message of a login."""
    to = recipients or ("friend@outside.test",)
    assert (await here.office.send(*to, sender=account, role="submission", account=account)).positive


def session() -> Session:
    return Session("s1", "submission", account=ANA)


def to_friends(count: int, first: int = 0) -> Envelope:
    numbers = range(first, first + count)
    return Envelope(Address.parse(ANA), [Recipient(Address(f"friend{number}", "outside.test")) for number in numbers])


async def held(here: House) -> dict[str, str]:
    return await here.office.store.read(held_accounts)


async def states(here: House) -> list[int]:
    rows = await here.office.store.read(lambda db: db.execute("SELECT held FROM queue_entry ORDER BY id").fetchall())
    return [row[0] for row in rows]


async def alarms(here: House) -> list[bytes]:
    return [message for message in await here.office.inbox(ANA) if b"\r\nSubject: Mail of " in message]


async def test_the_message_too_many_and_all_behind_it_are_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS)) as here:
        for _ in range(8):
            await send(here)
        await send(here, LUIS)
        assert await states(here) == [1] * 8 + [0]  # what waited before waits with it
        assert here.queue.reread
        assert await held(here) == {ANA: "6 messages in an hour"}
        (alarm,) = await alarms(here)
        for words in (b"Subject: Mail of ana@palomar.test is held", b"6 messages in an hour", b"account release ana@"):
            assert words in alarm
    assert [record.levelname for record in caplog.records if "is held" in record.message] == ["ERROR"]


async def test_the_hold_outlives_a_restart_and_a_release_begins_anew(tmp_path: Path) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS)) as here:
        for _ in range(6):
            await send(here)
        restarted = Outbound(here.office.core)
        for _ in range(9):
            await restarted.message_received(session(), to_friends(1), MESSAGE)
        await send(here)
        assert (await states(here))[5:] == [1, 1]
        assert len(await alarms(here)) == 1
        account = here.office.store.directory.account(ANA)
        assert account is not None
        await here.office.store.write(lambda db: end_hold(db, account.id))
        for _ in range(4):
            await send(here)
        assert (await states(here))[7:] == [0] * 4
        for _ in range(2):
            await send(here)
        assert (await states(here))[7:] == [1] * 6
        assert len(await alarms(here)) == 2  # another time, another alarm


async def test_mail_within_the_house_is_no_outbound_mail(tmp_path: Path) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS)) as here:
        for _ in range(50):
            await send(here, ANA, LUIS)
        for _ in range(50):  # and what strangers send is not counted here
            await here.office.send(LUIS)
        assert await held(here) == {}


@pytest.mark.parametrize(
    ("limits", "pause", "recipients", "count", "why"),
    [
        ({}, HOUR_S, 1, 13, "13 messages in a day"),
        ({"messages_per_hour": 0}, 1, 7, 3, "21 recipients in an hour"),
        ({}, HOUR_S, 7, 9, "63 recipients in a day"),
        ({"new_recipients_per_day": 15}, HOUR_S, 8, 2, "16 recipients in a day to whom it never wrote before"),
    ],
)
async def test_every_limit(
    tmp_path: Path, limits: dict[str, int], pause: int, recipients: int, count: int, why: str
) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS | limits)) as here:
        for number in range(count):
            assert await held(here) == {}
            to = [f"friend{number}-{one}@outside.test" for one in range(recipients)]
            await send(here, ANA, *to)
            here.clock.at += pause
        assert await held(here) == {ANA: why}


async def test_slow_and_known_correspondence_never_trips(tmp_path: Path) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS | {"new_recipients_per_day": 2})) as here:
        for number in range(100):
            await send(here, ANA, f"friend{number % 2}@outside.test")
            here.clock.at += DAY_S / 10
        assert await held(here) == {}


async def test_a_newsletter_of_a_small_office_passes_by_default(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        for part in range(3):
            await send(here, ANA, *[f"client{part}-{number}@outside{number % 40}.test" for number in range(150)])
        for number in range(200):
            await send(here, ANA, f"client0-{number % 150}@outside{number % 40}.test")
        assert await held(here) == {}


async def settle(here: House, account: str, *outcomes: str, peer: str = "mx.outside.test") -> None:
    reply = {"delivered": Reply(250, "2.0.0", "ok"), "failed": Reply(550, "5.1.1", "who?")}
    to = Recipient(Address("friend", "outside.test"))
    for status in outcomes:
        outcome = Outcome(to, status, reply[status], peer=peer)  # type: ignore[arg-type]
        here.office.core.dispatch.delivery_settled(envelope=Envelope(Address.parse(account), [to]), outcome=outcome)
        await here.office.core.dispatch.settle()


async def test_many_bounces_mean_trouble(tmp_path: Path) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS)) as here:
        await send(here)
        await settle(here, ANA, *["delivered"] * 5, *["failed"] * 4)
        await settle(here, "stranger@elsewhere.test", *["failed"] * 20)
        await settle(here, ANA, *["failed"] * 9, peer="local")
        assert await held(here) == {}
        await settle(here, ANA, "failed")
        assert await held(here) == {ANA: "5 of 10 deliveries in a day failed"}


async def test_many_at_once_trip_once(tmp_path: Path) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS)) as here:
        await send(here)
        await asyncio.gather(*[send(here) for _ in range(20)])
        assert 15 <= sum(await states(here)) <= 21  # those on their way may slip through
        assert len(await alarms(here)) == 1


async def test_the_alarm_comes_even_when_mail_cannot_be_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS)) as here:
        await send(here)

        async def full(*arguments: Any, **named: Any) -> Any:
            raise StoreFullError("no room")

        here.office.core.intake.submit = full  # type: ignore[method-assign]
        for _ in range(5):
            await send(here)
        assert list(await held(here)) == [ANA]
    assert "the alarm about ana@palomar.test could not be sent: no room" in caplog.text


async def test_an_account_of_another_back_end_is_held_too_while_we_run(tmp_path: Path) -> None:
    async with house(tmp_path, outbound=OutboundConfig(**LIMITS)) as here:
        for _ in range(8):
            await send(here, "remote@palomar.test")
        await send(here)
        assert await states(here) == [0] * 5 + [1] * 3 + [0]
        assert len(await alarms(here)) == 1


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_windows_slide() -> None:
    usage = Usage()
    for minute in range(0, 120, 10):
        usage.add(60.0 * minute, messages=1, recipients=2)
    assert (usage.hour(7140).messages, usage.day(7140).messages) == (6, 12)
    assert (usage.hour(7140 + HOUR_S).messages, usage.day(7140 + HOUR_S).recipients) == (0, 24)
    assert usage.day(DAY_S + HOUR_S - 1).messages == 6
    assert usage.day(3 * DAY_S) == Slot(0)


def test_a_clock_that_jumps_neither_forgets_nor_multiplies() -> None:
    usage = Usage()
    usage.add(100 * DAY_S, messages=3)
    usage.add(1.0, messages=2)  # the clock was set back: it counts as what came last
    assert usage.hour(100 * DAY_S).messages == 5
    assert usage.day(1.0).messages == 5
    usage.add(500 * DAY_S, messages=1)
    assert usage.day(500 * DAY_S).messages == 1


# ── connections ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_connections_of_an_account(tmp_path: Path) -> None:
    async with house(tmp_path, outbound=OutboundConfig(connections=2)) as here:
        outbound = here.plugin.outbound
        sessions = [Session(f"s{number}", "submission", account=ANA) for number in range(3)]
        answers = [await outbound.smtp_sender(session) for session in sessions]
        assert [answer and answer.code for answer in answers] == [None, None, 421]
        assert await outbound.smtp_sender(sessions[0]) is None  # its next message
        refusal = answers[2]
        assert refusal is not None
        assert await outbound.smtp_refused(sessions[2], refusal) == refusal
        assert await outbound.smtp_refused(sessions[2], Reply(550, "5.7.1", "No")) is None
        outbound.leave(sessions[0])
        assert await outbound.smtp_sender(sessions[2]) is None
        for session in sessions:
            outbound.leave(session)
        assert outbound._open == {}


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────────────────


def counted(outbound: Outbound, at: float) -> Sequence[int]:
    usage = outbound.usage.get(ANA) or Usage()
    day = usage.day(at)
    return (day.messages, day.recipients, day.new, day.settled, day.failed, len(usage.destinations))


async def test_what_was_counted_outlives_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        core, outbound = here.office.core, here.plugin.outbound
        ledger = Ledger(core, outbound)
        for number in range(6):
            await outbound.message_received(session(), to_friends(1, number % 4), MESSAGE)
            await ledger.flush()
            here.clock.at += 2 * HOUR_S
        await settle(here, ANA, "failed", "delivered")
        await ledger.flush()
        assert outbound.touched == set()
        await ledger.flush()
        assert counted(outbound, here.clock.at) == (6, 6, 4, 2, 1, 4)
        for later, expected in (
            (0, (6, 6, 4, 2, 1, 4)),
            (15 * HOUR_S, (4, 4, 2, 2, 1, 4)),
            (DAY_S, (0, 0, 0, 0, 0, 4)),
        ):
            here.clock.at += later
            again = Outbound(core)
            await Ledger(core, again).load()
            assert counted(again, here.clock.at) == expected, later


async def test_a_damaged_ledger_is_no_reason_not_to_send(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with house(tmp_path) as here:
        (tmp_path / "soft.db").write_bytes(b"no database at all" * 100)
        ledger = Ledger(here.office.core, here.plugin.outbound)
        with caplog.at_level(logging.ERROR):
            await ledger.load()
        await send(here)
        await Ledger(here.office.core, here.plugin.outbound).flush()
        assert here.plugin.outbound.touched == set()
