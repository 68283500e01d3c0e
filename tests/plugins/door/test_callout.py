"""Asking the hosts behind relay domains, and remembering what they said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply
from appliance.store import Store
from plugins.door import callout
from plugins.door.config import DoorConfig
from tests.plugins.door.house import HELLO, MAIL, FakeQueue, House, house, rcpt

HOUR_S, DAY_S = 3600, 86_400


@contextlib.asynccontextmanager
async def relaying(folder: Path, **settings: Any) -> AsyncIterator[House]:
    """A house that relays for inner.test and is a backup for kept.test."""
    async with house(folder, greet_wait=0.0, tarpit_step=0.0, **settings) as here:
        await here.office.domain("inner.test", kind="relay", next_hop="mail.inner.test")
        await here.office.domain("kept.test", kind="backup")
        yield here


async def said(here: House, *locals_: str, domain: str = "inner.test", peer: str = "192.0.2.7") -> list[str]:
    """What a stranger hears to each RCPT."""
    return (await here.codes(HELLO, MAIL + rcpt(*locals_, domain=domain), peer=peer))[3:]


async def test_what_the_next_host_does_not_know_is_refused_and_each_is_asked_once(tmp_path: Path) -> None:
    async with relaying(tmp_path) as here:
        for _ in range(3):
            assert await said(here, "ana", "unknown", "luis") == ["250", "550", "250"]
        assert here.queue.asked == ["ana@inner.test", "unknown@inner.test", "luis@inner.test"]


async def test_nobody_is_asked_about_our_own_or_by_friends(tmp_path: Path) -> None:
    async with relaying(tmp_path) as here:
        assert await said(here, "ana", "unknown", domain="palomar.test") == ["250", "550"]
        assert await said(here, "unknown", domain="kept.test") == ["250"]
        assert await said(here, "unknown", peer="127.0.0.1") == ["250"]
        assert here.queue.asked == []
    async with relaying(tmp_path / "off", callout=()) as here:
        assert await said(here, "unknown") == ["250"]
        assert here.queue.asked == []


async def test_a_host_that_cannot_be_asked(tmp_path: Path) -> None:
    async with relaying(tmp_path, callout=("relay", "backup")) as here:
        assert await said(here, "busy", "busy") == ["450", "450"]
        assert here.queue.asked == ["busy@inner.test"] * 2  # that is no answer to remember
        assert await said(here, "busy", "unknown", domain="kept.test") == ["250", "550"]
        assert await said(here, "closed") == ["450"]
    async with relaying(tmp_path / "lax", callout_unsure="accept") as here:
        assert await said(here, "busy") == ["250"]


async def test_what_is_no_answer_about_a_recipient_is_not_remembered(tmp_path: Path) -> None:
    """Nobody can teach the cache by an answer to something else, or by another way to write an address."""
    async with relaying(tmp_path) as here:
        assert await said(here, "shy", "shy") == ["250", "250"]
        assert here.queue.asked == ["shy@inner.test"] * 2
        assert await said(here, "unknown", "Unknown", '"unknown"', "unknown", domain="INNER.test") == [
            "550", "250", "550", "550",
        ]  # fmt: skip
        assert here.queue.asked[2:] == ["unknown@inner.test", "Unknown@inner.test"]


async def test_how_long_answers_last(tmp_path: Path) -> None:
    async with relaying(tmp_path) as here:
        assert await said(here, "ana", "unknown") == ["250", "550"]
        here.queue.down = True
        here.clock.at += HOUR_S
        assert await said(here, "ana", "unknown") == ["250", "550"]
        assert len(here.queue.asked) == 2
        here.clock.at += 2 * HOUR_S  # the negative one is over, and nobody can be asked anew
        assert await said(here, "ana", "unknown") == ["250", "450"]
        here.clock.at += 2 * DAY_S  # the positive one should be asked anew, but still counts
        assert await said(here, "ana") == ["250"]
        assert here.queue.asked.count("ana@inner.test") == 2
        here.clock.at += 31 * DAY_S
        assert await said(here, "ana") == ["450"]
        here.queue.down = False
        assert await said(here, "ana") == ["250"]


class SlowQueue(FakeQueue):
    """Answers when it is told to."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.now = 0
        self.most = 0
        self.open = asyncio.Event()

    async def call_out(self, recipient: Recipient, route: Any) -> Reply:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.open.wait()
        self.now -= 1
        return await super().call_out(recipient, route)


async def test_few_questions_at_once_and_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callout, "MAX_WAITING", 8)
    async with relaying(tmp_path, callout_at_once=3, messages_per_minute=0) as here:
        slow = here.office.core.queue = SlowQueue(here.office.store)  # type: ignore[assignment]
        locals_ = ["a", "a", *"bcdefgh", "i", "j"]
        waiting = [asyncio.create_task(said(here, local)) for local in locals_]
        while slow.now < 3:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert [task.result() for task in waiting if task.done()] == [["450"], ["450"]]  # there is no room for i and j
        slow.open.set()
        assert await asyncio.gather(*waiting) == [*[["250"]] * 9, ["450"], ["450"]]
        assert (slow.most, sorted(slow.asked)) == (3, [f"{local}@inner.test" for local in "abcdefgh"])


async def test_an_answer_that_comes_late_is_used_the_next_time(tmp_path: Path) -> None:
    async with relaying(tmp_path) as here:
        slow = here.office.core.queue = SlowQueue(here.office.store)  # type: ignore[assignment]
        settings = here.office.core.settings
        object.__setattr__(settings[DoorConfig], "callout_timeout", 0.01)
        assert await said(here, "unknown") == ["450"]
        slow.open.set()
        await here.plugin.callout.settle()
        assert await said(here, "unknown") == ["550"]
        assert slow.asked == ["unknown@inner.test"]


async def test_guessing_at_a_relay_domain_is_harvesting_too(tmp_path: Path) -> None:
    async with relaying(tmp_path, harvest_unknown=5) as here:
        assert await said(here, *[f"unknown{number}" for number in range(9)]) == [*["550"] * 5, "421"]
        assert await here.codes() == ["421"]
