"""The issuer's keys, kept: from a file that is followed, or by HTTPS, where they are asked for anew in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from appliance.core import Core
from appliance.dns import DnsError
from appliance.https import Answer, HttpsError, Request, ask
from plugins.oauth.config import Issuer, is_https
from plugins.oauth.keys import MAX_JWKS, Key, KeysError, candidates, read_keys

log = logging.getLogger(__name__)

ASK_S = 10.0  # for one request
PAUSE_S = 60.0  # between two requests for keys that were not to be had: strangers' tokens must not make us ask more
STALE_S = 86_400.0  # for which keys are used whose issuer does not answer any more

Ask = Callable[[Request], Awaitable[Answer]]
"""`https.ask` with the resolver and context of the appliance. Raises HttpsError, DnsError."""

_Origin = tuple[object, ...]  # where keys come from; others are for nothing once it changes


class _Discovered(msgspec.Struct):
    """What counts of OpenID Connect Discovery 1.0 section 3."""

    issuer: str
    jwks_uri: str


def asking(core: Core) -> Ask:
    """Requests by the appliance's resolver, to hosts whose certificates it trusts."""
    return lambda request: ask(request, core.resolver, core.certificates.client_context(True))


class Keyring:
    """The keys of one issuer, whose settings may be others each time. `clock` gives seconds that only grow.

    `problem` tells why the last try to get them failed; empty if it did not.
    """

    def __init__(self, ask: Ask, clock: Callable[[], float] | None = None) -> None:
        self.problem = ""
        self._ask = ask
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._lock = asyncio.Lock()
        self._keys: Sequence[Key] = ()
        self._origin: _Origin = ()
        self._got_at = 0.0
        self._tried_at: float | None = None

    async def keys(self, issuer: Issuer, algorithm: str, kid: str) -> Sequence[Key]:
        """Keys among which that one is, if the issuer has it. Raises KeysError when there are none at all."""
        origin = _origin(issuer)
        if self._is_fresh(issuer, origin) and candidates(self._keys, algorithm, kid):
            return self._keys
        async with self._lock:  # whoever waits here finds what the first has got
            if not (self._is_fresh(issuer, origin) and candidates(self._keys, algorithm, kid)):
                await self._renew(issuer, origin)
        if self._origin != origin or not self._keys:
            raise KeysError(self.problem or "the issuer has no keys")
        return self._keys

    def _is_fresh(self, issuer: Issuer, origin: _Origin) -> bool:
        if self._origin != origin:
            return False
        return issuer.keys_file is not None or self._clock() < self._got_at + issuer.keys_lifetime

    async def _renew(self, issuer: Issuer, origin: _Origin) -> None:
        now = self._clock()
        if self._origin != origin:
            self._keys, self._origin, self._tried_at = (), origin, None
        elif self._tried_at is not None and now < self._tried_at + PAUSE_S:
            return
        self._tried_at = now
        try:
            keys = read_keys(await self._read(issuer), issuer.algorithms)
        except (KeysError, HttpsError, DnsError, OSError) as error:
            self.problem = f"the keys of {issuer.issuer} cannot be had: {error}"
            log.error("%s", self.problem)
            if now >= self._got_at + issuer.keys_lifetime + STALE_S:
                self._keys = ()
            return
        if self.problem or not self._keys:
            log.info("%d keys of %s", len(keys), issuer.issuer)
        self._keys, self._got_at, self.problem = keys, now, ""

    async def _read(self, issuer: Issuer) -> bytes:
        if issuer.keys_file is not None:
            return issuer.keys_file.read_bytes()
        return await self._get(issuer.keys_url or await self._discover(issuer))

    async def _discover(self, issuer: Issuer) -> str:
        """Ask the issuer where its keys are."""
        body = await self._get(issuer.discovery_url)
        try:
            told = msgspec.json.decode(body, type=_Discovered)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise KeysError(f"{issuer.discovery_url} does not tell where the keys are") from error
        if told.issuer != issuer.issuer:  # section 4.3
            raise KeysError(f"{issuer.discovery_url} speaks of another issuer, {told.issuer[:200]!r}")
        if not is_https(told.jwks_uri):
            raise KeysError(f"{issuer.discovery_url} names keys without https")
        return told.jwks_uri

    async def _get(self, url: str) -> bytes:
        parts = urlsplit(url)
        host, query = parts.hostname or "", f"?{parts.query}" if parts.query else ""
        request = Request(host, f"{parts.path or '/'}{query}", parts.port or 443, limit=MAX_JWKS, timeout=ASK_S)
        answer = await self._ask(request)
        if answer.status != 200:
            raise KeysError(f"{host} answers with status {answer.status}")
        return answer.body


def _origin(issuer: Issuer) -> _Origin:
    """What the keys depend on: a file's inode, size and date among it."""
    dates: tuple[int, ...] = ()
    if issuer.keys_file is not None:
        with contextlib.suppress(OSError):  # that it is missing is said when it is read
            found = os.stat(issuer.keys_file)
            dates = found.st_ino, found.st_size, found.st_mtime_ns
    return issuer.issuer, issuer.keys_url, issuer.keys_file, issuer.algorithms, dates
