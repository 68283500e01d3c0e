"""The hooks: canonical addresses as mail comes in, others as it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.edited import Edited
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.rewrite.config import RewriteConfig, Where
from plugins.rewrite.protocol import (
    RECIPIENT_FIELDS,
    SENDER_FIELDS,
    AddressMap,
    Change,
    Masquerade,
    chain,
    rewrite_header,
)

STAYING = frozenset({"local", "list"})  # transports of what does not leave


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings, ready for use. A place without rules is not there."""

    config: RewriteConfig
    places: Mapping[Where, Change]
    outgoing: AddressMap

    @classmethod
    def of(cls, config: RewriteConfig) -> Rules:
        """Read the settings, which are sound."""
        canonical = AddressMap.of(config.canonical, config.separator)
        own: dict[str, AddressMap] = {
            "sender": AddressMap.of(config.sender, config.separator),
            "recipient": AddressMap.of(config.recipient, config.separator),
        }
        hidden = Masquerade.of(config.masquerade, config.masquerade_exceptions)
        places: dict[Where, Change] = {}
        wheres: Sequence[Where] = ("envelope_sender", "envelope_recipient", "header_sender", "header_recipient")
        for where in wheres:
            steps: list[Change] = []
            if mine := own[where.partition("_")[2]]:
                steps.append(mine.find)
            if canonical and where in config.classes:
                steps.append(canonical.find)
            if hidden.domains and where in config.masquerade_classes:
                steps.append(hidden.find)
            if steps:
                places[where] = chain(*steps)
        return cls(config, places, AddressMap.of(config.outgoing, config.separator))

    @property
    def fields(self) -> Mapping[bytes, Change]:
        """What happens to which header fields."""
        found: dict[bytes, Change] = {}
        for where, names in (("header_sender", SENDER_FIELDS), ("header_recipient", RECIPIENT_FIELDS)):
            change = self.places.get(where)  # type: ignore[call-overload]
            if change is not None:
                found |= dict.fromkeys(names, change)
        return found


class Rewriting:
    """Rewrites what our own people and machines send; of strangers' mail only the envelope's recipients."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._made: Rules | None = None

    @property
    def _rules(self) -> Rules:
        config = self._core.settings[RewriteConfig]
        if self._made is None or self._made.config is not config:
            self._made = Rules.of(config)
        return self._made

    # ── as mail comes in ──────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl(tryfirst=True)
    async def expand_recipient(self, recipient: Recipient) -> Sequence[Recipient] | None:
        """The recipient that one of the envelope becomes, before aliases are looked up."""
        change = self._rules.places.get("envelope_recipient")
        new = change(recipient.address) if change is not None else None
        return [Recipient(new)] if new is not None else None

    @hookimpl(tryfirst=True)
    async def message_received(self, session: Session, envelope: Envelope, message: Message) -> Message | Edited | None:
        """The sender and the header of our own mail, before filters see it and anybody signs it."""
        rules = self._rules
        if not rules.places or not self._core.intake.router.may_relay(session):
            return None
        made = rewrite_header(message, rules.fields)
        change = rules.places.get("envelope_sender")
        sender = change(envelope.sender) if change is not None and envelope.sender is not None else None
        if sender is not None:
            return Edited(made, sender, list(envelope.recipients))
        return made if made is not message else None

    # ── as mail leaves ────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl(tryfirst=True)
    async def outbound_sender(self, envelope: Envelope, route: Route) -> Address | None:
        """The sender by which others are to know one of ours."""
        outgoing = self._rules.outgoing
        if not outgoing or envelope.sender is None or await self._stays(envelope, route):
            return None
        return outgoing.find(envelope.sender)

    @hookimpl(tryfirst=True)
    async def transform_outbound(self, envelope: Envelope, message: Message, route: Route) -> Message | None:
        """The header of our own mail, before it is signed; what was signed elsewhere stays."""
        outgoing = self._rules.outgoing
        if not outgoing or not await self._is_own(envelope, message) or await self._stays(envelope, route):
            return None
        return rewrite_header(message, dict.fromkeys(SENDER_FIELDS | RECIPIENT_FIELDS, outgoing.find))

    async def _is_own(self, envelope: Envelope, message: Message) -> bool:
        """Whether the message is from here: by its sender, or a notice of our own, which nobody has received yet."""
        if envelope.sender is None:
            return message.get(b"received") is None
        return await self._core.dispatch.own_recipient(recipient=Recipient(envelope.sender)) == "local"

    async def _stays(self, envelope: Envelope, route: Route) -> bool:
        """Whether it goes no further than to servers of our own domains."""
        if route.transport in STAYING:
            return True
        for recipient in envelope.recipients:
            if await self._core.dispatch.own_recipient(recipient=recipient) is None:
                return False
        return True
