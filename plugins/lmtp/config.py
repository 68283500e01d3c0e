"""The settings of delivery by LMTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import Bind, domain_name, setting, within
from appliance.document import dotted
from appliance.errors import Problem
from appliance.smtpclient import TlsPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class LmtpConfig:
    """[lmtp]"""

    next_hops: dict[str, Bind] = setting(
        {},
        "Domains whose mailboxes another server keeps, and where it takes mail by LMTP: "
        '"unix:/run/dovecot/lmtp" or an IP address and port.',
    )
    tls: TlsPolicy = setting(
        "opportunistic", "TLS to servers that are reached by an address: as in [relay]; a Unix socket needs none."
    )
    xforward: bool = setting(
        False, "Tell the servers which client each message came from, where they announce XFORWARD: for their logs."
    )
    deliveries: int = setting(5, "Deliveries, and so connections, to one server at once.")
    idle_seconds: float = setting(10.0, "Seconds that a connection is kept for the next message.")
    connect_timeout: float = setting(10.0, "Seconds to wait for a connection.")

    def problems(self) -> Iterator[Problem]:
        """Names that are none, addresses of everybody, and numbers out of bounds."""
        for name, bind in self.next_hops.items():
            yield from domain_name(dotted("next_hops", name), name)
            if not bind.host:
                yield Problem(dotted("next_hops", name), f"{bind} names no host.", 'Write "192.0.2.5:24".')
        yield from within(self, 1, 100, "deliveries")
        yield from within(self, 0, 300, "idle_seconds", unit="s")
        yield from within(self, 1, 300, "connect_timeout", unit="s")
