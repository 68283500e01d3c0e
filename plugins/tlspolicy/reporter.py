"""Sending the daily reports: by mail, or by HTTPS (RFC 8460 sections 3 and 5).

The mail is shown to plugins as any that our people send, so that a role that signs such mail signs it too: section 5.3
wants DKIM with the domain of the sender's address.
"""

from __future__ import annotations

import gzip
import logging
import secrets
from collections.abc import Sequence
from random import Random

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dailycounts import DAY_S, Key
from appliance.dns import DnsError
from appliance.errors import ApplianceError
from appliance.https import HttpsError, Request, ask
from appliance.mail.address import Address
from appliance.mail.attached import Attached, mail_with_file
from appliance.mail.dates import format_date
from appliance.mail.edited import Edited
from appliance.mail.envelope import NOTIFY_NEVER, Envelope, Recipient
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from plugins.tlspolicy.config import TlspolicyConfig
from plugins.tlspolicy.own import report_address
from plugins.tlspolicy.protocol_tlsrpt import Counted, https_target, mail_address, write_report
from plugins.tlspolicy.tally import Tallies

log = logging.getLogger(__name__)

SPREAD_S = 4 * 3600.0  # reports leave at some time in so long after midnight (section 4.1)
MAX_ANSWER = 4096  # octets of an answer to a POST that are read
MAX_PER_TURN = 50  # domains
_MEDIA_TYPE = "application/tlsrpt+gzip"


class Reporter:
    """Sends what was counted on days that are over."""

    def __init__(self, core: Core, tallies: Tallies, *, random: Random | None = None) -> None:
        self._core = core
        self._tallies = tallies
        # Our own moment after midnight, so that not all of us write at once.
        self._offset_s = (random or Random()).random() * SPREAD_S  # noqa: S311

    async def send_due(self) -> None:
        """Send, once the day's moment has come; what fails is tried again in the next turn, for a few days."""
        if self._core.time_state == "unset" or self._core.now() % DAY_S < self._offset_s:
            return
        self._tallies.give_up_old()
        for key, tally in self._tallies.due()[:MAX_PER_TURN]:
            uris = await self._tallies.uris(key[1])
            if not uris or await self._send(key, list(tally.counted.values()), uris):
                self._tallies.done(key)

    async def _send(self, key: Key, counted: Sequence[Counted], uris: Sequence[str]) -> bool:
        """Hand one report to everybody who is named. Says whether one of them took it."""
        day, domain = key
        settings, hostname = self._core.settings[TlspolicyConfig], self._core.settings[CoreConfig].hostname
        begin = day * DAY_S
        report_id = f"{begin}.{domain}.{secrets.token_hex(4)}@{hostname}"
        report = write_report(
            counted,
            organization=settings.organization or hostname,
            contact=report_address(self._core),
            report_id=report_id,
            begin=begin,
            end=begin + DAY_S - 1,
        )
        packed = gzip.compress(report, mtime=begin)
        taken = [await self._hand_over(uri, domain, report_id, begin, packed) for uri in uris]
        return any(taken)

    async def _hand_over(self, uri: str, domain: str, report_id: str, begin: int, packed: bytes) -> bool:
        address = mail_address(uri)
        try:
            if address is not None:
                await self._mail(address, domain, report_id, begin, packed)
            else:
                await self._post(uri, packed)
        except ApplianceError as error:
            log.warning("the TLS report for %s could not be handed to %s: %s", domain, uri, error)
            return False
        log.info("the TLS report for %s went to %s", domain, uri)
        return True

    async def _post(self, uri: str, packed: bytes) -> None:
        """Hand it over by HTTPS (section 5.4); any 2xx is good. Certificates must be good, but need not be."""
        target = https_target(uri)
        if target is None:
            raise HttpsError(f"{uri!r:.100} is no place for reports")
        host, port, path = target
        request = Request(
            host,
            path,
            port,
            {"Content-Type": _MEDIA_TYPE},
            packed,
            limit=MAX_ANSWER,
            timeout=self._core.settings[TlspolicyConfig].fetch_timeout,
        )
        try:
            answer = await ask(request, self._core.resolver, self._core.certificates.client_context(True))
        except DnsError as error:
            raise HttpsError(str(error)) from error
        if not 200 <= answer.status < 300:
            raise HttpsError(f"{host} answered {answer.status}")

    async def _mail(self, to: Address, domain: str, report_id: str, begin: int, packed: bytes) -> None:
        sender = Address.parse(report_address(self._core))
        message = compose(
            sender, to, domain=domain, report_id=report_id, begin=begin, packed=packed, now=self._core.now()
        )
        # A report on broken TLS must get through broken TLS (section 3, RFC 8689 section 5); and no bounce of one is
        # of use to anybody.
        recipient = Recipient(to, frozenset((NOTIFY_NEVER,)))
        envelope = Envelope(sender, [recipient], tls_optional=True)
        session = Session(id=report_id, role="local", helo="localhost")
        signed = await self._core.dispatch.message_received(session=session, envelope=envelope, message=message)
        if not isinstance(signed, Reply):  # whoever would refuse or redirect our own mail has no say here
            message = signed.message if isinstance(signed, Edited) else signed
        submitted = await self._core.intake.submit(message, sender, [recipient], origin="tlspolicy", envelope=envelope)
        if submitted.refused:
            raise HttpsError(str(submitted.refused[0][1]))


def compose(
    sender: Address, to: Address, *, domain: str, report_id: str, begin: int, packed: bytes, now: float
) -> Message:
    """The mail with one report (section 5.3). `begin` and `now` are epoch seconds."""
    submitter = to_ascii(sender.domain)
    fields = [
        f"From: TLS reports <{sender}>",
        f"To: <{to}>",
        f"Date: {format_date(now)}",
        f"Message-ID: <{report_id}>",
        f"Subject: Report Domain: {domain} Submitter: {submitter}",
        f" Report-ID: <{report_id}>",
        f"TLS-Report-Domain: {domain}",
        f"TLS-Report-Submitter: {submitter}",
        "TLS-Required: No",
        "Auto-Submitted: auto-generated",
    ]
    text = [f"This is an aggregate TLS report about mail sent by {submitter} to {domain}."]
    file = Attached(f"{submitter}!{domain}!{begin}!{begin + DAY_S - 1}.json.gz", _MEDIA_TYPE, packed)
    return mail_with_file(fields, text, file, kind='multipart/report; report-type="tlsrpt"')
