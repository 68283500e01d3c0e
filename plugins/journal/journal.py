"""The hooks: a copy for the archive is stored in the transaction that accepts the message."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.address import Address
from appliance.mail.companion import Companion
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import NOTIFY_NEVER, Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.journal.config import Direction, JournalConfig, JournalRule
from plugins.journal.protocol import Facts, copy, report

log = logging.getLogger(__name__)


class Journal:
    """Keeps copies. What happens to a copy later is its own affair: the message and its sender never feel it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.failed: dict[str, str] = {}  # archives that refused a copy for good, with their last words

    @hookimpl
    async def copies(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        recipients: Sequence[Recipient],
        accounts: Sequence[str],
    ) -> Sequence[Companion] | None:
        """One copy for each archive whose rules choose the message."""
        rules = self._core.settings[JournalConfig].rules
        if not rules or _is_last_resort(session, envelope):
            return None
        own = envelope.sender is not None and self._core.intake.router.may_relay(session)
        senders = [Address.parse(session.account)] if session.account and "@" in session.account else []
        if own and envelope.sender is not None:
            senders.append(envelope.sender)
        reached = [one.address for one in (*envelope.recipients, *recipients)]
        reached += [Address.parse(one.via) for one in recipients if one.via]
        reached += [Address.parse(name) for name in accounts]
        inside = [await self._is_inside(one) for one in recipients]
        chosen: dict[str, JournalRule] = {}
        for rule in rules:
            if _directions(rule, senders if own else [], reached, inside) & set(rule.directions):
                chosen.setdefault(Address.parse(rule.to).key, rule)
        return [self._copy(rule, envelope, message, recipients, own=own) for rule in chosen.values()]

    async def _is_inside(self, recipient: Recipient) -> bool:
        return await self._core.dispatch.own_recipient(recipient=recipient) == "local"

    def _copy(
        self, rule: JournalRule, envelope: Envelope, message: Message, recipients: Sequence[Recipient], *, own: bool
    ) -> Companion:
        archive = Address.parse(rule.to)
        facts = Facts(
            recipients,
            own,
            archive,
            self._core.settings[CoreConfig].hostname,
            secrets.token_hex(16),
            self._core.now(),
        )
        made = (report if rule.form == "report" else copy)(message, envelope, facts)
        # The null sender: nobody hears of what becomes of it but the postmaster.
        terms = Envelope(
            None,
            [Recipient(archive)],
            body="BINARYMIME" if envelope.body == "BINARYMIME" else "8BITMIME",
            smtputf8=envelope.smtputf8 or not made.header.isascii() or not archive.is_ascii,
            size=made.size,
        )
        return Companion(made, terms)

    @hookimpl
    async def delivery_settled(self, envelope: Envelope, outcome: Outcome) -> None:
        """Note which archives take nothing, for `palomar status`."""
        if envelope.sender is not None:
            return
        key = outcome.recipient.address.key
        if key not in {Address.parse(rule.to).key for rule in self._core.settings[JournalConfig].rules}:
            return
        if outcome.status == "failed":
            self.failed[key] = str(outcome.reply)
            log.error("the journal's archive %s refused a copy for good: %s", key, outcome.reply)
        else:
            self.failed.pop(key, None)

    @hookimpl
    def status(self) -> Sequence[StatusLine]:
        """Archives that take nothing."""
        return [(f"journal {key}", f"refuses copies: {reply}", "error") for key, reply in self.failed.items()]


def _directions(
    rule: JournalRule, senders: Sequence[Address], reached: Sequence[Address], inside: Sequence[bool]
) -> set[Direction]:
    """In which directions a message concerns somebody whom the rule chooses. Of a stranger's, `senders` is empty."""
    found: set[Direction] = set()
    if not senders:
        return {"incoming"} if rule.chooses(reached) else found
    if rule.chooses(senders):
        found |= {"outgoing"} if not all(inside) else found
        found |= {"internal"} if any(inside) else found
    elif rule.chooses(reached):
        found.add("internal")
    return found


def _is_last_resort(session: Session, envelope: Envelope) -> bool:
    """A notice to the postmaster that something without a sender failed, a copy of ours perhaps: no copy of that, which
    might fail as well, and so on for ever.
    """
    return (
        session.role == "local"
        and envelope.sender is None
        and all(one.notify == {NOTIFY_NEVER} for one in envelope.recipients)
    )
