"""Exchanges under way: a pure machine, or a plugin's conversation, joined to the checks."""

from __future__ import annotations

from msgspec.structs import replace

from appliance.auth.checks import Attempt, Checks, may_act_as
from appliance.auth.exchange import FAILED, Authenticated, Challenge, Outcome, Refused, SaslConversation
from appliance.mail.session import Session
from appliance.wire.sasl.server import CheckPassword, Disproved, Event, Lookup, Proven, SendChallenge, ServerMechanism


class MachineConversation:
    """Steps one of our own machines and gives it what it asks for."""

    __slots__ = ("_account", "_attempt", "_checks", "_machine", "_mechanism", "_session")

    def __init__(self, checks: Checks, machine: ServerMechanism, session: Session, mechanism: str) -> None:
        self._checks = checks
        self._machine = machine
        self._session = session
        self._mechanism = mechanism
        self._attempt: Attempt | None = None
        self._account = ""

    async def step(self, data: bytes | None) -> Outcome:
        """See `SaslConversation.step`."""
        event = self._machine.step(data)
        if isinstance(event, Lookup):
            event = await self._supplied(event)
        if isinstance(event, SendChallenge):
            return Challenge(event.data)
        if isinstance(event, CheckPassword):
            return await self._checked(event)
        return await self._settled(event, data or b"")

    async def _checked(self, event: CheckPassword) -> Outcome:
        attempt = await self._checks.begin(self._session, event.login, self._mechanism)
        account = await self._checks.account_by_password(attempt, event.password)
        return await self._concluded(attempt, account, event.authzid, event.password.encode())

    async def _supplied(self, event: Lookup) -> Event:
        self._attempt = attempt = await self._checks.begin(self._session, event.login, self._mechanism)
        credential = await self._checks.verifier(attempt, event.kind)
        made_up = self._checks.made_up(attempt, event.kind)  # in either case, as it takes its time
        if credential is None:
            return self._machine.supply(made_up, genuine=False)
        self._account = credential.account
        return self._machine.supply(credential.data, genuine=True)

    async def _settled(self, event: Event, tried: bytes) -> Outcome:
        assert self._attempt is not None
        if isinstance(event, Proven):
            return await self._concluded(self._attempt, self._account, event.authzid, tried)
        assert isinstance(event, Disproved)
        return await self._concluded(self._attempt, None, "", tried)

    async def _concluded(self, attempt: Attempt, account: str | None, authzid: str, tried: bytes) -> Outcome:
        if account is not None and not may_act_as(authzid, attempt.login, account):
            account = None
        account = await self._checks.settle(attempt, account, tried)
        return FAILED if account is None else Authenticated(account, attempt.login)


class PluginConversation:
    """Counts and delays what a plugin's conversation concludes like everything else."""

    __slots__ = ("_attempt", "_checks", "_inner", "_lost", "_mechanism", "_session")

    def __init__(self, checks: Checks, inner: SaslConversation, session: Session, mechanism: str) -> None:
        self._checks = checks
        self._inner = inner
        self._session = session
        self._mechanism = mechanism
        self._attempt: Attempt | None = None
        self._lost = False

    async def step(self, data: bytes | None) -> Outcome:
        """See `SaslConversation.step`."""
        if self._lost:
            return FAILED
        if self._attempt is None:  # the name is known at the end only; until then the peer alone is judged
            self._attempt = await self._checks.begin(self._session, "", self._mechanism)
        outcome = await self._inner.step(data)
        if isinstance(outcome, Authenticated):
            await self._checks.settle(replace(self._attempt, login=outcome.login), outcome.account, b"")
        elif isinstance(outcome, Challenge):
            self._lost = outcome.lost
        if self._lost or (isinstance(outcome, Refused) and outcome.cause == "credentials"):
            # A failure that is explained counts before that: whoever has heard why need not stay for the end.
            await self._checks.settle(self._attempt, None, data or b"")
        return outcome
