"""The hooks on the MX port: who may come in at all, how fast, and who is kept waiting or shown out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.config import CoreConfig
from appliance.connection import ConnectionLostError
from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.listener import peer_key
from appliance.mail.envelope import Envelope
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from plugins.door.config import DoorConfig
from plugins.door.networks import MAX_NETWORKS, Network, Recent, Trusted, network_of
from plugins.door.tarpit import Sleep, Tarpit

log = logging.getLogger(__name__)

STASH = "door"
MAX_PASSES = 16_384  # peers that need not wait
DAY_S = 86_400.0
UNKNOWN_RECIPIENT = "5.1.1"

TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections from your network, try again later")
TOO_MANY_MESSAGES = Reply(450, "4.7.1", "Too many messages from your network, try again later")
TOO_MANY_RECIPIENTS = Reply(450, "4.7.1", "Too many recipients from your network, try again later")
SHUT = Reply(421, "4.7.0", "Too many unknown recipients from your network, try again later")
TOO_EARLY = Reply(554, "5.5.1", "Protocol error: you spoke before the greeting")
TOO_EARLY_NOW = Reply(421, "4.5.0", "Protocol error: you spoke before the greeting")
GONE = Reply(421, "4.4.2", "Closed by the peer before the greeting")


@dataclass(slots=True)
class Visit:
    """One connection of a stranger."""

    network: Network
    refusals: int = 0


class Door:
    """Tests and counts the peers of the MX port that are not trusted."""

    def __init__(self, core: Core, *, clock: Callable[[], float] = time.monotonic, sleep: Sleep | None = None) -> None:
        """`clock` gives seconds that never jump."""
        self._core = core
        self._clock = clock
        self._trusted = Trusted()
        self._networks: Recent[str, Network] = Recent(MAX_NETWORKS)
        self._passes: Recent[str, float] = Recent(MAX_PASSES)  # peer → until when it need not wait
        self._tarpit = Tarpit(sleep) if sleep is not None else Tarpit()
        self._early = self._limited = 0

    def trusts(self, session: Session) -> bool:
        """Whether the session's peer is let in untested."""
        settings = self._core.settings
        return self._trusted.has(session.peer_ip, settings[DoorConfig].trusted + settings[CoreConfig].relay_networks)

    # ── the hooks ─────────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def smtp_connect(self, session: Session) -> Reply | None:
        """Count the peer, and let it wait for the greeting if it is new."""
        if session.role != "mx" or self.trusts(session):
            return None
        config, now = self._core.settings[DoorConfig], self._clock()
        name = network_of(session.peer_ip, config.ipv4_prefix, config.ipv6_prefix)
        network = self._networks.entry(name, Network)
        session.stash[STASH] = Visit(network)
        network.open += 1
        if network.shut_until > now:
            return SHUT
        crowded = 0 < config.connections_per_network < network.open
        if crowded or not network.connections.take(now, config.connections_per_minute):
            self._limited += 1
            return TOO_MANY_CONNECTIONS
        return await self._greeting(session, config, now)

    @hookimpl
    async def smtp_sender(self, session: Session) -> Reply | None:
        """Bound the messages of a network."""
        visit = session.stash.get(STASH)
        if visit is None:
            return None
        config, now = self._core.settings[DoorConfig], self._clock()
        if visit.network.shut_until > now:
            return Reply(450, SHUT.enhanced, SHUT.text)
        if not visit.network.messages.take(now, config.messages_per_minute):
            self._limited += 1
            return TOO_MANY_MESSAGES
        return None

    @hookimpl
    async def smtp_recipient(self, session: Session) -> Reply | None:
        """Bound the recipients of a network."""
        visit = session.stash.get(STASH)
        if visit is None:
            return None
        config, now = self._core.settings[DoorConfig], self._clock()
        if not visit.network.recipients.take(now, config.recipients_per_minute):
            self._limited += 1
            return TOO_MANY_RECIPIENTS
        return None

    @hookimpl
    async def smtp_refused(self, session: Session, reply: Reply) -> Reply | None:
        """Shut the door on harvesters, and keep whoever errs often waiting."""
        visit = session.stash.get(STASH)
        if visit is None:
            return None
        config, now = self._core.settings[DoorConfig], self._clock()
        visit.refusals += 1
        if reply.enhanced == UNKNOWN_RECIPIENT:
            self._unknown(session, visit.network, config, now)
        if visit.network.shut_until > now:
            return SHUT
        over = visit.refusals - config.tarpit_after
        if reply.permanent and over > 0 and not self.stressed:
            await self._tarpit.hold(min(over * config.tarpit_step, config.tarpit_most), config.tarpit_connections)
        return None

    @hookimpl
    async def message_received(self, session: Session, envelope: Envelope) -> None:
        """A peer that brings mail is known for some time; whoever only names recipients has no such merit."""
        visit = session.stash.get(STASH)
        if visit is not None:
            visit.network.named(self._clock(), good=len(envelope.recipients))
            self._let_pass(session.peer_ip, self._core.settings[DoorConfig])

    # ── what stands behind them ───────────────────────────────────────────────────────────────────────────────────

    def leave(self, session: Session) -> None:
        """Count the peer no more."""
        visit = session.stash.pop(STASH, None)
        if visit is not None:
            visit.network.open -= 1

    @property
    def stressed(self) -> bool:
        """Whether the MX port is nearly full."""
        return any(listener.stress.on for listener in self._core.listeners if listener.name == "smtp")

    async def _greeting(self, session: Session, config: DoorConfig, now: float) -> Reply | None:
        """Wait with a new peer; None lets it be greeted."""
        wait = min(config.greet_wait, config.stress_greet_wait) if self.stressed else config.greet_wait
        if not wait or (self._passes.get(peer_key(session.peer_ip)) or 0.0) > now:
            return None
        try:
            silent = await session.quiet(wait)
        except ConnectionLostError:
            return GONE
        if silent:
            self._let_pass(session.peer_ip, config)
            return None
        self._early += 1
        if config.early_talkers == "accept":
            return None
        return TOO_EARLY if config.early_talkers == "refuse" else TOO_EARLY_NOW

    def _let_pass(self, peer_ip: str, config: DoorConfig) -> None:
        self._passes.put(peer_key(peer_ip), self._clock() + config.pass_days * DAY_S)

    def _unknown(self, session: Session, network: Network, config: DoorConfig, now: float) -> None:
        network.named(now, unknown=1)
        if network.shut_until > now or not network.harvests(config.harvest_unknown, config.harvest_share):
            return
        network.shut_until = now + config.harvest_pause
        log.warning(
            "%s names unknown recipients by the dozen: its network is shut out for %.0f s",
            session.peer_ip,
            config.harvest_pause,
        )

    def status(self) -> Sequence[StatusLine]:
        """What the door has done since the start, and does now."""
        now = self._clock()
        shut = sum(network.shut_until > now for _, network in self._networks.items())
        lines: list[StatusLine] = []
        if shut:
            lines.append(("Door", f"{shut} networks are shut out for naming unknown recipients"))
        if self._early or self._limited or self._tarpit.total:
            text = f"{self._early} spoke too early, {self._limited} came too fast, {self._tarpit.total} were delayed"
            lines.append(("Door", f"since the start {text}"))
        return lines
