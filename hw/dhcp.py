"""One link's DHCPv4 client (RFC 2131): pyroute2's, with our own hooks, made to last.

What is ours: an address is probed before it is used and declined where somebody has it; the client lives as long as
there is a carrier and asks for its old address when the carrier comes back; a broken answer is passed over instead of
ending the client; times are measured by a clock that nobody sets. It sets nothing up by itself: what it learns goes to
the plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hw import arp
from hw.lease import joined, lease_of, lease_seconds, mended_times
from hw.messages import Note
from hw.part import Report
from hw.pyroute import (
    AsyncDHCP4Socket,
    AsyncDHCPClient,
    ClientConfig,
    DhcpLease,
    Trigger,
    bootp,
    dhcp,
    dhcp4msg,
    fsm,
    hook,
    messages,
)
from hw.wanted import DhcpClient, Lease

log = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 2.0, 64.0  # RFC 2131 section 4.1
RENEW_RETRY_S = 60.0  # RFC 2131 section 4.4.5: no more often while renewing
DECLINE_PAUSE_S = 10.0  # RFC 2131 section 3.1, 5
PATIENCE_S = 10.0
"""After that long without an answer the network counts as settled without one."""
MAX_LEASE_FILE = 16_384
_ASK = ("SUBNET_MASK", "ROUTER", "NAME_SERVER", "DOMAIN_NAME", "INTERFACE_MTU", "BROADCAST_ADDRESS", "NTP_SERVERS",
        "LEASE_TIME", "RENEWAL_TIME", "REBINDING_TIME", "CLASSLESS_STATIC_ROUTE", "DOMAIN_SEARCH")  # fmt: skip
_LONG = {"domain_search": 119, "classless_static_route": 121}
_OPTIONS_AT = 14 + 20 + 8 + 240  # Ethernet, IP and UDP as pyroute2 reads them; BOOTP with the cookie
_BROKEN = (KeyError, ValueError, AssertionError, IndexError, TypeError, AttributeError)

Learned = Callable[[str, Lease | None], None]


class _Socket(AsyncDHCP4Socket):  # type: ignore[misc]
    """pyroute2's packet socket, which passes over what it cannot decode, whatever is wrong with it.

    Long options may come in several pieces (RFC 3396), of which pyroute2 keeps the last.
    """

    @classmethod
    def _decode_msg(cls, data: bytes) -> Any:
        try:
            message = super()._decode_msg(data)
        except _BROKEN as error:
            raise ValueError(f"no DHCP message: {error}") from error
        for name, code in _LONG.items():
            if name in message.dhcp["options"]:
                message.dhcp["options"][name] = list(joined(data[_OPTIONS_AT:], code))
        return message


class _Client(AsyncDHCPClient):  # type: ignore[misc]
    """pyroute2's client with the gaps closed that its tasks would die of, and with conflict detection."""

    def __init__(self, config: Any, conflict: Callable[[str, str], None]) -> None:
        super().__init__(config)
        self._sock = _Socket(config.interface)
        self._conflict = conflict
        self._later: asyncio.Task[None] | None = None
        self.last_state_change: float
        self._receiver_task: Any
        self._sender_task: Any

    async def _process_msg(self, msg: Any) -> None:
        try:
            await super()._process_msg(msg)
        except _BROKEN as error:
            log.warning("%s: a broken DHCP message was passed over: %s", self.config.interface, error)

    async def _send_message(self, msg: Any) -> None:
        self.last_state_change = min(self.last_state_change, time.time())  # somebody may have put the clock back
        try:
            await super()._send_message(msg)
        except OSError as error:  # retried; if the link went, an event tells
            log.info("%s: could not ask by DHCP: %s", self.config.interface, error)

    async def ack_received(self, msg: Any) -> None:
        asked = {fsm.State.REQUESTING, fsm.State.REBOOTING, fsm.State.RENEWING, fsm.State.REBINDING}
        if self.state not in asked:
            return
        found = lease_of(msg.dhcp)
        if found is None:
            log.warning("%s: a DHCP answer without a usable address was passed over", self.config.interface)
            return
        msg.dhcp["options"] = mended_times(msg.dhcp["options"])
        if self.state in {fsm.State.REQUESTING, fsm.State.REBOOTING}:
            address = found.address.partition("/")[0]
            try:
                owner = await arp.taken_by(self.config.interface, address)
            except OSError as error:  # the link went down meanwhile; the request is sent again
                log.info("%s: could not probe %s: %s", self.config.interface, address, error)
                return
            if owner:
                await self._decline(msg, address, owner)
                return
        await super().ack_received(msg)

    async def _decline(self, msg: Any, address: str, owner: str) -> None:
        """Give an address back that somebody else uses, and begin anew after a pause (RFC 2131 section 4.4.1)."""
        self._conflict(address, owner)
        await self._sendq.put(None)  # no more requests for it
        decline = messages.SentDHCPMessage(
            dhcp=dhcp4msg(
                {
                    "op": bootp.MessageType.BOOTREQUEST,
                    "xid": self.xid.for_state(self.state),
                    "options": {
                        "message_type": dhcp.MessageType.DECLINE,
                        "requested_ip": address,
                        "server_id": msg.dhcp["options"].get("server_id", msg.ip_src),
                        "client_id": {"type": 1, "key": self._sock.l2addr},
                    },
                }
            )
        )
        with contextlib.suppress(OSError):
            await self._sock.put(decline)
        if self._state_watchdog is not None:
            self._state_watchdog.cancel()
        self._later = asyncio.create_task(self.reset(delay=DECLINE_PAUSE_S))

    async def failure(self) -> None:
        """Wait until one of pyroute2's tasks ends, which leaves the client deaf or dumb."""
        done, _ = await asyncio.wait({self._receiver_task, self._sender_task}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def __aexit__(self, *args: object) -> None:
        if self._later is not None:
            self._later.cancel()
        if self._state_watchdog is not None:
            self._state_watchdog.cancel()
        # Those that run end by themselves, which also takes their readers off the loop; dead ones would raise here.
        for name in ("_receiver_task", "_sender_task"):
            task = getattr(self, name)
            if task.done():
                setattr(self, name, None)
                if not task.cancelled():
                    task.exception()
        await super().__aexit__(*args)


def _lease_type(folder: Path) -> type[Any]:
    """pyroute2's lease, kept in that folder."""

    class FileLease(DhcpLease):  # type: ignore[misc]
        def dump(self) -> None:
            save_lease(folder, self.interface, asdict(self))

        @classmethod
        def load(cls, interface: str) -> Any:
            kept = load_lease(folder, interface)
            return cls(**kept) if kept is not None else None

    return FileLease


def save_lease(folder: Path, link: str, lease: dict[str, Any]) -> None:
    """Keep a lease for the next start; only if the address or the server is another, to spare the card."""
    kept = load_lease(folder, link)
    if kept is not None and _key(kept) == _key(lease):
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{link}.lease.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(lease, default=str), encoding="utf-8")
    os.replace(fresh, path)


def _key(lease: dict[str, Any]) -> tuple[object, ...]:
    return lease["ack"].get("yiaddr"), lease["ack"].get("siaddr"), lease["server_mac"]


def load_lease(folder: Path, link: str) -> dict[str, Any] | None:
    """The lease of the last time, None where there is none that can be used."""
    try:
        text = (folder / f"{link}.lease.json").read_text(encoding="utf-8")
        kept = json.loads(text) if len(text) <= MAX_LEASE_FILE else None
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or set(kept) != {"ack", "interface", "server_mac", "obtained"}:
        return None
    if not isinstance(kept["ack"], dict) or kept["interface"] != link or lease_of(kept["ack"]) is None:
        return None
    return kept


def retries(is_renewing: Callable[[], bool]) -> Iterator[float]:
    """Seconds between one try and the next, for ever: doubling up to a minute; slower while the lease still holds."""
    pause = FIRST_RETRY_S
    while True:
        yield max(pause, RENEW_RETRY_S) if is_renewing() else pause
        pause = min(pause * 2, LONGEST_RETRY_S)


class DhcpWorker:
    """The DHCP client of one link. `learned` is called with each new lease, and with None when it is lost."""

    def __init__(self, spec: DhcpClient, folder: Path, learned: Learned) -> None:
        self.name = f"DHCP on {spec.link}"
        self.spec = spec
        self.is_settled = False
        """Whether there was an answer, or patience ran out for the first time."""
        self._folder = folder
        self._learned = learned
        self._carrier = asyncio.Event()
        self._carrier_changes: int | None = None
        self._again = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self._report: Report | None = None
        self._notes: tuple[Note, ...] = ()

    def carrier(self, there: bool, changes: int) -> None:
        """How the cable is, and how often that has changed: out and in again at once may be another network."""
        if changes != self._carrier_changes and self._carrier_changes is not None:
            self._again.set()
        self._carrier_changes = changes
        if there:
            self._carrier.set()
        else:
            self._carrier.clear()

    def renew(self) -> None:
        """Ask anew, at once."""
        self._again.set()

    async def run(self, report: Report) -> None:
        """Ask for ever while there is a carrier."""
        self._report = report
        patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._settle)
        try:
            while True:
                await self._carrier.wait()
                self._again.clear()
                await self._while_carrier()
        finally:
            patience.cancel()
            if self._expiry is not None:
                self._expiry.cancel()

    async def _while_carrier(self) -> None:
        @hook(Trigger.BOUND, Trigger.RENEWED, Trigger.REBOUND)  # type: ignore[untyped-decorator]
        async def bound(lease: Any) -> None:
            self._take(lease.ack)

        @hook(Trigger.UNBOUND, Trigger.EXPIRED)  # type: ignore[untyped-decorator]
        async def lost(lease: Any) -> None:
            self._lose()

        config = ClientConfig(
            interface=self.spec.link,
            lease_type=_lease_type(self._folder),
            hooks=[bound, lost],
            requested_parameters=[getattr(dhcp.Option, name) for name in _ASK],
            retransmission=lambda: retries(lambda: client.state in {fsm.State.RENEWING, fsm.State.REBINDING}),
            timeouts={fsm.State.REBOOTING: 6, fsm.State.REQUESTING: 30, fsm.State.SELECTING: 900},
            handle_signals=False,
            release=False,
            host_name=self.spec.hostname or None,
            vendor_id="palomar",
        )
        client = _Client(config, self._conflict)
        async with client:
            await client.bootstrap()
            failure = asyncio.ensure_future(client.failure())
            again = asyncio.ensure_future(self._again.wait())
            try:
                await asyncio.wait({failure, again}, return_when=asyncio.FIRST_COMPLETED)
                if failure.done():
                    failure.result()
            finally:
                failure.cancel()
                again.cancel()

    def _take(self, ack: Any) -> None:
        found = lease_of(ack)
        if found is None:
            return
        seconds = lease_seconds(ack)
        if self._expiry is not None:
            self._expiry.cancel()
        # Ours, for the lease ends too while the cable is out and no client runs.
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(seconds, self._lose) if seconds is not None else None
        self._notes = ()
        self._settle()
        self._learned(self.spec.link, found)

    def _lose(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        log.info("%s: the lease is lost", self.name)
        self._learned(self.spec.link, None)

    def _settle(self) -> None:
        """There was an answer, or patience ran out; who waits for the network is told either way."""
        self.is_settled = True
        self._tell()

    def _tell(self) -> None:
        if self._report is not None:
            self._report(self._notes)

    def _conflict(self, address: str, owner: str) -> None:
        text = f"The address {address} that the DHCP server gave is used by {owner} too; another one is asked for."
        log.warning("%s: %s", self.name, text)
        self._notes = (Note(source=self.name, level="warning", text=text),)
        self._tell()
