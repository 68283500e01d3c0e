"""Domains and aliases."""

from __future__ import annotations

import pytest

from appliance.control import CallError
from appliance.errors import StoreError
from tests.appliance.calls.conftest import Desk


async def test_configured_and_stored_domains_are_listed_together(desk: Desk) -> None:
    await desk.ask("domain.add", name="Example.ORG", kind="relay", next_hop="Mail.Inside.test")
    assert await desk.ask("domain.list") == [
        {"name": "example.org", "kind": "relay", "catch_all": "", "next_hop": "mail.inside.test", "source": "store"},
        {"name": "palomar.test", "kind": "local", "catch_all": "", "next_hop": "", "source": "configuration"},
    ]
    await desk.ask("domain.catch_all", name="example.org", address="ana@palomar.test")
    assert (await desk.ask("domain.list"))[0]["next_hop"] == "mail.inside.test"
    await desk.ask("domain.remove", name="example.org")
    assert [row["name"] for row in await desk.ask("domain.list")] == ["palomar.test"]


async def test_a_catch_all_keeps_the_kind_and_stays_when_the_kind_changes(desk: Desk) -> None:
    await desk.ask("domain.add", name="example.org")
    await desk.ask("domain.catch_all", name="example.org", address="ana@palomar.test")
    await desk.ask("domain.add", name="example.org", kind="backup")
    (found,) = [row for row in await desk.ask("domain.list") if row["name"] == "example.org"]
    assert (found["kind"], found["catch_all"]) == ("backup", "ana@palomar.test")


async def test_a_configured_domain_can_have_a_catch_all_which_works(desk: Desk) -> None:
    assert (await desk.office.send("nobody@palomar.test")).code == 550
    await desk.ask("domain.catch_all", name="palomar.test", address="ana@palomar.test")
    assert (await desk.office.send("nobody@palomar.test")).code == 250
    assert len(await desk.office.inbox("ana@palomar.test")) == 1
    await desk.ask("domain.catch_all", name="palomar.test", address="")
    assert (await desk.office.send("nobody@palomar.test")).code == 550


@pytest.mark.parametrize(
    ("call", "arguments", "words"),
    [
        ("domain.add", {"name": "palomar.test"}, "already"),
        ("domain.add", {"name": "-"}, "no domain"),
        ("domain.add", {"name": "x.org", "kind": "odd"}, "odd"),
        ("domain.add", {"name": "x.org", "kind": "relay"}, "needs a next hop"),
        ("domain.add", {"name": "x.org", "kind": "local", "next_hop": "mail.test"}, "only a relay"),
        ("domain.add", {"name": "x.org", "kind": "relay", "next_hop": "no host"}, "no domain"),
        ("domain.remove", {"name": "palomar.test"}, "named in the configuration"),
        ("domain.remove", {"name": "x.org"}, "no domain x.org"),
        ("domain.catch_all", {"name": "x.org", "address": "ana@palomar.test"}, "no domain x.org"),
        ("alias.remove", {"address": "office@palomar.test"}, "no alias"),
        ("alias.remove", {"address": "office@palomar.test", "target": "x@y.org"}, "does not lead"),
    ],
)
async def test_refusals_have_words(desk: Desk, call: str, arguments: dict[str, str], words: str) -> None:
    with pytest.raises(CallError, match=words):
        await desk.ask(call, **arguments)


async def test_an_alias_gathers_targets_and_loses_them(desk: Desk) -> None:
    await desk.ask("alias.add", address="Office@palomar.test", targets=["ana@palomar.test"])
    both = await desk.ask("alias.add", address="office@palomar.test", targets=["luis@palomar.test"])
    assert both == ["ana@palomar.test", "luis@palomar.test"]
    assert await desk.ask("alias.list") == [{"address": "office@palomar.test", "targets": both}]
    assert (await desk.office.send("office@palomar.test")).code == 250
    assert len(await desk.office.inbox("luis@palomar.test")) == 1
    await desk.ask("alias.remove", address="office@palomar.test", target="luis@palomar.test")
    assert (await desk.ask("alias.list"))[0]["targets"] == ["ana@palomar.test"]
    await desk.ask("alias.remove", address="office@palomar.test")
    assert await desk.ask("alias.list") == []


@pytest.mark.parametrize("address", ["office@elsewhere.test", "office@backup.org"])
async def test_an_alias_is_of_a_domain_of_ours(desk: Desk, address: str) -> None:
    await desk.ask("domain.add", name="backup.org", kind="backup")
    with pytest.raises(CallError, match="is no domain of ours") as caught:
        await desk.ask("alias.add", address=address, targets=["ana@palomar.test"])
    assert caught.value.remedy == f"Type: palomar domain add {address.partition('@')[2]}"
    assert await desk.ask("alias.list") == []


@pytest.mark.parametrize(("address", "target"), [("office", "ana@palomar.test"), ("office@palomar.test", "nonsense")])
async def test_what_is_no_address_is_no_alias(desk: Desk, address: str, target: str) -> None:
    with pytest.raises(CallError, match="no mail address") as caught:
        await desk.ask("alias.add", address=address, targets=[target])
    assert caught.value.remedy


async def test_an_account_is_no_alias(desk: Desk) -> None:
    with pytest.raises(StoreError, match="is an account"):
        await desk.ask("alias.add", address="ana@palomar.test", targets=["luis@palomar.test"])
