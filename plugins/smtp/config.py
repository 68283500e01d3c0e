"""The settings of the SMTP role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import Bind, domain_name, setting, within
from appliance.errors import Problem
from plugins.smtp.trust import is_network


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
    stress_percent: int = setting(
        80, "Share of max_connections at which the stress mode begins, in percent; 0 switches it off."
    )
    stress_timeout: float = setting(
        10.0, "Under stress, seconds to wait for the next command or octets of peers that have not logged in."
    )
    stress_errors: int = setting(1, "What max_errors is for them under stress.")
    stress_idle_commands: int = setting(50, "What max_idle_commands is for them under stress.")
    require_hello: bool = setting(True, "Take no mail from a peer that has not said EHLO, HELO or LHLO.")
    strict_pipelining: bool = setting(
        True, "Close a connection that sends the message before the 354: no mail program does, injected HTTP does."
    )
    hold_days: float = setting(
        30.0, "Days for which our own people may put off the release of a message (FUTURERELEASE); 0: not at all."
    )
    hold_messages: int = setting(200, "Messages of one sender that may wait for a later release at the same time.")
    priority_from: tuple[str, ...] = setting(
        (),
        "Accounts and IP networks that may ask for a priority above 0 (MT-PRIORITY); that of others is lowered to 0.",
    )
    etrn_domains: tuple[str, ...] = setting(
        (),
        "Domains whose waiting mail anybody may have sent at once by ETRN (RFC 1985), such as those we are backup of.",
    )
    etrn_interval: float = setting(60.0, "Seconds between two ETRN commands for one domain.")
    xclient_networks: tuple[str, ...] = setting(
        (),
        "Networks of servers that may say by XCLIENT which client they speak for, its login included, and are then "
        'treated as that client; "local" for Unix sockets. Judged by the socket, never by an address that was told.',
    )
    xforward_networks: tuple[str, ...] = setting(
        (), 'Networks of servers whose XFORWARD is noted in the trace; nothing is decided by it. "local": Unix sockets.'
    )
    vrfy: Literal["off", "accounts", "all"] = setting(
        "off", "Who may ask by VRFY and EXPN for addresses of ours: nobody, those who have logged in, or everybody."
    )
    mx_auth: bool = setting(False, "Offer logins on the MX port too. Guessers live there: better leave it off.")
    sender_check: Literal["own", "domain", "any"] = setting(
        "own",
        "Which sender addresses a login may use: its own, aliases and sub-addresses that lead to it; any address of "
        "our domains; or any at all.",
    )

    def problems(self) -> Iterator[Problem]:
        """A name that is none, and numbers out of bounds."""
        if self.hostname:
            yield from domain_name("hostname", self.hostname)
        for name in self.etrn_domains:
            yield from domain_name("etrn_domains", name)
        for entry in self.priority_from:
            if "@" not in entry and not is_network(entry):
                text = f"{entry!r} is neither an account nor an IP network."
                yield Problem("priority_from", text, 'Write "ana@office.example" or "192.0.2.0/24".')
        for name, networks in (
            ("xclient_networks", self.xclient_networks),
            ("xforward_networks", self.xforward_networks),
        ):
            for text in networks:
                if text != "local" and not is_network(text):
                    yield Problem(
                        name, f"{text!r} is no IP network.", 'Write "192.0.2.7" or "192.0.2.0/24", or "local".'
                    )
        # 64 KiB is the least that RFC 5321 section 4.5.3.1.7 allows; the store keeps sizes far below 2 GiB.
        yield from within(self, 65_536, 2**31 - 1, "max_size", unit="octets")
        yield from within(self, 100, 100_000, "max_recipients")  # section 4.5.3.1.8: at least 100
        yield from within(self, 1, 1_000_000, "max_errors", "max_idle_commands", "max_transactions")
        yield from within(self, 1, 1_000_000, "max_auth_failures", "max_connections", "max_per_peer")
        yield from within(self, 0, 3650, "hold_days", unit="days")
        yield from within(self, 0, 86_400, "etrn_interval", unit="s")
        yield from within(self, 1, 100_000, "hold_messages")
        yield from within(self, 1, 86_400, "command_timeout", "data_timeout", "data_deadline", unit="s")
        yield from within(self, 0, 100, "stress_percent")
        yield from within(self, 1, 300, "stress_timeout", unit="s")
        yield from within(self, 1, 1_000_000, "stress_errors", "stress_idle_commands")
