"""The hooks: every filter of a session's role sees its dialogue and its messages, one after the other."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Mapping, Sequence

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dns import DnsError
from appliance.hookspecs import hookimpl
from appliance.log import trace_id
from appliance.mail.edited import Edited
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from plugins.milter import macros, protocol
from plugins.milter.config import MilterConfig
from plugins.milter.conversation import Conversation

STASH = "milter"
NAME_S = 2.0  # seconds for the peer's name; filters get its address in any case
PRODUCT = f"Palomar {importlib.metadata.version('palomar')}"


class Party:
    """The filters of one session, and what they may know of it."""

    def __init__(self, conversations: Sequence[Conversation], peer_name: str, hostname: str) -> None:
        self.conversations = conversations
        self.peer_name = peer_name
        self._hostname = hostname

    def known(self, session: Session, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The macros' values at this moment."""
        found = macros.of_session(session, hostname=self._hostname, peer_name=self.peer_name, product=PRODUCT)
        return {**found, **(more or {})}


class Milters:
    """Asks the filters of `[milter]`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def smtp_connect(self, session: Session) -> Reply | None:
        """Connect to the filters of the session's role."""
        settings = [one for one in self._core.settings[MilterConfig].filters if session.role in one.roles]
        if not settings:
            return None
        conversations = [Conversation(one) for one in settings]
        party = Party(conversations, await self._name_of(session.peer_ip), self._core.settings[CoreConfig].hostname)
        session.stash[STASH] = party
        name = party.peer_name or (f"[{session.peer_ip}]" if session.peer_ip else "localhost")
        packet = protocol.connect(name, session.peer_ip, session.peer_port)
        for conversation in conversations:
            refusal = await conversation.open(packet, party.known(session))
            if refusal is not None:
                return refusal
        return None

    @hookimpl
    async def smtp_helo(self, session: Session) -> Reply | None:
        """Tell the filters how the peer names itself."""
        party = _party(session)
        if party is None:
            return None
        known = party.known(session)
        for conversation in party.conversations:
            refusal = await conversation.helo(session.helo, known)
            if refusal is not None:
                return refusal
        return None

    @hookimpl
    async def smtp_sender(self, session: Session, envelope: Envelope) -> Reply | None:
        """Tell the filters MAIL."""
        party = _party(session)
        if party is None:
            return None
        known = party.known(session, macros.of_address("mail", envelope.sender, "smtp"))
        path = protocol.path(str(envelope.sender or ""), _mail_parameters(envelope))
        for conversation in party.conversations:
            refusal = await conversation.sender(path, known)
            if refusal is not None:
                return refusal
        return None

    @hookimpl(trylast=True)
    async def smtp_recipient(self, session: Session, recipient: Recipient) -> Reply | None:
        """Tell the filters RCPT; each hears of those that the ones before it have taken."""
        party = _party(session)
        if party is None:
            return None
        own = await self._core.dispatch.own_recipient(recipient=recipient)
        mailer = "local" if own == "local" else "smtp"
        known = party.known(session, {"i": trace_id.get(), **macros.of_address("rcpt", recipient.address, mailer)})
        path = protocol.path(str(recipient.address), _recipient_parameters(recipient))
        for conversation in party.conversations:
            refusal = await conversation.recipient(path, known)
            if refusal is not None:
                return refusal
        return None

    @hookimpl
    async def message_received(self, session: Session, envelope: Envelope, message: Message) -> Edited | Reply | None:
        """Show the filters the message; each sees what those before it have made of it."""
        party = _party(session)
        if party is None:
            return None
        known = party.known(session, {"i": trace_id.get()})
        edited: Edited | None = None
        for conversation in party.conversations:
            answer = await conversation.content(envelope, message, known)
            if isinstance(answer, Reply):
                return answer
            if answer is not None:
                edited = answer.after(edited)
                message, envelope = edited.message, edited.envelope(envelope)
                if not edited.recipients:
                    return edited
        return edited

    @hookimpl
    async def smtp_disconnect(self, session: Session) -> None:
        """Take leave of the filters."""
        party = session.stash.pop(STASH, None)
        if isinstance(party, Party):
            await asyncio.gather(*(conversation.close() for conversation in party.conversations))

    async def _name_of(self, ip: str) -> str:
        """The name that an address leads to and that leads back to it (RFC 8601 section 2.7.3), or nothing."""
        if not ip:
            return ""
        resolver = self._core.resolver
        try:
            async with asyncio.timeout(NAME_S):
                for name in (await resolver.ptr(ip))[:1]:
                    if ip in await resolver.addresses(name):
                        return name
        except (DnsError, TimeoutError):
            return ""  # filters are told FAIL, as by any MTA
        return ""


def _party(session: Session) -> Party | None:
    party = session.stash.get(STASH)
    return party if isinstance(party, Party) else None


def _mail_parameters(envelope: Envelope) -> list[str]:
    """MAIL's parameters as they count for a filter."""
    found = []
    if envelope.size:
        found.append(f"SIZE={envelope.size}")
    if envelope.body != "7BIT":
        found.append(f"BODY={envelope.body}")
    if envelope.smtputf8:
        found.append("SMTPUTF8")
    if envelope.ret:
        found.append(f"RET={envelope.ret}")
    return found


def _recipient_parameters(recipient: Recipient) -> list[str]:
    return [f"NOTIFY={','.join(sorted(recipient.notify))}"] if recipient.notify else []
