"""The settings of the IMAP role."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.config import Bind, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Imap4Config:
    """[imap4]"""

    listen: tuple[Bind, ...] = setting(
        (Bind("", 143),), "Where mail programs connect, after STARTTLS. A list of host:port; empty switches it off."
    )
    listen_tls: tuple[Bind, ...] = setting(
        (Bind("", 993),), "The same with TLS from the first octet (RFC 8314), which mail programs prefer."
    )
    max_append: int = setting(50 * 1024 * 1024, "Octets of the largest message that a mail program may store.")
    max_connections: int = setting(1000, "Connections at the same time, per kind of port.")
    max_per_peer: int = setting(100, "Connections at the same time from one IP address, per kind of port.")
    max_per_account: int = setting(50, "Connections at the same time of one account; a mail program holds up to ten.")
    max_auth_failures: int = setting(3, "Failed logins over one connection, after which it is closed.")
    max_errors: int = setting(20, "Bad commands in a row, after which the connection is closed.")
    login_timeout: float = setting(180.0, "Seconds to wait for a command before the login.")
    idle_timeout: float = setting(
        1800.0, "Seconds to wait for a command after the login, and to stay in IDLE (RFC 3501 section 5.4)."
    )
    append_timeout: float = setting(180.0, "Seconds to wait for the next octets of a message that is being stored.")

    def __post_init__(self) -> None:
        _within("max_append", self.max_append, 65536, 2**31 - 1)
        for name in ("max_connections", "max_per_peer", "max_per_account", "max_auth_failures", "max_errors"):
            _within(name, getattr(self, name), 1, 1_000_000)
        _within("login_timeout", self.login_timeout, 1, 86_400)
        _within("idle_timeout", self.idle_timeout, 1800, 86_400)  # the RFC allows no less
        _within("append_timeout", self.append_timeout, 1, 86_400)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be within {least:g}..{most:g}, not {value:g}")
