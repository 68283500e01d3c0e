"""Where DNS answers come from: name servers, or a static zone file. dnspython is loaded only when one is needed."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from appliance.errors import ApplianceError, ConfigError, Problem

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.name
    import dns.resolver
    import dns.zone

MAX_PARALLEL = 50  # questions on the wire at a time; each holds a socket
MAX_CHAIN = 8  # CNAMEs followed in the static zone
EDNS_PAYLOAD = 1232  # fits every path without fragments
RESOLV_CONF = Path("/etc/resolv.conf")
STATIC_TTL = 300
RD_AD = 0x0120  # recursion is desired, and a word on authenticity is understood (RFC 6840 section 5.7)
AD = 0x0020

Dnssec = Literal["loopback", "trusted", "off"]
"""Whose AD bit counts: that of servers on this machine alone, that of all servers, or nobody's."""


class DnsError(ApplianceError):
    """A name could not be looked up."""


class NoSuchDomainError(DnsError):
    """The name does not exist (NXDOMAIN): permanent."""

    def __init__(self, text: str, *, ttl: float = 0) -> None:
        super().__init__(text)
        self.ttl = ttl  # seconds for which that is known


class TemporaryDnsError(DnsError):
    """No answer now (time-out, SERVFAIL, no server): try again later."""


class NullMxError(DnsError):
    """The domain says that it takes no mail (RFC 7505): permanent, 556 5.1.10."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Records of one type, empty where the name exists without them; and for how many seconds that holds.

    By type: A, AAAA, PTR, CNAME, NS: text; MX: (preference, name); TXT: bytes; all others: their presentation form.
    Names are lower case without the final dot; the root is ".".
    """

    records: tuple[Any, ...]
    ttl: float
    authentic: bool = False  # proven by DNSSEC, CNAMEs included, says a server that we believe (RFC 4035 section 3.2.3)
    canonical: str = ""  # the name that CNAMEs led to; empty where there was none


class Source(Protocol):
    """Answers one question."""

    validates: bool  # whether its answers can be `authentic` at all

    async def ask(self, name: str, rdtype: str) -> Answer:
        """Look up records, following CNAMEs. Raises NoSuchDomainError, TemporaryDnsError."""


class Servers:
    """Asks name servers: those given as "address" or "address:port", else the system's.

    `timeout` is in seconds for one question with all its retries. `validates` says whether the servers' word on
    DNSSEC is taken: the way from a server elsewhere is no better protected than the way of the mail.
    """

    def __init__(self, servers: Sequence[str], timeout: float, dnssec: Dnssec = "loopback") -> None:
        self._servers = servers
        self._timeout = timeout
        self._dnssec = dnssec
        self.validates = dnssec == "trusted" or (dnssec == "loopback" and _all_loopback(servers))
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._system_at = 0.0
        self._turns = asyncio.Semaphore(MAX_PARALLEL)

    async def ask(self, name: str, rdtype: str) -> Answer:
        """Ask on the wire: UDP, then TCP for what is truncated."""
        import dns.exception  # 7 MiB that a machine with a smart host never needs
        import dns.resolver

        if rdtype == "TLSA":
            _read_any_tlsa()
        try:
            async with self._turns:
                answer = await self._current().resolve(
                    name.rstrip(".") + ".", rdtype, search=False, raise_on_no_answer=False, lifetime=self._timeout
                )
        except dns.resolver.NXDOMAIN as error:
            raise NoSuchDomainError(f"{name} does not exist", ttl=_negative_ttl(error)) from error
        except dns.exception.DNSException as error:
            raise TemporaryDnsError(f"{name} {rdtype}: {_first_line(error)}") from error
        except OSError as error:
            raise TemporaryDnsError(f"{name} {rdtype}: {error.strerror or error}") from error
        ttl = answer.chaining_result.minimum_ttl
        authentic = self.validates and bool(answer.response.flags & AD)
        final = _name(answer.canonical_name)
        canonical = final if final != name.lower().rstrip(".") else ""
        return Answer(tuple(_values(rdtype, answer.rrset or ())), ttl, authentic, canonical)

    def _current(self) -> dns.asyncresolver.Resolver:
        """The resolver; made anew when the system's servers have changed (DHCP)."""
        import dns.asyncresolver
        import dns.nameserver

        changed_at = 0.0 if self._servers else _modified_at(RESOLV_CONF)
        if self._resolver is None or changed_at != self._system_at:
            resolver = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(host, port) for host, port in map(split_server, self._servers)
                ]
            elif self._dnssec == "loopback":
                self.validates = _all_loopback([str(server) for server in resolver.nameservers])
            resolver.use_edns(0, 0, EDNS_PAYLOAD)
            resolver.set_flags(RD_AD)
            resolver.timeout = max(1.0, self._timeout / 3)
            self._resolver, self._system_at = resolver, changed_at
        return self._resolver


class ZoneFile:
    """Answers from one file in master format (RFC 1035 section 5) and nothing else: for tests and closed networks.

    The origin is the root, so that one file can hold many domains; a missing TTL is STATIC_TTL seconds. Wildcards
    work as in RFC 4592. A CNAME that leads nowhere good (a loop) is a temporary failure. Nothing in it is authentic.
    """

    validates = False

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError."""
        import dns.exception
        import dns.zone

        _read_any_tlsa()
        try:
            text = f"$TTL {STATIC_TTL}\n" + path.read_text(encoding="utf-8")
            zone = dns.zone.from_text(text, ".", relativize=False, check_origin=False)
        except (OSError, UnicodeDecodeError) as error:
            words = getattr(error, "strerror", None) or error
            raise _zone_problem(f"cannot read {path}: {words}.", "Name a file that palomar may read.") from error
        except (dns.exception.DNSException, ValueError) as error:
            remedy = "It must be in the master format of RFC 1035 section 5."
            raise _zone_problem(f"{path} is no zone file: {_first_line(error)}.", remedy) from error
        self._zone = zone
        self._names = {name.to_text().lower() for name in zone}
        self._inner = {_parent(name, n) for name in self._names for n in range(1, name.count("."))}

    async def ask(self, name: str, rdtype: str) -> Answer:
        """Look it up in the file."""
        current = name.lower().rstrip(".") + "."
        for _ in range(MAX_CHAIN):
            owner = self._owner(current)
            if owner is None:
                if current in self._inner:
                    return Answer((), STATIC_TTL)
                raise NoSuchDomainError(f"{name} does not exist", ttl=STATIC_TTL)
            canonical = current.rstrip(".") if current != name.lower().rstrip(".") + "." else ""
            records = self._zone.get_rdataset(owner, rdtype)
            if records is not None:
                return Answer(tuple(_values(rdtype, records)), records.ttl, canonical=canonical)
            alias = self._zone.get_rdataset(owner, "CNAME")
            if alias is None:
                return Answer((), STATIC_TTL, canonical=canonical)
            current = alias[0].target.to_text().lower()
        raise TemporaryDnsError(f"{name}: too many CNAMEs")

    def _owner(self, name: str) -> str | None:
        """The name itself, or the wildcard that stands for it: the one below its closest encloser."""
        if name in self._names:
            return name
        if name in self._inner:
            return None
        for count in range(1, name.count(".") + 1):
            parent = _parent(name, count)
            if parent in self._names or parent in self._inner:
                wildcard = f"*.{parent}" if parent != "." else "*."
                return wildcard if wildcard in self._names else None
        return None


def split_server(text: str) -> tuple[str, int]:
    """Split "192.0.2.1", "192.0.2.1:53", "2001:db8::1" or "[2001:db8::1]:53"."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.lstrip(":") or 53)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, int(port)
    return text, 53


def _read_any_tlsa() -> None:
    """Let dnspython read TLSA records whose hash has the wrong length: it would refuse the whole answer.

    One such record among good ones must not hold mail back: it is to be passed over (RFC 7671 section 4.1).
    """
    from dns.rdtypes.tlsabase import TLSABase

    getattr(TLSABase, "_cert_length_by_mtype", {}).clear()


def _all_loopback(servers: Sequence[str]) -> bool:
    """Whether every server is on this machine; False without any."""
    hosts = [split_server(server)[0] for server in servers]
    return bool(hosts) and all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host in hosts)


def _values(rdtype: str, records: Any) -> Iterator[Any]:
    for record in records:
        if rdtype in ("A", "AAAA"):
            yield record.address
        elif rdtype == "MX":
            yield record.preference, _name(record.exchange)
        elif rdtype == "TXT":
            yield b"".join(record.strings)
        elif rdtype in ("PTR", "CNAME", "NS"):
            yield _name(record.target)
        else:
            yield record.to_text()


def _name(name: dns.name.Name) -> str:
    return name.to_text().lower().rstrip(".") or "."


def _parent(name: str, count: int) -> str:
    """`name` (with its final dot) without its first `count` labels."""
    return name.split(".", count)[count] or "."


def _negative_ttl(error: dns.resolver.NXDOMAIN) -> float:
    """The TTL that the zone's SOA gives to "does not exist" (RFC 2308 section 5)."""
    try:
        responses = error.kwargs["responses"].values()
        return float(min(response.resolve_chaining().minimum_ttl for response in responses))
    except (KeyError, ValueError, TypeError):
        return 0.0


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _modified_at(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _zone_problem(text: str, remedy: str) -> ConfigError:
    return ConfigError([Problem("dns.zone_file", text, remedy)])
