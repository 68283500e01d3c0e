"""Whether somebody has an IPv4 address already: ARP probes and announcements (RFC 5227), on a packet socket.

The codec is pure; what arrives was written by anybody on the link, and whatever is no ARP packet is passed over.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

ETH_P_ARP = 0x0806
REQUEST, REPLY = 1, 2
NOBODY = "0.0.0.0"
_BROADCAST = b"\xff" * 6
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
MAX_PACKETS = 1000
"""Packets looked at during one probe; a flood of them must not keep the probe from ending."""


@dataclass(frozen=True, slots=True)
class Arp:
    """One ARP packet for IPv4 on Ethernet (RFC 826)."""

    operation: int
    sender_mac: bytes
    sender: str
    target_mac: bytes
    target: str


def encode(arp: Arp) -> bytes:
    """The frame to broadcast."""
    body = _ARP.pack(
        1,
        0x0800,
        6,
        4,
        arp.operation,
        arp.sender_mac,
        socket.inet_aton(arp.sender),
        arp.target_mac,
        socket.inet_aton(arp.target),
    )
    return _ETHERNET.pack(_BROADCAST, arp.sender_mac, ETH_P_ARP) + body


def parse(frame: bytes) -> Arp | None:
    """The packet in a frame, None if it holds none for IPv4 on Ethernet."""
    if len(frame) < _ETHERNET.size + _ARP.size or _ETHERNET.unpack_from(frame)[2] != ETH_P_ARP:
        return None
    hardware, protocol, mac_size, ip_size, operation, smac, sender, tmac, target = _ARP.unpack_from(
        frame, _ETHERNET.size
    )
    if (hardware, protocol, mac_size, ip_size) != (1, 0x0800, 6, 4) or operation not in {REQUEST, REPLY}:
        return None
    return Arp(operation, smac, socket.inet_ntoa(sender), tmac, socket.inet_ntoa(target))


def conflicts(arp: Arp, address: str, own_mac: bytes) -> bool:
    """Whether this packet shows that somebody else has the address or is about to take it (RFC 5227 section 2.1.1)."""
    if arp.sender_mac == own_mac:
        return False
    probed = arp.operation == REQUEST and arp.sender == NOBODY and arp.target == address
    return arp.sender == address or probed


def mac_text(mac: bytes) -> str:
    """A MAC address for people."""
    return ":".join(f"{octet:02x}" for octet in mac)


class ArpSocket:
    """ARP on one link; use as a context manager. Raises OSError where the link is gone or CAP_NET_RAW is missing."""

    def __init__(self, link: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ARP))
        try:
            self._socket.bind((link, ETH_P_ARP))
        except OSError:
            self._socket.close()
            raise
        self.mac: bytes = self._socket.getsockname()[4]

    def __enter__(self) -> ArpSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def probe(self, address: str) -> None:
        """Ask for an address without claiming it: the sender's is all zeros (RFC 5227 section 2.1.1)."""
        self._send(Arp(REQUEST, self.mac, NOBODY, bytes(6), address))

    def announce(self, address: str) -> None:
        """Tell that the address is ours (RFC 5227 section 2.3)."""
        self._send(Arp(REQUEST, self.mac, address, bytes(6), address))

    @property
    def socket(self) -> socket.socket:
        """The packet socket itself, for what is no conflict."""
        return self._socket

    async def conflict(self, address: str) -> bytes:
        """Wait until somebody shows that the address is theirs, and return their MAC address."""
        loop = asyncio.get_running_loop()
        for _ in range(MAX_PACKETS):
            arp = parse(await loop.sock_recv(self._socket, 128))
            if arp is not None and conflicts(arp, address, self.mac):
                return arp.sender_mac
        return b""

    def _send(self, arp: Arp) -> None:
        self._socket.send(encode(arp))


async def taken_by(
    link: str,
    address: str,
    *,
    probes: int = 3,
    interval_s: float = 0.2,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> str:
    """Probe an address; the MAC address of whoever has it, or "" if nobody answered. Announces it in that case.

    RFC 5227 section 2.1.1 waits 5 to 7 s; a DHCP server has usually asked before it offers (RFC 2131 section 3.1),
    so for its leases a shorter wait does, which a board's way up has time for.
    """
    with ArpSocket(link) as arp:
        watch = asyncio.ensure_future(arp.conflict(address))
        try:
            for _ in range(probes):
                arp.probe(address)
                pause = asyncio.ensure_future(sleep(interval_s))
                await asyncio.wait({watch, pause}, return_when=asyncio.FIRST_COMPLETED)
                pause.cancel()
                if watch.done():
                    return mac_text(watch.result())
            arp.announce(address)
            return ""
        finally:
            watch.cancel()
