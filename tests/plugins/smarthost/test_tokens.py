"""Access tokens: asked for once, kept, renewed before their end, and what a provider may answer instead."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from appliance.https import Answer, HttpsError, Request
from plugins.smarthost.config import OAuthClient
from plugins.smarthost.tokens import EARLY_S, TokenError, Tokens

CLIENT = OAuthClient(token_url="https://id.isp.test/o/token?x=1", client_id="palomar", refresh_token="refresh")


class Provider:
    """Gives token after token, each for an hour."""

    def __init__(self, **more: Any) -> None:
        self.asked: list[tuple[Request, dict[str, list[str]]]] = []
        self.more = more
        self.answer: Answer | Exception | None = None
        self.now = 0.0
        self.tokens = Tokens(self.ask, lambda: self.now)

    async def ask(self, request: Request) -> Answer:
        self.asked.append((request, parse_qs(request.body.decode())))
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        token = {"access_token": f"token {len(self.asked)}", "token_type": "Bearer", "expires_in": 3600, **self.more}
        return self.answer or Answer(200, {}, json.dumps(token).encode())


async def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    provider = Provider()
    many = await asyncio.gather(*(provider.tokens.token("isp", CLIENT) for _ in range(5)))
    assert set(many) == {"token 1"}
    provider.now = 3599 - EARLY_S
    assert await provider.tokens.token("isp", CLIENT) == "token 1"
    provider.now = 3600 - EARLY_S
    assert await provider.tokens.token("isp", CLIENT) == "token 2"
    provider.tokens.refused("isp")
    assert await provider.tokens.token("isp", CLIENT) == "token 3"
    request, form = provider.asked[0]
    assert (request.host, request.path, request.port) == ("id.isp.test", "/o/token?x=1", 443)
    assert form == {"grant_type": ["refresh_token"], "client_id": ["palomar"], "refresh_token": ["refresh"]}


async def test_secrets_come_from_files_and_a_new_one_goes_there(tmp_path: Path) -> None:
    refresh, secret = tmp_path / "refresh", tmp_path / "secret"
    files = {"client_secret_file": secret, "refresh_token_file": refresh}
    client = OAuthClient(token_url="https://id.isp.test", client_id="p", scope="a b", **files)
    provider = Provider(refresh_token="second")
    with pytest.raises(TokenError, match="No such file"):
        await provider.tokens.token("isp", client)
    refresh.write_text("first\n")
    secret.write_text("s3cret\n")
    assert await provider.tokens.token("isp", client) == "token 1"
    request, form = provider.asked[0]
    assert request.path == "/"
    assert (form["refresh_token"], form["client_secret"], form["scope"]) == (["first"], ["s3cret"], ["a b"])
    assert refresh.read_text() == "second\n"
    assert stat.S_IMODE(refresh.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HttpsError("id.isp.test: no answer within 20 s"), "no answer within 20 s"),
        (Answer(400, {}, b'{"error":"invalid_grant","error_description":"\\r\\nrevoked"}'), "invalid_grant revoked"),
        (Answer(500, {}, b"<html>"), "no token but status 500"),
        (Answer(200, {}, b"[]"), "no token but status 200"),
        (Answer(200, {}, b"\xff"), "no token but status 200"),
        (Answer(200, {}, b'{"access_token":""}'), "no bearer token"),
        (Answer(200, {}, b'{"access_token":"x","token_type":"mac"}'), "no bearer token"),
    ],
)
async def test_what_a_provider_may_say_instead(answer: Answer | Exception, words: str) -> None:
    provider = Provider()
    provider.answer = answer
    with pytest.raises(TokenError, match=words):
        await provider.tokens.token("isp", CLIENT)
    provider.answer = None
    assert await provider.tokens.token("isp", CLIENT) == "token 2"


@pytest.mark.parametrize(("said", "lives"), [(None, 3600), ("120", 10), ("soon", 3600), (-5, 10), (0, 10)])
async def test_how_long_a_token_lives(said: object, lives: float) -> None:
    provider = Provider(expires_in=said)
    await provider.tokens.token("isp", CLIENT)
    provider.now = max(10, lives - EARLY_S) - 1
    assert await provider.tokens.token("isp", CLIENT) == "token 1"
    provider.now += 1
    assert await provider.tokens.token("isp", CLIENT) == "token 2"
