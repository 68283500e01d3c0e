"""The settings of delivery to other domains."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting
from appliance.errors import AddressError
from appliance.mail.address import normal_domain
from appliance.smtpclient import TlsPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayConfig:
    """[relay]"""

    own_name: str = setting("", "Our name in EHLO; empty takes hostname. It should resolve to our public address.")
    port: int = setting(25, "Port of the mail exchangers. Change it only for tests.")
    source_addresses: tuple[str, ...] = setting(
        (), "Addresses of this machine to connect from, at most one IPv4 and one IPv6; empty leaves it to the system."
    )
    families: Literal["both", "ipv4", "ipv6"] = setting("both", "Which addresses of mail exchangers are used.")
    tls: TlsPolicy = setting(
        "opportunistic",
        "TLS to mail exchangers: opportunistic (if they can, else in clear), required, verified (with a certificate"
        " that names the exchanger), or off.",
    )
    tls_by_domain: dict[str, TlsPolicy] = setting({}, "Recipient domains with a TLS policy of their own.")
    deliveries_per_destination: int = setting(10, "Deliveries, and so connections, to one domain at once.")
    messages_per_connection: int = setting(100, "Messages sent over one connection before it is ended.")
    idle_seconds: float = setting(10.0, "Seconds that a connection is kept for the next message.")
    connect_timeout: float = setting(30.0, "Seconds to wait for a connection to one address.")
    max_exchangers: int = setting(5, "Mail exchangers of a domain that are tried in one attempt.")

    def __post_init__(self) -> None:
        for name in (*self.tls_by_domain, *([self.own_name] if self.own_name else ())):
            try:
                normal_domain(name)
            except AddressError as error:
                setting_name = "own_name" if name == self.own_name else "tls_by_domain"
                raise ValueError(f"{setting_name}: {name!r} is no domain name: {error}") from None
        versions = [_version(text) for text in self.source_addresses]
        if len(versions) != len(set(versions)):
            raise ValueError("source_addresses may hold one IPv4 and one IPv6 address")
        if not 0 < self.port < 65536:
            raise ValueError(f"port must be within 1..65535, not {self.port}")
        if not 1 <= self.deliveries_per_destination <= 100:
            raise ValueError(f"deliveries_per_destination must be within 1..100, not {self.deliveries_per_destination}")
        if not 1 <= self.messages_per_connection <= 10_000:
            raise ValueError(f"messages_per_connection must be within 1..10000, not {self.messages_per_connection}")
        if not 0 <= self.idle_seconds <= 300:
            raise ValueError(f"idle_seconds must be within 0..300, not {self.idle_seconds}")
        if not 1 <= self.connect_timeout <= 300:
            raise ValueError(f"connect_timeout must be within 1..300 s, not {self.connect_timeout}")
        if not 1 <= self.max_exchangers <= 50:
            raise ValueError(f"max_exchangers must be within 1..50, not {self.max_exchangers}")


def _version(text: str) -> int:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        raise ValueError(f"source_addresses: {text!r} is no IP address") from None
