"""The settings of the IMAP role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from appliance.config import Bind, setting, within
from appliance.errors import Problem


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

    search_index: bool = setting(
        True, "Keep an index of all texts, so that searches in them are quick. It is made anew if it is deleted."
    )
    search_pdf: bool = setting(
        False,
        "Search in PDF files that are attached, too: some seconds after they have come. Needs the extra palomar[pdf],"
        " and search_index.",
    )

    unauthenticate: bool = setting(
        True, "Let a program log out and in again as another account over the same connection (RFC 8437)."
    )

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from within(self, 65_536, 2**31 - 1, "max_append", unit="octets")
        yield from within(self, 1, 1_000_000, "max_connections", "max_per_peer", "max_per_account")
        yield from within(self, 1, 1_000_000, "max_auth_failures", "max_errors")
        yield from within(self, 1, 86_400, "login_timeout", "append_timeout", unit="s")
        if self.search_pdf and not self.search_index:
            yield Problem("search_pdf", "The texts of PDF files are kept in the search index, which is off.",
                          "Set search_index = true, or search_pdf = false.")  # fmt: skip
        if self.search_pdf and find_spec("pypdf") is None:
            yield Problem("search_pdf", "pypdf, which reads PDF files, is not installed.",
                          "Install palomar[pdf], or set search_pdf = false.")  # fmt: skip
        yield from within(self, 1800, 86_400, "idle_timeout", unit="s")  # RFC 3501 section 5.4 allows no less
