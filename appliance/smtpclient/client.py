"""One connection to a next hop: greeting, EHLO, STARTTLS, AUTH, then any number of messages."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from appliance.connection import WAKE, Connection, ConnectionLostError, IdleTimeoutError
from appliance.errors import ProtocolError
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.smtpclient.hop import Contexts, Hop, HopError, TlsLevel
from appliance.smtpclient.limits import Allowance
from appliance.smtpclient.login import log_in
from appliance.smtpclient.prepare import call_out_arguments
from appliance.smtpclient.transaction import Delivery
from appliance.tlslink import TlsError, TlsFailure
from appliance.wire.smtp import parse_limits
from appliance.wire.smtp_client import GREETING, TEXT, UNASKED, Answer, ClientMachine

__all__ = ["SmtpClient"]


# What counts even if more comes with it, such as a 421; and what has a check of its own.
_MORE_MAY_COME = frozenset({TEXT, "QUIT", "STARTTLS"})


class SmtpClient:
    """A connection that speaks SMTP or LMTP as a client. Made by `dial.reach`; not to be used by two tasks at once.

    After a HopError it is of no more use: `usable` is False and `close` or `abort` is all that is left to do.
    """

    __slots__ = (
        "_dirty",
        "allowance",
        "connection",
        "greeted",
        "hop",
        "machine",
        "opened_at",
        "peer",
        "sent",
        "usable",
        "used_at",
    )

    def __init__(self, connection: Connection, machine: ClientMachine, hop: Hop) -> None:
        self.connection = connection
        self.machine = machine
        self.hop = hop
        self.peer = peer_text(hop.host, connection.peer_ip, connection.peer_port or hop.port)
        self.usable = True
        self.greeted = False  # it has said something that is SMTP
        self.sent = 0  # messages given to this connection
        self.opened_at = connection.loop.time()
        self.used_at = 0.0  # the pool's note: the loop's time of the last use
        self.allowance: Allowance | None = None  # None: the host has announced no limits
        self._dirty = False  # a transaction may be open: RSET before the next

    # ── the beginning ─────────────────────────────────────────────────────────────────────────────────────────────

    async def greet(self, contexts: Contexts) -> None:
        """Come to the state in which MAIL can be sent. Raises HopError; no reply then counts as permanent."""
        try:
            greeting = await self.answer(GREETING, self.hop.timeouts.greeting)
            if greeting.code != 220:
                # A host that does not serve us at all says nothing about the recipients: another one may.
                raise HopError(as_temporary(greeting), peer=self.peer)
            if self.hop.implicit_tls:
                self._prove()
            await self._hello()
            if not self.hop.implicit_tls and self.hop.tls != "off":
                await self._start_tls(contexts)
            if self.hop.require_tls and "REQUIRETLS" not in self.machine.extensions:
                reply = Reply(451, "4.7.30", "the host does not pass on messages that require TLS (REQUIRETLS)")
                raise HopError(reply, peer=self.peer, lacking=True)
            if self.hop.login is not None:
                await log_in(self, self.hop.login)
        except BaseException:
            self.abort()
            raise

    async def _hello(self) -> None:
        """EHLO, or HELO for those who do not know EHLO (RFC 5321 section 3.2)."""
        hop = self.hop
        self.write(self.machine.hello(hop.own_name))
        reply = await self.answer("LHLO" if hop.lmtp else "EHLO", hop.timeouts.hello)
        if reply.permanent and not hop.lmtp:
            self.write(self.machine.hello(hop.own_name, extended=False))
            reply = await self.answer("HELO", hop.timeouts.hello)
        if not reply.positive:
            raise HopError(as_temporary(reply), peer=self.peer)
        self._learn_limits()

    def _learn_limits(self) -> None:
        """What the last EHLO says counts, and nothing that was said before (RFC 9422 section 3.6)."""
        limits = self.machine.extensions.get("LIMITS")
        self.allowance = Allowance(parse_limits(limits)) if limits else None

    async def _start_tls(self, contexts: Contexts) -> None:
        """Agree on TLS as the policy wants it (RFC 3207)."""
        hop = self.hop
        if "STARTTLS" not in self.machine.extensions:
            if hop.tls == "opportunistic":
                return
            raise self._unfit("4.7.4", "TLS is required, but the host does not offer it", "starttls-not-supported")
        self.write(self.machine.command("STARTTLS"))
        reply = await self.answer("STARTTLS", hop.timeouts.starttls)
        if reply.code != 220:
            if hop.tls == "opportunistic" and reply.code != 421:
                return
            failure: TlsFailure = "" if reply.code == 421 else "starttls-not-supported"
            raise HopError(as_temporary(reply), peer=self.peer, tls_failure=failure)
        try:
            context = contexts(hop.tls == "verified" and hop.check is None)
            await self.connection.start_tls(context, server_hostname=tls_name(hop))
        except TlsError as error:
            raise self._unfit("4.7.5", f"TLS could not be agreed: {error}", error.failure, in_tls=True) from error
        except (ConnectionLostError, ProtocolError) as error:
            raise self._unfit("4.7.5", f"STARTTLS failed: {error}", "validation-failure") from error
        self._prove()
        await self._hello()

    def _prove(self) -> None:
        """See that the host's certificates prove what the hop's own check wants. Raises HopError."""
        if self.hop.check is None:
            return
        try:
            self.hop.check(self.connection.peer_chain())
        except TlsError as error:
            raise self._unfit("4.7.5", f"TLS proves nothing: {error}", error.failure, in_tls=True) from error

    def _unfit(self, enhanced: str, text: str, failure: TlsFailure, *, in_tls: bool = False) -> HopError:
        """The host's TLS is not what it should be, and who wants it so."""
        why = f" ({self.hop.why})" if self.hop.why else ""
        reply = Reply(451, enhanced, f"{text}{why}")
        return HopError(reply, peer=self.peer, in_tls=in_tls, tls_failure=failure)

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def send(self, envelope: Envelope, recipients: Sequence[Recipient], message: Message) -> list[Outcome]:
        """Send one message to recipients of this hop. Returns one Outcome per recipient, in their order.

        Raises HopError when no recipient has got a verdict: the same can be tried over another connection at once.
        """
        self.sent += 1
        try:
            return await Delivery(self, envelope, recipients, message).run()
        except BaseException:
            self.abort()  # cancelled or broken: whatever the server says next belongs to nothing
            raise

    async def call_out(self, recipient: Recipient) -> Reply:
        """What the server says to RCPT for a message with the null sender, of which nothing is sent.

        Raises HopError when it is not asked: a permanent one if it refuses the sender for good, or if it could not
        take the recipient's address at all.
        """
        arguments = call_out_arguments(self.machine.extensions, recipient)
        if arguments is None:
            reply = Reply(553, "5.6.7", "the server takes no internationalized addresses")
            raise HopError(reply, peer=self.peer)
        if self.begin():
            await self.answer("RSET", self.hop.timeouts.reset)
        self.reset_needed()
        self.write(self.machine.command("MAIL", arguments[0]))
        reply = await self.answer("MAIL", self.hop.timeouts.mail)
        if not reply.positive:
            raise HopError(reply, peer=self.peer)
        self.write(self.machine.command("RCPT", arguments[1]))
        return await self.answer("RCPT", self.hop.timeouts.rcpt)

    async def reset(self) -> None:
        """Find out whether the server is there, and end what may be open. Raises HopError."""
        try:
            self._dirty = False
            self.write(self.machine.command("RSET"))
            reply = await self.answer("RSET", self.hop.timeouts.reset)
            if not reply.positive:
                raise HopError(reply, peer=self.peer)
        except BaseException:
            self.abort()
            raise

    def reset_needed(self) -> None:
        """A transaction may be left open; the next one begins with RSET."""
        self._dirty = True

    def begin(self) -> bool:
        """Write RSET if one is needed, and say whether its answer is to come."""
        if not self._dirty:
            return False
        self._dirty = False
        self.write(self.machine.command("RSET"))
        return True

    # ── for the parts of the dialogue ─────────────────────────────────────────────────────────────────────────────

    @property
    def pipelining(self) -> bool:
        """Whether commands may be sent in groups (RFC 2920)."""
        return "PIPELINING" in self.machine.extensions

    @property
    def private(self) -> bool:
        """Whether a password may cross this connection in clear: TLS is up, or it does not leave the machine."""
        ip = self.connection.peer_ip.partition("%")[0]
        return self.connection.tls is not None or not ip or ipaddress.ip_address(ip).is_loopback

    @property
    def level(self) -> TlsLevel:
        """What TLS came to on this connection."""
        if self.connection.tls is None:
            return "plain"
        return "authenticated" if self.hop.tls == "verified" or self.hop.check is not None else "encrypted"

    @property
    def security(self) -> str:
        """What protects this connection and why so, in words for the trace; empty where no policy had a say."""
        if not self.hop.why:
            return ""
        tls = self.connection.tls
        return f"{f'{tls.version}, {self.level}' if tls else 'in clear'}: {self.hop.why}"

    def write(self, data: bytes) -> None:
        """Send bytes once the dialogue waits for an answer."""
        self.connection.write(data)

    async def answer(self, verb: str, timeout: float) -> Reply:  # noqa: ASYNC109 - each kind of answer has its own
        """Wait for the reply to the oldest command, which must be `verb`.

        Raises HopError when none comes, when it is not SMTP, and for 421, after which the server closes.
        """
        try:
            event = await self.connection.next_event(timeout)
            while event is WAKE:
                event = await self.connection.next_event(timeout)
        except IdleTimeoutError as error:
            raise self._broken("4.4.2", f"no answer to {verb} within {timeout:g} s") from error
        except (ConnectionLostError, TlsError) as error:
            raise self._broken("4.4.2", f"connection lost while waiting for the answer to {verb}") from error
        except ProtocolError as error:
            raise self._broken("4.5.0", f"no SMTP in the answer to {verb}: {error}") from error
        assert isinstance(event, Answer)
        self.greeted = True
        if event.reply.code == 421 or event.verb == UNASKED:
            self.usable = False
            raise HopError(event.reply, peer=self.peer)
        if event.verb != verb:
            raise self._broken("4.5.0", f"answer to {event.verb} where {verb} was next")
        if self.machine.premature and verb not in _MORE_MAY_COME:
            # Whoever answers before the question would have a message delivered that nobody has taken.
            raise self._broken("4.5.0", f"a reply that was not asked for came with the answer to {verb}")
        return event.reply

    def _broken(self, enhanced: str, text: str) -> HopError:
        self.abort()
        return HopError(Reply(451, enhanced, text), peer=self.peer)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def quit(self) -> None:
        """Say goodbye and close; a server that does not answer is not waited for long."""
        if self.usable and not self.machine.unanswered and not self.connection.lost:
            self.usable = False
            self.write(self.machine.command("QUIT"))
            try:
                await self.connection.next_event(self.hop.timeouts.quit)
            except (ConnectionLostError, IdleTimeoutError, ProtocolError, TlsError):
                self.abort()  # it is over either way
                return
        self.usable = False
        await self.connection.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.usable = False
        self.connection.abort()


def peer_text(host: str, ip: str, port: int) -> str:
    """`mx.example.com[192.0.2.1]:25`, as log, trace and bounces show a peer."""
    return f"{'' if is_ip(host) else host}[{ip or host}]:{port}"


def is_ip(host: str) -> bool:
    """Whether a host is given by its address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def tls_name(hop: Hop) -> str:
    """The name for SNI and the check of the certificate: without the dot that ends an absolute name."""
    return (hop.server_name or hop.host).rstrip(".")


def as_permanent(reply: Reply) -> Reply:
    """The reply as a 5yz: where waiting cannot help."""
    enhanced = f"5{reply.enhanced[1:]}" if reply.enhanced else "5.0.0"
    return reply if reply.permanent else Reply(550, enhanced, reply.text, reply.reason)


def as_temporary(reply: Reply) -> Reply:
    """The reply as a 4yz: what a host refuses before it knows the recipient is no verdict on the recipient."""
    if reply.temporary:
        return reply
    enhanced = f"4{reply.enhanced[1:]}" if reply.enhanced else "4.0.0"
    return Reply(400 + reply.code % 100 if reply.permanent else 451, enhanced, reply.text, reply.reason)
