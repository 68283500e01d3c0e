"""What is held because of filters, and with what lines it is filed once it may go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.mail.address import Address
from appliance.mail.envelope import Recipient
from appliance.mail.finding import Finding
from appliance.store.holds import hold_account
from appliance.store.quarantine import judged_header, quarantine_counts, quarantined, quarantined_entry
from appliance.store.queue import settle
from appliance.store.queuedesk import release
from tests.appliance.office import Office, office, plugin_of

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


async def score_message() -> Sequence[Finding]:
    return [Finding("hoax", "yes", 9.5, "it is a hoax", action="quarantine")]


@pytest.fixture
async def held(tmp_path: Path) -> Any:
    async with office(tmp_path, ("hoax", plugin_of(score_message=score_message))) as made:
        yield made


async def test_what_filters_hold_is_listed_for_each_recipient(held: Office) -> None:
    assert (await held.send(ANA, LUIS)).positive
    ana, luis = await held.store.read(quarantined)
    assert (ana.account, ana.sender, ana.score, ana.demanded) == (ANA, "luis@elsewhere.test", 9.5, "hoax")
    assert ana.reason == "hoax: it is a hoax"
    assert await held.store.read(lambda db: quarantined(db, account=LUIS)) == [luis]
    assert await held.store.read(lambda db: quarantined(db, limit=1)) == [ana]
    assert await held.store.read(quarantine_counts) == [(ANA, 1), (LUIS, 1)]


async def test_what_is_released_is_filed_with_the_lines_of_the_judge(held: Office) -> None:
    await held.send(ANA)
    (one,) = await held.store.read(quarantined)
    assert b"Authentication-Results: mail.palomar.test" in one.header
    await held.store.write(lambda db: release(db, [one.entry_id]))
    assert await held.store.read(quarantined) == []
    assert await held.store.read(lambda db: quarantined_entry(db, one.entry_id)) is None
    begun = held.begin()
    outcome = await held.intake.deliver_locally(
        begun.envelope,
        Recipient(Address.parse(ANA)),
        await held.store.load(one.body_id),
        trace_id=one.trace_id,
        entry_id=one.entry_id,
    )
    assert outcome.status == "delivered"
    (filed,) = await held.inbox(ANA)
    assert one.header in filed
    assert await held.store.read(lambda db: judged_header(db, one.entry_id)) == b""


async def test_what_an_account_sends_while_it_is_held_is_no_quarantine(held: Office) -> None:
    await held.store.write(lambda db: hold_account(db, ANA, "stolen"))
    assert (await held.send(LUIS, sender=ANA, account=ANA, role="submission")).positive
    assert len(held.queued) == 1
    assert await held.store.read(quarantined) == []


async def test_nothing_is_left_of_what_is_settled(held: Office) -> None:
    await held.send(ANA)
    (one,) = await held.store.read(quarantined)
    await held.store.write(lambda db: settle(db, one.entry_id))
    assert await held.store.read(lambda db: db.execute("SELECT count(*) FROM queue_judged").fetchone()) == (0,)


async def test_a_score_that_is_no_number_keeps_no_mail_out(tmp_path: Path) -> None:
    async def not_a_number() -> Sequence[Finding]:
        return [Finding("odd", "yes", float("nan"), action="quarantine")]

    async with office(tmp_path, ("odd", plugin_of(score_message=not_a_number))) as made:
        assert (await made.send(ANA)).positive
        assert [one.score for one in await made.store.read(quarantined)] == [0.0]
