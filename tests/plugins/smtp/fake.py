"""Stand-ins for the parts around an SMTP session: a connection in lock-step, an intake, logins, a small office."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pluggy

from appliance import hookspecs
from appliance.auth import Authenticated, Challenge, Exchange, Refused
from appliance.config import CoreConfig
from appliance.connection import WAKE, Connection, ConnectionLostError, IdleTimeoutError
from appliance.core import Core
from appliance.dispatch import Dispatch
from appliance.errors import ProtocolError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import Session, TlsInfo
from appliance.planning import Transaction
from appliance.store.queuedesk import Selection
from appliance.stress import Stress
from plugins.smtp.config import SmtpConfig
from plugins.smtp.protocol import SmtpServer

HOSTNAME = "mx.palomar.test"
NOW = 1_700_000_000.0
PASSWORDS = {"ana@palomar.test": "secret"}
ALIASES = {"sales@palomar.test": ("ana@palomar.test", "luis@palomar.test"), "boss@palomar.test": ("luis@palomar.test",)}
ACCOUNTS = frozenset({"ana@palomar.test", "luis@palomar.test", "josé@palomar.test", "postmaster@mx.palomar.test"})


class PlantedError(Exception):
    """A bug in some part, put there on purpose."""


# ── the connection ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Turn:
    """What the client sends in one go, then what happens: silence, or the appliance shutting down."""

    client: bytes = b""
    then: Literal["", "silence", "shutdown"] = ""


class FakeLoop:
    """A clock that moves by `step` seconds each time somebody looks."""

    def __init__(self) -> None:
        self.at = 0.0
        self.step = 0.0

    def time(self) -> float:
        """Loop time in seconds."""
        self.at += self.step
        return self.at


class FakeConnection:
    """A Connection whose peer sends its next turn only when everything before it is answered."""

    facts = Connection.facts
    via, tls_at_proxy = "", False

    def __init__(self, machine: SmtpServer, turns: Sequence[Turn] = (), *, size: int = 65536) -> None:
        self.id = "s1"
        self.machine = machine
        self.peer_ip, self.peer_port, self.local_ip, self.local_port = "192.0.2.7", 40000, "192.0.2.1", 25
        self.tls: TlsInfo | None = None
        self.stopping = False
        self.loop = FakeLoop()
        self.timeouts: list[float] = []
        self.early = b""  # what the peer says before it is greeted
        self.answers: list[bytes] = [b""]  # per turn; the first is the greeting
        self._turns = iter(turns)
        self._size = size
        self._pieces: Iterator[bytes] = iter(())
        self._then = ""

    def stop(self) -> None:
        self.stopping = True

    async def next_event(self, timeout: float) -> Any:
        """Like `Connection.next_event`, without a socket."""
        self.timeouts.append(timeout)
        while (event := self.machine.next_event()) is None:
            piece = next(self._pieces, None)
            if piece is not None:
                self.machine.receive(piece)
                continue
            then, self._then = self._then, ""
            if then == "silence":
                raise IdleTimeoutError("nothing came")
            if then == "shutdown":
                self.stopping = True
                return WAKE
            turn = next(self._turns, None)
            if turn is None:
                raise ConnectionLostError("gone")
            self.answers.append(b"")
            self._then = turn.then
            self._pieces = iter([turn.client[at : at + self._size] for at in range(0, len(turn.client), self._size)])
        return event

    async def quiet(self, seconds: float) -> bool:
        """Like `Connection.quiet`: the peer speaks early if its first turn comes before the greeting."""
        self.timeouts.append(seconds)
        self.machine.receive(self.early)
        return not self.early

    def write(self, data: bytes) -> None:
        """Note an answer."""
        self.answers[-1] += data

    async def start_tls(self, context: object) -> TlsInfo:
        """Pretend a handshake."""
        self.machine.start_tls()
        self.answers[-1] += b"(TLS)\r\n"
        self.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, binding=b"binding")
        return self.tls

    @property
    def unheard(self) -> int:
        """Turns that the peer never came to."""
        return len(list(self._turns))


# ── the core ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Taken:
    """One message that the intake was given."""

    session: Session
    envelope: Envelope
    message: bytes

    @property
    def without_trace(self) -> bytes:
        """The message without the Received field in front."""
        lines = self.message.split(b"\r\n")
        assert lines[0].startswith(b"Received: from ")
        rest = next(index for index, line in enumerate(lines[1:], 1) if line[:1] != b"\t")
        return b"\r\n".join(lines[rest:])


class FakeIntake:
    """Takes what is for the office, and from logins for everybody; `script` overrides the replies to a message."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.begun = 0

    @property
    def router(self) -> FakeIntake:
        """It knows who is here."""
        return self

    async def resolve(self, session: Session, envelope: Envelope, recipient: Recipient) -> Sequence[object] | Reply:
        """Like `Router.resolve`."""
        reply = self._judge(session, recipient)
        return [] if reply.positive else reply

    def begin(self, session: Session, envelope: Envelope) -> Transaction:
        """Number the transactions."""
        self.begun += 1
        return Transaction(session, envelope, f"trace{self.begun}")

    async def recipient(self, transaction: Transaction, recipient: Recipient) -> Reply:
        """By address: `full@`, `crash@`, the accounts, and outside for those who may."""
        reply = self._judge(transaction.session, recipient)
        if reply.positive:
            transaction.envelope.recipients.append(recipient)
        return reply

    @staticmethod
    def _judge(session: Session, recipient: Recipient) -> Reply:
        address = recipient.address
        if address.local == "crash":
            raise PlantedError
        if address.local == "full":
            return Reply(452, "4.2.2", "This mailbox is full")
        if address.domain not in ("palomar.test", HOSTNAME) and session.account is None:
            return Reply(550, "5.7.1", "Relaying denied")
        if address.domain == "palomar.test" and address.key not in ACCOUNTS and address.local != "picky":
            return Reply(550, "5.1.1", "There is no such mailbox here")
        return Reply(250, "2.1.5", "Recipient ok")

    async def accept(self, transaction: Transaction, message: Message) -> list[Reply]:
        """Keep the message; `picky@` refuses every one."""
        self.taken.append(Taken(transaction.session, transaction.envelope, bytes(message)))
        if b"X-Crash:" in message.header:
            raise PlantedError
        stored = Reply(250, "2.0.0", f"Stored as {transaction.trace_id}")
        refused = Reply(550, "5.7.1", "Not for me")
        return [
            refused if recipient.address.local == "picky" else stored for recipient in transaction.envelope.recipients
        ]


class FakeAuth:
    """PLAIN and LOGIN against PASSWORDS; `busy@` has a back end that is down."""

    def mechanisms(self, session: Session) -> tuple[str, ...]:
        """What may be offered now."""
        return ("PLAIN", "LOGIN") if session.private else ()

    def begin(self, session: Session, mechanism: str) -> Exchange:
        """Start an exchange."""
        collected: list[str] = []

        async def advance(data: bytes | None) -> Authenticated | Challenge | Refused:
            if not session.private:
                return Refused("privacy", "Encryption is required for authentication")
            if mechanism.upper() not in ("PLAIN", "LOGIN"):
                return Refused("mechanism", "Unrecognized authentication mechanism")
            if data is None:
                return Challenge(b"" if mechanism.upper() == "PLAIN" else b"Username:")
            collected.append(data.decode())
            if mechanism.upper() == "LOGIN" and len(collected) == 1:
                return Challenge(b"Password:")
            words = data.decode().split("\0")[1:] if mechanism.upper() == "PLAIN" else collected
            if words[0] == "busy@palomar.test":
                return Refused("temporary", "Try again later")
            if len(words) == 2 and PASSWORDS.get(words[0]) == words[1]:
                return Authenticated(words[0], words[0])
            return Refused("credentials", "Authentication failed")

        return Exchange(advance)


class FakeTrace:
    """Keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []

    def record(self, trace_id: str, who: str, what: str, detail: str = "", ms: float = 0.0) -> None:
        """Add a row."""
        self.rows.append((trace_id, who, what, detail))


class FakeQueue:
    """Has two messages for backup.test, and notes what it was asked to send."""

    def __init__(self) -> None:
        self.asked: list[Selection] = []

    @property
    def desk(self) -> FakeQueue:
        """Where it is steered."""
        return self

    async def retry(self, selection: Selection) -> int:
        """How many are due now."""
        self.asked.append(selection)
        return 2 if "backup.test" in selection.domains else 0


class FakeCertificates:
    """Has a context."""

    def server_context(self) -> object:
        """Anything will do: nobody shakes hands."""
        return object()

    def login_context(self) -> object:
        """The same."""
        return object()


class Office:
    """The hooks that a session calls: a few refusals by name, and whose address is whose."""

    @hookimpl
    async def smtp_connect(self, session: Session) -> Reply | None:
        """Peers from 198.51.100.0/24 are refused, 203.0.113.0/24 deferred."""
        if session.peer_ip.startswith("198.51.100."):
            return Reply(550, "5.7.1", "You are listed", reason="list")
        if session.peer_ip.startswith("203.0.113."):
            return Reply(451, "4.7.1", "Come back later")
        return None

    @hookimpl
    async def smtp_helo(self, session: Session) -> Reply | None:
        """A peer that takes our own name is refused."""
        return Reply(550, "5.7.1", "That is my name") if session.helo == HOSTNAME else None

    @hookimpl
    async def smtp_sender(self, session: Session, envelope: Envelope) -> Reply | None:
        """One sender is blocked; one makes the plugin fail."""
        sender = str(envelope.sender)
        if sender == "crash@sender.test":
            raise PlantedError
        return Reply(550, "5.7.1", "You are blocked") if sender == "blocked@sender.test" else None

    @hookimpl
    async def own_recipient(self, recipient: Recipient) -> Literal["local", "backup", "relay"] | None:
        """One domain."""
        return "local" if recipient.address.domain == "palomar.test" else None

    @hookimpl
    async def expand_recipient(self, recipient: Recipient) -> Sequence[Recipient] | None:
        """ALIASES."""
        targets = ALIASES.get(recipient.address.key)
        return [Recipient(Address.parse(target)) for target in targets] if targets else None

    @hookimpl
    async def route_recipient(self, envelope: Envelope, recipient: Recipient) -> Route | Reply | None:
        """Sub-addresses belong to their account."""
        address = recipient.address
        name = Address(address.local.partition("+")[0], address.domain).key
        return Route("local", name) if name in ACCOUNTS else Reply(550, "5.1.1", "There is no such mailbox here")


class FakeDirectory:
    """Accounts that never change."""

    def watch(self, account: str, gone: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def usable(self, name: str) -> bool:
        return name in ACCOUNTS


class FakeStore:
    """A store of which a session wants only the directory, and how many messages of its sender wait."""

    directory = FakeDirectory()
    waiting = 0

    async def read(self, fn: Callable[..., int]) -> int:
        return self.waiting


@dataclass
class FakeCore:
    """The Core and direct access to its fakes."""

    data: Path
    config: SmtpConfig = field(default_factory=SmtpConfig)
    plugins: Sequence[object] = field(default_factory=lambda: [Office()])

    def __post_init__(self) -> None:
        self.intake = FakeIntake()
        self.trace = FakeTrace()
        manager = pluggy.PluginManager("palomar")
        manager.add_hookspecs(hookspecs)
        for plugin in self.plugins:
            manager.register(plugin)
        parts: dict[str, Any] = {
            "settings": {SmtpConfig: self.config, CoreConfig: CoreConfig(hostname=HOSTNAME, data=self.data)},
            "store": FakeStore(),
            "dispatch": Dispatch(manager),
            "auth": FakeAuth(),
            "certificates": FakeCertificates(),
            "resolver": None,
            "trace": self.trace,
            "intake": self.intake,
            "queue": FakeQueue(),
            "now": lambda: NOW,
        }
        self.core = Core(**parts)


def plain(login: str, password: str) -> str:
    """An initial response for AUTH PLAIN."""
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


async def run_session(core: FakeCore, connection: FakeConnection, role: str, stress: Stress | None = None) -> bool:
    """Run one session as the listener does. True: we closed the connection; False: the peer left."""
    from plugins.smtp.session import SmtpSession

    try:
        await SmtpSession(core.core, connection, role, (), stress).run()  # type: ignore[arg-type]
    except ProtocolError as error:
        connection.write(error.reply)
    except ConnectionLostError:
        return False
    except PlantedError:
        pass
    return True
