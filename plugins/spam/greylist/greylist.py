"""The hook and the service: strangers whom nothing proves must come twice."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal

from appliance.core import Core
from appliance.flusher import Flusher
from appliance.hookspecs import Service, StatusLine, hookimpl
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from appliance.proxies import TrustedProxies
from plugins.spam.greylist.config import GreylistConfig
from plugins.spam.greylist.memory import MIGRATIONS, Memory, Seen, key_of, read, write

HOUR_S, DAY_S = 3600, 86_400
NAME = "greylist"
MAX_ASKED = 20  # recipients of one message who are asked whether they know the sender
PROOFS = frozenset(("spf", "dkim", "dmarc"))


class Greylist:
    """Delays at the end of DATA: by then authentication is known, and other filters have not worked yet."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._memory = Memory()
        self._delayed = 0
        core.store.soft.add(MIGRATIONS)

    @hookimpl(trylast=True)
    async def authenticate_message(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        phase: Literal["mechanisms", "policy"],
        findings: Sequence[Finding],
    ) -> Sequence[Finding] | None:
        """Defer what comes for the first time, unless it is proven, known, or exempt."""
        core = self._core
        if phase != "policy" or not session.peer_ip:
            return None
        config = core.settings[GreylistConfig]
        if core.time_state == "unset" or TrustedProxies(config.exempt).trusts(session.peer_ip):
            return None
        if config.trust_authenticated and any(one.name in PROOFS and one.result == "pass" for one in findings):
            return None
        network, now = _network(session.peer_ip, config), int(core.now())
        if self._has_passed(key_of(network), config, now):
            return None
        waits = [self._wait(key_of(network, *names), config, now) for names in _pairs(envelope)]
        if waits and min(waits) <= 0:
            self._pass(network, envelope, now)
            return None
        if await self._is_known(session, envelope):
            return None
        self._delayed += 1
        return [
            Finding(NAME, "first-try", text=f"{network} is new here, and nothing proves the sender", action="defer")
        ]

    async def _is_known(self, session: Session, envelope: Envelope) -> bool:
        """Whether a recipient has written to the sender. A forger who knows that is let in sooner, no more."""
        sender = envelope.sender
        if sender is None or not self._core.settings[GreylistConfig].trust_correspondents:
            return False
        for recipient in envelope.recipients[:MAX_ASKED]:
            if await self._core.dispatch.known_sender(
                session=session, envelope=envelope, recipient=recipient, sender=sender
            ):
                return True
        return False

    def _has_passed(self, key: int, config: GreylistConfig, now: int) -> bool:
        seen = self._memory.get(key)
        if seen is None or seen.passed < config.passes or now - seen.last_at > config.keep_days * DAY_S:
            return False
        self._memory.put(key, Seen(seen.first_at, now, seen.passed + 1))
        return True

    def _wait(self, key: int, config: GreylistConfig, now: int) -> float:
        """Seconds that a triplet still has to wait; at most 0 if it may pass."""
        seen = self._memory.get(key)
        if seen is not None and seen.passed and now - seen.last_at <= config.keep_days * DAY_S:
            return 0.0
        if seen is None or not 0 <= now - seen.first_at <= config.retry_hours * HOUR_S:
            self._memory.put(key, Seen(now, now))
            return config.delay
        return config.delay - (now - seen.first_at)

    def _pass(self, network: str, envelope: Envelope, now: int) -> None:
        for key in (key_of(network), *(key_of(network, *names) for names in _pairs(envelope))):
            seen = self._memory.get(key) or Seen(now, now)
            self._memory.put(key, Seen(seen.first_at, now, seen.passed + 1))

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def services(self, core: Core) -> Sequence[Service]:
        """What writes down who has passed."""
        return [Flusher("spam.greylist", self.load, self.flush)]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """How many were sent away since the start."""
        return [("Greylist", f"{self._delayed} messages delayed since the start, {len(self._memory)} senders known")]

    async def load(self) -> None:
        """Read what the run before has learnt."""
        self._memory.load(await self._core.store.soft.read(read) or ())

    async def flush(self) -> None:
        """Write down what has changed."""
        if rows := self._memory.take_touched():
            oldest = int(self._core.now() - self._core.settings[GreylistConfig].keep_days * DAY_S)
            await self._core.store.soft.write(lambda db: write(db, rows, oldest))


def _pairs(envelope: Envelope) -> list[tuple[str, str]]:
    """Sender and recipient, for each recipient. A number in the sender is one (VERP, tokens of newsletters)."""
    sender = envelope.sender.key if envelope.sender is not None else ""
    sender = "".join("#" if char.isdigit() else char for char in sender)
    return [(sender, recipient.address.key) for recipient in envelope.recipients]


def _network(peer_ip: str, config: GreylistConfig) -> str:
    address = ipaddress.ip_address(peer_ip.partition("%")[0])
    prefix = config.ipv4_prefix if address.version == 4 else config.ipv6_prefix
    return str(ipaddress.ip_network((address, prefix), strict=False))
