"""Which mail goes by the relay before anybody else is asked: that of domains that we pass on to a host of theirs."""

from __future__ import annotations

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.address import domain_key
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from plugins.relay.config import RelayConfig


class Routes:
    """Comes before smart hosts: a provider would send the mail of these domains back to us, or refuse it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl(tryfirst=True)
    async def route_recipient(self, recipient: Recipient) -> Route | None:
        """The route of a domain that we relay, or are the backup of, with the TLS policy of the domain; else None."""
        name = recipient.address.domain
        domain = self._core.store.directory.domain(domain_key(name))
        if domain is None or domain.kind == "local":
            return None
        kind = await self._core.dispatch.own_recipient(recipient=recipient)
        if kind == "backup":
            return Route("backup", f"[{domain.next_hop}]" if domain.next_hop else name, self._policy(name))
        if kind != "relay" or not domain.next_hop:
            return None  # the configuration has it as a domain with mailboxes
        return Route("relay", f"[{domain.next_hop}]", self._policy(name))

    def _policy(self, name: str) -> str:
        return self._core.settings[RelayConfig].tls_by_domain.get(name, "")
