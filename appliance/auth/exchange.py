"""One SASL exchange as the roles see it: lines or messages in, one of three outcomes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, runtime_checkable

import msgspec

from appliance.auth.passwords import TemporaryAuthError
from appliance.mail.session import Session
from appliance.wire.sasl.errors import SaslAbortedError, SaslError
from appliance.wire.sasl.lines import decode_line, encode_line
from appliance.wire.sasl.server import ServerMechanism

Cause = Literal["credentials", "temporary", "aborted", "malformed", "mechanism", "privacy"]


class Challenge(msgspec.Struct, frozen=True):
    """Send this to the client and hand its answer to the exchange."""

    data: bytes
    lost: bool = False  # the login has failed, and this says why; whatever is answered, the exchange ends

    @property
    def line(self) -> bytes:
        """The challenge in base64, without `334 ` or `+ ` and without CRLF."""
        return encode_line(self.data)


class Authenticated(msgspec.Struct, frozen=True):
    """The login is good. The role puts both names into its session."""

    account: str
    login: str


class Refused(msgspec.Struct, frozen=True):
    """The exchange is over. `text` is for the client.

    | cause       | SMTP      | IMAP (RFC 5530)             | POP3 (RFC 3206) |
    |-------------|-----------|-----------------------------|-----------------|
    | credentials | 535 5.7.8 | NO [AUTHENTICATIONFAILED]   | -ERR [AUTH]     |
    | temporary   | 454 4.7.0 | NO [UNAVAILABLE]            | -ERR [SYS/TEMP] |
    | aborted     | 501 5.7.0 | BAD                         | -ERR            |
    | malformed   | 501 5.5.2 | BAD                         | -ERR            |
    | mechanism   | 504 5.5.4 | NO [CANNOT]                 | -ERR            |
    | privacy     | 538 5.7.11| NO [PRIVACYREQUIRED]        | -ERR            |
    """

    cause: Cause
    text: str

    @property
    def temporary(self) -> bool:
        """Whether the same may work later."""
        return self.cause == "temporary"


Outcome = Challenge | Authenticated | Refused

FAILED = Refused("credentials", "Authentication failed")


class SaslConversation(Protocol):
    """One exchange of a mechanism that a plugin brings."""

    async def step(self, data: bytes | None) -> Outcome:
        """Take a decoded message of the client (None first where it sent no initial response).

        May raise SaslError on bad grammar and TemporaryAuthError when a back end does not answer.
        """


class SaslMechanism(Protocol):
    """A SASL mechanism that a plugin brings by the hook `sasl_mechanisms`. Offered where logins are allowed at all."""

    name: str  # "OAUTHBEARER"

    def begin(self, session: Session) -> SaslConversation:
        """Start an exchange."""


@runtime_checkable
class SaslMachine(Protocol):
    """A SASL mechanism whose machine needs stored verifiers: they are looked up, counted and slowed down as our own."""

    name: str  # "NTLM"
    weak: bool  # it is for accounts that have opted in to weak mechanisms, and offered with those

    def machine(self, session: Session) -> ServerMechanism:
        """Start an exchange."""


class Exchange:
    """One exchange, made by `Authenticator.begin`. Feed it until the outcome is no Challenge."""

    __slots__ = ("_advance", "_over")

    def __init__(self, advance: Callable[[bytes | None], Awaitable[Outcome]]) -> None:
        self._advance = advance
        self._over = False

    async def respond(self, line: bytes | None, *, initial: bool = False) -> Outcome:
        """Take one line of the client as received, in base64 and without its CRLF.

        `initial` marks a response given on the command line itself, where `=` means empty; None there means that
        it gave none. `*` and bad base64 end the exchange with a Refused.
        """
        if line is None:
            return await self.step(None)
        try:
            data = decode_line(line, initial=initial)
        except SaslError as error:
            return self._refuse(error)
        return await self.step(data)

    async def step(self, data: bytes | None) -> Outcome:
        """Take one decoded message of the client. Raises nothing that the client could cause."""
        if self._over:
            raise RuntimeError("the exchange is over")
        try:
            outcome = await self._advance(data)
        except SaslError as error:
            return self._refuse(error)
        except TemporaryAuthError as error:
            outcome = Refused("temporary", str(error))
        self._over = not isinstance(outcome, Challenge)
        return outcome

    def _refuse(self, error: SaslError) -> Refused:
        self._over = True
        return Refused("aborted" if isinstance(error, SaslAbortedError) else "malformed", str(error))
