"""Whose mail goes by LMTP: that of the domains in the settings, which are ours by that."""

from __future__ import annotations

from typing import Literal

from appliance.config import Bind
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.address import domain_key
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from plugins.lmtp.config import LmtpConfig


class Routes:
    """Comes before the roles that know mailboxes here, or hosts outside."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl(trylast=True)
    async def own_recipient(self, recipient: Recipient) -> Literal["relay"] | None:
        """The domain is ours to pass on."""
        return "relay" if next_hop(self._core, recipient.address.domain) is not None else None

    @hookimpl(tryfirst=True)
    async def route_recipient(self, recipient: Recipient) -> Route | None:
        """By this transport, which looks the domain up once more: the settings may change while mail waits."""
        domain = domain_key(recipient.address.domain)
        return Route("lmtp", domain) if next_hop(self._core, domain) is not None else None


def next_hop(core: Core, domain: str) -> Bind | None:
    """Where the mail of a domain goes, if it goes by LMTP."""
    hops = core.settings[LmtpConfig].next_hops
    if not hops:
        return None
    wanted = domain_key(domain)
    return next((bind for name, bind in hops.items() if domain_key(name.lower()) == wanted), None)
