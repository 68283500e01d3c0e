"""What stands in a list: an address, a domain with all below it, or a network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from appliance.errors import AddressError, ApplianceError
from appliance.mail.address import Address, domain_key, normal_domain

WIDEST = {4: 8, 6: 16}


class PatternError(ApplianceError):
    """The text is neither an address, nor a domain, nor a network."""


def parse_pattern(text: str) -> str:
    """The form in which an entry is kept and compared. Raises PatternError."""
    text = text.strip()
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        pass  # a name, then
    else:
        if network.prefixlen < WIDEST[network.version]:
            raise PatternError(f"a network wider than /{WIDEST[network.version]} is half the world")
        return str(network)
    try:
        if "@" in text.removeprefix("@"):
            return Address.parse(text).key
        return domain_key(normal_domain(text.removeprefix("@").removeprefix("*.")))
    except AddressError as error:
        raise PatternError(f"neither an address, nor a domain, nor a network: {error}") from error


def keys_of(addresses: Iterable[Address], peer_ip: str = "") -> Iterator[str]:
    """Every entry that would mean one of these addresses or the peer, the narrowest first."""
    for address in addresses:
        yield address.key
        labels = domain_key(address.domain).split(".")
        for start in range(len(labels)):
            yield ".".join(labels[start:])
    if peer_ip:
        ip = ipaddress.ip_address(peer_ip.partition("%")[0])
        for length in range(ip.max_prefixlen, WIDEST[ip.version] - 1, -1):
            yield str(ipaddress.ip_network((ip, length), strict=False))
