"""An office whose DMARC counts, sends and takes reports, on a clock that the test moves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from appliance.config import CoreConfig, Settings
from appliance.core import Core
from appliance.dns import DnsConfig, Resolver
from appliance.hookspecs import hookimpl
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.mda.config import MdaConfig
from plugins.spam import dmarc
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.reporter import Reporter
from plugins.spam.dmarc.reports import Reports
from tests.appliance.office import Office, office

NOW = 1_800_000_000.0
DAY_S = 86_400
US = "dmarc@palomar.test"
ZONE = """
_dmarc.a.com. TXT "v=DMARC1; p=reject; rua=mailto:r@a.com,mailto:Second@Sub.a.com!1m,https://a.com/r"
_dmarc.quiet.com. TXT "v=DMARC1; p=reject"
_dmarc.tiny.com. TXT "v=DMARC1; p=none; rua=mailto:r@tiny.com!10"
_dmarc.out.com. TXT "v=DMARC1; p=none; rua=mailto:r@agreed.net,mailto:v@silent.net,mailto:r@moved.net,mailto:r@evil.net"
out.com._report._dmarc.agreed.net. TXT "v=DMARC1"
out.com._report._dmarc.silent.net. TXT "v=spf1 -all"
out.com._report._dmarc.moved.net. TXT "v=DMARC1; rua=mailto:other@moved.net"
out.com._report._dmarc.evil.net. TXT "v=DMARC1; rua=mailto:victim@silent.net"
_dmarc.away.com. TXT "v=DMARC1; p=none; rua=mailto:r@loop.net"
away.com._report._dmarc.loop.net. CNAME away.com._report._dmarc.loop.net.
"""


class Way:
    """Mail for elsewhere goes by the relay."""

    @hookimpl
    async def route_recipient(self, session: Session, recipient: Recipient) -> Route | None:
        return None if recipient.address.domain == "palomar.test" else Route("relay", recipient.address.domain)


class Signer:
    """Signs what the appliance writes, as `spam.dkim` does."""

    @hookimpl
    async def message_written(self, message: Message) -> Message | None:
        return message.prepend(b"DKIM-Signature: v=1; d=palomar.test\r\n")


class Found:
    """What SPF and DKIM found."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    @hookimpl
    async def authenticate_message(self, phase: str) -> Sequence[Finding] | None:
        return self.findings if phase == "mechanisms" else None


class Bureau:
    """The office, what is due of reports, and short ways to use both."""

    def __init__(self, made: Office, found: Found, reports: Reports) -> None:
        self.office, self.found, self.reports = made, found, reports
        self.core = made.core
        self.time = NOW
        self.calls = dict(pair for _, pair in made.core.dispatch.gather("calls"))

    async def comes(
        self,
        author: str = "ana@a.com",
        *findings: Finding,
        to: str = "ana@palomar.test",
        subject: str = "",
        **session: Any,
    ) -> int:
        """A stranger's message; the code of the reply."""
        self.found.findings = list(findings)
        message = Message.parse(
            f"From: {author}\r\nSubject: {subject or self.time} {session}\r\n\r\nhello\r\n".encode()
        )
        return (await self.office.send(to, message=message, sender=author, **session)).code

    async def turn(self, days: float = 1) -> list[tuple[str, Message]]:
        """Past midnight (UTC) and past the hours over which reports are spread; what is sent then, by recipient."""
        self.time = (self.time // DAY_S + days) * DAY_S + 5 * 3600
        before = len(self.office.queued)
        await self.reports.reporter.send_due()
        sent = self.office.queued[before:]
        return [(str(message.get(b"to") or b"", "ascii").strip("<>"), message) for _, message in sent]


@contextlib.asynccontextmanager
async def bureau(folder: Path, zone: str = ZONE, **settings: Any) -> AsyncIterator[Bureau]:
    """`settings` are those of [spam.dmarc]."""
    (folder / "zone").write_text(f"$ORIGIN .\n$TTL 60\n{zone}\n")
    found = Found()
    holder: list[Bureau] = []

    class Plugin:
        @hookimpl
        def hooks(self, core: Core) -> Sequence[object]:
            config = DmarcConfig(**{"report_address": US, "organization": "Palomar & Sons", **settings})
            core.settings = Settings.of(core.settings[CoreConfig], core.settings[MdaConfig], config)
            core.resolver = Resolver(DnsConfig(zone_file=folder / "zone"))
            core.now = lambda: holder[0].time if holder else NOW
            made = list(dmarc.hooks(core))
            reports.append(next(one for one in made if isinstance(one, Reports)))
            return made

    reports: list[Reports] = []
    plugins = [("way", Way()), ("signer", Signer()), ("found", found), ("spam.dmarc", Plugin())]
    async with office(folder, *plugins) as made:
        await made.alias(US, "ana@palomar.test")
        await reports[0].load()
        holder.append(Bureau(made, found, reports[0]))
        # The moment of the day is drawn; here it is known to be within SPREAD_S.
        reports[0].reporter = Reporter(made.core, reports[0].tallies, reports[0]._organization, random=Random(1))
        yield holder[0]
        await made.core.dispatch.settle()


def spf(domain: str, result: str = "pass") -> Finding:
    return Finding("spf", result, domain=domain)


def dkim(domain: str, result: str = "pass") -> Finding:
    return Finding("dkim", result, evidence=f"sel._domainkey.{domain}", domain=domain)


__all__ = ["DAY_S", "NOW", "US", "Bureau", "Envelope", "bureau", "dkim", "spf"]
