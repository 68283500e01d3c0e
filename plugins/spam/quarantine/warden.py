"""The service: tells accounts once a day what is held for them, and removes what waited too long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from appliance.core import Core
from appliance.errors import ApplianceError
from appliance.store.quarantine import quarantine_counts, quarantined, quarantined_entry
from plugins.spam.quarantine.config import QuarantineConfig
from plugins.spam.quarantine.desk import remove
from plugins.spam.quarantine.digests import see, send_due
from plugins.spam.quarantine.schema import seen_before

TURN_S = 60.0
MAX_REMOVED = 500  # in one turn
DAY_S = 86_400

log = logging.getLogger(__name__)


class Warden:
    """A service (`hookspecs.Service`)."""

    name = "spam.quarantine"
    after: Sequence[str] = ("queue",)

    def __init__(self, core: Core) -> None:
        self._core = core

    async def run(self, ready: Callable[[], None]) -> None:
        """A turn every minute until cancelled. What fails is tried again in the next one."""
        ready()
        while True:
            try:
                await self.turn()
            except ApplianceError as error:
                log.warning("quarantine is seen to later: %s", error)
            await asyncio.sleep(TURN_S)

    async def reload(self) -> None:
        """Settings are read in each turn."""

    async def turn(self) -> None:
        """Remove what is too old or too much, then tell whoever is to be told. Nothing while the time is unset."""
        if self._core.time_state == "unset":
            return
        await see(self._core)
        await self._remove_old(int(self._core.now()))
        if self._core.settings[QuarantineConfig].digest:
            await send_due(self._core)

    async def _remove_old(self, now: int) -> None:
        core, config = self._core, self._core.settings[QuarantineConfig]
        before = now - int(config.days * DAY_S)
        old = await core.store.read(lambda db: seen_before(db, before, MAX_REMOVED))
        found = [one for one in await core.store.read(lambda db: list(map(partial(quarantined_entry, db), old))) if one]
        for account, count in await core.store.read(quarantine_counts):
            if (spare := count - config.max_held) > 0:
                limit = min(spare, MAX_REMOVED)
                found += await core.store.read(
                    lambda db, account=account, limit=limit: quarantined(db, account=account, limit=limit)  # type: ignore[misc]
                )
        if found:
            count = await remove(core, found)
            log.info("%d messages were removed from quarantine", count)
