"""What is known about one connection: the facts that hooks may look at."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate that a client has shown in TLS, and whose chain, time and purpose are good."""

    fingerprint: str  # SHA-256 in 64 lower-case hexadecimal digits
    addresses: tuple[str, ...] = ()  # the rfc822Names among its names (RFC 5280 section 4.2.1.6), as they stand there


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """The state of TLS on a connection."""

    version: str  # "TLSv1.3"
    cipher: str
    bits: int
    server_name: str = ""  # SNI
    binding: bytes = b""  # tls-server-end-point of our certificate (RFC 5929 section 4)
    client: ClientCertificate | None = None


async def _nobody_speaks(seconds: float) -> bool:
    return True


@dataclass(slots=True)
class Session:
    """One connection of any server role. `account` is the login's account name once authenticated."""

    id: str
    role: str  # mx, submission, lmtp, imap, pop3, local
    peer_ip: str = ""
    peer_port: int = 0
    local_ip: str = ""
    local_port: int = 0
    helo: str = ""
    esmtp: bool = False
    tls: TlsInfo | None = None
    account: str | None = None
    login: str = ""  # the login name used, an application password's own included ("ana+phone@…")
    mechanism: str = ""  # of SASL, by which it logged in: "PLAIN"
    via: str = ""  # the address of the proxy that told of the peer; "local" for one on a Unix socket
    tls_at_proxy: bool = False  # the proxy ended the client's TLS
    stash: dict[str, Any] = field(default_factory=dict)  # a plugin's own notes, keyed by the plugin's name
    # Waits so many seconds with an SMTP peer before the greeting, and tells whether it kept silent.
    quiet: Callable[[float], Awaitable[bool]] = field(default=_nobody_speaks, repr=False, compare=False)

    @property
    def loopback(self) -> bool:
        """Whether the peer is this machine, judged by the socket alone. A Unix socket counts (empty peer_ip)."""
        return not self.via and (not self.peer_ip or _is_loopback(self.peer_ip))

    @property
    def sealed(self) -> bool:
        """Whether TLS protects it all the way to this machine: a proxy's counts where the proxy is here as well."""
        if self.tls is not None:
            return True
        return self.tls_at_proxy and (self.via == "local" or _is_loopback(self.via))

    @property
    def private(self) -> bool:
        """Whether passwords may cross this connection: TLS is up, or it does not leave the machine."""
        return self.sealed or self.loopback


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
