"""Keys are kept, followed and asked for anew, and never oftener than is good for the issuer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.https import Answer, HttpsError, Request
from plugins.oauth.config import Issuer as Config
from plugins.oauth.keyring import PAUSE_S, STALE_S, Keyring
from plugins.oauth.keys import KeysError
from tests.plugins.oauth.issuer import AUDIENCE, ISSUER, Issuer

URL = "https://keys.palomar.test:8443/jwks?v=1"


class World:
    """An issuer on the net, and a clock."""

    def __init__(self, **named: object) -> None:
        self.config = Config(issuer=ISSUER, audience=(AUDIENCE,), **{"keys_url": URL, **named})  # type: ignore[arg-type]
        self.now = 0.0
        self.issuer = Issuer()
        self.asked: list[Request] = []
        self.answer: Callable[[Request], bytes] = lambda _: self.issuer.key_set()
        self.status = 200
        self.ring = Keyring(self.ask, lambda: self.now)

    async def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        await asyncio.sleep(0)
        return Answer(self.status, {}, self.answer(request))

    async def kids(self, kid: str = "RS256-1") -> list[str]:
        return [key.kid for key in await self.ring.keys(self.config, "RS256", kid)]


def unreachable(request: Request) -> bytes:
    raise HttpsError(f"{request.host}: no answer within 10 s")


async def test_keys_are_asked_for_once_by_many_logins() -> None:
    world = World()
    await asyncio.gather(*(world.kids() for _ in range(20)))
    assert [(one.host, one.port, one.path) for one in world.asked] == [("keys.palomar.test", 8443, "/jwks?v=1")]
    world.now = world.config.keys_lifetime
    await world.kids()
    assert len(world.asked) == 2


async def test_a_new_key_is_asked_for_at_once_but_not_by_every_stranger() -> None:
    world = World()
    await world.kids()
    world.issuer = Issuer(2)
    world.now = PAUSE_S
    assert "RS256-2" in await world.kids("RS256-2")
    for number in range(50):
        world.now += 1
        await world.kids(f"made-up-{number}")
    assert len(world.asked) == 2
    world.now += PAUSE_S
    await world.kids("made-up")
    assert len(world.asked) == 3


async def test_known_keys_go_on_while_the_issuer_is_away_for_a_day() -> None:
    world = World()
    await world.kids()
    world.answer = unreachable
    world.now = world.config.keys_lifetime + 1
    assert "RS256-1" in await world.kids()
    assert "no answer within" in world.ring.problem
    world.now += STALE_S + PAUSE_S
    with pytest.raises(KeysError, match="cannot be had"):
        await world.kids()
    world.answer = lambda _: world.issuer.key_set()
    world.now += PAUSE_S
    assert "RS256-1" in await world.kids()
    assert world.ring.problem == ""


@pytest.mark.parametrize("broken", [b"", b"[]", b"<html>", b'{"keys":[]}', b"[" * 100_000])
async def test_an_answer_that_is_no_key_set(broken: bytes) -> None:
    world = World()
    world.answer = lambda _: broken
    with pytest.raises(KeysError):
        await world.kids()
    assert world.ring.problem


async def test_an_answer_with_another_status() -> None:
    world = World()
    world.status = 302
    with pytest.raises(KeysError, match="status 302"):
        await world.kids()


async def test_the_issuer_tells_where_its_keys_are() -> None:
    world = World(keys_url="")
    told = {"issuer": ISSUER, "jwks_uri": "https://elsewhere.palomar.test/keys"}
    world.answer = lambda request: json.dumps(told).encode() if "well-known" in request.path else world.issuer.key_set()
    assert "RS256-1" in await world.kids()
    paths = [(one.host, one.path) for one in world.asked]
    assert paths == [
        ("login.palomar.test", "/.well-known/openid-configuration"),
        ("elsewhere.palomar.test", "/keys"),
    ]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"}, "another issuer"),
        ({"issuer": ISSUER, "jwks_uri": "http://login.palomar.test/keys"}, "without https"),
        ({"issuer": ISSUER}, "does not tell"),
    ],
)
async def test_what_an_issuer_may_not_tell(told: object, words: str) -> None:
    world = World(keys_url="")
    world.answer = lambda _: json.dumps(told).encode()
    with pytest.raises(KeysError, match=words):
        await world.kids()


async def test_a_file_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    world = World(keys_url="", keys_file=file)
    with pytest.raises(KeysError, match="No such file"):
        await world.kids()
    file.write_bytes(world.issuer.key_set())
    assert "RS256-1" in await world.kids()
    new = tmp_path / "new"
    new.write_bytes(Issuer(2).key_set())
    new.rename(file)
    assert "RS256-2" in await world.kids("RS256-2")
    assert world.asked == []


async def test_other_settings_make_the_old_keys_void() -> None:
    world = World()
    await world.kids()
    world.config = Config(issuer="https://other.example", audience=("x",), keys_url="https://other.example/k")
    world.answer = unreachable
    with pytest.raises(KeysError):
        await world.kids()
