"""check_host(): evaluates a domain's policy for one peer (RFC 7208 section 4), with its limits on DNS."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from appliance.dns import Answer, DnsError, NoSuchDomainError, TemporaryDnsError
from appliance.errors import ApplianceError
from plugins.spam.spf.protocol_macros import Ip, dotted, expand, expand_domain, uses
from plugins.spam.spf.protocol_record import Directive, Record, RecordError, check_explanation, is_version, parse

Result = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]

MAX_LOOKUPS = 10  # terms that ask DNS, in all records together (section 4.6.4)
MAX_VOID = 2  # of their questions that find nothing
MAX_NAMES = 10  # exchangers of one mx, names of one ptr
MAX_EXPLANATION = 500  # characters of somebody else's text that we repeat

_LABELS = re.compile(r"[^.]{1,63}(?:\.[^.]{1,63})+")
_ADDRESS_TYPE = {4: "A", 6: "AAAA"}


Choose = Callable[[Sequence[bytes]], list[bytes]]


def of_spf(records: Sequence[bytes]) -> list[bytes]:
    """The TXT records that are SPF policies (RFC 7208 section 4.5)."""
    return [text for text in records if is_version(text)]


class Names(Protocol):
    """What is asked of DNS: the core's resolver."""

    async def look_up(self, name: str, rdtype: str) -> Answer:
        """The records; raises NoSuchDomainError, TemporaryDnsError."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says. `mechanism` is the term that matched, `why` a sentence where there was an error."""

    result: Result
    domain: str
    mechanism: str = ""
    why: str = ""
    explanation: str = ""  # the domain owner's words for a fail


class PermError(ApplianceError):
    """The policy cannot be understood, or asks for too much."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose mail is checked: the peer, its HELO name, and the sender as `local@domain`."""

    ip: Ip
    helo: str
    sender: str

    @property
    def sender_domain(self) -> str:
        """The domain behind the sender's last @."""
        return self.sender.rpartition("@")[2]


async def check_host(
    names: Names, asked: Asked, domain: str, *, receiver: str = "unknown", now: float = 0.0, choose: Choose = of_spf
) -> Verdict:
    """Evaluate the policy of `domain`. `now` is epoch seconds, for the macro `t`; never raises for what DNS says.

    `choose` picks the policies among TXT records: Sender-ID has rules of its own (RFC 4406 section 4.4).
    """
    if _LABELS.fullmatch(domain.rstrip(".")) is None or len(domain) > 253 + domain.endswith("."):
        return Verdict("none", domain, why="the domain is none that could have a policy")
    evaluation = Evaluation(names, asked, receiver, now, choose)
    try:
        return await evaluation.check(domain.rstrip("."), explain=True)
    except TemporaryDnsError as error:
        return Verdict("temperror", domain, why=str(error))
    except (PermError, RecordError) as error:
        return Verdict("permerror", domain, why=str(error))


class Evaluation:
    """One evaluation with everything it includes; counts what it asks."""

    def __init__(self, names: Names, asked: Asked, receiver: str, now: float, choose: Choose) -> None:
        self._names = names
        self._asked = asked
        self._receiver = receiver
        self._now = now
        self._choose = choose
        self._lookups = self._void = 0
        self._validated: list[str] | None = None

    async def check(self, domain: str, *, explain: bool) -> Verdict:
        """The policy of one domain. Raises PermError, RecordError, TemporaryDnsError."""
        record = await self._record(domain)
        if record is None:
            return Verdict("none", domain)
        for directive in record.directives:
            if await _MATCHES[directive.mechanism](self, directive, domain):
                explanation = ""
                if explain and directive.qualifier == "fail" and record.explanation:
                    explanation = await self._explanation(record.explanation, domain)
                return Verdict(directive.qualifier, domain, directive.text, explanation=explanation)
        if not record.redirect:
            return Verdict("neutral", domain, why="nothing in the policy matches")
        self._count()
        target = await self._expanded(record.redirect, domain)
        verdict = await self.check(target, explain=explain)
        if verdict.result == "none":
            raise PermError(f"{domain} redirects to {target}, which has no policy")
        return verdict

    async def _record(self, domain: str) -> Record | None:
        """Section 4.4: a domain that does not exist, or has no such record, has no policy."""
        try:
            answer = await self._look_up(domain, "TXT")
        except NoSuchDomainError:
            return None
        found = self._choose(answer.records)
        if len(found) > 1:
            raise PermError(f"{domain} has {len(found)} policies")
        return parse(found[0]) if found else None

    # ── mechanisms (section 5) ────────────────────────────────────────────────────────────────────────────────────

    async def _all(self, directive: Directive, domain: str) -> bool:
        return True

    async def _ip(self, directive: Directive, domain: str) -> bool:
        network = directive.network
        assert network is not None
        return self._asked.ip.version == network.version and self._asked.ip in network

    async def _include(self, directive: Directive, domain: str) -> bool:
        self._count()
        target = await self._expanded(directive.domain, domain)
        result = (await self.check(target, explain=False)).result
        if result == "none":
            raise PermError(f"{domain} includes {target}, which has no policy")
        return result == "pass"

    async def _a(self, directive: Directive, domain: str) -> bool:
        self._count()
        target = await self._expanded(directive.domain, domain)
        return self._within(await self._addresses(target), directive)

    async def _mx(self, directive: Directive, domain: str) -> bool:
        self._count()
        target = await self._expanded(directive.domain, domain)
        hosts = [name for _, name in sorted(await self._asked_for(target, "MX")) if name != "."]
        if len(hosts) > MAX_NAMES:
            raise PermError(f"{target} has more than {MAX_NAMES} mail exchangers")
        for host in hosts:
            if self._within(await self._addresses(host, counted=False), directive):
                return True
        return False

    async def _ptr(self, directive: Directive, domain: str) -> bool:
        self._count()
        target = (await self._expanded(directive.domain, domain)).lower()
        return any(name == target or name.endswith("." + target) for name in await self._validated_names())

    async def _exists(self, directive: Directive, domain: str) -> bool:
        self._count()
        return bool(await self._asked_for(await self._expanded(directive.domain, domain), "A"))

    # ── DNS ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise PermError(f"the policy needs more than {MAX_LOOKUPS} look-ups")

    async def _look_up(self, name: str, rdtype: str) -> Answer:
        """Ask for a name that can be asked for; any other does not exist."""
        if len(name) > 253 or not all(0 < len(label) <= 63 for label in name.split(".")):
            raise NoSuchDomainError(f"{name} is no name")
        return await self._names.look_up(name, rdtype)

    async def _asked_for(self, name: str, rdtype: str, *, counted: bool = True) -> Sequence[Any]:
        """Records of a mechanism's name; what finds nothing counts as void (section 4.6.4)."""
        try:
            records = (await self._look_up(name, rdtype)).records
        except NoSuchDomainError:
            records = ()
        if not records and counted:
            self._void += 1
            if self._void > MAX_VOID:
                raise PermError(f"more than {MAX_VOID} look-ups of the policy find nothing")
        return records

    async def _addresses(self, name: str, *, counted: bool = True) -> Sequence[str]:
        return await self._asked_for(name, _ADDRESS_TYPE[self._asked.ip.version], counted=counted)

    def _within(self, addresses: Sequence[str], directive: Directive) -> bool:
        ip = self._asked.ip
        prefix = directive.prefix_4 if ip.version == 4 else directive.prefix_6
        return any(ip in ipaddress.ip_network((address, prefix), strict=False) for address in addresses)

    async def _validated_names(self) -> list[str]:
        """The peer's names that lead back to its address (section 5.5); no error of DNS is ours."""
        if self._validated is not None:
            return self._validated
        self._validated = []
        try:
            found = await self._asked_for(self._asked.ip.reverse_pointer, "PTR")
        except TemporaryDnsError:
            return self._validated
        for name in found[:MAX_NAMES]:
            try:
                addresses = await self._addresses(name, counted=False)
            except DnsError:
                continue
            if any(ipaddress.ip_address(address) == self._asked.ip for address in addresses):
                self._validated.append(name.lower())
        return self._validated

    # ── macros ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _expanded(self, text: str, domain: str) -> str:
        if "%" not in text:
            return text.rstrip(".") or domain
        return expand_domain(text, await self._values(text, domain))

    async def _values(self, text: str, domain: str) -> dict[str, str]:
        asked = self._asked
        local, _, sender_domain = asked.sender.rpartition("@")
        values = {
            "s": asked.sender, "l": local, "o": sender_domain, "d": domain, "i": dotted(asked.ip),
            "v": "in-addr" if asked.ip.version == 4 else "ip6", "h": asked.helo,
            "c": str(asked.ip), "r": self._receiver, "t": str(int(self._now)),
        }  # fmt: skip
        if uses(text, "p"):
            values["p"] = _best_name(await self._validated_names(), domain.lower())
        return values

    async def _explanation(self, text: str, domain: str) -> str:
        """The owner's words for a fail (section 6.2); whatever is wrong with them, there are none."""
        try:
            name = await self._expanded(text, domain)
            records = (await self._look_up(name, "TXT")).records
            if len(records) != 1:
                return ""
            words = records[0].decode("ascii")
            check_explanation(words)
            return expand(words, await self._values(words, domain))[:MAX_EXPLANATION]
        except (DnsError, RecordError, UnicodeDecodeError):
            return ""


def _best_name(names: Sequence[str], domain: str) -> str:
    """Section 7.3 on `p`: the domain itself, else a name below it, else any, else "unknown"."""
    below = [name for name in names if name.endswith("." + domain)]
    return domain if domain in names else next(iter([*below, *names]), "unknown")


_MATCHES: dict[str, Callable[[Evaluation, Directive, str], Awaitable[bool]]] = {
    "all": Evaluation._all,
    "include": Evaluation._include,
    "a": Evaluation._a,
    "mx": Evaluation._mx,
    "ptr": Evaluation._ptr,
    "ip4": Evaluation._ip,
    "ip6": Evaluation._ip,
    "exists": Evaluation._exists,
}


def peer_address(text: str) -> Ip:
    """The peer's address; an IPv4-mapped one is IPv4 (section 5, last paragraph)."""
    ip = ipaddress.ip_address(text.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip
