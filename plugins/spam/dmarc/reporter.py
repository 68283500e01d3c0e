"""Sending the daily reports by mail (RFC 7489 section 7.2.1.1): through intake, so signed as any mail of ours."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from random import Random

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dailycounts import DAY_S, Key
from appliance.dns import TemporaryDnsError
from appliance.errors import ApplianceError
from appliance.mail.address import Address
from appliance.mail.attached import Attached, mail_with_file
from appliance.mail.dates import format_date
from appliance.mail.envelope import NOTIFY_NEVER, Envelope, Recipient
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.destinations import destinations
from plugins.spam.dmarc.evaluation import find_policy
from plugins.spam.dmarc.protocol_report import Facts, write_report
from plugins.spam.dmarc.tally import Tallies, Tally

log = logging.getLogger(__name__)

SPREAD_S = 4 * 3600.0  # reports leave at some time in so long after midnight (UTC)
MAX_PER_TURN = 50  # domains


class Reporter:
    """Sends what was counted on days that are over."""

    def __init__(
        self, core: Core, tallies: Tallies, organization: Callable[[str], str], *, random: Random | None = None
    ) -> None:
        self._core = core
        self._tallies = tallies
        self._organization = organization
        # Our own moment after midnight, so that not all of us write at once.
        self._offset_s = (random or Random()).random() * SPREAD_S  # noqa: S311

    async def send_due(self) -> None:
        """Send, once the day's moment has come; what fails is tried again in the next turn, for a few days."""
        if self._core.time_state == "unset" or self._core.now() % DAY_S < self._offset_s:
            return
        self._tallies.give_up_old()
        for key, tally in self._tallies.due()[:MAX_PER_TURN]:
            if tally.published is None or await self._send(key, tally):
                self._tallies.done(key)

    def report(self, key: Key, tally: Tally) -> bytes:
        """The XML of a report; empty while there is nothing to tell."""
        if tally.published is None:
            return b""
        day, domain = key
        settings, config = self._core.settings[DmarcConfig], self._core.settings[CoreConfig]
        facts = Facts(
            settings.organization or config.hostname,
            settings.report_address,
            report_id(domain, day, config.hostname),
            day * DAY_S,
            (day + 1) * DAY_S - 1,
            f"{tally.more} messages of further sources are not listed" if tally.more else "",
        )
        return write_report(facts, tally.published, tally.rows, settings.report_format)

    async def _send(self, key: Key, tally: Tally) -> bool:
        """Mail one report to all who agreed to take it. Says whether that is done with, be it that nobody wants it."""
        domain = key[1]
        try:
            wanted = await find_policy(self._core.resolver, domain, domain)
            uris = wanted.record.reports if wanted is not None else ()
            places = await destinations(self._core.resolver, domain, uris, self._organization)
        except TemporaryDnsError as error:
            log.info("the DMARC report for %s waits: %s", domain, error)
            return False
        except TagError:  # the record is broken now: nobody is named any more
            return True
        packed = gzip.compress(self.report(key, tally), mtime=key[0] * DAY_S)
        taken = [await self._mail(key, place, most, packed) for place, most in places]
        return all(taken)

    async def _mail(self, key: Key, place: Address, most: int, packed: bytes) -> bool:
        day, domain = key
        core, hostname = self._core, self._core.settings[CoreConfig].hostname
        sender = Address.parse(core.settings[DmarcConfig].report_address)
        message = compose(sender, place, domain=domain, day=day, hostname=hostname, packed=packed, now=core.now())
        if most and message.size > most:
            log.warning("the DMARC report for %s is too large for %s: %d octets", domain, place, message.size)
            return True
        recipient = Recipient(place, frozenset((NOTIFY_NEVER,)))  # no bounce of one is of use to anybody
        try:
            submitted = await core.intake.submit(
                message, sender, [recipient], origin="dmarc", envelope=Envelope(sender), written=True
            )
        except ApplianceError as error:
            log.warning("the DMARC report for %s could not be sent to %s: %s", domain, place, error)
            return False
        if submitted.refused:
            log.warning("the DMARC report for %s is refused for %s: %s", domain, place, submitted.refused[0][1])
        else:
            log.info("the DMARC report for %s goes to %s", domain, place)
        return True


def report_id(domain: str, day: int, hostname: str) -> str:
    """The same whenever the report of a day is made again, so that it counts once."""
    return f"{domain}.{day * DAY_S}@{hostname}"


def compose(
    sender: Address, to: Address, *, domain: str, day: int, hostname: str, packed: bytes, now: float
) -> Message:
    """The mail with one report. `day` counts from the epoch, `now` is epoch seconds."""
    submitter, identifier = to_ascii(sender.domain), report_id(domain, day, hostname)
    fields = [
        f"From: DMARC reports <{sender}>",
        f"To: <{to}>",
        f"Date: {format_date(now)}",
        f"Message-ID: <{identifier}>",
        f"Subject: Report Domain: {domain}",
        f" Submitter: {submitter}",
        f" Report-ID: <{identifier}>",
        "Auto-Submitted: auto-generated",
    ]
    text = [f"This is an aggregate DMARC report about mail from {domain}", f"that came to {submitter}."]
    name = f"{submitter}!{domain}!{day * DAY_S}!{(day + 1) * DAY_S - 1}.xml.gz"
    return mail_with_file(fields, text, Attached(name, "application/gzip", packed))
