"""What the kernel's network is asked and told, as values and one interface that pyroute2 and the fake serve. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol, TypeAlias

import msgspec

from appliance.errors import ApplianceError
from hw.nics import Nic
from hw.wanted import Link, Route, Rule, Sysctl


class KernelError(ApplianceError):
    """The kernel refused a change. `errno` is its number, such as EEXIST or ENODEV."""

    def __init__(self, errno: int, text: str) -> None:
        super().__init__(text)
        self.errno = errno


# ── what is there ─────────────────────────────────────────────────────────────────────────────────────────────────


class PresentLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link as it is: the NIC, and how it hangs on others."""

    nic: Nic
    parent: str = ""
    vlan_id: int = 0
    master: str = ""


class PresentAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address as it is. `automatic` ones were made by the kernel from an advertisement, or are IPv6 link-local.

    `tentative` while duplicate address detection runs, `duplicate` after it failed (RFC 4862 section 5.4).
    """

    link: str
    address: str
    automatic: bool = False
    tentative: bool = False
    duplicate: bool = False


class PresentRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A unicast route as it is. `automatic` ones are the kernel's: of addresses (proto kernel) and advertisements."""

    route: Route
    automatic: bool = False


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    links: tuple[PresentLink, ...] = ()
    addresses: tuple[PresentAddress, ...] = ()
    routes: tuple[PresentRoute, ...] = ()
    rules: tuple[Rule, ...] = ()
    """Rules with priorities of ours only; the kernel's own three are not listed."""


# ── what can be changed ───────────────────────────────────────────────────────────────────────────────────────────


class AddLink(msgspec.Struct, frozen=True):
    """Make a VLAN or a bridge, down."""

    link: Link


class SetLink(msgspec.Struct, frozen=True, kw_only=True):
    """Change what is not None: `master` "" takes a port out of its bridge."""

    name: str
    up: bool | None = None
    mtu: int | None = None
    master: str | None = None
    mac: str | None = None


class DeleteLink(msgspec.Struct, frozen=True):
    """Take a VLAN or a bridge away."""

    name: str


class AddAddress(msgspec.Struct, frozen=True):
    """Put an address on a link; `address` has its prefix length."""

    link: str
    address: str


class DeleteAddress(msgspec.Struct, frozen=True):
    """Take an address from a link."""

    link: str
    address: str


class AddRoute(msgspec.Struct, frozen=True):
    """Add a route."""

    route: Route


class DeleteRoute(msgspec.Struct, frozen=True):
    """Delete a route."""

    route: Route


class AddRule(msgspec.Struct, frozen=True):
    """Add a rule."""

    rule: Rule


class DeleteRule(msgspec.Struct, frozen=True):
    """Delete a rule."""

    rule: Rule


class SetSysctl(msgspec.Struct, frozen=True):
    """Write a setting below /proc/sys."""

    sysctl: Sysctl


Change: TypeAlias = (
    AddLink
    | SetLink
    | DeleteLink
    | AddAddress
    | DeleteAddress
    | AddRoute
    | DeleteRoute
    | AddRule
    | DeleteRule
    | SetSysctl
)


# ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────────


class LinkEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A link came, went or changed: its carrier, its name, its state."""

    name: str
    carrier: bool
    carrier_changes: int = 0
    gone: bool = False


class AddressEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An address came, went, or its detection of duplicates ended."""

    link: str
    address: str
    gone: bool = False
    duplicate: bool = False


class RouteEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A route came or went."""

    link: str
    destination: str
    gone: bool = False


class DnsEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A router advertised resolvers, or search domains (RFC 8106), in one option; `lifetime_s` 0 takes them back."""

    link: str
    lifetime_s: int
    dns: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


class LostEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Events were lost (ENOBUFS): read everything anew."""

    what: Literal["netlink"] = "netlink"


Event: TypeAlias = LinkEvent | AddressEvent | RouteEvent | DnsEvent | LostEvents


class Kernel(Protocol):
    """The kernel's network, as palomar-hw uses it."""

    async def read(self) -> Present:
        """Everything that is there now."""

    async def sysctl(self, path: str) -> str | None:
        """The value of a setting, stripped; None where this kernel has no such one."""

    async def make(self, change: Change) -> None:
        """Make one change. Raises KernelError; what is there already is EEXIST, what is not ENOENT or ENODEV."""

    def events(self) -> AsyncIterator[Event]:
        """What happens from now on, for ever."""
