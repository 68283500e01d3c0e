"""The settings of the network, `[network]`, read by the mail process and by palomar-hw from the same file. Pure.

An empty table works on any board: every Ethernet interface asks for an address and listens to routers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import domain_name, setting, within
from appliance.document import dotted
from appliance.errors import Problem
from hw.addressing import (
    address_problems,
    gateway_problems,
    host_problems,
    mac_problems,
    network_problems,
    on_link,
    version_of,
)
from hw.nics import normal_mac

MAX_INTERFACE_NAME = 15  # IFNAMSIZ without the NUL
MIN_MTU, MAX_MTU = 1280, 9216  # RFC 8200 section 5: IPv6 needs 1280
MIN_METRIC, MAX_METRIC = 2, 9999  # 1 is that of a detour (hw/routes.py)
"""Metrics of uplinks; one that failed its probes gets `hw.plan.FAILED` on top."""
MAX_SSID_OCTETS = 32  # IEEE 802.11-2020 section 9.4.2.2
MAX_NAMESERVERS = 3  # what the C library reads of resolv.conf
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_COUNTRY = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """Which interface a table is for. Everything that is set must fit."""

    name: str = setting("", 'Its name, such as "eth0". "eth*" fits all whose name begins so.')
    mac: str = setting("", "Its MAC address, as printed on many a stick.")
    driver: str = setting("", 'The driver of its chip, such as "r8152".')
    bus: Literal["", "platform", "usb", "pci", "sdio", "virtio"] = setting("", "How it is connected.")

    def problems(self) -> Iterator[Problem]:
        """Names that no interface can have, and MAC addresses that are none."""
        if self.name:
            yield from _interface_problems("name", self.name.removesuffix("*"))
        if self.mac:
            yield from mac_problems("mac", self.mac)

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing, so that the name of the table counts."""
        return not (self.name or self.mac or self.driver or self.bus)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wifi:
    """A Wi-Fi network to join."""

    ssid: str = setting("", "The network's name; empty switches Wi-Fi off.")
    psk: str = setting(
        "", "Its passphrase of 8 to 63 characters, or 64 hexadecimal digits; empty for an open network.", secret=True
    )
    country: str = setting("", 'Where the board stands, such as "DE": which channels may be used depends on it.')
    hidden: bool = setting(False, "Whether the network does not tell its name.")

    def problems(self) -> Iterator[Problem]:
        """Names, passphrases and countries that cannot be."""
        if len(self.ssid.encode()) > MAX_SSID_OCTETS:
            yield Problem(
                "ssid", f"is longer than {MAX_SSID_OCTETS} octets.", "Write the name as the access point does."
            )
        if self.psk and not _is_passphrase(self.psk):
            text = "must have 8 to 63 ASCII characters, or 64 hexadecimal digits."
            yield Problem("psk", text, "Write the passphrase as it is on the access point.")
        if self.psk and not self.ssid:
            yield Problem("ssid", "must be set, as psk is.", "Write the network's name, or take psk out.")
        if self.country and not _COUNTRY.fullmatch(self.country):
            yield Problem("country", f"{self.country!r} is no country.", 'Write two capital letters, such as "DE".')
        if self.ssid and not self.country:
            text = "must be set for Wi-Fi: without it most boards keep the radio off."
            yield Problem("country", text, 'Write the two letters of the country where the board stands, such as "DE".')


@dataclass(frozen=True, kw_only=True, slots=True)
class Addressing:
    """What physical interfaces, VLANs and bridges have in common."""

    ipv4: Literal["auto", "dhcp", "off"] = setting(
        "auto", "auto asks by DHCP unless addresses has one; dhcp asks in any case; off uses only addresses."
    )
    ipv6: Literal["auto", "static", "off"] = setting(
        "auto", "auto listens to routers (SLAAC); static uses only addresses and link-local; off has no IPv6 here."
    )
    addresses: tuple[str, ...] = setting((), 'Addresses with prefix length, such as "192.0.2.5/24".')
    gateway: str = setting("", "IPv4 router to everywhere else.")
    gateway6: str = setting("", "IPv6 router to everywhere else; a link-local address is fine.")
    metric: int = setting(0, "The smaller the sooner this way out is used; 0: by kind, Ethernet before USB and Wi-Fi.")
    uplink: bool = setting(True, "Whether this may be a way out; false takes no default route from anyone here.")
    mtu: int = setting(0, "Octets of the largest packet; 0 takes what DHCP says, else leaves it.")

    def problems(self) -> Iterator[Problem]:
        """Addresses that are none, gateways out of reach, and what contradicts itself."""
        for place, text in enumerate(self.addresses):
            yield from address_problems(f"addresses[{place}]", text)
        yield from gateway_problems("gateway", self.gateway, 4)
        yield from gateway_problems("gateway6", self.gateway6, 6)
        yield from self._reach_problems()
        if self.metric:
            yield from within(self, MIN_METRIC, MAX_METRIC, "metric")
        if self.mtu:
            yield from within(self, MIN_MTU, MAX_MTU, "mtu", unit="octets")

    def _reach_problems(self) -> Iterator[Problem]:
        for name, text, version in (("gateway", self.gateway, 4), ("gateway6", self.gateway6, 6)):
            if not text or list(gateway_problems(name, text, version)):
                continue
            own = [one for one in self.addresses if version_of(one) == version]
            if not self.uplink:
                yield Problem(name, "is of no use with uplink = false.", f"Take {name} out, or set uplink = true.")
            if not own and not (version == 6 and self.ipv6 == "auto"):
                yield Problem(name, "needs an address.", f"Add this machine's IPv{version} address to addresses.")
            elif own and not on_link(text, own):
                listed = ", ".join(own)
                text = f"{text} is not in the network of {listed}."
                yield Problem(name, text, "A gateway is a neighbour: correct it, or the prefix length of the address.")
        if self.ipv6 == "off" and any(version_of(one) == 6 for one in self.addresses):
            yield Problem(
                "ipv6", "is off, but addresses has an IPv6 address.", 'Take one of them out, or write "static".'
            )
        if self.ipv4 == "off" and self.gateway and not any(version_of(one) == 4 for one in self.addresses):
            yield Problem("ipv4", "is off, but there is a gateway.", "Take one of them out.")


@dataclass(frozen=True, kw_only=True, slots=True)
class NicConfig(Addressing):
    """One physical interface, under its name, or under any word if `match` says which."""

    match: Match = setting(Match(), "Which interface this is for, where the table's name is not its name.")
    use: bool = setting(True, "false leaves the interface down.")
    eee: bool = setting(False, "Energy-Efficient Ethernet. It makes links of some boards flap, so it is off.")
    speed: Literal["auto", "100", "10"] = setting("auto", "Hold the link at this speed in Mb/s; auto takes the best.")
    wifi: Wifi = setting(Wifi(), "The Wi-Fi network of this interface, instead of that of network.wifi.")


@dataclass(frozen=True, kw_only=True, slots=True)
class VlanConfig(Addressing):
    """One VLAN (IEEE 802.1Q); the table's name is the name of its link."""

    id: int = setting(0, "Its number on the wire, 1 to 4094.")
    on: str = setting("", "The interface or bridge that it runs on: its name, or that of its table.")

    def problems(self) -> Iterator[Problem]:
        """A number or an interface that cannot be, and see Addressing."""
        yield from within(self, 1, 4094, "id")
        if not self.on:
            yield Problem("on", "must be set.", 'Write the interface that the VLAN is on, such as "eth0".')
        yield from Addressing.problems(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class BridgeConfig(Addressing):
    """One bridge; the table's name is the name of its link."""

    ports: tuple[str, ...] = setting((), "The interfaces in it: names, or those of their tables.")

    def problems(self) -> Iterator[Problem]:
        """No ports, a port twice, and see Addressing."""
        if not self.ports:
            yield Problem("ports", "must name an interface.", 'Write the interfaces, such as ["eth0", "eth1"].')
        for name in sorted({one for one in self.ports if self.ports.count(one) > 1}):
            yield Problem("ports", f"{name!r} is there twice.", "Keep one of them.")
        yield from Addressing.problems(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Allow:
    """[[network.allow]]"""

    port: int = setting(0, "The port.")
    protocol: Literal["tcp", "udp"] = setting("tcp", "Its protocol.")
    sources: tuple[str, ...] = setting((), "Only from these addresses and networks; empty: from everywhere.")

    def problems(self) -> Iterator[Problem]:
        """A port or a network that is none."""
        yield from within(self, 1, 65_535, "port")
        for place, text in enumerate(self.sources):
            yield from network_problems(f"sources[{place}]", text)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """[network]"""

    hostname: str = setting("", "This machine's short name; empty takes the first part of the top-level hostname.")
    mdns: bool = setting(True, "Answer to the name with .local in the local networks (RFC 6762).")
    dns: tuple[str, ...] = setting((), "Resolvers to ask before those that DHCP and routers name.")
    ntp: tuple[str, ...] = setting((), "Time servers to ask before those that DHCP names.")
    probes: tuple[str, ...] = setting(
        (), "Addresses pinged to see whether an uplink works, where there are several; empty: the uplink's own router."
    )
    firewall: bool = setting(True, "Let in only what Palomar serves and allow names; false lets everything in.")
    ping: bool = setting(True, "Answer pings, a few a second.")
    allow: tuple[Allow, ...] = setting((), "Ports to open for something else.")
    wifi: Wifi = setting(Wifi(), "The Wi-Fi network to join, where the board has Wi-Fi.")
    nics: dict[str, NicConfig] = setting({}, "Interfaces that are not to be set up by themselves.")
    vlans: dict[str, VlanConfig] = setting({}, "VLANs.")
    bridges: dict[str, BridgeConfig] = setting({}, "Bridges.")

    def problems(self) -> Iterator[Problem]:
        """Names and addresses that are none, and tables that contradict each other."""
        if self.hostname and not _LABEL.fullmatch(self.hostname):
            text = f"{self.hostname!r} is no host name."
            yield Problem(
                "hostname", text, "Write letters, digits and hyphens, 63 at most; dots go in the top-level one."
            )
        for name, hosts in (("dns", self.dns), ("probes", self.probes)):
            for place, text in enumerate(hosts):
                yield from host_problems(f"{name}[{place}]", text)
        for place, text in enumerate(self.ntp):
            if version_of(text) is None:
                yield from domain_name(f"ntp[{place}]", text)
        if len(self.dns) > MAX_NAMESERVERS:
            yield Problem("dns", f"has more than {MAX_NAMESERVERS}; the rest would not be asked.", "Keep the best.")
        yield from self._table_problems()

    def _table_problems(self) -> Iterator[Problem]:
        for table, names in (("nics", self.nics), ("vlans", self.vlans), ("bridges", self.bridges)):
            for name in names:
                yield from _interface_problems(dotted(table, name), name)
        yield from self._name_problems()
        yield from self._vlan_problems()
        yield from self._port_problems()
        yield from self._double_problems()

    def _name_problems(self) -> Iterator[Problem]:
        """A VLAN or bridge must not be called like anything else."""
        for name in self.bridges:
            if name in self.nics or name in self.vlans:
                yield Problem(dotted("bridges", name), "has the name of another table.", "Call it something else.")
        for name in self.vlans:
            if name in self.nics:
                yield Problem(dotted("vlans", name), "has the name of an interface's table.", "Call it something else.")

    def _vlan_problems(self) -> Iterator[Problem]:
        seen: dict[tuple[str, int], str] = {}
        for name, vlan in self.vlans.items():
            if vlan.on in self.vlans:
                text = f"{vlan.on!r} is a VLAN itself."
                yield Problem(dotted("vlans", name, "on"), text, "A VLAN runs on an interface or a bridge.")
            if (other := seen.setdefault((vlan.on, vlan.id), name)) != name:
                text = f"is the same VLAN as {other!r}."
                yield Problem(dotted("vlans", name, "id"), text, "Keep one of them, with all its addresses.")

    def _port_problems(self) -> Iterator[Problem]:
        """A port belongs to one bridge, and has no addresses of its own."""
        seen: dict[str, str] = {}
        for name, bridge in self.bridges.items():
            for place, port in enumerate(bridge.ports):
                here = dotted("bridges", name, "ports", place)
                if port in self.bridges:
                    yield Problem(here, f"{port!r} is a bridge itself.", "Name its ports here instead.")
                if (other := seen.setdefault(port, name)) != name:
                    yield Problem(here, f"{port!r} is in {other!r} already.", "A port is in one bridge.")
                if (vlan := self.vlans.get(port)) is not None and vlan.on in self.bridges:
                    yield Problem(here, f"{port!r} is a VLAN on a bridge.", "A VLAN in a bridge is on an interface.")
                own = self.nics.get(port) or vlan
                if own is not None and (own.addresses or own.gateway or own.gateway6):
                    text = f"{port!r} has addresses of its own."
                    yield Problem(here, text, f"Move them to {dotted('network', 'bridges', name)}.")

    def _double_problems(self) -> Iterator[Problem]:
        """An address is on one link, a metric is of one uplink, a MAC address is of one interface."""
        addresses: dict[str, str] = {}
        metrics: dict[int, str] = {}
        macs: dict[str, str] = {}
        for where, one in self.links():
            for place, text in enumerate(one.addresses):
                address = text.partition("/")[0].lower()
                if version_of(text) and (other := addresses.setdefault(address, where)) != where:
                    yield Problem(f"{where}.addresses[{place}]", f"{address} is at {other} too.", "Keep one of them.")
            if one.metric and (other := metrics.setdefault(one.metric, where)) != where:
                yield Problem(
                    f"{where}.metric", f"{one.metric} is that of {other} too.", "Give each a number of its own."
                )
            mac = one.match.mac if isinstance(one, NicConfig) else ""
            if (
                mac
                and not list(mac_problems("mac", mac))
                and (other := macs.setdefault(normal_mac(mac), where)) != where
            ):
                yield Problem(
                    f"{where}.match.mac", f"{mac} is that of {other} too.", "Keep one table for an interface."
                )

    def links(self) -> Iterator[tuple[str, Addressing]]:
        """Every configured link with the name of its table."""
        for table, links in (("nics", self.nics), ("vlans", self.vlans), ("bridges", self.bridges)):
            for name, link in links.items():
                yield dotted(table, name), link


def _is_passphrase(text: str) -> bool:
    """IEEE 802.11-2020 annex J.4.1: printable ASCII, or the key itself."""
    printable = text.isascii() and text.isprintable()
    return (printable and 8 <= len(text) <= 63) or re.fullmatch(r"[0-9a-fA-F]{64}", text) is not None


def _interface_problems(where: str, name: str) -> Iterator[Problem]:
    if name and (len(name) > MAX_INTERFACE_NAME or not _INTERFACE.fullmatch(name)):
        text = f"{name!r} cannot be the name of an interface."
        remedy = (
            f"Write at most {MAX_INTERFACE_NAME} letters, digits, dots, hyphens or underscores, none of the last first."
        )
        yield Problem(where, text, remedy)
