"""What the three protocols have in common: a login that is asked for on one side and carried out on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from appliance.connection import WAKE, Connection, ConnectionLostError
from appliance.core import Core
from appliance.errors import ProtocolError
from appliance.wire.sasl.errors import SaslError
from appliance.wire.sasl.lines import decode_line, encode_line
from plugins.proxy.config import ProxyConfig
from plugins.proxy.protocol import Line, LineMachine, Octets

DIALOGUE_S = 60.0  # for one line, beside the limit for all of them until the login


@dataclass(frozen=True, slots=True)
class Attempt:
    """A client wants to log in. `initial` is its first message, decoded, if it came with the command."""

    mechanism: str
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server's next SASL message, decoded."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The login is done. `before` are whole lines for the client, `text` is what stands behind the word of success."""

    text: bytes
    before: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The server said no: to the name and password, or (`temporary`) for now, or in general."""

    text: bytes
    temporary: bool = False


Step = Challenge | Accepted | Refused


class Wire:
    """A connection and its lines."""

    def __init__(self, core: Core, connection: Connection) -> None:
        self.core = core
        self.connection = connection
        machine = connection.machine
        assert isinstance(machine, LineMachine)
        self.machine = machine

    @property
    def config(self) -> ProxyConfig:
        """The settings as they are now."""
        return self.core.settings[ProxyConfig]

    @property
    def private(self) -> bool:
        """Whether a login may cross this connection: over TLS, or from this machine if so configured."""
        return self.core.auth.allowed(self.connection.facts("proxy"))

    async def line(self) -> bytes:
        """The next line. Raises ConnectionLostError, also when the appliance stops."""
        event = await self._event()
        assert isinstance(event, Line)
        return event.data

    async def octets(self, count: int) -> bytes:
        """That many octets. Raises as `line`."""
        self.machine.expect(count)
        event = await self._event()
        assert isinstance(event, Octets)
        return event.data

    async def _event(self) -> Any:
        event = await self.connection.next_event(DIALOGUE_S)
        if event is WAKE:
            raise ConnectionLostError("the appliance stops")
        return event

    def say(self, line: bytes) -> None:
        """Write a line."""
        self.connection.write(line + b"\r\n")


class Front(Protocol):
    """The client's side of one protocol until the login."""

    def greet(self) -> None:
        """The first words."""

    async def attempt(self) -> Attempt | None:
        """Serve the client until it wants to log in; None when it leaves."""

    async def response(self, challenge: bytes) -> bytes:
        """Send a challenge and return the client's answer. Raises SaslError, SaslAbortedError."""

    def accept(self, accepted: Accepted) -> None:
        """Say that the login is done."""

    def refuse(self, refused: Refused) -> None:
        """Say that it is not."""

    def bye(self) -> None:
        """The last words to a client that goes on too long."""


class Back(Protocol):
    """The server's side of one protocol until the login."""

    async def begin(self, mechanism: str) -> Step:
        """Come to the point where the mechanism's first message is wanted: a Challenge, or Refused."""

    async def respond(self, response: bytes | None) -> Step:
        """Give the client's next message, or None if it has given up."""


def sasl_line(response: bytes | None) -> bytes:
    """A client's message as a line; `*` gives up."""
    return b"*" if response is None else encode_line(response)


def challenge_of(line: bytes) -> Challenge:
    """A server's challenge from its line. Raises ProtocolError."""
    try:
        return Challenge(decode_line(line.strip()))
    except SaslError as error:
        raise ProtocolError(f"a challenge that is none: {error}") from error
