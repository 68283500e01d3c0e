"""The settings of delivery to other domains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import domain_name, setting, source_address_problems, within
from appliance.document import dotted
from appliance.errors import Problem
from appliance.mail.address import Address
from appliance.mail.selector import selector_problem, selects
from appliance.smtpclient import TlsPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """[[relay.identities]]: who we are for some mail: the name in EHLO, and the address that it comes from."""

    senders: tuple[str, ...] = setting((), 'For mail from these addresses, domains or subdomains ("*.office.test").')
    recipients: tuple[str, ...] = setting((), "For mail to these addresses, domains or subdomains.")
    own_name: str = setting("", "Our name in EHLO; empty takes that of [relay].")
    source_addresses: tuple[str, ...] = setting(
        (), "Addresses of this machine to connect from, at most one IPv4 and one IPv6; empty takes those of [relay]."
    )

    def problems(self) -> Iterator[Problem]:
        """Selectors, names and addresses that are none."""
        for name in ("senders", "recipients"):
            for selector in getattr(self, name):
                yield from selector_problem(name, selector)
        if self.own_name:
            yield from domain_name("own_name", self.own_name)
        yield from source_address_problems("source_addresses", self.source_addresses)

    def takes(self, sender: Address | None, recipients: Iterable[Address]) -> bool:
        """Whether a delivery is made under it; one from the null sender only where no senders are named."""
        if self.senders and (sender is None or not any(selects(one, sender) for one in self.senders)):
            return False
        return not self.recipients or all(any(selects(one, to) for one in self.recipients) for to in recipients)


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayConfig:
    """[relay]"""

    own_name: str = setting("", "Our name in EHLO; empty takes hostname. It should resolve to our public address.")
    port: int = setting(25, "Port of the mail exchangers. Change it only for tests.")
    source_addresses: tuple[str, ...] = setting(
        (), "Addresses of this machine to connect from, at most one IPv4 and one IPv6; empty leaves it to the system."
    )
    identities: tuple[Identity, ...] = setting(
        (), "Other names and addresses of ours for some mail; the first that takes it counts."
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
    backup_max_age_days: float = setting(
        28.0, "Days that mail for a domain that we are the backup of waits for the primary server."
    )
    backup_warn_after_hours: float = setting(
        72.0, "Hours after which the sender of such mail is warned, once; 0 never warns."
    )
    backup_probe: float = setting(
        60.0, "Seconds between two looks whether a primary server that was out of reach answers again; 0: none."
    )

    def problems(self) -> Iterator[Problem]:
        """Names and addresses that are none, and numbers out of bounds."""
        if self.own_name:
            yield from domain_name("own_name", self.own_name)
        for name in self.tls_by_domain:
            yield from domain_name(dotted("tls_by_domain", name), name)
        yield from source_address_problems("source_addresses", self.source_addresses)
        yield from within(self, 1, 65_535, "port")
        yield from within(self, 1, 100, "deliveries_per_destination")
        yield from within(self, 1, 10_000, "messages_per_connection")
        yield from within(self, 0, 300, "idle_seconds", unit="s")
        yield from within(self, 1, 300, "connect_timeout", unit="s")
        yield from within(self, 1, 50, "max_exchangers")
        yield from within(self, 0.01, 365, "backup_max_age_days", unit="days")
        yield from within(self, 0, 24 * self.backup_max_age_days, "backup_warn_after_hours", unit="hours")
        yield from within(self, 0, 86_400, "backup_probe", unit="s")
