"""Transport "lmtp": to the server that keeps a domain's mailboxes, which answers for each recipient (RFC 2033)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from appliance.config import Bind, CoreConfig
from appliance.core import Core
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.smtpclient import Hop, HopError, SmtpClient, SmtpPool, Timeouts, outcomes_of, reach
from plugins.lmtp.config import LmtpConfig
from plugins.lmtp.routes import next_hop


class LmtpTransport:
    """Delivers to the server that the settings name for the domain of a route."""

    name = "lmtp"

    def __init__(self, core: Core) -> None:
        self._core = core
        self._pool = SmtpPool(idle_s=core.settings[LmtpConfig].idle_seconds)

    def deliveries(self, route: Route) -> int:
        """How many deliveries may go to one server at once."""
        return self._core.settings[LmtpConfig].deliveries

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        """See `hookspecs.Transport.deliver`."""
        try:
            bind = self._bind(route)
            # Handing over is the delivery: what concerns the way ends here, TLS where nothing leaves the machine.
            envelope = replace(
                envelope, deliver_by=0, by_mode="", require_tls=envelope.require_tls and not bind.is_unix
            )
            return await self._pool.deliver(bind, lambda: self._clients(bind), envelope, recipients, message)
        except HopError as error:
            return outcomes_of(error, recipients)

    async def call_out(self, recipient: Recipient, route: Route) -> Reply:
        """What the server says to RCPT for a recipient. Raises HopError."""
        async with aclosing(self._clients(self._bind(route))) as clients:
            async for client in clients:
                try:
                    return await client.call_out(recipient)
                finally:
                    await client.quit()
        raise HopError(Reply(451, "4.4.1", "no host answered"), peer="")

    async def close(self) -> None:
        """End the connections that are kept."""
        await self._pool.close()

    def _bind(self, route: Route) -> Bind:
        """Where the server listens. A domain that was taken out of the settings waits: it may be put back."""
        bind = next_hop(self._core, route.next_hop)
        if bind is None:
            raise HopError(Reply(451, "4.3.5", f"[lmtp] has no next hop for {route.next_hop!r} any more"), peer="")
        return bind

    async def _clients(self, bind: Bind) -> AsyncGenerator[SmtpClient, None]:
        settings = self._core.settings
        config = settings[LmtpConfig]
        hop = Hop(
            host=bind.host,
            port=bind.port,
            own_name=settings[CoreConfig].hostname,
            tls="off" if bind.is_unix else config.tls,
            lmtp=True,
            xforward=config.xforward,
            timeouts=Timeouts(connect=config.connect_timeout),
        )
        async with aclosing(reach(hop, [bind.host], self._core.certificates.client_context)) as clients:
            async for client in clients:
                yield client
