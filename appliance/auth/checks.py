"""How a login is checked: held back, looked up, hashed, counted, and answered in its time."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from appliance.auth.config import AuthConfig
from appliance.auth.credentials import ARGON2ID, SALT_OCTETS, SCRAM_ITERATIONS, Credential, password_matches
from appliance.auth.passwords import PasswordPool, TemporaryAuthError
from appliance.auth.throttle import MAX_DOUBLINGS, Throttle, peer_key
from appliance.mail.session import Session
from appliance.wire.sasl.prepare import prepare_login, prepare_password
from appliance.wire.sasl.scram import SHA1, SHA256, ScramVerifier

log = logging.getLogger(__name__)

T = TypeVar("T")

BUSY = "Too many failed logins, try again later"
UNAVAILABLE = "Accounts cannot be looked up now, try again later"
MAX_VERIFIERS = 4  # argon2id verifiers tried for one login; application passwords have login names of their own


class FindCredentials(Protocol):
    """`Dispatch.find_credentials`."""

    async def __call__(self, *, login: str) -> Sequence[Credential] | None:
        """The verifiers of a prepared login name; None or empty when nobody knows it."""


class VerifyExternal(Protocol):
    """`Dispatch.verify_password`."""

    async def __call__(self, *, login: str, password: str) -> str | None:
        """The account's name, or None for "not mine or wrong"."""


class LoginFailed(Protocol):
    """`Dispatch.login_failed`."""

    def __call__(self, *, session: Session, login: str) -> None:
        """Told of every refused login."""


class Attempt(msgspec.Struct, frozen=True):
    """One login under way."""

    session: Session
    login: str  # prepared; empty when what was given can be nobody's name
    how: str  # the mechanism, for the log
    peer: str
    started: float


class Checks:
    """The steps that all ways of logging in share. Any step may raise TemporaryAuthError."""

    def __init__(
        self,
        config: Callable[[], AuthConfig],
        *,
        find: FindCredentials,
        verify_external: VerifyExternal,
        secret: bytes,
        login_failed: LoginFailed | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """See `Authenticator`."""
        self._config = config
        self._find = find
        self._verify_external = verify_external
        self._secret = secret
        self._login_failed = login_failed
        self._clock = clock
        self._sleep = sleep
        self._throttle = Throttle()
        self.pool = PasswordPool()

    async def begin(self, session: Session, login: str, how: str) -> Attempt:
        """Start an attempt with the name as given. Turns away, after the longest delay, who has failed too often."""
        try:
            prepared = prepare_login(login)
        except ValueError:
            prepared = ""
        attempt = Attempt(session, prepared, how, peer_key(session.peer_ip), self._clock())
        config = self._config()
        if self._throttle.blocked(
            attempt.peer,
            prepared,
            attempt.started,
            peer_limit=config.peer_failures,
            login_limit=config.account_failures,
        ):
            log.warning("login held back after too many failures; peer %s", session.peer_ip or "local")
            await self._sleep(config.failure_delay * 2**MAX_DOUBLINGS)
            raise TemporaryAuthError(BUSY)
        return attempt

    async def account_by_password(self, attempt: Attempt, password: str) -> str | None:
        """Whose password it is. Hashes at least once, whoever is asked for."""
        try:
            prepared = prepare_password(password)
        except ValueError:
            prepared = ""  # nobody's password
        found = await self._credentials(attempt.login)
        verifiers = [credential for credential in found if credential.kind == ARGON2ID][:MAX_VERIFIERS]
        for credential in verifiers:
            if await self.pool.run(password_matches, credential.data, prepared) and prepared:
                return credential.account
        if verifiers:
            return None
        await self.pool.run(password_matches, None, prepared)
        if found or not attempt.login or not prepared:
            return None
        return await _asked(self._verify_external(login=attempt.login, password=prepared))

    async def verifier(self, attempt: Attempt, kind: str) -> Credential | None:
        """The stored verifier of that kind, or None."""
        return next((one for one in await self._credentials(attempt.login) if one.kind == kind), None)

    def made_up(self, attempt: Attempt, kind: str) -> bytes:
        """A verifier for a login that has none: always the same one, so that it looks like a real one from outside."""

        def derived(what: bytes) -> bytes:
            return hmac.digest(self._secret, b"\0".join((what, kind.encode(), attempt.login.encode())), "sha256")

        family = next((family for family in (SHA256, SHA1) if family.kind == kind), None)
        if family is None:
            return derived(b"secret").hex().encode()
        keys = derived(b"stored")[: family.size], derived(b"server")[: family.size]
        return bytes(ScramVerifier(family, SCRAM_ITERATIONS, derived(b"salt")[:SALT_OCTETS], *keys))

    async def settle(self, attempt: Attempt, account: str | None, tried: bytes) -> str | None:
        """Count the result and return it: a failure no sooner than its delay after the attempt began.

        `tried` is what was tried, for telling a repetition from a new guess.
        """
        peer_ip = attempt.session.peer_ip or "local"
        if account is not None:
            self._throttle.succeeded(attempt.peer, attempt.login)
            log.info("login of %s by %s; peer %s", attempt.login, attempt.how, peer_ip)
            return account
        config = self._config()
        count = self._throttle.failed(
            attempt.peer,
            attempt.login,
            hmac.digest(self._secret, b"\0".join((attempt.login.encode(), tried)), "sha256")[:8],
            self._clock(),
            window=config.window,
            limit=max(config.peer_failures, config.account_failures),
        )
        # What stands in the place of a name may be a password: only what looks like an address is logged.
        shown = attempt.login if "@" in attempt.login else "(no address)"
        log.info("failed login of %s by %s; peer %s", shown, attempt.how, peer_ip)
        if self._login_failed is not None:
            self._login_failed(session=attempt.session, login=attempt.login)
        delay = config.failure_delay * 2 ** min(count - 1, MAX_DOUBLINGS)
        await self._sleep(max(0.0, attempt.started + delay - self._clock()))
        return None

    async def _credentials(self, login: str) -> Sequence[Credential]:
        if not login:
            return ()
        found = await _asked(self._find(login=login))
        return found or ()


def may_act_as(authzid: str, login: str, account: str) -> bool:
    """Whether a login may act under the name it gave: only under its own (RFC 4422 section 3.4.1)."""
    if not authzid:
        return True
    try:
        return prepare_login(authzid) in {login, account}
    except ValueError:
        return False


async def _asked(answer: Awaitable[T]) -> T:
    """Await a back end. Whatever goes wrong with it is temporary and never a yes."""
    try:
        return await answer
    except Exception as error:
        log.exception("a login could not be checked")
        raise TemporaryAuthError(UNAVAILABLE) from error
