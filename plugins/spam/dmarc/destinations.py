"""Where reports about a domain may go (RFC 7489 section 7.1): elsewhere only with the consent of who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from appliance.dns import NoSuchDomainError
from appliance.errors import AddressError
from appliance.mail.address import Address
from appliance.mail.idna import to_ascii
from plugins.spam.dkim.keys import Names
from plugins.spam.dkim.protocol_tags import TagError, parse_tags
from plugins.spam.dmarc.protocol_policy import ReportUri, is_record, read_uris

MAX_NAME = 253  # octets of a name in DNS


async def destinations(
    names: Names, domain: str, uris: tuple[ReportUri, ...], organization: Callable[[str], str]
) -> list[tuple[Address, int]]:
    """Addresses for reports about the domain of a policy, each with the most octets it takes (0: any number).

    Raises TemporaryDnsError when it cannot be known now.
    """
    found = await asyncio.gather(*(_agreed(names, domain, uri, organization) for uri in uris))
    kept: dict[str, tuple[Address, int]] = {}
    for uri in (uri for some in found for uri in some):
        try:
            address = Address.parse(uri.address)
        except AddressError:
            continue
        kept.setdefault(address.key, (address, uri.max_octets))
    return list(kept.values())


async def _agreed(
    names: Names, domain: str, uri: ReportUri, organization: Callable[[str], str]
) -> tuple[ReportUri, ...]:
    """The address itself if it is of the same organisation, else what its own domain says; empty without consent."""
    host = _host(uri)
    if not host:
        return ()
    if organization(host) == organization(domain):
        return (uri,)
    name = f"{domain}._report._dmarc.{host}"
    if len(name) > MAX_NAME:
        return ()
    try:
        records = (await names.look_up(name, "TXT")).records
    except NoSuchDomainError:
        return ()
    consents = [text for text in records if is_record(text)]
    if not consents:
        return ()
    for text in consents:
        others = _replaced(text)
        if others:  # section 7.1, step 9: to other addresses, but of the same host
            return others if all(_host(one) == host for one in others) else ()
    return (uri,)


def _replaced(text: bytes) -> tuple[ReportUri, ...]:
    try:
        return read_uris(parse_tags(text.decode("latin-1")).get("rua", ""))
    except TagError:
        return ()


def _host(uri: ReportUri) -> str:
    try:
        return to_ascii(Address.parse(uri.address).domain).lower()
    except AddressError:
        return ""
