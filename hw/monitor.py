"""What the kernel's uevents tell: USB sticks and buttons that come and go while the board runs.

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


def concerns(event: Mapping[str, Any]) -> str:
    """The subsystem of something that came, went or was renamed; empty where nothing did."""
    return str(event.get("SUBSYSTEM", "")) if event.get("ACTION") in _TELLING else ""


class HotplugWatch:
    """The part "hotplug": calls what is listed for a subsystem (`net`, `input`) when one of its devices has changed."""

    name = "hotplug"

    def __init__(self, changed: Mapping[str, Callable[[], None]]) -> None:
        self._changed = changed

    async def run(self, report: Report) -> None:
        """Watch until cancelled."""
        events = AsyncUeventSocket()
        try:
            await events.bind(_KERNEL_GROUP)
            while True:
                async for event in events.get():
                    if (changed := self._changed.get(concerns(event))) is not None:
                        what = event.get("INTERFACE") or event.get("DEVNAME") or "something"
                        log.info("%s: %s", what, event["ACTION"])
                        changed()
        finally:
            events.close()
