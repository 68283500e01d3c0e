"""The role's centre: what is known of other domains, asked by the relay, kept in soft.db, and shown by commands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from appliance.core import Core
from appliance.hookspecs import DnsRecord, Level, Protection, Service, hookimpl
from appliance.mail.idna import to_ascii
from appliance.store.database import Database
from plugins.tlspolicy.config import TlspolicyConfig
from plugins.tlspolicy.memory import Memory
from plugins.tlspolicy.own import dns_records, own_policy
from plugins.tlspolicy.protection import DomainProtection
from plugins.tlspolicy.received import ReceivedReports
from plugins.tlspolicy.reporter import Reporter
from plugins.tlspolicy.schema import MIGRATIONS
from plugins.tlspolicy.sts import Found, StsPolicies
from plugins.tlspolicy.tally import Tallies

if TYPE_CHECKING:
    from appliance.dns import Resolver
    from appliance.mail.envelope import Envelope
    from appliance.mail.session import Session
    from appliance.store import Accepted

TURN_S = 300.0  # between two looks at what is to be written, fetched and reported
REFUSED_S = 86_400.0  # for so long `palomar status` tells of a downgrade that was refused


class Policies:
    """Hooks and service of the role. As a service it writes changes in batches and does what is due."""

    name = "tls-policy"
    after: Sequence[str] = ()

    def __init__(self, core: Core) -> None:
        self.core = core
        core.store.soft.add(MIGRATIONS)
        self._loading: asyncio.Task[None] | None = None
        timeless: Callable[[], bool] = lambda: core.time_state == "unset"  # noqa: E731
        self.memory = Memory(days=lambda: self.settings().memory_days, now=self.now, timeless=timeless)
        self.sts = StsPolicies(
            core.resolver,
            settings=self.settings,
            context=lambda: core.certificates.client_context(True),
            now=self.now,
            timeless=timeless,
        )
        self.tallies = Tallies(core.resolver, now=self.now)
        self.received = ReceivedReports(core)
        self.reporter = Reporter(core, self.tallies)

    def settings(self) -> TlspolicyConfig:
        """The settings in force."""
        return self.core.settings[TlspolicyConfig]

    def now(self) -> float:
        """Epoch seconds."""
        return self.core.now()

    @property
    def resolver(self) -> Resolver:
        """The core's."""
        return self.core.resolver

    # ── hooks ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def services(self) -> Sequence[Service]:
        return [self]

    @hookimpl
    async def protect_domain(self, domain: str) -> Protection | None:
        await self.loaded()
        name, settings = to_ascii(domain), self.settings()
        sts, uris = await asyncio.gather(
            self.sts.find(name) if settings.mta_sts else _nothing(),
            self.tallies.uris(name) if settings.reports else _no_uris(),
        )
        return DomainProtection(self, name, sts, counted=bool(uris))

    @hookimpl
    async def message_accepted(self, session: Session, envelope: Envelope, accepted: Accepted) -> None:
        await self.received.look(envelope, accepted)

    @hookimpl
    def dns_records(self, core: Core, domain: str) -> Sequence[DnsRecord]:
        return dns_records(core, domain)

    @hookimpl
    def status(self, core: Core) -> Sequence[tuple[str, str] | tuple[str, str, Level]]:
        since = self.now() - REFUSED_S
        recent = {domain: one for domain, one in self.memory.refused.items() if one.at > since}
        lines: list[tuple[str, str] | tuple[str, str, Level]] = [
            ("TLS downgrade", f"mail for {domain} waits: {one.words}", "warning") for domain, one in recent.items()
        ]
        if self.settings().dane and not self.resolver.validates:
            lines.append(("DANE", "not used: no validating resolver is believed (setting dns.dnssec)"))
        return lines

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        return [
            ("tlspolicy.domains", self._domains),
            ("tlspolicy.forget", self._forget),
            ("tlspolicy.reports", self._reports),
            ("tlspolicy.policy", self._policy),
        ]

    # ── what commands ask ─────────────────────────────────────────────────────────────────────────────────────────

    async def _domains(self, core: Core) -> list[dict[str, Any]]:
        """What is known of other domains: policy, level, and the last downgrade that was refused."""
        await self.loaded()
        kept, seen = self.sts.all(), self.memory.all()
        return [
            {
                "domain": domain,
                "mta_sts": kept[domain].policy.mode if domain in kept else "",
                "mx": list(kept[domain].policy.mx) if domain in kept else [],
                "policy_ends_at": kept[domain].fetched_at + kept[domain].policy.max_age if domain in kept else 0,
                "level": self.memory.level(domain),
                "seen_at": seen[domain].seen_at if domain in seen else 0,
                "refused": self.memory.refused[domain].words if domain in self.memory.refused else "",
            }
            for domain in sorted({*kept, *seen})
        ]

    async def _forget(self, core: Core, *, domain: str) -> bool:
        """Forget policy and level of a domain. Says whether there was something."""
        await self.loaded()
        name = to_ascii(domain.lower().rstrip("."))
        forgotten = [self.memory.forget(name), self.sts.forget(name)]
        await self.write()
        return any(forgotten)

    async def _reports(self, core: Core, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest reports of others."""
        return await self.received.newest(limit)

    async def _policy(self, core: Core) -> str:
        """The text of our own policy."""
        return own_policy(core)

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, ready: Callable[[], None]) -> None:
        """Load, then take turns until cancelled; write what is left then."""
        await self.loaded()
        ready()
        try:
            while True:
                await asyncio.sleep(TURN_S)
                await self.turn()
        finally:
            await self.write()

    async def turn(self) -> None:
        """What is done every few minutes."""
        await self.loaded()
        await self.sts.refresh()
        await self.reporter.send_due()
        await self.write()

    async def reload(self) -> None:
        """Settings are asked for where they are used."""

    async def loaded(self) -> None:
        """Wait until what was written before is there. Without soft.db nothing is known, and all of it is learnt."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        if not self._loading.done():
            await asyncio.shield(self._loading)

    async def _load(self) -> None:
        def read(db: Database) -> None:
            self.memory.load(db)
            self.sts.load(db)
            self.tallies.load(db)

        await self.core.store.soft.read(read)

    async def write(self) -> None:
        """Write all changes in one transaction. What cannot be written is lost, as all of soft.db may be."""
        changes = [change for part in (self.memory, self.sts, self.tallies) if (change := part.changes())]
        if not changes:
            return

        def write(db: Database) -> None:
            for change in changes:
                change(db)

        with contextlib.suppress(RuntimeError):  # the store is closing
            await self.core.store.soft.write(write)


async def _nothing() -> Found:
    return Found(None, "no MTA-STS: switched off")


async def _no_uris() -> list[str]:
    return []
