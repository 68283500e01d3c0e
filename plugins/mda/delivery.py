"""Filing: in which mailbox a message for one account goes, and the header lines of that filing."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.received import delivered_to, return_path, was_delivered_to
from appliance.mail.reply import Reply
from appliance.store import Account, Filing, QueuedMessage, QueueEntry
from appliance.store.mailboxes import get_mailbox
from plugins.mda.config import MdaConfig

DELIVERY_LOOP = Reply(554, "5.4.6", "Mail loop: the message was delivered to this mailbox before")


class Delivery:
    """The last `file_message`: without Sieve everything goes to INBOX, or to the mailbox named by the detail."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl(trylast=True)
    async def file_message(
        self, envelope: Envelope, recipient: Recipient, account: Account, message: Message
    ) -> Sequence[Filing] | Reply | None:
        """One filing with Return-Path (RFC 5321 section 4.4) and Delivered-To, which also cuts loops (RFC 9228)."""
        if was_delivered_to(message, recipient.address):
            return DELIVERY_LOOP
        prefix = return_path(envelope.sender) + delivered_to(recipient.address)
        return [Filing(account.id, self._mailbox(account, recipient.address), prefix)]

    def _mailbox(self, account: Account, address: Address) -> str:
        config = self._core.settings[MdaConfig]
        if not config.file_by_detail or not config.separator:
            return "INBOX"
        detail = address.local.partition(config.separator)[2]
        if detail and self._core.store.peek(lambda db: get_mailbox(db, account.id, detail)) is not None:
            return detail
        return "INBOX"


class LocalTransport:
    """Transport `local` (a `FilingTransport`): what could not be filed when it arrived is filed from the queue."""

    name = "local"

    def __init__(self, core: Core) -> None:
        self._core = core

    async def deliver_queued(
        self, envelope: Envelope, queued: QueuedMessage, entries: Sequence[QueueEntry], message: Message
    ) -> list[Outcome]:
        """File for each recipient and settle its entry, one transaction each."""
        return [
            await self._core.intake.deliver_locally(
                envelope, entry.recipient, message, trace_id=queued.trace_id, entry_id=entry.id
            )
            for entry in entries
        ]
