"""Accounts whose outgoing mail is held: what they send is taken and waits, and is let go or thrown away."""

from __future__ import annotations

import pytest

from appliance.control import CallError
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.store import Database, QueueWish
from appliance.store.accounts import add_alias
from tests.appliance.calls.conftest import Desk
from tests.appliance.office import MESSAGE

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


async def states(desk: Desk) -> list[tuple[str, str]]:
    rows = await desk.core.store.read(lambda db: db.execute("SELECT address, held FROM queue_entry").fetchall())
    return [(address, {0: "active", 1: "held"}[held]) for address, held in rows]


async def send(desk: Desk, account: str | None, *recipients: str) -> None:
    desk.office.core.intake = desk.core.intake
    role = {"role": "submission", "account": account} if account else {"role": "mx"}
    assert (await desk.office.send(*recipients, sender=account or "friend@elsewhere.test", **role)).positive


async def test_what_a_held_account_sends_waits_until_it_is_released(desk: Desk) -> None:
    await desk.ask("account.hold", name=ANA, reason="odd")
    await send(desk, ANA, LUIS)
    await send(desk, LUIS, ANA)
    await send(desk, None, ANA)
    assert await states(desk) == [(LUIS, "held")]  # others are not concerned, nor is what ana gets
    assert len(await desk.office.inbox(ANA)) == 2
    assert await desk.ask("account.release", name=ANA) == 1
    assert await states(desk) == [(LUIS, "active")]
    await send(desk, ANA, LUIS)
    assert len(await desk.office.inbox(LUIS)) == 1
    with pytest.raises(CallError, match=r"ana@palomar\.test is not held"):
        await desk.ask("account.release", name=ANA)


async def test_what_waits_of_an_account_is_held_with_it(desk: Desk) -> None:
    def fill(db: Database) -> None:
        add_alias(db, "info@palomar.test", ["sales@palomar.test"])
        add_alias(db, "sales@palomar.test", [ANA])

    await desk.core.store.write(fill)
    senders = (ANA, "Ana@Palomar.test", "ana+news@palomar.test", "info@palomar.test", LUIS, "ana@elsewhere.test", None)
    for number, sender in enumerate(senders):
        to = Recipient(Address(f"friend{number}", "x.test"))
        envelope = Envelope(Address.parse(sender) if sender else None, [to])
        wish = QueueWish(to, Route("relay", "x.test"))
        await desk.core.store.accept(MESSAGE, [], [wish], envelope, trace_id=f"trace{number}")
    passed_on = Recipient(Address("friend9", "x.test"), via="luis@palomar.test")
    envelope = Envelope(Address.parse(ANA), [passed_on])
    wish = QueueWish(passed_on, Route("relay", "x.test"))
    await desk.core.store.accept(MESSAGE, [], [wish], envelope, trace_id="trace9")

    assert await desk.ask("account.hold", name=ANA, reason="odd") == 4
    found = dict(await states(desk))
    assert [name[6] for name, state in found.items() if state == "held"] == ["0", "1", "2", "3"]
    assert len(found) == 8
    assert await desk.ask("account.release", name=ANA) == 4
    assert "held" not in dict(await states(desk)).values()


async def test_what_was_held_can_be_thrown_away_and_nothing_else_goes_with_it(desk: Desk) -> None:
    for account in (ANA, LUIS):
        await desk.ask("account.hold", name=account)
    await send(desk, ANA, LUIS, "postmaster@palomar.test")
    await send(desk, LUIS, ANA)
    assert await desk.ask("account.release", name=ANA, remove=True) == 2
    assert await states(desk) == [(ANA, "held")]
    assert await desk.ask("account.release", name=LUIS, remove=True) == 1
    assert await states(desk) == []


async def test_a_hold_is_told_and_outlives_the_process(desk: Desk) -> None:
    await desk.ask("account.hold", name=ANA, reason="412 messages in an hour")
    (line,) = [line for line in await desk.ask("status") if line[0] == "Held"]
    assert line[1].startswith("mail of ana@palomar.test is held: 412 messages in an hour; see `palomar account release")
    assert line[2] == "warning"
    assert (await desk.ask("account.show", name=ANA))["held"] == "412 messages in an hour"
    assert (await desk.ask("account.show", name=LUIS))["held"] == ""
    desk.core.store.directory.invalidate()
    assert desk.core.store.directory.held(ANA) == "412 messages in an hour"
    await desk.ask("account.delete", name=ANA)
    assert [line for line in await desk.ask("status") if line[0] == "Held"] == []


async def test_only_accounts_are_held(desk: Desk) -> None:
    for call in ("account.hold", "account.release"):
        with pytest.raises(CallError, match=r"no account nobody@palomar\.test"):
            await desk.ask(call, name="nobody@palomar.test")
