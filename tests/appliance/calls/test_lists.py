"""Lists of members: what the calls refuse, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.control import CallError
from appliance.store import lists
from tests.appliance.calls.conftest import Desk

TEAM = "team@palomar.test"


@pytest.mark.parametrize(
    ("call", "arguments", "words"),
    [
        ("list.add", {"address": "team@elsewhere.test", "owner": "a@b.test"}, "no domain of ours"),
        ("list.add", {"address": '"te am"@palomar.test', "owner": "a@b.test"}, "cannot be a list"),
        ("list.add", {"address": "ana@palomar.test", "owner": "a@b.test"}, "is an account"),
        ("list.add", {"address": "info@palomar.test", "owner": "a@b.test"}, "is an alias"),
        ("list.add", {"address": TEAM, "owner": "a@b.test"}, "exists already"),
        ("list.add", {"address": "x@palomar.test", "owner": "nobody"}, "no mail address"),
        ("list.add", {"address": "x@palomar.test", "owner": "X@palomar.test"}, "its own owner"),
        ("list.add", {"address": "x@palomar.test", "owner": "a@b.test", "title": "a\nb"}, "in one line"),
        ("list.add", {"address": "x@palomar.test", "owner": "a@b.test", "post": "dogs"}, "dogs"),
        ("list.set", {"address": "x@palomar.test", "title": "a"}, "no list x@palomar.test"),
        ("list.join", {"address": TEAM, "members": ["TEAM@palomar.test"]}, "its own member"),
        ("list.join", {"address": TEAM, "members": ["a b@c.test"]}, "no mail address"),
        ("list.leave", {"address": TEAM, "members": ["a@b.test"]}, "a@b.test is not on"),
        ("list.members", {"address": "x@palomar.test"}, "no list"),
        ("alias.add", {"address": TEAM, "targets": ["a@b.test"]}, "is a list"),
        ("account.add", {"name": TEAM, "password": "correct horse"}, "is a list"),
    ],
)
async def test_refusals_have_words(desk: Desk, call: str, arguments: dict[str, Any], words: str) -> None:
    await desk.office.alias("info@palomar.test", "ana@palomar.test")
    await desk.ask("list.add", address=TEAM, owner="boss@b.test")
    with pytest.raises((CallError, lists.ExistsError), match=words):
        await desk.ask(call, **arguments)


async def test_a_list_has_so_many_members(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_MEMBERS", 3)
    await desk.ask("list.add", address=TEAM, owner="boss@b.test")
    assert await desk.ask("list.join", address=TEAM, members=["a@b.test", "A@b.test", "c@b.test"]) == 2
    with pytest.raises(CallError, match="at most 3 members"):
        await desk.ask("list.join", address=TEAM, members=["d@b.test", "e@b.test"])
    assert len(await desk.ask("list.members", address=TEAM)) == 2
