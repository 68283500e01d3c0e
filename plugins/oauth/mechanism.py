"""The two mechanisms: a token comes in, and an account of ours, or the reason why not, goes out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from appliance.auth import Authenticated, Challenge, SaslConversation, SaslMechanism, TemporaryAuthError
from appliance.auth.exchange import Outcome
from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.session import Session
from appliance.wire.sasl.prepare import prepare_login
from plugins.oauth.config import Issuer, OAuthConfig
from plugins.oauth.keyring import Ask, Keyring, asking
from plugins.oauth.keys import KeysError, verified
from plugins.oauth.protocol_bearer import Name, Presented, failure, parse
from plugins.oauth.protocol_token import Rules, Token, TokenError, checked_name
from plugins.oauth.protocol_token import parse as parse_token

log = logging.getLogger(__name__)

NO_KEYS = "Tokens cannot be checked now, try again later"
NO_TIME = "Tokens cannot be checked until this machine knows the time"


class OAuth:
    """The hooks of the role, and what they share."""

    def __init__(self, core: Core, checker: Checker | None = None) -> None:
        self._checker = checker or Checker(core, asking(core))

    @hookimpl
    def sasl_mechanisms(self, core: Core) -> Sequence[SaslMechanism]:
        """One for each name in the settings, where there is an issuer."""
        config = core.settings[OAuthConfig]
        return [Bearer(name, self._checker) for name in config.mechanisms] if config.issuers else []

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """That an issuer's keys cannot be had, or that there is none."""
        if not core.settings[OAuthConfig].issuers:
            return [("OAuth", "no issuer is configured, so no token is taken: set [oauth.issuers.NAME]", "warning")]
        return [("OAuth", problem, "error") for problem in self._checker.problems()]


class Checker:
    """Tells whose login a token is. `clock` is for keys: seconds that only grow."""

    def __init__(self, core: Core, ask: Ask, clock: Callable[[], float] | None = None) -> None:
        self._core = core
        self._ask = ask
        self._clock = clock
        self._keyrings: dict[str, Keyring] = {}

    def problems(self) -> list[str]:
        """Why keys cannot be had."""
        names = self._core.settings[OAuthConfig].issuers
        return [ring.problem for name, ring in self._keyrings.items() if ring.problem and name in names]

    def first(self) -> Issuer:
        """Where clients without a good token are sent."""
        return next(iter(self._core.settings[OAuthConfig].issuers.values()), Issuer())

    async def account(self, presented: Presented) -> str:
        """The account that the token is a login of, and that the client wants to act as.

        Raises TokenError, and TemporaryAuthError when it cannot be known now.
        """
        if not presented.token:
            raise TokenError("there is no token", "invalid_request")
        if self._core.time_state == "unset":
            raise TemporaryAuthError(NO_TIME)
        token = parse_token(presented.token)
        name, issuer = self._issuer_of(token)
        head = token.head
        if head.alg not in issuer.algorithms:
            raise TokenError("the token is signed in a way that is not believed")
        keyring = self._keyrings.setdefault(name, Keyring(self._ask, self._clock))
        try:
            keys = await keyring.keys(issuer, head.alg, head.kid)
        except KeysError as error:
            raise TemporaryAuthError(NO_KEYS) from error
        if not verified(keys, head.alg, head.kid, token.signed, token.signature):
            raise TokenError("no key of the issuer has signed the token")
        rules = Rules(issuer.issuer, issuer.audience, issuer.scopes, issuer.claim, issuer.leeway)
        account = self._account_of(checked_name(token.claims, rules, self._core.now()), issuer)
        if presented.authzid and _prepared(presented.authzid) != account:
            raise TokenError("the token is another account's")
        return account

    def _issuer_of(self, token: Token) -> tuple[str, Issuer]:
        """Whose keys the token is to be verified by: what it says is believed no further than that."""
        said = token.claims.get("iss")
        for name, issuer in self._core.settings[OAuthConfig].issuers.items():
            if issuer.issuer == said:
                return name, issuer
        raise TokenError("the token is of another issuer")

    def _account_of(self, claim: str, issuer: Issuer) -> str:
        name = issuer.accounts.get(claim, claim)
        if "@" not in name and issuer.domain:
            name = f"{name}@{issuer.domain}"
        if not self._core.store.directory.usable(account := _prepared(name)):
            raise TokenError("there is no account for the token")
        return account


class Bearer:
    """One mechanism."""

    def __init__(self, name: Name, checker: Checker) -> None:
        self.name: str = name
        self._name: Name = name
        self._checker = checker

    def begin(self, session: Session) -> SaslConversation:
        """See `SaslMechanism.begin`."""
        return _Conversation(self._name, self._checker, session)


class _Conversation:
    """One message of the client; and where its token is none, one of ours and one more that says nothing."""

    __slots__ = ("_checker", "_name", "_session")

    def __init__(self, name: Name, checker: Checker, session: Session) -> None:
        self._name: Name = name
        self._checker = checker
        self._session = session

    async def step(self, data: bytes | None) -> Outcome:
        """See `SaslConversation.step`."""
        if data is None:
            return Challenge(b"")
        presented = parse(self._name, data)
        try:
            account = await self._checker.account(presented)
        except TokenError as error:
            log.info("no login by %s: %s; peer %s", self._name, error, self._session.peer_ip or "local")
            issuer = self._checker.first()
            told = failure(self._name, error.status, " ".join(issuer.scopes), issuer.discovery_url)
            return Challenge(told, lost=True)
        return Authenticated(account, account)


def _prepared(name: str) -> str:
    try:
        return prepare_login(name)
    except ValueError:
        return ""
