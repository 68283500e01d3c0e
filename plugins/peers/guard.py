"""Before other servers: whose mail is taken for them, who is refused, and where it goes."""

from __future__ import annotations

from typing import Literal

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address, domain_key
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply
from plugins.peers.config import Behind, PeersConfig
from plugins.peers.files import RecipientFiles
from plugins.peers.protocol_list import candidates
from plugins.peers.schema import holds_any, kept_list

DAY_S = 86_400

UNKNOWN = Reply(550, "5.1.1", "There is no such mailbox at the server that this mail would be passed on to")
UNSURE = Reply(450, "4.1.1", "Whether there is such a mailbox is not known at present, try again later")


class Guard:
    """The hooks about recipients of servers behind this one."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._files = RecipientFiles()

    @hookimpl
    async def own_recipient(self, recipient: Recipient) -> Literal["backup", "relay"] | None:
        """Mail for servers behind us is ours to take."""
        behind = self._behind(recipient.address)
        return behind.kind if behind is not None else None

    @hookimpl(tryfirst=True)
    async def route_recipient(self, recipient: Recipient) -> Route | None:
        """To the server itself; a backup may find it by DNS."""
        behind = self._behind(recipient.address)
        if behind is None or await self._core.dispatch.own_recipient(recipient=recipient) == "local":
            return None
        if behind.host == "-":
            return Route(behind.kind, recipient.address.domain, behind.tls)
        return Route(behind.kind, f"[{behind.host or behind.name}]", behind.tls)

    @hookimpl
    async def smtp_recipient(self, recipient: Recipient) -> Reply | None:
        """Refuse who is not in the list; where the list may be out of date, only defer."""
        behind = self._behind(recipient.address)
        if behind is None or not behind.is_checked or self._knows(behind, recipient.address):
            return None
        if await self._core.dispatch.own_recipient(recipient=recipient) == "local":
            return None  # the configuration has it as a domain with mailboxes here
        if self._is_sure(behind, recipient.address):
            return UNKNOWN
        return UNSURE if self._core.settings[PeersConfig].when_unsure == "defer" else None

    def _behind(self, address: Address) -> Behind | None:
        """The server whose mail it is: of several that may be, the first that is known to have the mailbox."""
        found = [one for one in self._core.settings[PeersConfig].behind if one.takes(address)]
        if len(found) > 1:
            return next((one for one in found if one.is_checked and self._knows(one, address)), found[0])
        return found[0] if found else None

    def _knows(self, behind: Behind, address: Address) -> bool:
        if behind.recipients_file is not None and self._files.names(behind.recipients_file, address):
            return True
        peer, domain = behind.name.lower(), domain_key(address.domain)
        kept = self._core.store.peek(lambda db: kept_list(db, peer, domain))
        if kept is None:
            return False
        entries = candidates(kept.salt, kept.separators, address)
        return self._core.store.peek(lambda db: holds_any(db, kept.id, entries))

    def _is_sure(self, behind: Behind, address: Address) -> bool:
        """Whether who is not in the list, or file, is known not to be there."""
        if not behind.secret and behind.secret_file is None:
            return behind.recipients_file is not None and self._files.readable(behind.recipients_file)
        peer, domain = behind.name.lower(), domain_key(address.domain)
        kept = self._core.store.peek(lambda db: kept_list(db, peer, domain))
        if kept is None:
            return False
        if self._core.time_state == "unset":
            return True  # no list grows old while nobody knows what time it is
        days = self._core.settings[PeersConfig].stale_after_days
        return self._core.now() - kept.confirmed_at < days * DAY_S
