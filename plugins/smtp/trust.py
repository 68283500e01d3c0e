"""Who may ask for what others may not."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.mail.session import Session


def is_network(text: str) -> bool:
    """Whether a text names an IP network or address."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def may_hurry(session: Session, allowed: Sequence[str]) -> bool:
    """Whether a peer may ask for a priority above 0: its login or its address is in `allowed`, or it is another MTA's
    hand here, by LMTP (RFC 6710 section 4.1: never a source that is not known).
    """
    if session.role == "lmtp":
        return True
    if session.account is not None and session.account in (name.lower() for name in allowed):
        return True
    return bool(session.peer_ip) and is_in(session.peer_ip, allowed)


def is_in(peer_ip: str, networks: Sequence[str]) -> bool:
    """Whether an address is in one of the networks; entries that are none do not count."""
    ip = peer_ip.partition("%")[0]
    peer = ipaddress.ip_address(ip)
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return any(peer in network for network in _networks(tuple(networks)))


@lru_cache(maxsize=8)
def _networks(texts: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text) for text in texts if is_network(text)]
