"""The wanted state of the network as values: what `hw.plan` makes and `hw.apply` compares with the kernel. Pure.

Addresses are texts with their prefix length (`192.0.2.5/24`), destinations are networks (`0.0.0.0/0`, `::/0`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from hw.nics import Nic

Source: TypeAlias = Literal["static", "dhcp", "link-local"]
DEFAULT_V4 = "0.0.0.0/0"
DEFAULT_V6 = "::/0"
MAIN_TABLE = 254
OUR_NUMBERS = range(1000, 31_000)
"""Routing tables and priorities of rules that are ours: 1000 + the metric of the uplink."""
RULE_PRIORITIES = OUR_NUMBERS


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What there is: every link of the kernel, in any order. Board facts travel by themselves (`hw.messages.Board`)."""

    nics: tuple[Nic, ...] = ()
    family: str = "unknown"


# ── what is learned while running ─────────────────────────────────────────────────────────────────────────────────


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a DHCPv4 server (RFC 2131), as far as it matters here.

    `routers` are option 3, best first. `routes` are (destination, gateway) of option 121 (RFC 3442), where they replace
    `routers`; a gateway "0.0.0.0" is on the link. `mtu` is 0 without option 26.
    `domains` are those of option 119 (RFC 3397), without it that of option 15.
    """

    address: str
    routers: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    mtu: int = 0
    domains: tuple[str, ...] = ()


class Advertised(msgspec.Struct, frozen=True, kw_only=True):
    """What routers on a link advertise (RFC 4861, RFC 8106), beyond what the kernel does by itself."""

    dns: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


class AdvertisedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A way out that the kernel took from an advertisement, with the metric that it gave it then."""

    link: str
    router: str
    metric: int


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out since the start, by link. The plan is made anew whenever it changes.

    `link_local` are IPv4 link-local addresses that were probed and are free (RFC 3927). `failed` are uplinks whose
    probes are not answered.
    """

    leases: tuple[tuple[str, Lease], ...] = ()
    advertised: tuple[tuple[str, Advertised], ...] = ()
    advertised_routes: tuple[AdvertisedRoute, ...] = ()
    link_local: tuple[tuple[str, str], ...] = ()
    failed: frozenset[str] = frozenset()
    listening: tuple[int, ...] = ()
    has_ssh_key: bool = False


# ── what is wanted ────────────────────────────────────────────────────────────────────────────────────────────────


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link that shall be up. VLANs and bridges are made; `parent` is the link that a VLAN is on.

    `master` is the bridge that this is a port of. `mtu` 0 leaves it as it is. `eee` None leaves the NIC's setting.
    """

    name: str
    kind: Literal["physical", "vlan", "bridge"] = "physical"
    mtu: int = 0
    mac: str = ""
    parent: str = ""
    vlan_id: int = 0
    master: str = ""
    eee: bool | None = None
    speed_mbps: int = 0


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One address on one link; `source` tells whose it is."""

    link: str
    address: str
    source: Source = "static"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route; an empty `gateway` is on the link. `prefer` is the source address, empty for the kernel's choice."""

    destination: str
    link: str
    gateway: str = ""
    metric: int = 0
    table: int = MAIN_TABLE
    prefer: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Answers leave by the uplink whose address they come from: `from 192.0.2.5/32 lookup table`."""

    source: str
    table: int
    priority: int


class Sysctl(msgspec.Struct, frozen=True, kw_only=True):
    """A setting below /proc/sys: `net/ipv6/conf/eth0/accept_ra`."""

    path: str
    value: str


class DhcpClient(msgspec.Struct, frozen=True, kw_only=True):
    """A DHCPv4 client to run on a link, for ever. `hostname` is option 12; `want_mtu` whether to ask for option 26."""

    link: str
    metric: int
    hostname: str = ""


class WifiNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """One network that a Wi-Fi client may join; without a passphrase it is an open one."""

    ssid: str
    passphrase: str = ""
    hidden: bool = False

    def __repr__(self) -> str:
        return f"WifiNetwork(ssid={self.ssid!r}, {'with' if self.passphrase else 'without'} passphrase)"


class WifiClient(msgspec.Struct, frozen=True, kw_only=True):
    """A Wi-Fi interface that shall join the first of `networks` in reach."""

    link: str
    country: str
    networks: tuple[WifiNetwork, ...]


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that leads further than its own network. `metric` is that of its default routes, unique among all."""

    link: str
    metric: int
    words: str = ""
    failed: bool = False


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """A port that the configuration opens: to everyone, or to the networks of `sources`."""

    protocol: Literal["tcp", "udp"]
    port: int
    sources: tuple[str, ...] = ()


class Firewall(msgspec.Struct, frozen=True, kw_only=True):
    """What `hw.firewall.render` makes rules of. With `enabled` False everything is let in."""

    enabled: bool = True
    ports: tuple[int, ...] = ()
    ssh: bool = False
    mdns: bool = True
    ping: bool = True
    dhcp_links: tuple[str, ...] = ()
    ipv6_links: tuple[str, ...] = ()
    allowances: tuple[Allowance, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole wanted state, in an order in which it can be made. `words` says it for people, a line each."""

    hostname: str = ""
    mdns_name: str = ""
    """Without `.local`; empty where mDNS is off."""
    links: tuple[Link, ...] = ()
    down: tuple[str, ...] = ()
    """Physical links that shall be down and without addresses."""
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    dhcp: tuple[DhcpClient, ...] = ()
    router_advertisements: tuple[str, ...] = ()
    """Links on which routers are listened to (RFC 4861) and addresses are made (RFC 4862)."""
    link_local: tuple[str, ...] = ()
    """Links that take an IPv4 link-local address (RFC 3927) while they have no other IPv4 address."""
    mdns_links: tuple[str, ...] = ()
    wifi: tuple[WifiClient, ...] = ()
    uplinks: tuple[Uplink, ...] = ()
    probes: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    """Domains in which names without a dot are looked up."""
    ntp: tuple[str, ...] = ()
    firewall: Firewall = Firewall()
    words: tuple[str, ...] = ()
