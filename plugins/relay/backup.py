"""Transport "backup": mail of domains whose primary server is away waits for weeks, and leaves when it is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from appliance.core import Core
from appliance.errors import StoreError
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.queue.schedule import Schedule
from appliance.smtpclient import HopError
from appliance.store.queuedesk import Selection
from plugins.relay.config import RelayConfig
from plugins.relay.transport import RelayTransport

log = logging.getLogger(__name__)

DAY_S = 86_400
MAX_PROBED = 1000  # next hops; what is beyond is tried by the queue alone, an hour later


class BackupTransport(RelayTransport):
    """Delivers as the relay does: to the exchangers that DNS prefers to us, or to the host that the route names.

    While a next hop is away it is asked for a greeting every minute. The queue asks too, but at growing pauses of up
    to an hour; and when it is back, all of its mail is tried at once, however long each had still to wait.
    """

    name = "backup"

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._dead = None  # it asks by itself whether they are back
        self._away: dict[Route, set[str]] = {}  # the domains of the mail that waits for it
        self._probing: asyncio.Task[None] | None = None

    def schedule(self, route: Route, usual: Schedule) -> Schedule:
        """Weeks instead of days, and the warning to the sender later."""
        config = self._core.settings[RelayConfig]
        return replace(
            usual,
            max_age_s=round(config.backup_max_age_days * DAY_S),
            warn_after_s=round(config.backup_warn_after_hours * 3600),
        )

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        """See `hookspecs.Transport.deliver`."""
        outcomes = await super().deliver(envelope, recipients, message, route)
        if all(outcome.unreachable for outcome in outcomes):
            self._note_away(route, recipients)
        else:
            self._away.pop(route, None)
        return outcomes

    async def close(self) -> None:
        """Ask no more, and end the connections that are kept."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])
            self._probing = None
        await super().close()

    def _note_away(self, route: Route, recipients: Sequence[Recipient]) -> None:
        if route not in self._away and len(self._away) >= MAX_PROBED:
            return
        self._away.setdefault(route, set()).update(one.address.domain for one in recipients)
        wanted = self._core.settings[RelayConfig].backup_probe > 0
        if wanted and (self._probing is None or self._probing.done()):
            self._probing = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        """Ask after each that is away, until none is."""
        while self._away and (pause := self._core.settings[RelayConfig].backup_probe):
            await asyncio.sleep(pause)
            for route in list(self._away):
                if await self._answers(route):
                    await self._let_go(route)

    async def _answers(self, route: Route) -> bool:
        """Whether a server that takes mail of the route greets us now."""
        try:
            async with aclosing(self._clients(route.next_hop, self._policy(route))) as clients:
                async for client in clients:
                    await client.quit()
                    return True
        except HopError as error:
            log.debug("%s is still away: %s", route.next_hop, error)
        return False

    async def _let_go(self, route: Route) -> None:
        domains = self._away.pop(route, set())
        try:
            for domain in sorted(domains):
                count = await self._core.queue.desk.retry(Selection(domains=(domain,), released=True))
                log.info("%s is back: %d recipient(s) of %s are tried now", route.next_hop, count, domain)
        except StoreError as error:
            log.warning("%s is back, but its mail cannot be tried at once: %s", route.next_hop, error)
            self._away[route] = domains
