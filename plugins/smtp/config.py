"""The settings of the SMTP role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from appliance.config import Bind, setting
from appliance.errors import AddressError
from appliance.mail.address import normal_domain


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpConfig:
    """[smtp]"""

    mx: tuple[Bind, ...] = setting(
        (Bind("", 25),), "Where mail from other servers is taken. A list of host:port; empty switches it off."
    )
    submission: tuple[Bind, ...] = setting(
        (Bind("", 587),), "Where our own people send, after STARTTLS and a login (RFC 6409)."
    )
    submissions: tuple[Bind, ...] = setting(
        (Bind("", 465),), "The same with TLS from the first octet (RFC 8314), which mail programs prefer."
    )
    lmtp: tuple[Bind, ...] = setting(
        (), 'Where another MTA hands over mail by LMTP (RFC 2033), such as "unix:/run/palomar/lmtp.sock".'
    )
    hostname: str = setting("", "Name in the greeting and in Received, if it differs from the machine's hostname.")
    max_size: int = setting(50 * 1024 * 1024, "Octets of the largest message taken (RFC 1870).")
    max_recipients: int = setting(1000, "Recipients of one message; more are deferred with 452, as RFC 5321 has it.")
    max_errors: int = setting(20, "Refused commands and recipients after which the connection is closed with 421.")
    max_idle_commands: int = setting(100, "NOOP, RSET, VRFY and the like without mail between, before it is closed.")
    max_transactions: int = setting(100_000, "Messages over one connection.")
    max_auth_failures: int = setting(3, "Failed logins over one connection.")
    max_connections: int = setting(1000, "Connections at the same time, per kind of port.")
    max_per_peer: int = setting(100, "Connections at the same time from one IP address, per kind of port.")
    command_timeout: float = setting(300.0, "Seconds to wait for the next command (RFC 5321 section 4.5.3.2.7).")
    data_timeout: float = setting(180.0, "Seconds to wait for the next octets of a message.")
    data_deadline: float = setting(3600.0, "Seconds in which a whole message must have come, however it drips.")
    require_hello: bool = setting(True, "Take no mail from a peer that has not said EHLO, HELO or LHLO.")
    strict_pipelining: bool = setting(
        True, "Close a connection that sends the message before the 354: no mail program does, injected HTTP does."
    )
    mx_auth: bool = setting(False, "Offer logins on the MX port too. Guessers live there: better leave it off.")
    sender_check: Literal["own", "domain", "any"] = setting(
        "own",
        "Which sender addresses a login may use: its own, aliases and sub-addresses that lead to it; any address of "
        "our domains; or any at all.",
    )

    def __post_init__(self) -> None:
        if self.hostname:
            try:
                normal_domain(self.hostname)
            except AddressError as error:
                raise ValueError(f"hostname: {self.hostname!r} is no domain name: {error}") from None
        # 64 KiB is the least that RFC 5321 section 4.5.3.1.7 allows; the store keeps sizes far below 2 GiB.
        _within("max_size", self.max_size, 65536, 2**31 - 1)
        _within("max_recipients", self.max_recipients, 100, 100_000)  # section 4.5.3.1.8: at least 100
        for name in ("max_errors", "max_idle_commands", "max_transactions", "max_auth_failures", "max_connections"):
            _within(name, getattr(self, name), 1, 1_000_000)
        _within("max_per_peer", self.max_per_peer, 1, 1_000_000)
        for name in ("command_timeout", "data_timeout", "data_deadline"):
            _within(name, getattr(self, name), 1, 86400)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be within {least}..{most}, not {value}")
