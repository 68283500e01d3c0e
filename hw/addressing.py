"""Checks of addresses, networks and MACs that people write, and the little arithmetic that plans need. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from appliance.errors import Problem
from hw.nics import normal_mac


def version_of(text: str) -> int | None:
    """4 or 6 for an address with or without prefix length or zone, None for anything else."""
    try:
        return ipaddress.ip_interface(text).version
    except ValueError:
        return None


def interface_of(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """An address with its prefix length, normal. Raises ValueError."""
    return ipaddress.ip_interface(text)


def on_link(host: str, addresses: Iterable[str]) -> bool:
    """Whether a host is in the network of one of the addresses; IPv6 link-local ones always are."""
    found = ipaddress.ip_address(host)
    if found.version == 6 and found.is_link_local:
        return True
    networks = [ipaddress.ip_interface(one).network for one in addresses if version_of(one) == found.version]
    return any(found in network for network in networks)


def address_problems(name: str, text: str) -> Iterator[Problem]:
    """Check an address of this machine: with a prefix length, no network, nothing that cannot be a host's."""
    remedy = 'Write it like "192.0.2.5/24" or "2001:db8::5/64".'
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        yield Problem(name, f"{text!r} is no address.", remedy)
        return
    if "/" not in text:
        yield Problem(name, f"{text} has no prefix length.", remedy)
    elif found.is_multicast or found.is_loopback or found.is_unspecified or getattr(found, "scope_id", None):
        yield Problem(name, f"{text} cannot be the address of a machine.", remedy)
    elif found.version == 4 and found.network.prefixlen < 31 and found.ip == found.network.network_address:
        yield Problem(name, f"{text} is a network, not an address in it.", remedy)
    elif found.version == 4 and found.network.prefixlen < 31 and found.ip == found.network.broadcast_address:
        yield Problem(name, f"{text} is the broadcast address of its network.", remedy)
    elif found.network.prefixlen == 0:
        yield Problem(name, f"{text} would take the whole Internet for its own network.", remedy)


def gateway_problems(name: str, text: str, version: int) -> Iterator[Problem]:
    """Check the address of a router, without prefix length; empty is none."""
    if not text:
        return
    example = "192.0.2.1" if version == 4 else "fe80::1"
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        yield Problem(name, f"{text!r} is no address.", f'Write it like "{example}", without a prefix length.')
        return
    if found.version != version or found.is_multicast or found.is_unspecified:
        yield Problem(name, f"{text} cannot be an IPv{version} router.", f'Write it like "{example}".')


def host_problems(name: str, text: str) -> Iterator[Problem]:
    """Check the address of a server; names cannot be looked up before there is a resolver."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        yield Problem(name, f"{text!r} is no IP address.", "Names are not looked up here; write the address.")
        return
    if found.is_multicast or found.is_unspecified:
        yield Problem(name, f"{text} cannot be the address of a server.", "Write the address of one machine.")


def network_problems(name: str, text: str) -> Iterator[Problem]:
    """Check an address or a network that something is allowed from."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        yield Problem(name, f"{text!r} is no network.", 'Write it like "192.0.2.0/24", with zeros after the prefix.')


def mac_problems(name: str, text: str) -> Iterator[Problem]:
    """Check a MAC address of one interface."""
    try:
        mac = normal_mac(text)
    except ValueError:
        yield Problem(name, f"{text!r} is no MAC address.", 'Write it like "dc:a6:32:01:02:03".')
        return
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        yield Problem(name, f"{text} cannot be the MAC address of an interface.", "Look on its label, or in status.")
