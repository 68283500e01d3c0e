"""The mail process's end of the socket to palomar-hw: says that mail is well, hears how board and network are.

It runs on mail's own loop and needs nothing privileged. Without palomar-hw mail works as it always does: addresses are
not watched, and the clock counts as synced.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import appliance
from appliance.errors import ProtocolError
from hw import health
from hw.messages import (
    MAX_PORTS,
    Alive,
    Hello,
    Listeners,
    Refused,
    State,
    encode,
    server_messages,
)

if TYPE_CHECKING:
    from appliance.core import Core

log = logging.getLogger(__name__)

SOCKET = Path("/run/palomar-hw/hw.sock")
RELEASE_FILE = Path("/usr/lib/palomar-release.json")  # only on the image, where palomar-hw may be starting just now
SOCKET_VARIABLE = "PALOMAR_HW_SOCKET"
ALIVE_EVERY_S = 5.0
FIRST_PAUSE_S = 0.125  # before the socket is tried again; doubles
PATIENCE_S = 4.0  # without a socket; palomar-hw may be starting beside us
LONGEST_PAUSE_S = 30.0
CONNECT_S = 5.0
READ_OCTETS = 65_536


def socket_path() -> Path:
    """Where palomar-hw listens."""
    return Path(os.environ.get(SOCKET_VARIABLE, SOCKET))


class HwLink:
    """The service "network". It never fails for want of palomar-hw: it tries again, for ever."""

    name = "network"
    after: Sequence[str] = ()

    def __init__(
        self, core: Core, path: Path | None = None, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._core = core
        self._path = path or socket_path()
        self._sleep = sleep
        self._addresses: list[str] | None = None
        self._refused = ""
        self.state: State | None = None
        """What palomar-hw said last."""
        self.connected = False
        if self._path.parent.is_dir() or RELEASE_FILE.exists():
            core.time_state = "plausible"  # there is somebody who watches the clock: wait for the word

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep the connection until cancelled."""
        ready()
        pause, told = FIRST_PAUSE_S, ""
        while True:
            try:
                await self._talk()
                reason = self._refused or "it closed the connection"
            except FileNotFoundError:
                reason = "there is no such socket" if pause >= PATIENCE_S else ""
            except (OSError, TimeoutError) as error:
                reason = str(error) or "it does not answer"
            except ProtocolError as error:
                reason = f"it does not speak our protocol: {error}"
            if self.connected:
                pause, told = FIRST_PAUSE_S, ""
            self.connected = False
            if reason and reason != told:
                log.warning("no palomar-hw at %s: %s", self._path, reason)
                told = reason
            await self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def reload(self) -> None:
        """What is listened to is looked up every few seconds."""

    async def _talk(self) -> None:
        """One connection, to its end. Raises OSError, TimeoutError or ProtocolError."""
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(encode(Hello(role="mail", version=appliance.__version__)))
            saying = asyncio.create_task(self._say(writer))
            try:
                await self._listen(reader)
            finally:
                saying.cancel()
                await asyncio.gather(saying, return_exceptions=True)  # the reader tells how it ended
        finally:
            writer.close()

    async def _say(self, writer: asyncio.StreamWriter) -> None:
        """Say that mail is well and has room, as long as the loop turns; and its ports, when they change."""
        said: tuple[int, ...] | None = None
        while True:
            ports = open_ports(self._core)
            if ports != said:
                writer.write(encode(Listeners(ports=ports)))
                said = ports
            writer.write(encode(Alive(full=self._core.store.refusing_mail)))
            await writer.drain()
            await self._sleep(ALIVE_EVERY_S)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        messages = server_messages()
        while octets := await reader.read(READ_OCTETS):
            messages.receive(octets)
            while (message := messages.next_message()) is not None:
                if isinstance(message, Refused):
                    self._refused = f"it refused us: {message.reason}"
                    return
                self._take(message)

    def _take(self, state: State) -> None:
        """Make known what is new."""
        if not self.connected:
            self.connected, self._refused = True, ""
            log.info("connected to palomar-hw at %s", self._path)
        self.state = state
        if state.time_state != self._core.time_state:
            log.info("the clock is %s now, it was %s", state.time_state, self._core.time_state)
            self._core.time_state = state.time_state
            self._core.queue.notify()  # it may have been put, so that other mail is due
        addresses = health.addresses(state)
        if addresses != self._addresses:
            self._addresses = addresses
            log.info("addresses: %s", ", ".join(addresses) or "none")
            self._core.dispatch.network_changed(addresses=addresses)

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """What the status page says: label, value, how bad that is."""
        if self.state is None:
            yield "Network", f"palomar-hw does not run (nobody answers at {self._path}); the system sets it up", "info"
            return
        if not self.connected:
            yield "Network", "palomar-hw does not answer any more; this is what it said last:", "error"
        for line in health.lines(self.state):
            if line[0] != "Time" or self.state.time_state == "synced":  # else the core has said it
                yield line


def open_ports(core: Core) -> tuple[int, ...]:
    """The TCP ports that listen to more than this machine, for the firewall."""
    ports = {port for listener in core.listeners for host, port in listener.bound if not _is_loopback(host)}
    return tuple(sorted(ports))[:MAX_PORTS]


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback
