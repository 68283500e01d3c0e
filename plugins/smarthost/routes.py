"""Which mail goes by a smart host."""

from __future__ import annotations

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from plugins.smarthost.config import SmarthostConfig


class Routes:
    """Answers for recipients that no mailbox of ours answers for; the relay comes after it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def route_recipient(self, envelope: Envelope, recipient: Recipient) -> Route | None:
        """The route by the first host that takes the message, or None."""
        hosts = self._core.settings[SmarthostConfig].hosts
        host = next((host for host in hosts if host.takes(envelope.sender, recipient.address)), None)
        if host is None:
            return None
        if await self._core.dispatch.own_recipient(recipient=recipient) == "backup":
            return None  # a backup's mail is for the domain's own primary; a provider would send it back to us
        return Route("smarthost", host.label)
