"""One SMTP or LMTP connection: greets, hands each command to its function, counts what goes wrong, and says goodbye.

The commands of a dialogue are in `dialogue.py`, those of a mail transaction in `transaction.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from appliance.config import CoreConfig
from appliance.connection import WAKE, Connection, ConnectionLostError, IdleTimeoutError
from appliance.core import Core
from appliance.errors import ProtocolError
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.stress import Stress
from appliance.tlslink import TlsError
from plugins.smtp import dialogue, forwarders, lookups, transaction
from plugins.smtp.config import SmtpConfig
from plugins.smtp.protocol import AuthLine, BadLine, Chunk, Command, SmtpServer
from plugins.smtp.terms import Terms
from plugins.smtp.transaction import Mail

log = logging.getLogger(__name__)

DAY_S = 86_400
SPOOL = "spool"  # the folder of large messages that are still arriving, in the data folder

SHUTTING_DOWN = Reply(421, "4.3.2", "The service is shutting down, try again later")
TIMED_OUT = Reply(421, "4.4.2", "Nothing came in time, closing")
BROKEN = Reply(421, "4.3.0", "Local error in processing, closing")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands without mail, closing")
NO_SERVICE = Reply(503, "5.5.1", "There is no service for you here: say QUIT")
UNKNOWN_COMMAND = Reply(500, "5.5.2", "Command not recognized")
NOT_SMTP = Reply(500, "5.5.2", "This is no web server, closing")

# What a browser that was lured here sends first. Its next lines would be what the lurer wants us to hear.
_HTTP = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH"})

Handler = Callable[["SmtpSession", str], Awaitable[None]]

HANDLERS: dict[str, Handler] = {
    "MAIL": transaction.mail,
    "RCPT": transaction.rcpt,
    "DATA": transaction.data,
    "EHLO": dialogue.ehlo,
    "HELO": dialogue.helo,
    "LHLO": dialogue.lhlo,
    "RSET": dialogue.rset,
    "NOOP": dialogue.noop,
    "QUIT": dialogue.quit_,
    "VRFY": lookups.vrfy,
    "EXPN": lookups.expn,
    "ETRN": lookups.etrn,
    "HELP": dialogue.help_,
    "AUTH": dialogue.auth,
    "STARTTLS": dialogue.starttls,
}

TURNED_AWAY: dict[str, Handler] = {"QUIT": dialogue.quit_}  # after a 554 greeting
NOT_YET = frozenset({"RSET", "NOOP", "QUIT"})  # what leaves a server the right to tell more of its client


def _settling(handler: Handler) -> Handler:
    """The command that a client begins with: with it, its server has told all.

    Proxies such as nginx pass on what a client says once they have introduced it: it must not introduce itself.
    """

    async def first(session: SmtpSession, argument: str) -> None:
        session.trust_no_more()
        await handler(session, argument)

    return first


class SmtpSession:
    """The state of one connection. `extensions` are EHLO lines of other plugins. Settings are those at its start.

    While `stress` is on, whoever has not logged in gets less time and fewer errors. `etrn_asked` is shared by all: when
    ETRN was said last for a domain, in loop time.
    """

    __slots__ = (
        "_own_extensions",
        "_unwatch",
        "auth_failures",
        "config",
        "connection",
        "core",
        "errors",
        "etrn_asked",
        "extensions",
        "forwarded",
        "handlers",
        "hostname",
        "idle_commands",
        "machine",
        "mail",
        "open",
        "refused",
        "session",
        "spool_folder",
        "stress",
        "transactions",
    )

    def __init__(
        self,
        core: Core,
        connection: Connection,
        role: str,
        extensions: Sequence[str] = (),
        stress: Stress | None = None,
        *,
        etrn_asked: dict[str, float] | None = None,
    ) -> None:
        machine = connection.machine
        assert isinstance(machine, SmtpServer)
        self.core = core
        self.connection = connection
        self.machine = machine
        self.config = core.settings[SmtpConfig]
        self.hostname = self.config.hostname or core.settings[CoreConfig].hostname
        self.spool_folder = core.settings[CoreConfig].data / SPOOL
        self.extensions = extensions
        self.handlers = HANDLERS
        self.forwarded: dict[str, str] = {}  # what XFORWARD has told of the next message
        self.etrn_asked = etrn_asked if etrn_asked is not None else {}
        self.stress = stress or Stress()
        self.session = connection.facts(role)
        self.session.quiet = connection.quiet
        self._own_extensions = extensions
        if self.config.xclient_networks or self.config.xforward_networks:
            trusted, lines = forwarders.commands(self.session, self.config)
            self.handlers = {**HANDLERS, **trusted}
            self.extensions = [*extensions, *lines]
        self.mail: Mail | None = None
        self.open = True
        self.refused: Reply | None = None  # the last refusal, until plugins have heard of it
        self.errors = 0  # refused commands and recipients since the last message taken
        self.idle_commands = 0  # commands that lead nowhere since then
        self.transactions = 0
        self.auth_failures = 0
        self._unwatch: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Serve until one side ends it. ProtocolError, TlsError and ConnectionLostError are left to the listener."""
        try:
            await dialogue.greet(self)
            await self._serve()
        except IdleTimeoutError:
            self.hang_up(TIMED_OUT)
        except (ProtocolError, ConnectionLostError, TlsError):
            raise
        except Exception:
            self.hang_up(BROKEN)
            raise
        finally:
            self.drop_mail()
            self._unwatch()
            self.core.dispatch.smtp_disconnect(session=self.session)

    # ── for the commands ──────────────────────────────────────────────────────────────────────────────────────────

    def say(self, reply: Reply) -> None:
        """Answer. A 5yz counts as an error of the peer."""
        if reply.code >= 400:
            self.refused = reply
        if reply.code >= 500:
            self.errors += 1
            log.debug("%s: %s %s", self.session.peer_ip or "local", reply, reply.reason)
        self.connection.write(bytes(reply))

    def hang_up(self, reply: Reply) -> None:
        """Answer for the last time."""
        self.connection.write(bytes(reply))
        self.open = False

    def turn_away(self, reply: Reply) -> None:
        """Answer, and take nothing but QUIT from now on."""
        self.say(reply)
        self.handlers = TURNED_AWAY

    def watch(self, account: str) -> None:
        """End the session when its account is disabled or deleted."""
        self._unwatch()
        self._unwatch = self.core.store.directory.watch(account, self.connection.stop)

    def drop_mail(self) -> None:
        """End the transaction in progress, if there is one."""
        if self.mail is not None:
            self.mail.close()
            self.mail = None
            self.forwarded = {}

    def begin_as(self, client: Session) -> None:
        """Go on as the session of another client, of whom nothing is known but what is told."""
        self._unwatch()
        self._unwatch = lambda: None
        self.session = client
        self.errors = self.auth_failures = 0
        self.refused, self.forwarded = None, {}
        if client.account is not None:
            self.watch(client.account)
        more = {"XCLIENT": forwarders.xclient}
        self.handlers = more | {verb: one if verb in NOT_YET else _settling(one) for verb, one in HANDLERS.items()}

    def trust_no_more(self) -> None:
        """Take from now on what is a client's own, and nothing that only its server may say."""
        self.handlers = HANDLERS
        self.extensions = self._own_extensions

    @property
    def hurried(self) -> bool:
        """Whether the budgets of the stress mode hold for this peer."""
        return self.stress.on and self.session.account is None

    def within(self, seconds: float) -> float:
        """How long to wait where the settings give `seconds`."""
        return min(seconds, self.config.stress_timeout) if self.hurried else seconds

    @property
    def peer(self) -> str:
        """Who is at the other end, for the trace: address, hello, login."""
        facts = self.session
        hello = f" ({facts.helo})" if facts.helo else ""
        login = f" as {facts.login}" if facts.login else ""
        return f"{facts.peer_ip or 'local'}{hello}{login}"

    def terms(self) -> Terms:
        """What may be asked for at MAIL, at this moment."""
        return Terms(
            int(self.core.now()),
            clock=self.core.time_state != "unset",
            tls=self.session.sealed,
            max_hold_s=round(self.config.hold_days * DAY_S) if self.session.role == "submission" else 0,
        )

    def record_refusal(self, what: str, reply: Reply, trace_id: str = "") -> None:
        """Note in the message trace what was refused, under the session's id where no transaction has begun."""
        text = f"{what}: {reply} ({reply.reason})" if reply.reason else f"{what}: {reply}"
        self.core.trace.record(trace_id or self.session.id, self.session.role, "refused", f"{text}, from {self.peer}")

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _serve(self) -> None:
        connection = self.connection
        while self.open:
            event = await connection.next_event(self.within(self.config.command_timeout))
            kind = type(event)
            if kind is Command:
                handler = self.handlers.get(event.verb)
                if handler is not None:
                    await handler(self, event.argument)
                else:
                    self._unknown(event.verb)
            elif kind is Chunk:
                await transaction.bdat(self, event)
            elif kind is BadLine:
                self.say(event.reply)
            else:
                assert event is WAKE
            if self.refused is not None:
                await self._tell_refused()
            self._check_limits()

    async def _tell_refused(self) -> None:
        """Let plugins hear of a refusal, which leaves after that; one may end the session."""
        reply, self.refused = self.refused, None
        if not self.open or reply is None:
            return
        goodbye = await self.core.dispatch.smtp_refused(session=self.session, reply=reply)
        if goodbye is not None:
            self.record_refusal("session", goodbye)
            self.hang_up(goodbye)

    def _check_limits(self) -> None:
        config = self.config
        if not self.open:
            return
        if self.connection.stopping:
            self.hang_up(SHUTTING_DOWN)
        elif self.errors > (config.stress_errors if self.hurried else config.max_errors):
            self.hang_up(TOO_MANY_ERRORS)
        elif self.idle_commands > (config.stress_idle_commands if self.hurried else config.max_idle_commands):
            self.hang_up(TOO_MANY_COMMANDS)

    def _unknown(self, verb: str) -> None:
        if verb in _HTTP:
            self.hang_up(NOT_SMTP)
        else:
            self.say(NO_SERVICE if self.handlers is TURNED_AWAY else UNKNOWN_COMMAND)

    async def auth_line(self) -> bytes:
        """Wait for the client's answer to a 334."""
        self.machine.expect_auth()
        while True:
            event = await self.connection.next_event(self.within(self.config.command_timeout))
            if type(event) is AuthLine:
                return event.data
