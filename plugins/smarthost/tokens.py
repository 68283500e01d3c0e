"""Access tokens for hosts that take no passwords: got by refresh tokens, kept until shortly before their end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec

from appliance.dns import DnsError
from appliance.errors import ApplianceError
from appliance.https import Answer, HttpsError, Request
from plugins.smarthost.config import OAuthClient

log = logging.getLogger(__name__)

EARLY_S = 120.0  # a token is renewed that long before its end
USUAL_S = 3600.0  # the life of a token of which the provider does not say how long it lives
SHORTEST_S = 10.0  # for which any token is used
ASK_S = 20.0
MAX_ANSWER = 65536  # octets

Ask = Callable[[Request], Awaitable[Answer]]
"""`https.ask` with the resolver and context of the appliance. Raises HttpsError, DnsError."""


class TokenError(ApplianceError):
    """There is no access token; the text says why and holds no secret."""


class _Granted(msgspec.Struct):
    """RFC 6749 section 5.1."""

    access_token: str
    token_type: str = "bearer"
    expires_in: float | str | None = None
    refresh_token: str = ""


class _Denied(msgspec.Struct):
    """RFC 6749 section 5.2."""

    error: str
    error_description: str = ""


class Tokens:
    """The tokens of all clients, by their names. `clock` gives seconds that only grow."""

    def __init__(self, ask: Ask, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._kept: dict[tuple[str, OAuthClient], tuple[str, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def token(self, name: str, client: OAuthClient) -> str:
        """An access token that is good for a while; many may ask at once, the provider is asked once.

        Raises TokenError.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            kept = self._kept.get((name, client))
            if kept is not None and self._clock() < kept[1]:
                return kept[0]
            granted = await self._granted(client)
            lives_s = _seconds(granted.expires_in)
            until = self._clock() + max(SHORTEST_S, lives_s - EARLY_S)
            self._kept = {key: value for key, value in self._kept.items() if key[0] != name}
            self._kept[name, client] = granted.access_token, until
            if granted.refresh_token:
                _keep_refresh_token(client, granted.refresh_token)
            return granted.access_token

    def refused(self, name: str) -> None:
        """A host did not take the token: the next one is a new one."""
        self._kept = {key: value for key, value in self._kept.items() if key[0] != name}

    async def _granted(self, client: OAuthClient) -> _Granted:
        """Ask the provider (RFC 6749 section 6)."""
        form = {"grant_type": "refresh_token", "client_id": client.client_id}
        form["refresh_token"] = _secret("refresh_token_file", client.refresh_token_file) or client.refresh_token
        if secret := _secret("client_secret_file", client.client_secret_file) or client.client_secret:
            form["client_secret"] = secret
        if client.scope:
            form["scope"] = client.scope
        url = urlsplit(client.token_url)
        host = url.hostname or ""
        request = Request(
            host,
            f"{url.path or '/'}{'?' + url.query if url.query else ''}",
            url.port or 443,
            {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            urlencode(form).encode(),
            MAX_ANSWER,
            ASK_S,
        )
        try:
            answer = await self._ask(request)
            if answer.status == 200:
                granted = msgspec.json.decode(answer.body, type=_Granted)
                if granted.access_token and granted.token_type.lower() == "bearer":
                    return granted
                raise TokenError(f"{host} gave no bearer token")
            denied = msgspec.json.decode(answer.body, type=_Denied)
        except (HttpsError, DnsError) as error:
            raise TokenError(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TokenError(f"{host} gave no token but status {answer.status}") from error
        text = f"{denied.error} {denied.error_description}"[:200]
        raise TokenError(f"{host}: {''.join(one for one in text if one.isprintable()).strip()}")


def _seconds(expires_in: float | str | None) -> float:
    try:
        return min(max(float(expires_in), 0.0), 30 * 86_400.0) if expires_in is not None else USUAL_S
    except ValueError:
        return USUAL_S


def _secret(setting: str, file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"{setting} {file}: {error}") from error


def _keep_refresh_token(client: OAuthClient, token: str) -> None:
    """Write a new refresh token where the old one was (RFC 6749 section 6): that one may be void now."""
    file = client.refresh_token_file
    if file is None:
        if token != client.refresh_token:
            log.error("smarthost: the provider has replaced the refresh token; use refresh_token_file, to have it kept")
        return
    new = file.with_name(f".{file.name}.new")
    try:
        if _secret("refresh_token_file", file) == token:
            return
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as draft:
            draft.write(f"{token}\n")
            draft.flush()
            os.fsync(draft.fileno())
        new.replace(file)
    except (OSError, TokenError) as error:
        log.error("smarthost: the provider's new refresh token could not be kept: %s", error)
