"""Where masks lead, when they are over, and what is remembered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.config import CoreConfig, Settings
from appliance.errors import NotFoundError
from appliance.store.accounts import delete_account, set_enabled
from plugins import masks as plugin
from plugins.masks import masks as module
from plugins.masks.command import mask as command
from plugins.masks.config import MasksConfig
from plugins.masks.masks import ALPHABET, DAY_S, MaskError, Masks
from plugins.masks.schema import MIGRATIONS
from plugins.mda.config import MdaConfig
from tests.appliance.office import Office, office, plugin_of

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


class Scene:
    """An office with masks, and a clock that the test moves."""

    def __init__(self, made: Office, masks: Masks) -> None:
        self.office, self.core, self.masks = made, made.core, masks
        self.at = 1_800_000_000.0
        made.core.now = lambda: self.at
        self.configure()
        self.calls = dict(masks.calls())

    def configure(self, **config: Any) -> None:
        core = CoreConfig(hostname="mail.palomar.test", domains=("palomar.test",))
        self.core.settings = Settings.of(core, MdaConfig(), MasksConfig(**config))

    async def ask(self, name: str, **arguments: Any) -> Any:
        return await self.calls[f"masks.{name}"](self.core, **arguments)

    async def comes(self, address: str) -> str:
        """The reply to a stranger's message."""
        reply = await self.office.send(address)
        await self.core.dispatch.settle()
        return f"{reply.code} {reply.enhanced}"

    async def state(self, address: str) -> tuple[str, int]:
        (row,) = [row for row in await self.ask("list") if row["address"] == address]
        return row["state"], row["uses"]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made_masks: list[Masks] = []

    def hooks(core: Any) -> list[object]:
        made_masks.append(Masks(core))
        return [*made_masks]

    async with office(tmp_path, ("masks", plugin_of(hooks=hooks)), migrations=MIGRATIONS) as made:
        yield Scene(made, made_masks[0])


async def test_a_mask_leads_to_its_account(scene: Scene) -> None:
    made = await scene.ask("add", account=ANA, note="garden centre")
    local, _, domain = made["address"].partition("@")
    assert (len(local), domain, set(local) <= set(ALPHABET)) == (8, "palomar.test", True)
    assert await scene.comes(made["address"].upper()) == "250 2.0.0"
    (stored,) = await scene.office.inbox(ANA)
    assert b"Delivered-To: ana@palomar.test" in stored
    (row,) = await scene.ask("list", account=ANA)
    assert (row["note"], row["uses"], row["used_at"], row["account"]) == ("garden centre", 1, 1_800_000_000, ANA)
    assert await scene.ask("list", account=LUIS) == []


async def test_what_is_revoked_is_refused_until_it_is_renewed(scene: Scene) -> None:
    address = (await scene.ask("add", account=ANA))["address"]
    await scene.ask("revoke", address=address)
    transaction = scene.office.begin()
    reply = await scene.office.rcpt(transaction, address)
    assert str(reply) == "550 5.2.1 This address was made for one purpose, and its owner has withdrawn it"
    await scene.ask("renew", address=address, days=1)
    assert await scene.comes(address) == "250 2.0.0"
    assert await scene.state(address) == ("good", 1)


async def test_what_expires_is_refused_when_the_clock_can_be_trusted(scene: Scene) -> None:
    address = (await scene.ask("add", account=ANA, days=2))["address"]
    scene.at += 2 * DAY_S - 1
    assert await scene.comes(address) == "250 2.0.0"
    scene.at += 1
    assert await scene.comes(address) == "550 5.2.1"
    assert await scene.state(address) == ("expired", 1)
    scene.core.time_state = "unset"
    assert await scene.comes(address) == "250 2.0.0"


async def test_no_catch_all_gets_what_is_over(scene: Scene) -> None:
    await scene.office.domain("shop.test", catch_all=LUIS)
    address = (await scene.ask("add", account=ANA, domain="shop.test"))["address"]
    assert await scene.comes(f"x@{address.partition('@')[2]}") == "250 2.0.0"
    await scene.ask("revoke", address=address)
    assert await scene.comes(address) == "550 5.2.1"
    await scene.ask("remove", address=address)
    assert await scene.comes(address) == "250 2.0.0"
    assert len(await scene.office.inbox(LUIS)) == 2


async def test_an_account_that_is_gone_or_disabled_gets_nothing(scene: Scene) -> None:
    address = (await scene.ask("add", account=ANA))["address"]
    await scene.core.store.write(lambda db: set_enabled(db, ANA, enabled=False))
    assert (await scene.comes(address))[:3] == "550"
    await scene.core.store.write(lambda db: delete_account(db, ANA))
    assert await scene.comes(address) == "550 5.2.1"
    assert [row["account"] for row in await scene.ask("list")] == [""]


async def test_servers_before_us_know_the_good_ones(scene: Scene) -> None:
    good, bad = [(await scene.ask("add", account=ANA))["address"] for _ in range(2)]
    await scene.ask("revoke", address=bad)
    known = {one.address for one in await scene.core.dispatch.known_recipients()}
    assert good in known
    assert bad not in known


async def test_counts_and_masks_survive(scene: Scene) -> None:
    address, other = [(await scene.ask("add", account=ANA))["address"] for _ in range(2)]
    await scene.comes(address)
    await scene.comes(other)
    await scene.masks.flush()
    await scene.ask("remove", address=other)
    await scene.masks.flush()
    again = Masks(scene.core)
    await again.load()
    rows = await dict(again.calls())["masks.list"](scene.core)
    assert [(row["address"], row["uses"]) for row in rows] == [(address, 1)]
    assert list(again._uses) == [address]


async def test_what_cannot_be_made(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.configure(max_per_account=2)
    for _ in range(2):
        await scene.ask("add", account=ANA)
    for wrong in ({"account": ANA}, {"account": LUIS, "domain": "elsewhere.test"}, {"account": LUIS, "note": "a\nb"},
                  {"account": LUIS, "days": -1}, {"account": LUIS, "days": 1e9}):  # fmt: skip
        with pytest.raises(MaskError):
            await scene.ask("add", **wrong)
    for name in ("revoke", "renew", "remove"):
        with pytest.raises(NotFoundError):
            await scene.ask(name, address="nobody@palomar.test")
    with pytest.raises(NotFoundError):
        await scene.ask("add", account="nobody@palomar.test")
    # A name that is taken is passed over.
    drawn = iter("luisanaxx" * 2)
    monkeypatch.setattr(module.secrets, "choice", lambda _: next(drawn))
    scene.configure(length=4)
    await scene.office.alias("anax@palomar.test", LUIS)
    assert (await scene.ask("add", account=LUIS))["address"] == "xlui@palomar.test"


def test_the_plugin_brings_its_parts() -> None:
    assert [section.name for section in plugin.settings()] == ["masks"]
    assert [one.name for one in plugin.commands()] == ["mask"]
    assert [one.setting for one in MasksConfig(length=2, days=-1).problems()] == ["days", "length"]


def test_the_command() -> None:
    row = {"address": "k7w3xq9d@palomar.test", "account": ANA, "state": "good", "note": "", "expires_at": 0, "uses": 3,
           "used_at": 0, "made_at": 1}  # fmt: skip
    asked: list[tuple[str, dict[str, Any]]] = []

    class Palomar:
        def call(self, name: str, /, **arguments: Any) -> Any:
            asked.append((name, arguments))
            return {"masks.add": row, "masks.list": [row]}.get(name)

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(command, arguments, obj=Palomar(), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert said("add", ANA, "--days", "3") == "k7w3xq9d@palomar.test\n"
    assert asked[-1] == ("masks.add", {"account": ANA, "note": "", "days": 3.0, "domain": ""})
    assert "k7w3xq9d" in said("list")
    for name in ("revoke", "renew", "remove"):
        assert "k7w3xq9d" in said(name, row["address"])
