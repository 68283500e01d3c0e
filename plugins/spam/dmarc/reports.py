"""The centre of reports: what is counted, sent, received and shown."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dailycounts import DAY_S
from appliance.errors import NotFoundError
from appliance.flusher import Flusher
from appliance.hookspecs import DnsRecord, Service, hookimpl
from appliance.mail.address import Address, normal_domain
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.evaluation import Verdict
from plugins.spam.dmarc.schema import MIGRATIONS
from plugins.spam.dmarc.suffixes import organization
from plugins.spam.dmarc.tally import Decision, Tallies, message_key, published_of, row_of
from plugins.spam.spf.evaluation import peer_address

if TYPE_CHECKING:
    from plugins.spam.dmarc.reporter import Reporter

_REPORT = b"report domain:"  # RFC 7489 section 7.2.1.1: how the subjects of reports begin
TURN_S = 300.0  # between two looks at what is to be sent


class Reports:
    """Hooks and services of reports; while no address is set for them, nothing is counted and nothing sent."""

    name = "dmarc-reports"
    after: Sequence[str] = ()

    def __init__(self, core: Core) -> None:
        self._core = core
        core.store.soft.add(MIGRATIONS)
        self.tallies = Tallies(now=core.now)
        self._loading: asyncio.Task[None] | None = None

    @functools.cached_property
    def reporter(self) -> Reporter:
        """What sends reports: loaded where there is an address for them."""
        from plugins.spam.dmarc.reporter import Reporter

        return Reporter(self._core, self.tallies, self._organization)

    def note(
        self,
        session: Session,
        envelope: Envelope,
        findings: Sequence[Finding],
        verdict: Verdict,
        decided: Decision,
        message: Message,
    ) -> None:
        """Count a message about which its author's domain wants a report."""
        config, published = self._core.settings[DmarcConfig], verdict.published
        if not config.report_address or not config.send_reports or published is None or not published.record.reports:
            return
        if verdict.result not in {"pass", "fail"} or not session.peer_ip or self._core.time_state == "unset":
            return
        # A report about reports would be answered by a report, every day.
        ours = config.report_address.lower()
        subject = message.get(b"subject") or b""
        if subject.lower().startswith(_REPORT) and any(str(one.address).lower() == ours for one in envelope.recipients):
            return
        source_ip = str(peer_address(session.peer_ip))
        sender = to_ascii(envelope.sender.domain) if envelope.sender is not None else None
        row = row_of(verdict, decided, findings, source_ip=source_ip, sender=sender, helo=session.helo)
        key = message_key(message) + source_ip.encode()
        self.tallies.note(published_of(published.domain, published.record), row, key)

    def _organization(self, domain: str) -> str:
        return organization(domain, self._core.settings[DmarcConfig].suffix_list)

    # ── services ──────────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def services(self, core: Core) -> Sequence[Service]:
        """What writes down the counts, and what sends the reports."""
        return [Flusher("spam.dmarc", self.load, self.flush), self]

    async def load(self) -> None:
        """Read what the run before has counted, once."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        await self._core.store.soft.read(self.tallies.load)

    async def flush(self) -> None:
        """Write down what has changed."""
        if (write := self.tallies.changes()) is not None:
            await self._core.store.soft.write(write)

    async def run(self, ready: Callable[[], None]) -> None:
        """Look every few minutes whether reports are due, until cancelled."""
        ready()
        while True:
            await asyncio.sleep(TURN_S)
            if self._core.settings[DmarcConfig].report_address:
                await self.reporter.send_due()

    async def reload(self) -> None:
        """Settings are asked for where they are used."""

    # ── what is shown ─────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def dns_records(self, core: Core, domain: str) -> Sequence[DnsRecord]:
        """A policy to begin with, and our consent to get the reports about our other domains."""
        address = core.settings[DmarcConfig].report_address
        if not address:
            return []
        value = f"v=DMARC1; p=none; rua=mailto:{address}; ruf=mailto:{address}"
        words = "DMARC, watching at first; quarantine and reject once the reports show that all mail of yours passes"
        records = [DnsRecord(f"_dmarc.{domain}", "TXT", value, words)]
        host = to_ascii(Address.parse(address).domain)
        if to_ascii(domain) == host:
            others = {to_ascii(name) for name in (*core.settings[CoreConfig].domains, *core.store.directory.domains())}
            records += [
                DnsRecord(f"{other}._report._dmarc.{host}", "TXT", "v=DMARC1", f"takes the DMARC reports about {other}")
                for other in sorted(others)
                if self._organization(other) != self._organization(host)
            ]
        return records

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """What `palomar dmarc` asks."""
        return [
            ("dmarc.pending", self._pending),
            ("dmarc.report", self._report),
            ("dmarc.received", self._received),
            ("dmarc.failures", self._failures),
        ]

    async def _pending(self, core: Core) -> list[dict[str, Any]]:
        """What was counted and is not reported yet, by day and domain."""
        await self.load()
        return [
            {
                "day": day * DAY_S,
                "domain": domain,
                "messages": sum(tally.rows.values()) + tally.more,
                "passed": sum(count for row, count in tally.rows.items() if row.dkim or row.spf),
                "rows": len(tally.rows),
                "addresses": list(tally.published.addresses) if tally.published is not None else [],
            }
            for (day, domain), tally in self.tallies.all()
        ]

    async def _report(self, core: Core, *, domain: str) -> str:
        """The newest report about a domain as it would be sent now."""
        await self.load()
        name = to_ascii(normal_domain(domain))
        for key, tally in reversed(self.tallies.all()):
            if key[1] == name and tally.published is not None:
                return self.reporter.report(key, tally).decode()
        raise NotFoundError(f"nothing is counted for {domain}")

    async def _received(
        self, core: Core, *, by: str = "source", domain: str = "", days: int = 30
    ) -> list[dict[str, Any]]:
        """Sums over the reports of others."""
        from plugins.spam.dmarc.received import GROUPS, summed

        if by not in GROUPS:
            raise NotFoundError(f"reports are summed up by {', '.join(GROUPS)}, not by {by}")
        since, name = int(core.now()) - days * DAY_S, to_ascii(normal_domain(domain)) if domain else ""
        return await core.store.soft.read(lambda db: summed(db, by, name, since)) or []

    async def _failures(self, core: Core, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest failure reports."""
        from plugins.spam.dmarc.received import failures

        return await core.store.soft.read(lambda db: failures(db, limit)) or []
