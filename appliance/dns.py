"""Name look-ups for mail: MX, addresses, TXT, PTR, with a bounded cache. Settings: [dns].

Equal questions at the same time become one. Names may be given in Unicode; they are asked as A-labels.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import setting, within
from appliance.dnssource import (
    Answer,
    DnsError,
    Dnssec,
    NoSuchDomainError,
    NullMxError,
    Servers,
    Source,
    TemporaryDnsError,
    ZoneFile,
    split_server,
)
from appliance.errors import AddressError, Problem
from appliance.mail.idna import to_ascii

__all__ = [
    "Answer",
    "DnsConfig",
    "DnsError",
    "MxHost",
    "NoSuchDomainError",
    "NullMxError",
    "Resolver",
    "TemporaryDnsError",
]

log = logging.getLogger(__name__)

MIN_TTL_S = 5.0  # a TTL of 0 must not mean a query per recipient
MAX_TTL_S = 86400.0
MAX_NEGATIVE_TTL_S = 900.0
FAILURE_TTL_S = 15.0  # RFC 2308 section 7 allows up to five minutes

Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsConfig:
    """[dns]"""

    servers: tuple[str, ...] = setting(
        (), "Name servers, as addresses with an optional port; empty takes those of /etc/resolv.conf."
    )
    timeout: float = setting(10.0, "Seconds for one question with all its retries.")
    dnssec: Dnssec = setting(
        "loopback",
        "Whose word that an answer is proven by DNSSEC is believed: that of validating servers on this machine"
        " (loopback), of all servers because the way to them is safe (trusted), or nobody's (off). DANE needs it.",
    )
    cache_size: int = setting(10_000, "Answers remembered; the least used go first.")
    zone_file: Path | None = setting(
        None, "Answer from this zone file alone, asking nobody. For tests and for networks without DNS."
    )

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and servers without an address."""
        yield from within(self, 0.1, 60, "timeout", unit="s")
        yield from within(self, 100, 1_000_000, "cache_size")
        for server in self.servers:
            try:
                host, port = split_server(server)
                ipaddress.ip_address(host)
                good = 0 < port < 65536
            except ValueError:
                good = False
            if not good:
                remedy = 'Write it like "192.0.2.1", "192.0.2.1:5353" or "[2001:db8::1]:53"; names are not looked up.'
                yield Problem("servers", f"{server!r} is no address of a server.", remedy)


class MxHost(msgspec.Struct, frozen=True):
    """One mail exchanger. `implicit`: the domain has none and its own address is used (RFC 5321 section 5.1)."""

    preference: int
    name: str
    implicit: bool = False
    authentic: bool = False  # DNSSEC proves that it is one of the domain's, or that the domain has none


class Resolver:
    """Looks names up. `source` replaces servers and zone file, `clock` gives growing seconds: for tests."""

    def __init__(
        self, config: DnsConfig, *, source: Source | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ConfigError when the zone file cannot be used."""
        self._size = config.cache_size
        self._clock = clock
        self._source = source or _source(config)
        self._cache: OrderedDict[Key, tuple[float, Answer | DnsError]] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[Answer]] = {}

    def reload(self, config: DnsConfig) -> None:
        """Take over changed settings and forget everything. Raises ConfigError and keeps what was, if it must."""
        self._source = _source(config)
        self._size = config.cache_size
        self._cache.clear()

    @property
    def validates(self) -> bool:
        """Whether answers can be proven by DNSSEC here: there is a validating resolver whose word counts."""
        return self._source.validates

    async def mx(self, domain: str) -> list[MxHost]:
        """The domain's mail exchangers by preference; those of equal preference in the order of the answer.

        Without MX records it is the domain itself (`implicit`), if it exists. Raises NoSuchDomainError, NullMxError,
        TemporaryDnsError.
        """
        answer = await self.look_up(domain, "MX")
        if not answer.records:
            return [MxHost(0, _ascii(domain), implicit=True, authentic=answer.authentic)]
        proven = answer.authentic
        hosts = [MxHost(preference, name, authentic=proven) for preference, name in answer.records if name != "."]
        if not hosts:
            raise NullMxError(f"{domain} accepts no mail (null MX)")
        return sorted(hosts, key=lambda host: host.preference)

    async def addresses(self, name: str, families: Sequence[int] = (socket.AF_INET6, socket.AF_INET)) -> list[str]:
        """The addresses of a host, in the order of `families`; a literal is its own. Empty if it has none.

        One family's failure is raised only if the other has nothing. Raises NoSuchDomainError, TemporaryDnsError.
        """
        if literal := _literal(name):
            return [literal]
        kinds = ["AAAA" if family == socket.AF_INET6 else "A" for family in families]
        found = await asyncio.gather(*(self.look_up(name, kind) for kind in kinds), return_exceptions=True)
        addresses = [address for answer in found if isinstance(answer, Answer) for address in answer.records]
        if not addresses:
            for answer in found:
                if isinstance(answer, BaseException):
                    raise answer
        return addresses

    async def txt(self, name: str) -> list[bytes]:
        """The TXT records, each with its strings joined; empty if the name has none. Raises as `look_up`."""
        return list((await self.look_up(name, "TXT")).records)

    async def ptr(self, ip: str) -> list[str]:
        """The names of an address, unchecked: whoever trusts one must look it up the other way too."""
        name = ipaddress.ip_address(ip.partition("%")[0]).reverse_pointer
        return list((await self.look_up(name, "PTR")).records)

    async def look_up(self, name: str, rdtype: str) -> Answer:
        """Ask for any record type, by cache. Raises NoSuchDomainError, TemporaryDnsError."""
        key = (_ascii(name), rdtype)
        kept = self._cache.get(key)
        if kept is not None and kept[0] > self._clock():
            self._cache.move_to_end(key)
            return _answer(kept[1])
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.get_running_loop().create_task(self._ask(key))
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)  # one who gives up must not take the answer from the others

    async def _ask(self, key: Key) -> Answer:
        kept: Answer | DnsError
        try:
            kept = await self._source.ask(*key)
        except NoSuchDomainError as error:
            # A copy: the error itself holds on to frames and to the whole response.
            kept, ttl = NoSuchDomainError(str(error)), min(max(error.ttl, MIN_TTL_S), MAX_NEGATIVE_TTL_S)
        except TemporaryDnsError as error:
            kept, ttl = TemporaryDnsError(str(error)), FAILURE_TTL_S
            log.debug("dns: %s", error)
        else:
            ttl = min(max(kept.ttl, MIN_TTL_S), MAX_TTL_S if kept.records else MAX_NEGATIVE_TTL_S)
        self._cache[key] = (self._clock() + ttl, kept)
        self._cache.move_to_end(key)
        while len(self._cache) > self._size:
            self._cache.popitem(last=False)
        return _answer(kept)

    def _asked(self, key: Key, task: asyncio.Task[Any]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # known to those who wait; if all gave up, it is nobody's


def _answer(kept: Answer | DnsError) -> Answer:
    if isinstance(kept, DnsError):
        raise type(kept)(str(kept))
    return kept


def _source(config: DnsConfig) -> Source:
    if config.zone_file is not None:
        return ZoneFile(config.zone_file)
    return Servers(config.servers, config.timeout, config.dnssec)


def _ascii(name: str) -> str:
    try:
        return to_ascii(name.rstrip(".").lower()) or "."
    except AddressError as error:
        raise NoSuchDomainError(f"{name}: {error}") from error


def _literal(name: str) -> str | None:
    """The address in "192.0.2.1", "[192.0.2.1]" or "[IPv6:2001:db8::1]", else None."""
    text = name.strip("[]").removeprefix("IPv6:")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
