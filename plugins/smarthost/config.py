"""The settings of smart hosts: hosts that send mail on for us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from appliance.config import domain_name, host_name, setting, source_address_problems, within
from appliance.document import dotted
from appliance.errors import Problem
from appliance.mail.address import Address
from appliance.mail.selector import selector_problem, selects
from appliance.pinning import fingerprint_problem

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
    fingerprints: tuple[str, ...] = setting(
        (), "SHA-256 fingerprints of its certificate; with one, no other is taken, and authorities have no say."
    )
    certificate: Path | None = setting(
        None,
        "PEM file of a certificate of ours, shown to a host that asks; without username it is the login (EXTERNAL).",
    )
    key: Path | None = setting(None, "PEM file of that certificate's private key, without a password.")
    username: str = setting("", "User name for AUTH; empty sends without logging in.")
    password: str = setting("", "Password for AUTH.", secret=True)
    password_file: Path | None = setting(None, "File whose first line is the password, instead of password.")
    oauth: str = setting("", "Name of the table [smarthost.oauth.NAME] whose tokens log in, instead of a password.")
    xforward: bool = setting(
        False, "Tell it which client each message came from, if it announces XFORWARD: for content filters' logs."
    )
    own_name: str = setting("", "Our name in EHLO to it; empty takes that of [smarthost].")
    source_addresses: tuple[str, ...] = setting(
        (), "Addresses of this machine to connect from, at most one IPv4 and one IPv6; empty leaves it to the system."
    )
    group: str = setting("", "Hosts with the same word here share mail: that of the first of them that takes it.")
    weight: int = setting(1, "Its share of the group's mail, beside those of the others.")
    deliveries: int = setting(5, "Deliveries, and so connections, to it at once.")
    fallback: str = setting("", "Name of the host to use while this one cannot be used.")

    def problems(self) -> Iterator[Problem]:
        """What cannot be, and what contradicts itself."""
        yield from host_name("host", self.host)
        yield from within(self, 1, 65_535, "port")
        yield from within(self, 1, 100, "deliveries", "weight")
        yield from fingerprint_problem("fingerprints", self.fingerprints)
        yield from source_address_problems("source_addresses", self.source_addresses)
        if self.own_name:
            yield from domain_name("own_name", self.own_name)
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
        if self.username and not has_password and not self.oauth:
            yield Problem("password", "is missing: username needs it.", "Add it, or a password_file, or oauth.")
        if self.oauth and has_password:
            yield Problem("oauth", "and a password are both set.", "Take one of them out.")
        if self.oauth and not self.username:
            yield Problem("username", "is missing: oauth needs it.", "Write the mailbox that the tokens are for.")
        if (self.certificate is None) != (self.key is None):
            missing = "key" if self.key is None else "certificate"
            yield Problem(missing, "is missing: certificate and key go together.", "Name the files of both.")
        if self.tls == "off" and (self.fingerprints or self.certificate or self.oauth):
            text = "must not be off where a certificate or a token has to prove something."
            yield Problem("tls", text, "Take it out: required is the default.")
        if has_password and not self.username:
            yield Problem("username", "is missing: there is a password.", "Add it, or take the password out.")

    @property
    def label(self) -> str:
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
class OAuthClient:
    """[smarthost.oauth.NAME]: what a provider gave us to get access tokens with (RFC 6749 section 6)."""

    token_url: str = setting("", "Where a refresh token is exchanged for an access token: an https address.")
    client_id: str = setting("", "What the provider calls this client.")
    client_secret: str = setting("", "The client's own secret, if it has one.", secret=True)
    client_secret_file: Path | None = setting(None, "File whose first line is that secret, instead of client_secret.")
    refresh_token: str = setting("", "The refresh token.", secret=True)
    refresh_token_file: Path | None = setting(
        None, "File whose first line is the refresh token, instead; a new one from the provider is written there."
    )
    scope: str = setting("", "Scopes to ask for; empty asks for those that were granted.")

    def problems(self) -> Iterator[Problem]:
        """What is missing, and what contradicts itself."""
        if not self.token_url.startswith("https://") or not urlsplit(self.token_url).hostname:
            remedy = 'Write it like "https://oauth2.provider.example/token".'
            yield Problem("token_url", f"{self.token_url!r} is no https address.", remedy)
        if not self.client_id:
            yield Problem("client_id", "must be set.", "The provider gives it when the client is registered.")
        for name in ("client_secret", "refresh_token"):
            if getattr(self, name) and getattr(self, f"{name}_file") is not None:
                yield Problem(name, f"and {name}_file are both set.", "Take one of them out.")
        if not self.refresh_token and self.refresh_token_file is None:
            yield Problem("refresh_token", "is missing.", "Add it, or a refresh_token_file.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SmarthostConfig:
    """[smarthost]"""

    hosts: tuple[SmartHost, ...] = setting(
        (), "The smart hosts. Mail goes by the first that takes it, and by its mail exchangers if none does."
    )
    own_name: str = setting("", "Our name in EHLO; empty takes hostname.")
    oauth: dict[str, OAuthClient] = setting({}, "Where access tokens come from, by names that hosts refer to.")

    def problems(self) -> Iterator[Problem]:
        """Names that are none, and hosts that cannot stand together."""
        if self.own_name:
            yield from domain_name("own_name", self.own_name)
        keys = [host.label for host in self.hosts]
        for place, host in enumerate(self.hosts):
            if host.label in keys[:place]:
                text = f"another host is called {host.label!r} too."
                yield Problem(dotted("hosts", place), text, "Give each a name of its own.")
            if host.oauth and host.oauth not in self.oauth:
                text = f"there is no table [smarthost.oauth.{host.oauth}]."
                yield Problem(dotted("hosts", place, "oauth"), text, "Add it: token_url, client_id, refresh_token.")
            yield from self._fallback_problems(place, host)
        yield from self._never_used()

    def _fallback_problems(self, place: int, host: SmartHost) -> Iterator[Problem]:
        name = dotted("hosts", place, "fallback")
        seen = [host.label]
        while host.fallback:
            following = self.named(host.fallback)
            if following is None:
                if len(seen) == 1:  # else it is told of the host that names it
                    yield Problem(name, f"no smart host is called {host.fallback!r}.", f"There are: {self._keys()}.")
                return
            if following.label in seen:
                if following.label == seen[0]:
                    text = f"the fallbacks of {seen[0]!r} lead back to it."
                    yield Problem(name, text, "Let the last of them have none.")
                return
            seen.append(following.label)
            host = following

    def _never_used(self) -> Iterator[Problem]:
        first = next((place for place, host in enumerate(self.hosts) if host.takes_all), len(self.hosts))
        for place, host in enumerate(self.hosts[first + 1 :], first + 1):
            shares = host.group and any(other.group == host.group for other in self.hosts[: first + 1])
            if not shares and not any(other.fallback == host.label for other in self.hosts):
                text = f"{host.label!r} would never be used: {self.hosts[first].label!r} before it takes all mail."
                yield Problem(dotted("hosts", place), text, "Put it first, or make it a fallback.")

    def _keys(self) -> str:
        return ", ".join(host.label for host in self.hosts)

    def named(self, name: str) -> SmartHost | None:
        """The host of that name."""
        return next((host for host in self.hosts if host.label == name), None)

    def chain(self, name: str) -> list[list[SmartHost]]:
        """The host of that name with those of its group, and behind it their fallbacks, as they are to be tried."""
        found: list[list[SmartHost]] = []
        seen: set[str] = set()
        host = self.named(name)
        while host is not None and host.label not in seen:
            group = [one for one in self.hosts if one is host or (host.group and one.group == host.group)]
            found.append([one for one in group if one.label not in seen])
            seen |= {one.label for one in group}
            following = next((one.fallback for one in group if one.fallback and one.fallback not in seen), "")
            host = self.named(following)
        return found
