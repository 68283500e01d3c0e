"""The one place where a login is decided."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable

from appliance.auth.checks import Checks, FindCredentials, LoginFailed, VerifyExternal
from appliance.auth.config import AuthConfig
from appliance.auth.conversation import MachineConversation, PluginConversation
from appliance.auth.credentials import PLAIN, make_credentials, password_matches
from appliance.auth.exchange import Exchange, Outcome, Refused, SaslMachine, SaslMechanism
from appliance.auth.external import External
from appliance.mail.session import Session
from appliance.wire.sasl.prepare import prepare_password
from appliance.wire.sasl.scram import SHA1, SHA256
from appliance.wire.sasl.scram_server import ScramServer
from appliance.wire.sasl.server import CramMd5Server, LoginServer, PlainServer, ServerMechanism, apop_digest

_SCRAM = {family.mechanism: family for family in (SHA256, SHA1)}
_WEAK = frozenset({"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "CRAM-MD5"})
_BY_PROOF = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "CRAM-MD5")  # best first
_BY_PASSWORD = ("PLAIN", "LOGIN")


class Authenticator:
    """Checks logins for all roles. Nothing here tells an unknown name from a wrong password, in text or in time."""

    def __init__(
        self,
        config: Callable[[], AuthConfig],
        *,
        find: FindCredentials,
        verify_external: VerifyExternal,
        secret: bytes,
        login_failed: LoginFailed | None = None,
        weak_in_use: Callable[[], bool] = lambda: False,
        usable: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`config` is asked at each login, so a reload takes effect. `secret` is the installation's.

        `weak_in_use` says whether any account has opted in to weak mechanisms; it is called often and must be quick.
        `usable` says whether there is an enabled account of that name, for logins that need no verifier.
        """
        self._config = config
        self._weak_in_use = weak_in_use
        self._external = External(config, usable)
        self._brought: dict[str, SaslMechanism] = {}
        self._machines: dict[str, SaslMachine] = {}
        self._checks = Checks(
            config,
            find=find,
            verify_external=verify_external,
            secret=secret,
            login_failed=login_failed,
            clock=clock,
            sleep=sleep,
        )

    def add_mechanism(self, mechanism: SaslMechanism | SaslMachine) -> None:
        """Offer a plugin's mechanism. Raises ValueError when the name is taken."""
        name = mechanism.name.upper()
        if name in self._brought or name in self._machines or name in (*_BY_PROOF, *_BY_PASSWORD, self._external.name):
            raise ValueError(f"there is a SASL mechanism {name} already")
        if isinstance(mechanism, SaslMachine):
            self._machines[name] = mechanism
        else:
            self._brought[name] = mechanism

    def get_ready(self) -> None:
        """Prepare for the first login, in the background: for whoever is going to serve some."""
        self._checks.pool.get_ready()

    def close(self) -> None:
        """Let the password threads end."""
        self._checks.pool.close()

    # ── what is offered ───────────────────────────────────────────────────────────────────────────────────────────

    def allowed(self, session: Session) -> bool:
        """Whether a login may cross this connection at all: over TLS, or from this machine if so configured.

        Where it may not, no mechanism is offered and IMAP says LOGINDISABLED.
        """
        return session.sealed or (session.loopback and not self._config().tls_on_loopback)

    def weak_offered(self) -> bool:
        """Whether SCRAM-SHA-1, CRAM-MD5 and APOP are offered. APOP's stamp stands in POP3's greeting."""
        setting = self._config().weak_mechanisms
        return setting == "always" or (setting == "opted-in" and self._weak_in_use())

    def mechanisms(self, session: Session) -> tuple[str, ...]:
        """The mechanisms to offer now, best first. Empty when logins are not allowed here."""
        if not self.allowed(session):
            return ()
        weak = self.weak_offered()
        bound = bool(self._binding(session))
        offered = [name for name in _BY_PROOF if (weak or name not in _WEAK) and (bound or not name.endswith("-PLUS"))]
        certified = (self._external.name,) if session.tls is not None and session.tls.client is not None else ()
        machines = (name for name, one in self._machines.items() if weak or not one.weak)
        return (*certified, *offered, *machines, *self._brought, *_BY_PASSWORD)

    def _binding(self, session: Session) -> bytes:
        """The channel binding data for -PLUS, empty where it is not offered (RFC 5929 section 4)."""
        if session.tls is None or not self._config().channel_binding:
            return b""
        return session.tls.binding

    # ── the three ways in ─────────────────────────────────────────────────────────────────────────────────────────

    async def login(self, session: Session, login: str, password: str) -> str | None:
        """Check a login name and a password; returns the account's name, or None after the failure delay.

        None at once when logins are not allowed on this connection. The caller notes account and login in its
        session. Raises TemporaryAuthError.
        """
        if not self.allowed(session):
            return None
        attempt = await self._checks.begin(session, login, "password")
        account = await self._checks.account_by_password(attempt, password)
        return await self._checks.settle(attempt, account, password.encode("utf-8", "surrogatepass"))

    async def apop(self, session: Session, login: str, digest: bytes, stamp: bytes) -> str | None:
        """Check POP3's APOP: `digest` as received, `stamp` as greeted, with its angle brackets. Like `login`."""
        if not self.allowed(session) or not self.weak_offered():
            return None
        attempt = await self._checks.begin(session, login, "APOP")
        credential = await self._checks.verifier(attempt, PLAIN)
        made_up = self._checks.made_up(attempt, PLAIN)
        secret = made_up if credential is None else credential.data
        right = hmac.compare_digest(apop_digest(stamp, secret), digest.lower())
        account = credential.account if right and credential is not None else None
        return await self._checks.settle(attempt, account, digest + stamp)

    def begin(self, session: Session, mechanism: str) -> Exchange:
        """Start a SASL exchange. One with an unknown or unfit mechanism is refused at its first step."""
        name = mechanism.upper()
        if not self.allowed(session):
            return _refusing(Refused("privacy", "Encryption is required for authentication"))
        if name not in self.mechanisms(session):
            return _refusing(Refused("mechanism", "Unrecognized authentication mechanism"))
        whole = self._external if name == self._external.name else self._brought.get(name)
        if whole is not None:
            return Exchange(PluginConversation(self._checks, whole.begin(session), session, name).step)
        brought = self._machines.get(name)
        machine = brought.machine(session) if brought is not None else _machine(name, self._binding(session))
        return Exchange(MachineConversation(self._checks, machine, session, name).step)

    # ── verifiers, for the administrator ──────────────────────────────────────────────────────────────────────────

    make_credentials = staticmethod(make_credentials)

    async def new_credentials(self, password: str, *, weak: bool = False) -> list[tuple[str, bytes]]:
        """`make_credentials` off the event loop. Raises ValueError in words, and TemporaryAuthError."""
        return await self._checks.pool.run(make_credentials, password, weak=weak)

    async def matches(self, stored: bytes, password: str) -> bool:
        """Whether a password is the one of a stored argon2id verifier. Raises TemporaryAuthError."""
        try:
            prepared = prepare_password(password)
        except ValueError:
            return False  # it never was anybody's
        return await self._checks.pool.run(password_matches, stored, prepared)


def _machine(name: str, binding: bytes) -> ServerMechanism:
    if name == "PLAIN":
        return PlainServer()
    if name == "LOGIN":
        return LoginServer()
    if name == "CRAM-MD5":
        return CramMd5Server(new_stamp())
    return ScramServer(
        _SCRAM[name.removesuffix("-PLUS")],
        secrets.token_urlsafe(18).encode(),
        plus=name.endswith("-PLUS"),
        binding=binding,
        plus_offered=bool(binding),
    )


def new_stamp(host: str = "palomar") -> bytes:
    """A message-id-like stamp that was never used before (RFC 1939 section 7, RFC 2195 section 2)."""
    return f"<{secrets.token_hex(12)}.{time.time_ns()}@{host}>".encode()


def _refusing(refusal: Refused) -> Exchange:
    async def refuse(data: bytes | None) -> Outcome:
        return refusal

    return Exchange(refuse)
