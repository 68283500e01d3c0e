"""What is asked of a list: names of addresses and domains, and the links of a text (RFC 5782). No DNS here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from appliance.errors import AddressError
from appliance.mail.address import normal_domain
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message

MAX_LINKS = 30  # domains of one message that are asked for
MAX_TEXT = 256 * 1024  # octets that are searched for links
MAX_RECEIVED = 10

_LINK = re.compile(
    rb"(?:https?://|//|\b(?=www\.))(?:[^\s/@<>\"']{1,100}@)?([A-Za-z0-9\x80-\xff][A-Za-z0-9.\x80-\xff-]{2,250})",
    re.IGNORECASE,
)
_ADDRESS = re.compile(rb"\[(?:IPv6:)?([0-9A-Fa-f:.]{3,45})\]")


def reversed_address(address: str) -> str:
    """The name of an address in a list: octets or nibbles backwards (section 2.1)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def link_hosts(text: bytes) -> list[str]:
    """The hosts of links, each once, in the order in which they stand; addresses among them too."""
    found: dict[str, None] = {}
    for match in _LINK.finditer(text[:MAX_TEXT]):
        host = match[1].rstrip(b".-").lower()
        try:
            name = to_ascii(normal_domain(host.decode()))
        except (AddressError, UnicodeDecodeError):
            try:
                name = str(ipaddress.IPv4Address(host.decode("ascii", "replace")))
            except ValueError:
                continue
        if "." in name:
            found.setdefault(name)
        if len(found) >= MAX_LINKS:
            break
    return list(found)


def received_addresses(message: Message) -> Iterator[str]:
    """Public addresses that servers on the way say they got it from."""
    for value in message.get_all(b"received")[:MAX_RECEIVED]:
        found = _ADDRESS.search(value)
        if found is None:
            continue
        try:
            address = ipaddress.ip_address(found[1].decode())
        except ValueError:
            continue
        if address.is_global:
            yield str(address)
