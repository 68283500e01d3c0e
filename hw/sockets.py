"""Mail ports that systemd opened ahead and nobody serves, since their role is switched off: close them.

The units of image/rootfs open the ports of all roles before the mail process runs, so that no peer is refused while it
starts. It alone knows in the end which roles there are, and tells on which ports it listens; the rest is closed here.
A start of the mail process opens all of them again, so another choice of roles needs nothing but a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path

from hw.mdns import SERVICES
from hw.part import Report

log = logging.getLogger(__name__)

SETTLED_S = 20.0
"""For so long the ports must have stayed the same: the mail process tells of them as they come."""
UNITS = Path("/usr/lib/systemd/system")
SOCKETS = Path("/proc/net/tcp")
_LISTENS = "0A"  # TCP_LISTEN of <net/tcp_states.h>


def opened_ahead(sockets: Path = SOCKETS) -> tuple[int, ...]:
    """The mail ports that are open already, since systemd holds them for a mail process that is starting.

    The firewall lets peers through to them: they wait there, and are served at once when mail is ready.
    """
    try:
        rows = [line.split() for line in sockets.read_text().splitlines()[1:]]
    except OSError:
        return ()
    found = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENS}
    return tuple(sorted(found & SERVICES.keys()))


def units_to_stop(ports: Collection[int], there: Callable[[str], bool]) -> tuple[str, ...]:
    """The socket units whose port is none of `ports`, among those that exist. Pure."""
    units = (f"palomar-{word.removeprefix('_')}.socket" for port, word in SERVICES.items() if port not in ports)
    return tuple(unit for unit in units if there(unit))


async def stop_units(units: Sequence[str]) -> None:
    """Let systemd close its sockets. It does nothing for those that are closed."""
    process = await asyncio.create_subprocess_exec("systemctl", "stop", "--no-block", "--", *units)
    if await process.wait():
        log.warning("systemctl stop %s failed: %s", " ".join(units), process.returncode)


class SpareSockets:
    """The part "spare sockets"."""

    name = "spare sockets"

    def __init__(
        self,
        *,
        there: Callable[[str], bool] = lambda unit: (UNITS / unit).exists(),
        stop: Callable[[Sequence[str]], Awaitable[None]] = stop_units,
        settled_s: float = SETTLED_S,
    ) -> None:
        self._there = there
        self._stop = stop
        self._settled_s = settled_s
        self._ports: tuple[int, ...] = ()
        self._told = asyncio.Event()

    def listening(self, ports: tuple[int, ...]) -> None:
        """The mail process listens there; it says so once after each start, and when that changes."""
        self._ports = ports
        self._told.set()

    async def run(self, report: Report) -> None:
        """Close, each time that the ports have been told, until cancelled."""
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await asyncio.wait_for(self._told.wait(), self._settled_s)
            except TimeoutError:
                units = units_to_stop(self._ports, self._there) if self._ports else ()
                if units:
                    log.info("no role serves %s: closed", ", ".join(units))
                    await self._stop(units)
