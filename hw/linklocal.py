"""An IPv4 link-local address for a link without another (RFC 3927), so that two machines and one cable make a network.

The candidates are made of the MAC address, so that a board takes the same one again; the choice is pure.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from hw import arp
from hw.part import Report

log = logging.getLogger(__name__)

WAIT_S = 4.0
"""Seconds that DHCP gets before a link-local address is tried; most servers answer within one."""
PROBES, PROBE_INTERVAL_S = 3, 1.0  # RFC 3927 section 9
MAX_CONFLICTS = 10
RATE_LIMIT_S = 60.0
FIRST, LAST = 0xA9FE0100, 0xA9FEFEFF  # 169.254.1.0 to 169.254.254.255 (RFC 3927 section 2.1)

Claim = Callable[[str, str], Awaitable[str]]


def candidates(mac: str) -> Iterator[str]:
    """Addresses to try in turn, for ever: always the same ones for the same MAC address."""
    for attempt in range(1 << 32):
        digest = hashlib.sha256(f"{mac} {attempt}".encode()).digest()
        number = FIRST + int.from_bytes(digest[:4], "big") % (LAST - FIRST + 1)
        yield ".".join(str(octet) for octet in number.to_bytes(4, "big"))


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkLocal:
    """The part of the plan that a worker is for."""

    link: str
    mac: str


async def _claim(link: str, address: str) -> str:
    return await arp.taken_by(link, address, probes=PROBES, interval_s=PROBE_INTERVAL_S)


class LinkLocalWorker:
    """Finds and keeps the address of one link. `learned` is called with it, and with "" when it is given up."""

    def __init__(
        self,
        spec: LinkLocal,
        learned: Callable[[str, str], None],
        *,
        claim: Claim = _claim,
        defend: Claim | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = f"link-local address on {spec.link}"
        self.spec = spec
        self._learned = learned
        self._claim = claim
        self._defend = defend or _lost_to
        self._sleep = sleep
        self._carrier = asyncio.Event()

    def carrier(self, there: bool, changes: int) -> None:
        """The cable came or went."""
        if there:
            self._carrier.set()
        else:
            self._carrier.clear()

    async def run(self, report: Report) -> None:
        """Wait for a carrier, take a free address, and another one when somebody else comes with it."""
        for conflicts, address in enumerate(candidates(self.spec.mac)):
            await self._carrier.wait()
            await self._sleep(WAIT_S if not conflicts else RATE_LIMIT_S if conflicts > MAX_CONFLICTS else 0.0)
            if not (owner := await self._claim(self.spec.link, address)):
                self._learned(self.spec.link, f"{address}/16")
                owner = await self._defend(self.spec.link, address)
                self._learned(self.spec.link, "")
            log.warning("%s: %s is used by %s", self.name, address, owner)


async def _lost_to(link: str, address: str) -> str:
    """Defend an address once in 10 s (RFC 3927 section 2.5); returns who took it, if they insist."""
    loop = asyncio.get_running_loop()
    defended_at = -10.0
    with arp.ArpSocket(link) as watch:
        while True:
            owner = await watch.conflict(address)
            if not owner:
                continue
            if loop.time() - defended_at < 10.0:
                return arp.mac_text(owner)
            defended_at = loop.time()
            watch.announce(address)
