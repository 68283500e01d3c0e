"""The settings of smart hosts: hosts that send mail on for us."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.config import setting
from appliance.errors import AddressError
from appliance.mail.address import Address, normal_domain

IMPLICIT_TLS_PORT = 465  # RFC 8314 section 3.3


@dataclass(frozen=True, kw_only=True, slots=True)
class SmartHost:
    """[[smarthost.hosts]]"""

    name: str = setting("", "A short name for it, shown in the queue; empty takes host.")
    host: str = setting("", "Its host name or address.")
    port: int = setting(587, "Its port: 587, or 465 for TLS from the first octet.")
    senders: tuple[str, ...] = setting(
        (), 'Only mail from these addresses, domains ("office.test") or their subdomains ("*.office.test").'
    )
    recipients: tuple[str, ...] = setting((), "Only mail to these addresses, domains or subdomains.")
    tls: Literal["required", "opportunistic", "off"] = setting("required", "Whether TLS must be used.")
    implicit_tls: bool | None = setting(None, "TLS from the first octet instead of STARTTLS; unset: on port 465 only.")
    verify: bool = setting(True, "Whether its certificate must be trusted and name the host, where TLS is required.")
    ca_file: Path | None = setting(
        None, "Trust the certificates in this PEM file only, instead of the system's; for a host with one of its own."
    )
    username: str = setting("", "User name for AUTH; empty sends without logging in.")
    password: str = setting("", "Password for AUTH.", secret=True)
    password_file: Path | None = setting(None, "File whose first line is the password, instead of password.")
    deliveries: int = setting(5, "Deliveries, and so connections, to it at once.")
    fallback: str = setting("", "Name of the host to use while this one cannot be used.")

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host must be set: the name of the smart host")
        _check_host(self.host)
        if not 0 < self.port < 65536:
            raise ValueError(f"port must be within 1..65535, not {self.port}")
        for selector in (*self.senders, *self.recipients):
            _check_selector("senders" if selector in self.senders else "recipients", selector)
        if self.tls == "off" and self.speaks_tls_first:
            raise ValueError("tls must not be off where implicit_tls is on (as it is on port 465)")
        if self.password and self.password_file is not None:
            raise ValueError("password and password_file must not both be set")
        if self.username and not self.password and self.password_file is None:
            raise ValueError("username needs a password or a password_file")
        if not self.username and (self.password or self.password_file is not None):
            raise ValueError("username must be set where there is a password")
        if not 1 <= self.deliveries <= 100:
            raise ValueError(f"deliveries must be within 1..100, not {self.deliveries}")

    @property
    def key(self) -> str:
        """What routes and `fallback` call it."""
        return self.name or self.host

    @property
    def speaks_tls_first(self) -> bool:
        """Whether TLS begins with the first octet."""
        return self.port == IMPLICIT_TLS_PORT if self.implicit_tls is None else self.implicit_tls

    @property
    def takes_all(self) -> bool:
        """Whether it is for all mail."""
        return not self.senders and not self.recipients

    def takes(self, sender: Address | None, recipient: Address) -> bool:
        """Whether mail from this sender (None: the null sender) to this recipient goes by it."""
        if self.senders and (sender is None or not any(_selects(selector, sender) for selector in self.senders)):
            return False
        return not self.recipients or any(_selects(selector, recipient) for selector in self.recipients)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmarthostConfig:
    """[smarthost]"""

    hosts: tuple[SmartHost, ...] = setting(
        (), "The smart hosts. Mail goes by the first that takes it, and by its mail exchangers if none does."
    )
    own_name: str = setting("", "Our name in EHLO; empty takes hostname.")

    def __post_init__(self) -> None:
        if self.own_name:
            try:
                normal_domain(self.own_name)
            except AddressError as error:
                raise ValueError(f"own_name: {self.own_name!r} is no domain name: {error}") from None
        names = [host.key for host in self.hosts]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"hosts: two are called {min(twice)!r}; give each a name of its own")
        for host in self.hosts:
            self._check_fallbacks(host)
        all_takers = [number for number, host in enumerate(self.hosts) if host.takes_all]
        if all_takers:
            for host in self.hosts[all_takers[0] + 1 :]:
                if not any(other.fallback == host.key for other in self.hosts):
                    raise ValueError(
                        f"hosts: {host.key!r} would never be used, since {names[all_takers[0]]!r} before it takes"
                        " all mail; put it first, or make it a fallback"
                    )

    def _check_fallbacks(self, host: SmartHost) -> None:
        seen = [host.key]
        while host.fallback:
            following = self.named(host.fallback)
            if following is None:
                raise ValueError(f"hosts: the fallback {host.fallback!r} of {host.key!r} is not among them")
            if following.key in seen:
                raise ValueError(f"hosts: the fallbacks of {seen[0]!r} lead back to {following.key!r}")
            seen.append(following.key)
            host = following

    def named(self, name: str) -> SmartHost | None:
        """The host of that name."""
        return next((host for host in self.hosts if host.key == name), None)

    def chain(self, name: str) -> list[SmartHost]:
        """The host of that name and its fallbacks, in the order in which they are tried."""
        found = []
        host = self.named(name)
        while host is not None:
            found.append(host)
            host = self.named(host.fallback) if host.fallback else None
        return found


def _check_host(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        try:
            normal_domain(text)
        except AddressError as error:
            raise ValueError(f"host: {text!r} is neither a host name nor an address: {error}") from None


def _check_selector(name: str, selector: str) -> None:
    try:
        if "@" in selector:
            Address.parse(selector)
        else:
            normal_domain(selector.removeprefix("*."))
    except AddressError as error:
        raise ValueError(f"{name}: {selector!r} is neither an address nor a domain: {error}") from None


def _selects(selector: str, address: Address) -> bool:
    if "@" in selector:
        return Address.parse(selector).key == address.key
    if selector.startswith("*."):
        return address.domain.endswith(f".{normal_domain(selector[2:])}")
    return address.domain == normal_domain(selector)
