"""Who must come twice, who need not, and what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.config import CoreConfig, Settings
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Finding
from plugins.spam.greylist import memory
from plugins.spam.greylist.config import GreylistConfig
from plugins.spam.greylist.greylist import DAY_S, Greylist
from plugins.spam.greylist.memory import Memory, Seen, key_of
from tests.appliance.office import office, plugin_of
from tests.plugins.spam.stranger import MESSAGE, session


class Scene:
    """A greylist whose clock the test moves."""

    def __init__(self, core: Any, **config: Any) -> None:
        self.core = core
        core.settings = Settings.of(CoreConfig(), GreylistConfig(**config))
        self.at = 1_800_000_000
        core.now = lambda: self.at
        self.greylist = Greylist(core)

    async def comes(
        self, sender: str = "luis@elsewhere.test", *, to: str = "ana", ip: str = "192.0.2.7", after: int = 0,
        found: tuple[Finding, ...] = (), **facts: Any,
    ) -> bool:  # fmt: skip
        """Whether a message is taken, so many seconds after the one before."""
        self.at += after
        envelope = Envelope(Address.parse(sender) if sender else None, [Recipient(Address(to, "palomar.test"))])
        answer = await self.greylist.authenticate_message(session(ip, **facts), envelope, MESSAGE, "policy", found)
        assert answer is None or [one.action for one in answer] == ["defer"]
        return answer is None


@pytest.fixture
async def scene(tmp_path: Path) -> Any:
    async with office(tmp_path) as made:
        yield Scene(made.core)


async def test_the_second_try_is_taken(scene: Scene) -> None:
    assert not await scene.comes()
    assert not await scene.comes(after=119)
    assert await scene.comes(after=1, ip="192.0.2.99")  # another machine of the same network
    assert await scene.comes(after=1)
    assert not await scene.comes("eve@elsewhere.test", to="luis", ip="203.0.113.1")


async def test_a_second_try_too_late_is_a_first(scene: Scene) -> None:
    assert not await scene.comes()
    assert not await scene.comes(after=25 * 3600)
    assert await scene.comes(after=121)


async def test_a_network_that_has_passed_twice_waits_no_more(scene: Scene) -> None:
    for sender in ("a@x.test", "b@x.test"):
        assert not await scene.comes(sender)
        assert await scene.comes(sender, after=121)
    assert await scene.comes("c@x.test", to="luis")
    assert not await scene.comes("c@x.test", after=37 * DAY_S, to="luis")


async def test_digits_in_the_sender_do_not_count(scene: Scene) -> None:
    assert not await scene.comes("bounce-4711-ana@news.test")
    assert await scene.comes("bounce-4712-ana@news.test", after=121)


@pytest.mark.parametrize("name", ["spf", "dkim", "dmarc"])
async def test_a_proven_sender_does_not_wait(scene: Scene, name: str) -> None:
    assert await scene.comes(found=(Finding(name, "pass"),))
    assert not await scene.comes(found=(Finding(name, "fail"), Finding("arc", "pass")))


async def test_who_is_exempt(scene: Scene) -> None:
    scene.core.settings = Settings.of(CoreConfig(), GreylistConfig(exempt=("198.51.100.0/24",)))
    assert await scene.comes(ip="198.51.100.3")


async def test_nobody_waits_while_the_clock_is_unset(scene: Scene) -> None:
    scene.core.time_state = "unset"
    assert await scene.comes()


async def test_a_bounce_waits_as_well_and_a_jump_of_the_clock_locks_nobody_out(scene: Scene) -> None:
    assert not await scene.comes("")
    assert not await scene.comes("", after=-DAY_S)
    assert await scene.comes("", after=121)


async def test_what_was_learnt_survives(scene: Scene) -> None:
    assert not await scene.comes()
    await scene.greylist.flush()
    again = Scene(scene.core)
    again.at = scene.at
    await again.greylist.load()
    assert await again.comes(after=121)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_KNOWN", 100)
    known = Memory()
    for number in range(1000):
        known.put(key_of(str(number)), Seen(number, number))
    assert len(known) == 100
    assert known.get(key_of("0")) is None
    assert len(known.take_touched()) == 100
    assert known.take_touched() == []


async def test_whom_a_recipient_has_written_to_does_not_wait(tmp_path: Path) -> None:
    async def known_sender(recipient: Recipient, sender: Address) -> bool | None:
        return True if (recipient.address.local, str(sender)) == ("ana", "ines@elsewhere.test") else None

    async with office(tmp_path, ("friends", plugin_of(known_sender=known_sender))) as made:
        scene = Scene(made.core)
        assert await scene.comes("ines@elsewhere.test")
        assert not await scene.comes("ines@elsewhere.test", to="luis")
        assert not await scene.comes(None)
        assert not await scene.comes("eve@elsewhere.test", after=1)  # neither is its network known by that
        scene.core.settings = Settings.of(CoreConfig(), GreylistConfig(trust_correspondents=False))
        assert not await scene.comes("ines@elsewhere.test")
