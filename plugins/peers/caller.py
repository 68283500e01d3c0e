"""Behind other servers: the service that calls them and tells who gets mail here."""

from __future__ import annotations

import asyncio
import hmac
import logging
import random
import secrets
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from appliance.auth import installation_secret
from appliance.config import CoreConfig
from appliance.connection import ConnectError, Connection, ConnectionLostError, IdleTimeoutError, connect
from appliance.core import Core
from appliance.dispatch import HookFailedError
from appliance.dns import DnsError
from appliance.errors import ApplianceError, ProtocolError
from appliance.mail.address import domain_key, normal_domain
from appliance.smtpclient.binding import server_end_point
from appliance.tlslink import TlsError
from appliance.wire.sasl.errors import SaslServerError
from appliance.wire.sasl.scram import SHA256
from appliance.wire.sasl.scram_client import ScramClient
from plugins.peers.config import Before, PeersConfig, SecretError, secret_of
from plugins.peers.protocol import PIECE, Alive, Challenge, Changes, Digests, Held, PeerMachine, Proof, Refused, encode
from plugins.peers.protocol_list import SALT_OCTETS, RecipientList, by_domain

log = logging.getLogger(__name__)

CONNECT_S = 20.0
ANSWER_S = 60.0
ALIVE_S = 60.0
FIRST_PAUSE_S = 1.0  # after a call that failed; doubles
LONGEST_PAUSE_S = 60.0

Lists = dict[str, RecipientList]


class CallError(ApplianceError):
    """A call has failed, in words for the log."""


class Callers:
    """Calls every server before this one, and calls again when a call has ended."""

    name = "peers-callers"
    after: Sequence[str] = ()

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tasks: dict[Before, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Call until cancelled."""
        ready()
        try:
            while True:
                self._changed.clear()
                wanted = self._core.settings[PeersConfig].before
                for before in [one for one in self._tasks if one not in wanted]:
                    self._tasks.pop(before).cancel()
                for before in wanted:
                    if before not in self._tasks:
                        self._tasks[before] = asyncio.get_running_loop().create_task(Caller(self._core, before).run())
                await self._changed.wait()
        finally:
            tasks = list(self._tasks.values())
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def reload(self) -> None:
        """Follow the settings."""
        self._changed.set()


class Caller:
    """Calls one server before this one."""

    def __init__(self, core: Core, before: Before) -> None:
        self._core = core
        self._before = before
        self._known: Sequence[object] = ()
        self._lists: Lists = {}

    async def run(self) -> None:
        """Call until cancelled; what goes wrong is logged when it is new."""
        pause, said = FIRST_PAUSE_S, ""
        while True:
            try:
                await self.call()
                pause, said = FIRST_PAUSE_S, ""  # it was there, and has ended in order
            except (CallError, ConnectionLostError, IdleTimeoutError, ProtocolError, TlsError) as error:
                level = logging.DEBUG if str(error) == said else logging.WARNING
                log.log(level, "peers: %s is not told who gets mail here: %s", self._before.host, error)
                said = str(error)
            except Exception:
                log.exception("peers: the call to %s failed", self._before.host)
            await asyncio.sleep(pause * (0.75 + random.random() / 2))  # noqa: S311 - spreads calls, guards nothing
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def call(self) -> None:
        """Connect, log in, and tell what there is to tell until the connection ends."""
        connection = await self._connected()
        try:
            await self._log_in(connection)
            log.info("peers: %s has answered", self._before.host)
            told: Lists = {}
            alive_at = 0.0
            while not connection.stopping:
                if await self._refresh() or connection.loop.time() >= alive_at:
                    alive_at = connection.loop.time() + ALIVE_S
                    connection.write(encode(Alive({domain: one.digest for domain, one in self._lists.items()})))
                    await self._tell(connection, await _held(connection), told)
                await _quiet(connection, self._core.settings[PeersConfig].look)
        finally:
            await connection.close()

    async def _connected(self) -> Connection:
        before = self._before
        try:
            addresses = await self._core.resolver.addresses(before.host)
        except DnsError as error:
            raise CallError(f"its address: {error}") from error
        failure = CallError("it has no address")
        for address in addresses:
            try:
                # Who answers is proven by the secret, bound to this very certificate: no authority has a say in it.
                context = self._core.certificates.client_context(False)
                return await connect(
                    address, before.port, PeerMachine(), timeout=CONNECT_S, tls=context, server_hostname=before.host
                )
            except (ConnectError, TlsError) as error:
                failure = CallError(str(error))
        raise failure

    async def _log_in(self, connection: Connection) -> None:
        """Prove that we know the secret, and see it proven."""
        try:
            secret = secret_of(self._before)
        except SecretError as error:
            raise CallError(str(error)) from error
        binding = server_end_point(connection.peer_certificate() or b"")
        if not binding:
            raise CallError("its certificate cannot be bound to a login")
        name = self._before.name or self._core.settings[CoreConfig].hostname
        nonce = secrets.token_urlsafe(18).encode()
        exchange = ScramClient(SHA256, name, secret, nonce, plus=True, binding=binding, plus_offered=True)
        proof = exchange.step(None)
        while True:
            connection.write(encode(Proof(proof or b"")))
            event = await connection.next_event(ANSWER_S)
            if isinstance(event, Held) and exchange.done:
                break
            if not isinstance(event, Challenge):
                raise CallError(event.text if isinstance(event, Refused) else "it did not prove that it has the secret")
            try:
                proof = await asyncio.to_thread(exchange.step, event.data)
            except SaslServerError as error:
                raise CallError(f"it did not prove that it has the secret: {error}") from error
        machine = connection.machine
        assert isinstance(machine, PeerMachine)
        machine.trusted = True

    async def _refresh(self) -> bool:
        """Look who gets mail here now; whether that has changed. When it cannot be said, what was said before stays."""
        try:
            known = await self._core.dispatch.known_recipients()
        except HookFailedError as error:
            log.warning("peers: who gets mail here cannot be said now: %s", error)
            return False
        if known == self._known:
            return False
        self._known = known
        only = {domain_key(normal_domain(name)) for name in self._before.domains}
        salt = self._salt()
        found = by_domain(known, lambda domain: not only or domain in only)
        self._lists = {domain: RecipientList.of(ones, salt) for domain, ones in found.items()}
        return True

    def _salt(self) -> bytes:
        """Ours for this server, always the same: so a list that has not changed need not be sent again."""
        secret = installation_secret(self._core.settings[CoreConfig].data)
        return hmac.digest(secret, b"peers\0" + self._before.host.encode(), "sha256")[:SALT_OCTETS]

    async def _tell(self, connection: Connection, held: Digests, told: Lists) -> None:
        """Send the lists that the other side wants and has not. Of one that was told in this call, what has changed."""
        for domain in held:
            wanted, before = self._lists.get(domain), told.get(domain)
            if wanted is None or held[domain] == wanted.digest:
                continue
            if before is not None and held[domain] != before.digest:
                before = None
            for part in parts(domain, wanted, before):
                connection.write(encode(part))
                await connection.drain()
            if (await _held(connection)).get(domain) != wanted.digest:
                raise CallError(f"it did not take the list of {domain} as it was sent")
            told[domain] = wanted


def parts(domain: str, wanted: RecipientList, before: RecipientList | None = None) -> Iterable[Changes]:
    """The messages that bring a list: all of it, or what differs from the one of `before`."""
    anew = before is None or (before.salt, before.separators) != (wanted.salt, wanted.separators)
    kept = frozenset[bytes]() if anew or before is None else before.entries
    add, remove = iter(sorted(wanted.entries - kept)), iter(sorted(kept - wanted.entries))
    more = True
    while more:
        coming, going = list(islice(add, PIECE)), list(islice(remove, PIECE))
        more = len(coming) == PIECE or len(going) == PIECE
        yield Changes(domain, wanted.salt, wanted.separators, coming, going, anew=anew, last=not more)
        anew = False


async def _held(connection: Connection) -> Digests:
    event = await connection.next_event(ANSWER_S)
    if not isinstance(event, Held):
        raise CallError(event.text if isinstance(event, Refused) else "it said something else than what it holds")
    return event.lists


async def _quiet(connection: Connection, seconds: float) -> None:
    """Wait. Raises ConnectionLostError as soon as the other side goes."""
    try:
        event = await connection.next_event(seconds)
    except IdleTimeoutError:
        return
    raise CallError(event.text if isinstance(event, Refused) else "it said something unasked")
