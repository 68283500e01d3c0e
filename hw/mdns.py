"""The name with `.local` and the mail services, told to the local networks (RFC 6762, RFC 6763), by zeroconf.

The library is loaded only where mDNS is on. A name that somebody else has already is left to them: this board takes
the next one (`palomar-2.local`) and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hw.kernel import Present
from hw.messages import Note
from hw.part import Report
from hw.wanted import Plan

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

log = logging.getLogger(__name__)

SERVICES = {
    25: "_smtp",
    110: "_pop3",
    143: "_imap",
    465: "_submissions",
    587: "_submission",
    993: "_imaps",
    995: "_pop3s",
}
"""Names of services by port (RFC 6186, RFC 8314 section 5.1)."""
PROBE_MS = 750
RETRY_S = 2.0
MAX_NAMES = 20
_NO_SERVICE = "_device-info"  # stands for the name alone, before anything listens


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """What is told: the name, our addresses, where to tell it, and the ports that are served."""

    name: str = ""
    addresses: tuple[str, ...] = ()
    indexes: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell, or nowhere."""
        return not (self.name and self.addresses)


def announcement_of(plan: Plan, present: Present, ports: tuple[int, ...]) -> Announcement:
    """What to tell about this plan."""
    links = {
        link.nic.name: link.nic.index for link in present.links if link.nic.carrier and link.nic.name in plan.mdns_links
    }
    usable = [one for one in present.addresses if one.link in links and not (one.tentative or one.duplicate)]
    return Announcement(
        name=plan.mdns_name,
        addresses=tuple(sorted({one.address.partition("/")[0] for one in usable})),
        indexes=tuple(sorted({links[one.link] for one in usable if ":" in one.address})),
        ports=tuple(port for port in ports if port in SERVICES),
    )


def next_name(name: str, attempt: int) -> str:
    """The name of that attempt: itself, then `name-2`, `name-3`…"""
    return name if attempt == 1 else f"{name[: 62 - len(str(attempt))]}-{attempt}"


class Responder:
    """The part "mDNS"."""

    name = "mDNS"

    def __init__(self) -> None:
        self._wanted = Announcement()
        self._ports: tuple[int, ...] = ()
        self._source: tuple[Plan, Present] | None = None
        self._changed = asyncio.Event()
        self.host_name = ""
        """The name that is told now, with `.local`; empty while none is."""

    def follow(self, plan: Plan, present: Present) -> None:
        """Take another plan over."""
        self._source = (plan, present)
        self._update()

    def serve(self, ports: tuple[int, ...]) -> None:
        """The mail process listens there."""
        self._ports = ports
        self._update()

    def _update(self) -> None:
        if self._source is not None:
            wanted = announcement_of(*self._source, self._ports)
            if wanted != self._wanted:
                self._wanted = wanted
                self._changed.set()

    async def run(self, report: Report) -> None:
        """Tell until cancelled; begin anew when addresses or services change."""
        while True:
            self._changed.clear()
            if self._wanted.is_empty:
                self.host_name = ""
                await self._changed.wait()
            else:
                await self._tell(self._wanted, report)

    async def _tell(self, wanted: Announcement, report: Report) -> None:
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncZeroconf

        v4 = [text for text in wanted.addresses if ":" not in text]
        version = IPVersion.All if wanted.indexes and v4 else IPVersion.V6Only if wanted.indexes else IPVersion.V4Only
        try:
            zeroconf = AsyncZeroconf(interfaces=[*v4, *wanted.indexes], ip_version=version)
        except OSError as error:  # an address went between the look and now
            log.info("mDNS cannot begin yet: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), RETRY_S)
            return
        try:
            name = await self._free_name(zeroconf, wanted)
            notes = _notes(wanted.name, name)
            for info in _services(name, wanted):
                await zeroconf.async_register_service(info, allow_name_change=True)
            self.host_name = f"{name}.local"
            report(notes)
            log.info("mDNS: this machine is %s", self.host_name)
            await self._changed.wait()
        finally:
            self.host_name = ""
            with contextlib.suppress(OSError, TimeoutError):
                await zeroconf.async_close()

    async def _free_name(self, zeroconf: AsyncZeroconf, wanted: Announcement) -> str:
        from zeroconf import AddressResolver  # type: ignore[attr-defined]  # not in its __all__, but documented

        for attempt in range(1, MAX_NAMES + 1):
            name = next_name(wanted.name, attempt)
            resolver = AddressResolver(f"{name}.local.")
            if not await resolver.async_request(zeroconf.zeroconf, PROBE_MS):
                return name
            others = {text.partition("%")[0] for text in resolver.parsed_addresses()} - set(wanted.addresses)
            if not others:
                return name
            log.warning("mDNS: %s.local is the name of %s already", name, ", ".join(sorted(others)))
        raise OSError(f"the names {wanted.name}.local to {next_name(wanted.name, MAX_NAMES)}.local are all taken")


def _notes(wished: str, name: str) -> tuple[Note, ...]:
    if name == wished:
        return ()
    text = f"Another machine is called {wished}.local, so this one is {name}.local; set network.hostname to choose."
    return (Note(source="mDNS", level="warning", text=text),)


def _services(name: str, wanted: Announcement) -> list[Any]:
    from zeroconf import ServiceInfo

    packed = [ipaddress.ip_address(text).packed for text in wanted.addresses]
    kinds = [(SERVICES[port], port) for port in wanted.ports] or [(_NO_SERVICE, 9)]
    return [
        ServiceInfo(
            f"{kind}._tcp.local.",
            f"{name}.{kind}._tcp.local.",
            port=port,
            addresses=packed,
            server=f"{name}.local.",
            properties={},
        )
        for kind, port in kinds
    ]
