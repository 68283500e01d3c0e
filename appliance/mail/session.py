"""What is known about one connection: the facts that hooks may look at."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """The state of TLS on a connection."""

    version: str  # "TLSv1.3"
    cipher: str
    bits: int
    server_name: str = ""  # SNI
    binding: bytes = b""  # tls-server-end-point of our certificate (RFC 5929 section 4)


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
    stash: dict[str, Any] = field(default_factory=dict)  # a plugin's own notes, keyed by the plugin's name

    @property
    def loopback(self) -> bool:
        """Whether the peer is this machine, judged by the socket alone. A Unix socket counts (empty peer_ip)."""
        return not self.peer_ip or ipaddress.ip_address(self.peer_ip.partition("%")[0]).is_loopback

    @property
    def private(self) -> bool:
        """Whether passwords may cross this connection: TLS is up, or it does not leave the machine."""
        return self.tls is not None or self.loopback
