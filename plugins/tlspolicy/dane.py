"""DANE for one exchanger: whether its name and addresses are signed, its TLSA records, and why DANE is used or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from appliance.dns import Answer, MxHost, NoSuchDomainError, TemporaryDnsError
from appliance.errors import ApplianceError
from plugins.tlspolicy.tlsa import Tlsa, prove, read_records

if TYPE_CHECKING:
    from appliance.dns import Resolver
    from appliance.smtpclient import CertificateCheck

_ADDRESS_TYPES = ("A", "AAAA")


class DaneUnknownError(ApplianceError):
    """Whether there are TLSA records cannot be known now: to go on without them is what an attacker would like."""


@dataclass(frozen=True, slots=True)
class Dane:
    """What DANE asks of one exchanger. `base` is the name its records stand under, for SNI and the certificate."""

    state: Literal["none", "encrypt", "authenticate"]
    why: str  # for the trace
    base: str = ""
    records: tuple[Tlsa, ...] = ()

    def check(self, domain: str, now: Callable[[], float]) -> CertificateCheck:
        """What proves the host: names are those of RFC 7672 section 3.2.2."""
        names = tuple(dict.fromkeys((self.base, domain)))

        def check(chain: Sequence[bytes]) -> None:
            prove(self.records, chain, names, now())

        return check


async def look_up(resolver: Resolver, host: MxHost, port: int) -> Dane:
    """Find out about one exchanger (RFC 7672 section 2.2). Raises DaneUnknownError."""
    if not resolver.validates:
        return Dane("none", "no DANE: no validating resolver is believed here")
    if not host.authentic:
        return Dane("none", "no DANE: the domain's exchangers are not signed")
    candidates = await _bases(resolver, host.name)
    if not candidates:
        return Dane("none", f"no DANE: the addresses of {host.name} are not signed")
    for base in candidates:
        answer = await _records(resolver, f"_{port}._tcp.{base}")
        if answer is None or not answer.authentic or not answer.records:
            continue
        records, unusable = read_records(answer.records)
        if not records:
            return Dane(
                "encrypt", f"DANE: none of {unusable} TLSA records of {base} can be used, so any certificate", base
            )
        return Dane("authenticate", f"DANE: {_words(len(records))} of {base}", base, tuple(records))
    return Dane("none", f"no DANE: {host.name} has no TLSA records")


def _words(count: int) -> str:
    return "a TLSA record" if count == 1 else f"{count} TLSA records"


async def _bases(resolver: Resolver, name: str) -> list[str]:
    """The names under which TLSA records may stand: what CNAMEs lead to first, then the name itself.

    Empty where the addresses are not signed, by which an attacker could lead us anywhere.
    """
    found = await asyncio.gather(*(_records(resolver, name, kind) for kind in _ADDRESS_TYPES))
    answers = [answer for answer in found if answer is not None]
    host = name.rstrip(".").lower()
    if answers and all(answer.authentic for answer in answers):
        final = next((answer.canonical for answer in answers if answer.canonical), host)
        return list(dict.fromkeys((final, host)))
    if any(answer.canonical for answer in answers):
        # The CNAME leads out of what is signed, but may be signed itself (section 2.2.3).
        alias = await _records(resolver, name, "CNAME")
        if alias is not None and alias.authentic and alias.records:
            return [host]
    return []


async def _records(resolver: Resolver, name: str, kind: str = "TLSA") -> Answer | None:
    """One look-up; None for a name that is not there. Raises DaneUnknownError."""
    try:
        return await resolver.look_up(name, kind)
    except NoSuchDomainError:
        return None
    except TemporaryDnsError as error:
        if kind in _ADDRESS_TYPES:
            return None  # the one family that answers decides; without any there is nowhere to connect
        raise DaneUnknownError(f"TLSA records: {error}") from error
