"""Whether each uplink leads anywhere, where there are several: its router must answer, and one of the probes if set.

An uplink fails after some misses in a row and is back after as many hits, so that one lost packet moves nothing. The
plan then raises the metric of its routes; the judgement itself is pure.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from hw.arp import REQUEST, Arp, ArpSocket, encode, parse
from hw.kernel import Present
from hw.part import Report
from hw.wanted import DEFAULT_V4, DEFAULT_V6, MAIN_TABLE, Plan

log = logging.getLogger(__name__)

PERIOD_S = 5.0
ASKS, ASK_AGAIN_S = 6, 0.3
"""How often a round asks, and how long it waits each time: a line that loses three packets of ten still answers."""
MISSES = 3
"""Rounds in a row without an answer after which an uplink counts as failed."""
HITS = 3
"""Rounds in a row with an answer after which it counts as alive again."""
_MAX_PACKETS = 200
_SO_BINDTODEVICE = 25
_ECHO_V4, _ECHO_V6 = (8, 0), (128, 129)  # type of request and reply: RFC 792, RFC 4443 section 4.1


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of one uplink, and how many answers in a row speak against it."""

    failed: bool = False
    against: int = 0

    def seen(self, answered: bool) -> Judgement:
        """The judgement after one more round."""
        if answered != self.failed:
            return Judgement(self.failed)
        against = self.against + 1
        if against >= (HITS if self.failed else MISSES):
            return Judgement(not self.failed)
        return Judgement(self.failed, against)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What to ask on one uplink: its routers, our addresses there, and the probes beyond."""

    link: str
    address: str = ""
    gateway: str = ""
    gateway6: str = ""
    probes: tuple[str, ...] = ()


Check = Callable[[Target], Awaitable[str]]


def targets_of(plan: Plan, present: Present) -> list[Target]:
    """The uplinks with a carrier and a router; none where there is only one, since nothing could be done about it."""
    carriers = {link.nic.name: link.nic.carrier for link in present.links}
    found = []
    for uplink in plan.uplinks:
        gateways = {
            one.route.destination: one.route.gateway
            for one in present.routes
            if one.route.link == uplink.link and one.route.table == MAIN_TABLE and one.route.gateway
        }
        own = [one.address.partition("/")[0] for one in plan.addresses if one.link == uplink.link]
        gateway, gateway6 = gateways.get(DEFAULT_V4, ""), gateways.get(DEFAULT_V6, "")
        if carriers.get(uplink.link, False) and (gateway or gateway6):
            address = next((text for text in own if ":" not in text), "")
            found.append(
                Target(link=uplink.link, address=address, gateway=gateway, gateway6=gateway6, probes=plan.probes)
            )
    return found if len(found) > 1 else []


class Failover:
    """The part "failover". `tell` is called with the uplinks that fail; `reasons` has why, in words."""

    name = "failover"

    def __init__(
        self,
        tell: Callable[[frozenset[str]], None],
        *,
        check: Check | None = None,
        period_s: float = PERIOD_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tell = tell
        self._check = check or unanswered
        self._period_s = period_s
        self._sleep = sleep
        self._targets: list[Target] = []
        self._judgements: dict[str, Judgement] = {}
        self.reasons: dict[str, str] = {}

    def follow(self, plan: Plan, present: Present) -> None:
        """Take another plan over."""
        self._targets = targets_of(plan, present)

    async def run(self, report: Report) -> None:
        """Ask every few seconds until cancelled."""
        while True:
            await self._sleep(self._period_s)
            await self.look()

    async def look(self) -> None:
        """One round over all uplinks."""
        targets = self._targets
        answers = await asyncio.gather(*(self._check(target) for target in targets))
        self.take({target.link: reason for target, reason in zip(targets, answers, strict=True)})

    def take(self, reasons: Mapping[str, str]) -> None:
        """Judge by what each uplink's check said: "" for an answer, else why there was none."""
        before = {link for link, one in self._judgements.items() if one.failed}
        self._judgements = {
            link: self._judgements.get(link, Judgement()).seen(not reason) for link, reason in reasons.items()
        }
        failed = frozenset(link for link, one in self._judgements.items() if one.failed)
        self.reasons = {link: reasons[link] or self.reasons.get(link, "") for link in failed}
        for link in failed - before:
            log.warning("the uplink %s leads nowhere: %s", link, self.reasons[link])
        for link in before - failed:
            log.info("the uplink %s is back", link)
        self._tell(failed)


async def unanswered(target: Target) -> str:
    """Ask the router and the probes; "" if they answer, else why not, in words."""
    try:
        answers = []
        if target.gateway and target.address:
            answers.append(await resolves(target.link, target.gateway, target.address))
        if target.gateway6:
            answers.append(await ping(target.link, target.gateway6))
        if answers and not any(answers):
            return f"its router {target.gateway or target.gateway6} does not answer"
        if target.probes and not any(await asyncio.gather(*(ping(target.link, one) for one in target.probes))):
            return f"none of the probes {', '.join(target.probes)} answers"
    except OSError as error:
        return f"nothing can be sent: {error.strerror}"
    return ""


async def resolves(link: str, gateway: str, address: str) -> bool:
    """Whether a router answers by ARP, which it does even where it hears no pings."""
    with ArpSocket(link) as arp:
        request = encode(Arp(REQUEST, arp.mac, address, bytes(6), gateway))

        def is_answer(frame: bytes) -> bool:
            found = parse(frame)
            return found is not None and found.sender == gateway and found.sender_mac != arp.mac

        return await answered(arp.socket, lambda: arp.socket.send(request), is_answer)


async def ping(link: str, address: str) -> bool:
    """Whether a host answers an ICMP echo request sent by that link."""
    six = ipaddress.ip_address(address).version == 6
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    request, reply = _ECHO_V6 if six else _ECHO_V4
    token = os.urandom(8)
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol) as raw:
        raw.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, link.encode() + b"\0")
        host = (address, 0, 0, socket.if_nametoindex(link)) if six else (address, 0)
        return await answered(
            raw,
            lambda: raw.sendto(echo(request, token), host),
            lambda packet: is_reply(packet, reply, token, with_header=not six),
        )


async def answered(raw: socket.socket, ask: Callable[[], object], is_answer: Callable[[bytes], bool]) -> bool:
    """Ask ASKS times at most, until something that arrives at the socket is the answer. Raises OSError."""
    loop = asyncio.get_running_loop()
    for _ in range(ASKS):
        ask()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_AGAIN_S):
                for _ in range(_MAX_PACKETS):
                    if is_answer(await loop.sock_recv(raw, 2048)):
                        return True
    return False


def echo(kind: int, token: bytes) -> bytes:
    """An echo request that carries the token. The kernel fills in the checksum of ICMPv6."""
    body = struct.pack("!BBHHH", kind, 0, 0, int.from_bytes(token[:2], "big"), 1) + token
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return b"".join((body[:2], checksum.to_bytes(2, "big"), body[4:]))


def is_reply(packet: bytes, kind: int, token: bytes, *, with_header: bool) -> bool:
    """Whether a packet is the reply to our request; an IPv4 raw socket gives the IP header too."""
    start = (packet[0] & 0x0F) * 4 if with_header and packet else 0
    body = packet[start:]
    return len(body) >= 16 and body[0] == kind and body[8:16] == token
