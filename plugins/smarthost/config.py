"""The settings of smart hosts: hosts that send mail on for us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.config import domain_name, host_name, setting, within
from appliance.document import dotted
from appliance.errors import Problem
from appliance.mail.address import Address
from appliance.mail.selector import selector_problem, selects

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

    def problems(self) -> Iterator[Problem]:
        """What cannot be, and what contradicts itself."""
        yield from host_name("host", self.host)
        yield from within(self, 1, 65_535, "port")
        yield from within(self, 1, 100, "deliveries")
        for name, selectors in (("senders", self.senders), ("recipients", self.recipients)):
            for selector in selectors:
                yield from selector_problem(name, selector)
        if self.tls == "off" and self.speaks_tls_first:
            text = "must not be off where TLS comes first, as it does on port 465 or with implicit_tls."
            yield Problem("tls", text, "Take tls out, or set implicit_tls = false.")
        yield from self._login_problems()

    def _login_problems(self) -> Iterator[Problem]:
        has_password = bool(self.password) or self.password_file is not None
        if self.password and self.password_file is not None:
            yield Problem("password", "and password_file are both set.", "Take one of them out.")
        if self.username and not has_password:
            yield Problem("password", "is missing: username needs it.", "Add it, or a password_file.")
        if has_password and not self.username:
            yield Problem("username", "is missing: there is a password.", "Add it, or take the password out.")

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
        if self.senders and (sender is None or not any(selects(selector, sender) for selector in self.senders)):
            return False
        return not self.recipients or any(selects(selector, recipient) for selector in self.recipients)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmarthostConfig:
    """[smarthost]"""

    hosts: tuple[SmartHost, ...] = setting(
        (), "The smart hosts. Mail goes by the first that takes it, and by its mail exchangers if none does."
    )
    own_name: str = setting("", "Our name in EHLO; empty takes hostname.")

    def problems(self) -> Iterator[Problem]:
        """Names that are none, and hosts that cannot stand together."""
        if self.own_name:
            yield from domain_name("own_name", self.own_name)
        keys = [host.key for host in self.hosts]
        for place, host in enumerate(self.hosts):
            if host.key in keys[:place]:
                text = f"another host is called {host.key!r} too."
                yield Problem(dotted("hosts", place), text, "Give each a name of its own.")
            yield from self._fallback_problems(place, host)
        yield from self._never_used()

    def _fallback_problems(self, place: int, host: SmartHost) -> Iterator[Problem]:
        name = dotted("hosts", place, "fallback")
        seen = [host.key]
        while host.fallback:
            following = self.named(host.fallback)
            if following is None:
                if len(seen) == 1:  # else it is told of the host that names it
                    yield Problem(name, f"no smart host is called {host.fallback!r}.", f"There are: {self._keys()}.")
                return
            if following.key in seen:
                if following.key == seen[0]:
                    text = f"the fallbacks of {seen[0]!r} lead back to it."
                    yield Problem(name, text, "Let the last of them have none.")
                return
            seen.append(following.key)
            host = following

    def _never_used(self) -> Iterator[Problem]:
        first = next((place for place, host in enumerate(self.hosts) if host.takes_all), len(self.hosts))
        for place, host in enumerate(self.hosts[first + 1 :], first + 1):
            if not any(other.fallback == host.key for other in self.hosts):
                text = f"{host.key!r} would never be used: {self.hosts[first].key!r} before it takes all mail."
                yield Problem(dotted("hosts", place), text, "Put it first, or make it a fallback.")

    def _keys(self) -> str:
        return ", ".join(host.key for host in self.hosts)

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
