"""The terms on which we talk to one next hop, and the error of a hop that cannot be used."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from appliance.mail.delivery import DeliveryError, Outcome
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply
from appliance.tlslink import TlsFailure

if TYPE_CHECKING:
    from appliance.smtpclient.client import SmtpClient

TlsPolicy = Literal["off", "opportunistic", "required", "verified"]
"""off: never; opportunistic: if the hop can, else in clear; required: encrypted or not at all; verified: and with a
certificate that is trusted and names the host."""

Contexts = Callable[[bool], ssl.SSLContext]
"""Gives the TLS context of a client; the argument says whether it verifies the peer."""

TlsLevel = Literal["plain", "encrypted", "authenticated"]
"""What a connection came to: in clear, encrypted with whoever answered, or with a host that proved its name."""

CertificateCheck = Callable[[Sequence[bytes]], None]
"""Takes the certificates a host showed (DER, its own first) and raises TlsError when they do not prove the host."""


class Observer(Protocol):
    """Told of every connection that `reach` makes and of every host that failed: for whoever keeps a record of TLS."""

    def connected(self, client: SmtpClient) -> None:
        """A connection is ready for MAIL. Raise HopError, and it is not used."""

    def failed(self, client: SmtpClient, error: HopError) -> None:
        """A connection was made and did not come that far; the client tells on which terms and between whom."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for each kind of answer: those of RFC 5321 section 4.5.3.2 where it names one."""

    connect: float = 30.0
    greeting: float = 300.0
    hello: float = 300.0
    starttls: float = 120.0
    auth: float = 120.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    text: float = 600.0
    reset: float = 20.0
    quit: float = 5.0


@dataclass(frozen=True, slots=True)
class Login:
    """What AUTH needs: a user name with a password or a bearer token, or neither of them where the certificate of ours
    that TLS has shown is the login (EXTERNAL).
    """

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One host to send through. `host` is its name: what certificates are checked against and what the trace shows."""

    host: str
    port: int = 25
    own_name: str  # how we name ourselves in EHLO
    tls: TlsPolicy = "opportunistic"
    otherwise: TlsPolicy | None = None  # tried when TLS fails under `tls`: what is not enforced yet, but watched
    check: CertificateCheck | None = None  # proves the host instead of authorities and names (DANE)
    server_name: str = ""  # for SNI and the check of the certificate; empty takes `host`
    why: str = ""  # for the trace: where the terms come from
    proven: bool = False  # that `host` is to be asked is proven (DNSSEC, MTA-STS, an administrator's word)
    require_tls: bool = False  # for a message that must not leave the secured way (RFC 8689)
    implicit_tls: bool = False
    lmtp: bool = False
    login: Login | None = None
    xforward: bool = False  # tell it of each message's client, if it wants to know
    local_addresses: tuple[str, ...] = ()  # addresses of ours to connect from, at most one of each family
    timeouts: Timeouts = Timeouts()


class HopError(DeliveryError):
    """The hop gave no verdict on any recipient: another host, another connection or a later time may.

    `peer` is empty where no host was involved: the name look-up failed, or mail would come back to us.
    `in_tls` says that the TLS handshake failed, so that an opportunistic policy may go on in clear. `tls_failure` is
    set where the host's TLS is not what it should be. `lacking` says that the host is no way for a message that
    demands secured ways, and no time will help: with no other host, the message goes back.
    """

    def __init__(
        self,
        reply: Reply,
        *,
        peer: str,
        in_tls: bool = False,
        tls_failure: TlsFailure = "",
        lacking: bool = False,
    ) -> None:
        super().__init__(reply, transport=peer or "no host")
        self.peer = peer
        self.in_tls = in_tls
        self.tls_failure: TlsFailure = tls_failure
        self.lacking = lacking


def outcomes_of(error: HopError, recipients: Sequence[Recipient]) -> list[Outcome]:
    """What a hop that gave no verdict means for each recipient. Only a temporary error calls the hop unreachable."""
    reply = error.reply
    if reply.permanent:
        return [Outcome(recipient, "failed", reply, error.peer) for recipient in recipients]
    return [Outcome(recipient, "deferred", reply, error.peer, unreachable=True) for recipient in recipients]
