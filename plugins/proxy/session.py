"""One outside client: its login is understood as far as its name, carried to the server with its mailbox, and then
octets are passed both ways until one side goes.

What decides is the server with the mailbox. A proxy that held a key to all mailboxes, or copies of the verifiers, would
hand them to whoever breaks into the machine that stands outside; so it has neither. With SCRAM it does not see the
password either, only messages that are worth nothing for a second login.
"""

from __future__ import annotations

import asyncio
import logging
import ssl

from appliance.auth import AuthConfig
from appliance.auth.throttle import Throttle, peer_key
from appliance.config import CoreConfig
from appliance.connection import WAKE, ConnectError, Connection, ConnectionLostError, IdleTimeoutError, connect
from appliance.core import Core
from appliance.dns import DnsError
from appliance.errors import ApplianceError, ProtocolError
from appliance.pinning import PinnedContexts, Terms, pinned
from appliance.tlslink import TlsError
from appliance.wire.proxy import Proxied, header
from appliance.wire.sasl.errors import SaslAbortedError, SaslError
from plugins.proxy.config import Inner, ProxyConfig
from plugins.proxy.dialogue import Accepted, Attempt, Back, Challenge, Front, Refused, Step, Wire
from plugins.proxy.imap import ImapBack
from plugins.proxy.pop3 import Pop3Back
from plugins.proxy.protocol import LineMachine, Octets
from plugins.proxy.protocol_login import NoLoginError, login_of, plain
from plugins.proxy.submission import SubmissionBack

log = logging.getLogger(__name__)

FAILED = b"Authentication failed"
AWAY = b"The server with this mailbox cannot be reached now, try again later"
BUSY = b"Too many failed logins, try again later"
EVER_S = 30 * 86_400.0  # whoever idles for too long is put out by the server
LAST_WORDS_S = 1.0  # for the server's answers to a client that sends no more


class InnerError(ApplianceError):
    """A server with mailboxes cannot be used; the text is for the log."""


class Shared:
    """What all sessions have together."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.contexts = PinnedContexts()
        self.throttle = Throttle()


class ProxySession:
    """One client, from its greeting to its end."""

    def __init__(self, shared: Shared, front: Front, wire: Wire, kind: str) -> None:
        """`kind`: imap, pop3 or submission."""
        self._shared = shared
        self._core = shared.core
        self._front = front
        self._wire = wire
        self._kind = kind
        self._client = wire.connection

    async def run(self) -> None:
        """Serve until one side goes."""
        config = self._core.settings[ProxyConfig]
        try:
            async with asyncio.timeout(config.login_timeout):
                inner = await self._log_in(config)
        except TimeoutError:
            self._front.bye()
            return
        if inner is None:
            return
        try:
            await pass_on(self._client, inner)
        finally:
            await inner.close()

    async def _log_in(self, config: ProxyConfig) -> Connection | None:
        self._front.greet()
        for _ in range(config.max_auth_failures):
            try:
                attempt = await self._front.attempt()
                if attempt is None:
                    return None
                connection = await self._tried(attempt)
            except SaslError as error:
                self._front.refuse(Refused(str(error).encode()))
            else:
                if connection is not None:
                    return connection
        self._front.bye()
        return None

    # ── one attempt ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _tried(self, attempt: Attempt) -> Connection | None:
        """Carry an attempt to its server. None when it was refused, which the client has been told."""
        mechanism, message = await self._first_message(attempt)
        try:
            login = login_of(mechanism, message)
        except NoLoginError as error:
            raise SaslError(str(error)) from error
        auth, now = self._core.settings[AuthConfig], self._client.loop.time()
        peer, key = peer_key(self._client.peer_ip), login.lower()
        throttle = self._shared.throttle
        limits = {"peer_limit": auth.peer_failures, "login_limit": auth.account_failures}
        if throttle.blocked(peer, key, now, **limits):
            await asyncio.sleep(auth.failure_delay)
            self._front.refuse(Refused(BUSY, temporary=True))
            return None
        server = self._core.settings[ProxyConfig].server_of(login)
        verdict: Accepted | Refused
        if server is None:
            await asyncio.sleep(auth.failure_delay)  # as long as the servers take for a wrong password
            connection, verdict = None, Refused(FAILED)
        else:
            connection, verdict = await self._carried(server, mechanism, message)
        if isinstance(verdict, Accepted):
            throttle.succeeded(peer, key)
            self._front.accept(verdict)
            return connection
        if not verdict.temporary:
            throttle.failed(peer, key, message, now, window=auth.window, limit=max(limits.values()))
            log.info("failed login by %s; peer %s", mechanism, self._client.peer_ip or "local")
        self._front.refuse(verdict)
        return None

    async def _first_message(self, attempt: Attempt) -> tuple[str, bytes]:
        """The mechanism and the client's first message in it. LOGIN becomes PLAIN: its server wants to see no more."""
        if attempt.mechanism == "LOGIN":
            name = attempt.initial if attempt.initial is not None else await self._front.response(b"Username:")
            password = await self._front.response(b"Password:")
            return "PLAIN", plain(name.decode("utf-8", "replace"), password.decode("utf-8", "replace"))
        if attempt.initial is None:
            return attempt.mechanism, await self._front.response(b"")
        return attempt.mechanism, attempt.initial

    async def _carried(
        self, server: Inner, mechanism: str, message: bytes
    ) -> tuple[Connection | None, Accepted | Refused]:
        """Log in at the server with what the client says, and pass its challenges back."""
        connection: Connection | None = None
        verdict: Accepted | Refused
        try:
            connection = await self._connected(server)
            back = self._back(connection)
            verdict = await self._exchanged(back, mechanism, message)
            if isinstance(verdict, Accepted):
                return connection, verdict
        except SaslAbortedError:
            verdict = Refused(b"Authentication aborted")
        except (InnerError, IdleTimeoutError, ProtocolError, TlsError, ConnectionLostError) as error:
            if self._client.lost:
                raise
            log.warning("proxy: %s cannot be used for %s: %s", server.host, self._kind, error)
            verdict = Refused(AWAY, temporary=True)
        except BaseException:
            if connection is not None:
                connection.abort()
            raise
        if connection is not None:
            connection.abort()
        return None, verdict

    async def _exchanged(self, back: Back, mechanism: str, message: bytes) -> Accepted | Refused:
        step: Step = await back.begin(mechanism)
        if isinstance(step, Challenge):
            step = await back.respond(message)
        while isinstance(step, Challenge):
            try:
                answer = await self._front.response(step.data)
            except SaslError:
                await back.respond(None)
                raise
            step = await back.respond(answer)
        return step

    # ── the server ────────────────────────────────────────────────────────────────────────────────────────────────

    def _back(self, connection: Connection) -> Back:
        wire = Wire(self._core, connection)
        if self._kind == "imap":
            return ImapBack(wire)
        if self._kind == "pop3":
            return Pop3Back(self._core, connection)
        hello: bytes = getattr(self._front, "hello", b"") or self._core.settings[CoreConfig].hostname.encode()
        return SubmissionBack(wire, hello)

    async def _connected(self, server: Inner) -> Connection:
        """A connection with TLS, behind the words on who the client is. Raises InnerError, TlsError."""
        port = {"imap": server.imap_port, "pop3": server.pop3_port}.get(self._kind, server.submission_port)
        check = bool(server.fingerprints) or not server.verify
        try:
            if server.ca_file is None:
                context = self._core.certificates.client_context(not check)
            else:
                context = self._shared.contexts.context(Terms(ca_file=server.ca_file, verify=not check))
            addresses = await self._core.resolver.addresses(server.host)
        except (OSError, ssl.SSLError, DnsError) as error:
            raise InnerError(str(error)) from error
        timeout = self._core.settings[ProxyConfig].connect_timeout
        failure = InnerError("it has no address")
        for address in addresses:
            try:
                connection = await connect(address, port, LineMachine(), timeout=timeout)
            except ConnectError as error:
                failure = InnerError(str(error))
                continue
            try:
                if server.send_proxy:
                    connection.write(self._header())
                await connection.start_tls(context, server_hostname=server.host)
                if server.fingerprints:
                    pinned(server.fingerprints)([connection.peer_certificate() or b""])
            except BaseException:
                connection.abort()
                raise
            return connection
        raise failure

    def _header(self) -> bytes:
        client = self._client
        ends = (client.peer_ip, client.peer_port, client.local_ip, client.local_port)
        return header(Proxied(*ends, tls=client.tls is not None))


async def pass_on(client: Connection, inner: Connection) -> None:
    """Pass octets both ways until one side goes. Each waits for the other to take what it was sent.

    What the server still says to a client that sends no more is passed on; a server that goes ends it at once.
    """
    for connection in (client, inner):
        machine = connection.machine
        assert isinstance(machine, LineMachine)
        machine.pass_on()
    answers = asyncio.create_task(_pump(inner, client))
    requests = asyncio.create_task(_pump(client, inner))
    try:
        await asyncio.wait([answers, requests], return_when=asyncio.FIRST_COMPLETED)
        if not answers.done() and not client.lost and not client.stopping:
            await asyncio.wait([answers], timeout=LAST_WORDS_S)
    finally:
        for task in (answers, requests):
            task.cancel()
        await asyncio.wait([answers, requests])


async def _pump(source: Connection, target: Connection) -> None:
    try:
        while True:
            event = await source.next_event(EVER_S)
            if event is WAKE:
                if source.stopping:
                    return
                continue
            assert isinstance(event, Octets)
            target.write(event.data)
            await target.drain()
    except (ConnectionLostError, IdleTimeoutError, TlsError) as error:
        log.debug("proxy: %s", error)
