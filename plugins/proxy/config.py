"""The settings of the proxy: where outside mail programs come, and to which server each account leads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.config import Bind, host_name, setting, within
from appliance.document import dotted
from appliance.errors import AddressError, Problem
from appliance.mail.address import Address
from appliance.mail.selector import selector_problem, selects
from appliance.pinning import fingerprint_problem

Mechanism = Literal["SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    """[[proxy.servers]]"""

    host: str = setting("", "Host name or address of a server with mailboxes. All its ports have TLS first.")
    accounts: tuple[str, ...] = setting(
        (), 'Whose mailboxes are there, by login: addresses, domains ("office.test") or subdomains; empty: all others.'
    )
    imap_port: int = setting(993, "Its port for IMAP over TLS.")
    pop3_port: int = setting(995, "Its port for POP3 over TLS.")
    submission_port: int = setting(465, "Its port for submission over TLS.")
    verify: bool = setting(True, "Whether its certificate must be trusted and name the host.")
    ca_file: Path | None = setting(None, "Trust the certificates in this PEM file only, instead of the system's.")
    fingerprints: tuple[str, ...] = setting(
        (), "SHA-256 fingerprints of its certificate; with one, no other is taken, and authorities have no say."
    )
    send_proxy: bool = setting(
        True, "Tell it the client's address by the PROXY protocol (2); we must stand in its proxy_networks."
    )

    def problems(self) -> Iterator[Problem]:
        """Names that are none, and numbers out of bounds."""
        yield from host_name("host", self.host)
        for selector in self.accounts:
            yield from selector_problem("accounts", selector)
        yield from within(self, 1, 65_535, "imap_port", "pop3_port", "submission_port")
        yield from fingerprint_problem("fingerprints", self.fingerprints)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyConfig:
    """[proxy]"""

    imap: tuple[Bind, ...] = setting((Bind("", 143),), "Where mail programs come for IMAP, with STARTTLS.")
    imaps: tuple[Bind, ...] = setting((Bind("", 993),), "The same with TLS from the first octet.")
    pop3: tuple[Bind, ...] = setting((Bind("", 110),), "Where mail programs come for POP3, with STLS.")
    pop3s: tuple[Bind, ...] = setting((Bind("", 995),), "The same with TLS from the first octet.")
    submission: tuple[Bind, ...] = setting((Bind("", 587),), "Where mail programs come to send, with STARTTLS.")
    submissions: tuple[Bind, ...] = setting((Bind("", 465),), "The same with TLS from the first octet.")
    servers: tuple[Inner, ...] = setting((), "The servers with mailboxes; a login goes to the first that has it.")
    mechanisms: tuple[Mechanism, ...] = setting(
        ("SCRAM-SHA-256", "PLAIN", "LOGIN"),
        "SASL mechanisms that are offered, best first; the servers must have them. With SCRAM no password comes here.",
    )
    max_size: int = setting(50 * 1024 * 1024, "Octets of the largest message, told to those who send.")
    max_connections: int = setting(5000, "Connections at the same time, per kind of port.")
    max_per_peer: int = setting(100, "Connections at the same time from one IP address, per kind of port.")
    max_auth_failures: int = setting(3, "Failed logins over one connection, after which it is closed.")
    max_commands: int = setting(50, "Commands over one connection before the login.")
    login_timeout: float = setting(60.0, "Seconds for the whole way to the login.")
    connect_timeout: float = setting(10.0, "Seconds to wait for a connection to a server.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and servers that nobody would come to."""
        yield from within(self, 1, 1_000_000, "max_connections", "max_per_peer", "max_auth_failures", "max_commands")
        yield from within(self, 65_536, 2**31 - 1, "max_size", unit="octets")
        yield from within(self, 1, 600, "login_timeout", "connect_timeout", unit="s")
        for place, server in enumerate(self.servers[:-1]):
            if not server.accounts:
                text = "is empty, so the servers behind this one would never be used."
                yield Problem(dotted("servers", place, "accounts"), text, "Put it last.")

    def server_of(self, login: str) -> Inner | None:
        """Where the mailboxes of a login name are."""
        try:
            address = Address.parse(login)
        except AddressError:
            return next((one for one in self.servers if not one.accounts), None)
        return next((one for one in self.servers if not one.accounts or _has(one, address)), None)


def _has(server: Inner, address: Address) -> bool:
    base = Address(address.local.partition("+")[0] or address.local, address.domain)  # ana+phone@: ana's other password
    return any(selects(selector, one) for selector in server.accounts for one in (address, base))
