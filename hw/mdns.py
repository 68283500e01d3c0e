"""The name with `.local` and the mail services, told to the local networks (RFC 6762, RFC 6763), by zeroconf.

The library is loaded only where mDNS is on. A name that somebody else has already is left to them: this board takes
the next one (`palomar-2.local`) and says so. If somebody comes with it later, one of the two keeps it and the other
begins anew (RFC 6762 section 9).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
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
NO_NAME_PAUSE_S = 60.0
DEFEND_EVERY_S = 10.0
MAX_RIVALS = 16
"""Addresses that claim our name, of those that nobody has looked at yet."""
MAX_PAST_ADDRESSES = 64
_GOODBYE_S = 1  # lifetime of a record that is taken back (RFC 6762 section 10.1)
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


def keeps_name(own: Iterable[str], rival: str) -> bool:
    """Whether the name stays ours against somebody with that address: the later record wins, AAAA after A.

    That is the order of RFC 6762 section 8.2.1 between our last record and any of theirs, so of two machines one gives
    way and only one, whichever records each of them has heard so far.
    """
    return _record(rival) < max(map(_record, own))


def _record(address: str) -> tuple[int, bytes]:
    found = ipaddress.ip_address(address)
    return found.version, found.packed


class Responder:
    """The part "mDNS". It begins when the mail process has told its ports, at the latest after `mail_by_s` seconds."""

    name = "mDNS"

    def __init__(self, *, mail_by_s: float = 0.0) -> None:
        self._mail_by_s = mail_by_s
        self._has_mail = asyncio.Event()
        self._wanted = Announcement()
        self._ports: tuple[int, ...] = ()
        self._source: tuple[Plan, Present] | None = None
        self._changed = asyncio.Event()
        self._rivals: set[str] = set()
        self._past: dict[str, None] = {}
        self.host_name = ""
        """The name that is told now, with `.local`; empty while none is."""

    def follow(self, plan: Plan, present: Present) -> None:
        """Take another plan over."""
        self._source = (plan, present)
        self._update()

    def serve(self, ports: tuple[int, ...]) -> None:
        """The mail process listens there."""
        self._ports = ports
        self._has_mail.set()
        self._update()

    def _update(self) -> None:
        if self._source is not None:
            wanted = announcement_of(*self._source, self._ports)
            if wanted != self._wanted:
                self._wanted = wanted
                self._changed.set()

    async def run(self, report: Report) -> None:
        """Tell until cancelled; begin anew when addresses or services change."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._has_mail.wait(), self._mail_by_s)
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
            await self._wait(RETRY_S)
            return
        try:
            self._remember(wanted.addresses)
            name = await self._free_name(zeroconf, wanted)
            notes = _notes(wanted.name, name)
            if not name:
                report(notes)
                await self._wait(NO_NAME_PAUSE_S)
                return
            infos = _services(name, wanted)
            with _listening(zeroconf, f"{name}.local.", self._heard):
                for info in infos:
                    await zeroconf.async_register_service(info, allow_name_change=True)
                self.host_name = f"{name}.local"
                report(notes)
                log.info("mDNS: this machine is %s", self.host_name)
                await self._hold(zeroconf, infos, wanted, lambda more: report((*notes, *more)))
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
            others = {text.partition("%")[0] for text in resolver.parsed_addresses()} - set(self._past)
            if not others:
                return name
            log.warning("mDNS: %s.local is the name of %s already", name, ", ".join(sorted(others)))
        return ""

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    def _remember(self, addresses: Iterable[str]) -> None:
        """Our own addresses of before are no rivals: some networks repeat what they have heard."""
        for address in addresses:
            self._past.pop(address, None)
            self._past[address] = None
        for address in list(self._past)[:-MAX_PAST_ADDRESSES]:
            del self._past[address]

    def _heard(self, address: str) -> None:
        if address not in self._past and len(self._rivals) < MAX_RIVALS:
            self._rivals.add(address)
            self._changed.set()

    async def _hold(
        self,
        zeroconf: AsyncZeroconf,
        infos: Sequence[Any],
        wanted: Announcement,
        report: Callable[[Sequence[Note]], None],
    ) -> None:
        """Hold the name until something else is to be told, or it is lost to somebody."""
        loop = asyncio.get_running_loop()
        defended_at = -DEFEND_EVERY_S
        while True:
            await self._changed.wait()
            if wanted != self._wanted:
                return
            self._changed.clear()
            rivals = sorted(self._rivals)
            self._rivals.clear()
            for rival in rivals:
                if not keeps_name(wanted.addresses, rival):
                    log.warning("mDNS: %s came with the name %s, and keeps it", rival, self.host_name)
                    return
            if rivals and loop.time() - defended_at >= DEFEND_EVERY_S:
                defended_at = loop.time()
                log.warning("mDNS: %s claims the name %s too", ", ".join(rivals), self.host_name)
                report([_claimed(self.host_name, rivals)])
                for info in infos:
                    await zeroconf.async_update_service(info)


def _notes(wished: str, name: str) -> tuple[Note, ...]:
    if name == wished:
        return ()
    if not name:
        text = f"The names {wished}.local to {next_name(wished, MAX_NAMES)}.local are all taken; set network.hostname."
        return (Note(source="mDNS", level="warning", text=text),)
    text = f"Another machine is called {wished}.local, so this one is {name}.local; set network.hostname to choose."
    return (Note(source="mDNS", level="warning", text=text),)


def _claimed(name: str, rivals: Sequence[str]) -> Note:
    text = f"Another machine ({', '.join(rivals)}) says that it is {name}; give one of the two another name."
    return Note(source="mDNS", level="warning", text=text)


@contextlib.contextmanager
def _listening(zeroconf: AsyncZeroconf, server: str, heard: Callable[[str], None]) -> Iterator[None]:
    """Call `heard` with each address that anybody gives for a name, ourselves included."""
    from zeroconf import DNSAddress, RecordUpdateListener  # type: ignore[attr-defined]  # as above

    class Listener(RecordUpdateListener):
        def async_update_records(self, zc: Any, now: float, records: list[Any]) -> None:
            for record in (update.new for update in records):
                ours = isinstance(record, DNSAddress) and record.key == server.lower()
                if ours and record.ttl > _GOODBYE_S and len(record.address) in {4, 16}:
                    heard(str(ipaddress.ip_address(record.address)))

    listener = Listener()
    zeroconf.zeroconf.async_add_listener(listener, None)
    try:
        yield
    finally:
        zeroconf.zeroconf.async_remove_listener(listener)


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
