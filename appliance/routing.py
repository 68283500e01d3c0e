"""From the recipients of a transaction to the ways their mail goes: expand aliases, then choose a route for each."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from appliance.config import CoreConfig
from appliance.dispatch import Dispatch, HookFailedError
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.mail.session import Session

log = logging.getLogger(__name__)

MAX_ALIAS_DEPTH = 10  # aliases that point at aliases
MAX_MEMBERS = 1000  # recipients that one address may become

RELAYING_DENIED = Reply(550, "5.7.1", "Relaying denied: log in to send to other domains")
_NO_ROUTE = Reply(550, "5.1.2", "No way is configured to this recipient's domain")
_ALIAS_LOOP = Reply(550, "5.4.6", "The aliases of this address lead back to themselves or grow without end")


@dataclass(slots=True)
class Routed:
    """One final recipient with its way. `given` is the address of the RCPT command that led to it."""

    given: Recipient
    recipient: Recipient
    route: Route


class Router:
    """Decides for each recipient whether it may be served at all, and by which transport."""

    def __init__(self, dispatch: Dispatch, config: CoreConfig) -> None:
        self._dispatch = dispatch
        self._relay_networks = [ipaddress.ip_network(text) for text in config.relay_networks]

    def may_relay(self, session: Session) -> bool:
        """Whether the peer may send to other people's domains: logged in, our own process, or `relay_networks`."""
        if session.account is not None or session.role == "local":
            return True
        if not session.peer_ip or not self._relay_networks:
            return False
        peer = ipaddress.ip_address(session.peer_ip.partition("%")[0])
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return any(peer in network for network in self._relay_networks)

    def from_outside(self, session: Session) -> bool:
        """Whether the mail is a stranger's, for filters to look at: it came to the MX port, not from people of ours."""
        return session.role == "mx" and not self.may_relay(session)

    async def resolve(self, session: Session, envelope: Envelope, recipient: Recipient) -> Sequence[Routed] | Reply:
        """All ways for one RCPT TO, or the reply that refuses it.

        Raises HookFailedError (its reply is a 451) when a plugin fails. A member of an alias that is refused waits in
        the queue, as long as another member can be served: there it is tried again, or reported to the sender.
        """
        if await self._dispatch.own_recipient(recipient=recipient) is None and not self.may_relay(session):
            return RELAYING_DENIED
        expansion = await expand(self._dispatch, recipient)
        if expansion is None:
            return _ALIAS_LOOP
        routed = []
        refused: list[tuple[Recipient, Reply]] = []
        for member in expansion.final:
            answer = await self._way(session, envelope, member)
            if isinstance(answer, Route):
                routed.append(Routed(recipient, member, answer))
            else:
                refused.append((member, answer))
        if not routed:
            return next((reply for _, reply in refused if reply.temporary), refused[0][1])
        for member, reply in refused:
            log.warning("%s leads to %s, which is refused: %s", recipient.address, member.address, reply)
            routed.append(Routed(recipient, member, Route("local", str(member.address))))
        return routed

    async def _way(self, session: Session, envelope: Envelope, member: Recipient) -> Route | Reply:
        try:
            answer = await self._dispatch.route_recipient(session=session, envelope=envelope, recipient=member)
        except HookFailedError as error:
            return error.reply
        return _NO_ROUTE if answer is None else answer


@dataclass(slots=True)
class Expansion:
    """What an address stands for: the recipients that stay as they are, and the keys of all addresses on the way."""

    final: Sequence[Recipient]
    passed: Collection[str]


async def expand(dispatch: Dispatch, recipient: Recipient) -> Expansion | None:
    """Follow aliases; None when that does not end, or in too many. Raises HookFailedError."""
    final: dict[str, Recipient] = {}
    seen = {recipient.address.key}
    level: list[Recipient] = [recipient]
    for _ in range(MAX_ALIAS_DEPTH):
        following: list[Recipient] = []
        for one in level:
            members = await dispatch.expand_recipient(recipient=one)
            if members is None:
                final.setdefault(one.address.key, one)
                continue
            via = one.via if await dispatch.own_recipient(recipient=one) is None else str(one.address)
            for member in members:
                if member.address.key == one.address.key:  # one that keeps a copy in the account itself
                    final.setdefault(one.address.key, one)
                elif member.address.key not in seen:
                    seen.add(member.address.key)
                    following.append(_member_of(one, member, via))
        if len(final) + len(following) > MAX_MEMBERS:
            return None
        if not following:
            return Expansion(list(final.values()), seen) if final else None
        level = following
    return None


def _member_of(parent: Recipient, member: Recipient, via: str) -> Recipient:
    """Keep what the sender asked about notifications (RFC 3461 section 5.2.7.1: an alias passes it on)."""
    orcpt = parent.orcpt or (f"rfc822;{parent.address}" if parent.address.is_ascii else f"utf-8;{parent.address}")
    return replace(member, notify=parent.notify, orcpt=orcpt, via=via)
