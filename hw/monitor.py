"""Hot-plugged interfaces by the kernel's uevents: USB sticks come and go while the board runs.

Netlink tells of new links too, but earlier than their driver is known in /sys; the uevent comes when both are there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from hw.part import Report
from hw.pyroute import AsyncUeventSocket

log = logging.getLogger(__name__)

_KERNEL_GROUP = 1
_TELLING = frozenset({"add", "remove", "move", "bind", "unbind"})


def concerns_network(event: Mapping[str, Any]) -> bool:
    """Whether a uevent is about an interface that came, went or was renamed."""
    return event.get("SUBSYSTEM") == "net" and event.get("ACTION") in _TELLING


class HotplugWatch:
    """The part "hotplug": calls `changed` when an interface came, went or was renamed."""

    name = "hotplug"

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    async def run(self, report: Report) -> None:
        """Watch until cancelled."""
        events = AsyncUeventSocket()
        try:
            await events.bind(_KERNEL_GROUP)
            while True:
                async for event in events.get():
                    if concerns_network(event):
                        log.info("%s: %s", event.get("INTERFACE", "an interface"), event["ACTION"])
                        self._changed()
        finally:
            events.close()
