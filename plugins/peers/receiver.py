"""Before other servers: where they log in and bring their lists."""

from __future__ import annotations

import logging
import secrets

from appliance.connection import WAKE, Connection
from appliance.core import Core
from appliance.errors import ProtocolError, StoreError
from appliance.listener import Limits, Listener, addresses_of
from appliance.mail.address import domain_key, normal_domain
from appliance.store.queuedesk import Selection
from appliance.wire.sasl.errors import SaslError
from appliance.wire.sasl.scram import SHA256, ScramVerifier
from appliance.wire.sasl.scram_server import ScramServer
from appliance.wire.sasl.server import Disproved, Lookup, Proven, SendChallenge
from plugins.peers.config import Behind, PeersConfig, SecretError, secret_of
from plugins.peers.protocol import (
    MAX_ENTRIES,
    NONE,
    Alive,
    Challenge,
    Changes,
    Held,
    PeerMachine,
    Proof,
    Refused,
    encode,
)
from plugins.peers.schema import (
    Kept,
    begin_list,
    change_entries,
    confirm,
    drop_lists,
    finish_list,
    kept_list,
    kept_lists,
    size_of,
)

log = logging.getLogger(__name__)

LOGIN_S = 20.0  # for each message of the login
SILENCE_S = 180.0  # a caller says something once a minute
CONFIRM_S = 3600.0  # how often it is written down that a list is still right; it grows old by days
ITERATIONS = 4096  # the least of RFC 7677: no password is guessed here, secrets are random


def listener(core: Core) -> Listener:
    """The port for servers behind this one."""

    async def serve(connection: Connection) -> None:
        await PeerSession(core, connection).run()

    return Listener(
        "peers",
        addresses_of(core, PeersConfig, "listen"),
        machine=PeerMachine,
        serve=serve,
        certificates=core.certificates,
        implicit_tls=True,
        limits=Limits(max_connections=100, max_per_peer=10),
        setting="peers.listen",
    )


class PeerSession:
    """One server behind us that calls."""

    def __init__(self, core: Core, connection: Connection) -> None:
        self._core = core
        self._connection = connection
        self._incoming: dict[str, int] = {}  # lists that are being brought: domain to list id
        self._offered: list[str] = []  # domains of which it has lists that are wanted here

    async def run(self) -> None:
        """Let it log in, then take what it brings until it goes."""
        behind = await self._log_in()
        if behind is None:
            log.warning("peers: a login from %s was refused", self._connection.peer_ip)
            self._say(Refused("the login failed: do both servers have the same name and secret for each other?"))
            return
        machine = self._connection.machine
        assert isinstance(machine, PeerMachine)
        machine.trusted = True
        log.info("peers: %s is there", behind.name)
        self._say(Held({}))
        await self._let_mail_go(behind)
        while (event := await self._connection.next_event(SILENCE_S)) is not WAKE or not self._connection.stopping:
            if isinstance(event, Changes):
                await self._change(behind, event)
            elif isinstance(event, Alive):
                await self._confirm(behind, event)
            elif event is not WAKE:
                raise ProtocolError("a message out of order")

    def _say(self, message: Challenge | Held | Refused) -> None:
        self._connection.write(encode(message))

    # ── the login ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _log_in(self) -> Behind | None:
        """SCRAM-SHA-256-PLUS; None when it fails. Raises ProtocolError for what is none."""
        binding = self._connection.tls.binding if self._connection.tls is not None else b""
        nonce = secrets.token_urlsafe(18).encode()
        exchange = ScramServer(SHA256, nonce, plus=True, binding=binding, plus_offered=True)
        behind: Behind | None = None
        try:
            while True:
                event = exchange.step(await self._proof())
                if isinstance(event, Lookup):
                    behind = self._core.settings[PeersConfig].behind_named(event.login)
                    verifier = _verifier(behind)
                    event = exchange.supply(verifier or _nobodys(), genuine=verifier is not None)
                if isinstance(event, Proven):
                    return behind
                if isinstance(event, Disproved):
                    return None
                assert isinstance(event, SendChallenge)
                self._say(Challenge(event.data))
        except SaslError as error:
            raise ProtocolError(f"login: {error}") from error

    async def _proof(self) -> bytes:
        event = await self._connection.next_event(LOGIN_S)
        if not isinstance(event, Proof):
            raise ProtocolError("the login comes first")
        return event.data

    # ── lists ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _tell_held(self, behind: Behind) -> None:
        kept = await self._core.store.read(lambda db: kept_lists(db, behind.name.lower()))
        digests = {one.domain: one.digest for one in kept}
        self._say(Held({domain: digests.get(domain, NONE) for domain in self._offered}))

    async def _change(self, behind: Behind, changes: Changes) -> None:
        """Take a part of a list; with its last one it is in force."""
        peer, domain, store = behind.name.lower(), changes.domain, self._core.store
        if domain not in self._offered:
            raise ProtocolError(f"a list of {domain}, which was not wanted")
        list_id = self._incoming.get(domain)
        if changes.anew:
            list_id = await store.write(lambda db: begin_list(db, peer, domain, changes.salt, changes.separators))
            self._incoming[domain] = list_id
        elif list_id is None:
            kept = await store.read(lambda db: kept_list(db, peer, domain))
            if kept is None or (kept.salt, kept.separators) != (changes.salt, changes.separators):
                raise ProtocolError(f"changes of a list of {domain} that is not here")
            list_id = self._incoming[domain] = kept.id
        known = list_id
        await store.write(lambda db: change_entries(db, known, changes.add, changes.remove))
        if await store.read(lambda db: size_of(db, known)) > MAX_ENTRIES:
            raise ProtocolError(f"the list of {domain} is too long")
        if changes.last:
            del self._incoming[domain]
            now = int(self._core.now())
            await store.write(lambda db: finish_list(db, known, peer, domain, now))
            log.info("peers: %s has brought its recipients of %s", behind.name, domain)
            await self._tell_held(behind)

    async def _confirm(self, behind: Behind, alive: Alive) -> None:
        """Note which lists are still right, seldom; and withdraw those that their owner has no more."""
        self._offered = [domain for domain in alive.lists if behind.serves(domain)]
        now = int(self._core.now())
        kept = await self._core.store.read(lambda db: kept_lists(db, behind.name.lower()))
        gone = [one.id for one in kept if one.domain not in self._offered]
        right = [one.id for one in kept if alive.lists.get(one.domain) == one.digest and _is_due(one, now)]
        if gone:
            await self._core.store.write(lambda db: drop_lists(db, gone))
        if right:
            await self._core.store.write(lambda db: confirm(db, right, now))
        await self._tell_held(behind)

    async def _let_mail_go(self, behind: Behind) -> None:
        """It calls, so it is there: what waits for it need not wait any longer."""
        names = [selector.rpartition("@")[2] for selector in behind.recipients]
        domains = tuple(sorted({domain_key(normal_domain(name.removeprefix("*."))) for name in names}))
        below = any(name.startswith("*.") for name in names)
        try:
            await self._core.queue.desk.retry(Selection(domains=domains, subdomains=below, released=True))
        except StoreError as error:
            log.warning("peers: mail for %s cannot be tried at once: %s", behind.name, error)


def _is_due(kept: Kept, now: int) -> bool:
    return not 0 <= now - kept.confirmed_at < CONFIRM_S


def _verifier(behind: Behind | None) -> bytes | None:
    """What the caller's proof is held against; None for nobody who may log in."""
    if behind is None:
        return None
    try:
        secret = secret_of(behind)
    except SecretError as error:
        log.error("peers: %s: %s", behind.name, error)
        return None
    return _made(secret) if secret else None


def _nobodys() -> bytes:
    return _made(secrets.token_urlsafe(18))


def _made(secret: str) -> bytes:
    return bytes(ScramVerifier.make(SHA256, secret, secrets.token_bytes(16), ITERATIONS))
