"""Telling senders what became of their messages: bounces, delay warnings, success notices (RFC 3464, RFC 3461)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from appliance.errors import AddressError
from appliance.mail.address import Address
from appliance.mail.dsn import Notice, compose
from appliance.mail.envelope import NOTIFY_NEVER, Envelope, Recipient
from appliance.mail.language import Language
from appliance.mail.message import Message

if TYPE_CHECKING:
    from appliance.trace import Trace

log = logging.getLogger(__name__)

Submit = Callable[..., Awaitable[Any]]
"""`Intake.submit`: the one door for mail of our own."""


class Bounces:
    """Composes notices and hands them to the intake."""

    def __init__(
        self,
        *,
        submit: Submit,
        trace: Trace,
        hostname: Callable[[], str],
        postmaster: Callable[[], str],
        language: Callable[[Address], Language],
        now: Callable[[], float],
    ) -> None:
        """`postmaster` gives the address that gets what cannot be returned to anybody, or an empty text; `language`
        that in which somebody is told.
        """
        self._submit = submit
        self._trace = trace
        self._hostname = hostname
        self._postmaster = postmaster
        self._language = language
        self._now = now

    async def tell(
        self, envelope: Envelope, original: Message, notices: Sequence[Notice], *, trace_id: str, arrived_at: float = 0
    ) -> None:
        """Send one notification about `notices`, all of one message, to its sender.

        The null sender is never told (RFC 5321 section 6.1); failures of such messages go to the postmaster.
        Raises StoreError when the notification could not be stored.
        """
        if envelope.sender is None:
            notices = [notice for notice in notices if notice.action == "failed"]
            addressee = self._last_resort(envelope, notices, trace_id)
        else:
            addressee = envelope.sender
        if addressee is None or not notices:
            return
        hostname = self._hostname()
        # What had to stay within TLS comes back as a header only (RFC 8689 section 5).
        ret = "HDRS" if envelope.require_tls else envelope.ret
        report = compose(
            replace(envelope, sender=addressee, ret=ret),
            original,
            notices,
            postmaster=Address("postmaster", hostname),
            hostname=hostname,
            token=secrets.token_hex(12),
            at=self._now(),
            arrived_at=arrived_at,
            language=self._language(addressee),
        )
        terms = Envelope(
            None,
            body="7BIT"
            if report.header.isascii() and all(chunk.isascii() for chunk in report.chunks())
            else "8BITMIME",
            smtputf8=envelope.smtputf8 or not addressee.is_ascii,
            require_tls=envelope.require_tls,
            priority=envelope.priority,  # RFC 6710 section 4.6
        )
        # What the postmaster gets must never come back, however far aliases and redirects carry it.
        notify = frozenset({NOTIFY_NEVER}) if envelope.sender is None else frozenset[str]()
        to = [Recipient(addressee, notify)]
        submitted = await self._submit(report, None, to, origin="bounce", written=True, envelope=terms)
        what = ", ".join(sorted({notice.action for notice in notices}))
        for recipient, reply in submitted.refused:
            log.warning("%s: the notice to %s was refused: %s", trace_id, recipient.address, reply)
            self._trace.record(trace_id, "queue", "notice refused", f"{recipient.address}: {reply}")
            if envelope.sender is not None:  # somebody should know; the postmaster's own refusal ends it
                await self.tell(replace(envelope, sender=None), original, notices, trace_id=trace_id)
        if submitted.accepted is not None:
            self._trace.record(trace_id, "queue", "notice sent", f"{what} to {addressee} as {submitted.trace_id}")

    def _last_resort(self, envelope: Envelope, notices: Sequence[Notice], trace_id: str) -> Address | None:
        """Who gets to see a failed message that has no sender: the postmaster, unless it was for the postmaster."""
        if not notices:
            return None
        failed = ", ".join(f"{notice.recipient.address}: {notice.reply}" for notice in notices)
        log.warning("%s: a message without sender could not be delivered: %s", trace_id, failed)
        self._trace.record(trace_id, "queue", "not returned", f"the sender is <>; {failed}")
        text = self._postmaster()
        if not text:
            return None
        try:
            postmaster = Address.parse(text)
        except AddressError as error:
            log.error("postmaster %r is no address: %s", text, error)
            return None
        if any(recipient.address.key == postmaster.key for recipient in envelope.recipients):
            return None
        return postmaster
