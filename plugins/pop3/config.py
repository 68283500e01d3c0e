"""The settings of the POP3 role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import Bind, setting, within
from appliance.document import dotted
from appliance.errors import AddressError, Problem
from appliance.mail.address import Address

NEVER = -1  # of `expire`


@dataclass(frozen=True, kw_only=True, slots=True)
class Pop3Account:
    """[pop3.accounts.NAME]"""

    junk: bool | None = setting(None, "As junk above, for this account; unset: as there.")
    expire: int | None = setting(None, "As expire above, for this account; unset: as there.")
    login_delay: int | None = setting(None, "As login_delay above, for this account; unset: as there.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from _choice_problems(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pop3Config:
    """[pop3]"""

    listen: tuple[Bind, ...] = setting(
        (Bind("", 110),), "Where mail programs fetch mail, after STLS. A list of host:port; empty switches it off."
    )
    listen_tls: tuple[Bind, ...] = setting(
        (Bind("", 995),), "The same with TLS from the first octet (RFC 8314), which mail programs prefer."
    )
    mark_seen: bool = setting(True, "Mark messages as read for IMAP when a POP3 client has fetched them by RETR.")
    junk: bool = setting(
        False, "Show the Junk mailbox among INBOX, in the order of arrival, to people whose programs know only POP3."
    )
    expire: int = setting(
        NEVER,
        "Days after which a message that was fetched by POP3, or was read when POP3 listed it, is removed; flagged "
        "ones stay. 0 removes what was fetched when the session ends; -1 removes nothing, ever (RFC 2449 section 6.7).",
    )
    login_delay: int = setting(
        0,
        "Seconds from one login to a mailbox to the next; sooner ones are refused (RFC 2449 section 6.5). 0: no delay.",
    )
    accounts: dict[str, Pop3Account] = setting({}, "Accounts whose choices differ, by their names.")
    max_connections: int = setting(1000, "Connections at the same time, per kind of port.")
    max_per_peer: int = setting(100, "Connections at the same time from one IP address, per kind of port.")
    max_auth_failures: int = setting(3, "Failed logins over one connection, after which it is closed.")
    max_errors: int = setting(20, "Refused commands over one connection, after which it is closed.")
    login_timeout: float = setting(180.0, "Seconds to wait for a command before the login.")
    command_timeout: float = setting(600.0, "Seconds to wait for a command after the login (RFC 1939 section 3).")
    takeover_after: float = setting(
        60.0,
        "Seconds without a command after which a new login to the same mailbox ends the old connection, "
        "instead of being refused as in use: most likely its client has gone without saying so.",
    )

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from within(self, 1, 1_000_000, "max_connections", "max_per_peer", "max_auth_failures", "max_errors")
        yield from within(self, 1, 86_400, "login_timeout", "takeover_after", unit="s")
        yield from within(self, 600, 86_400, "command_timeout", unit="s")  # RFC 1939 section 3 allows no less
        yield from _choice_problems(self)
        for name in self.accounts:
            try:
                known = Address.parse(name).key
            except AddressError as error:
                yield Problem(dotted("accounts", name), f"is no account: {error}.", "Write its whole address.")
                continue
            if known != name:
                yield Problem(dotted("accounts", name), "is not how the account is called.", f'Write "{known}".')


def _choice_problems(section: Pop3Config | Pop3Account) -> Iterator[Problem]:
    if section.expire is not None:
        yield from within(section, NEVER, 36_500, "expire", unit="days")
    if section.login_delay is not None:
        yield from within(section, 0, 86_400, "login_delay", unit="s")
