"""The settings of the door: what unknown peers have to stand, and what an account may send."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.document import dotted
from appliance.errors import Problem

MAX_GREET_WAIT_S = 9.0  # the hook before the greeting has ten


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorConfig:
    """[door]"""

    trusted: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"),
        "Networks whose peers are let in untested and uncounted, besides relay_networks and Unix sockets.",
    )
    ipv4_prefix: int = setting(24, "IPv4 peers are counted by networks of this size.")
    ipv6_prefix: int = setting(48, "IPv6 peers are counted by networks of this size.")

    greet_wait: float = setting(
        4.0, "Seconds that an unknown peer waits for the greeting; one that speaks before is no mail server. 0: none."
    )
    stress_greet_wait: float = setting(1.0, "The same while the port is nearly full (the stress mode of smtp).")
    early_talkers: Literal["refuse", "defer", "accept"] = setting(
        "refuse", "What happens to those that speak too early."
    )
    pass_days: float = setting(7.0, "Days for which a peer that kept silent, or brought mail, need not wait again.")

    connections_per_network: int = setting(200, "Connections at the same time from one network; 0 is no limit.")
    connections_per_minute: int = setting(120, "New connections of one network in a minute; 0 is no limit.")
    messages_per_minute: int = setting(300, "Messages of one network in a minute; 0 is no limit.")
    recipients_per_minute: int = setting(1000, "Recipients of one network in a minute; 0 is no limit.")

    tarpit_after: int = setting(3, "Refusals of one connection after which each further one keeps it waiting.")
    tarpit_step: float = setting(2.0, "Seconds by which that wait grows with each refusal; 0 switches it off.")
    tarpit_most: float = setting(20.0, "The longest wait, in seconds.")
    tarpit_connections: int = setting(50, "Connections that are kept waiting at the same time; others need not.")

    harvest_unknown: int = setting(
        30, "Unknown recipients named by one network within about an hour that make it a harvester; 0 is never."
    )
    harvest_share: float = setting(0.8, "Share of unknown ones among its recipients that must be reached as well.")
    harvest_pause: float = setting(900.0, "Seconds for which a harvester's network hears nothing but 421.")

    unknown_own_senders: Literal["refuse", "accept"] = setting(
        "refuse", "Mail of strangers whose sender is of a domain of ours, where nobody has that address."
    )
    own_senders: Literal["accept", "refuse"] = setting(
        "accept", "Mail of strangers whose sender is of a domain of ours at all. Refusing it breaks some services."
    )

    callout: tuple[Literal["relay", "backup"], ...] = setting(
        ("relay",), "Kinds of domains whose next host is asked whether a recipient exists; empty asks nobody."
    )
    callout_unsure: Literal["defer", "accept"] = setting(
        "defer", "Recipients of relay domains whose host cannot be asked now. Those of backup domains are accepted."
    )
    callout_timeout: float = setting(12.0, "Seconds to wait for that host; the answer is used later if it is late.")
    callout_at_once: int = setting(5, "Questions on their way at the same time.")
    callout_refresh: float = setting(86_400.0, "Seconds after which a host is asked again about a known recipient.")
    callout_expire: float = setting(
        2_678_400.0, "Seconds for which a known recipient stays known while its host cannot be asked."
    )
    callout_negative: float = setting(7200.0, "Seconds for which an unknown recipient stays unknown.")

    def problems(self) -> Iterator[Problem]:
        """Networks that are none, and numbers out of bounds."""
        for place, text in enumerate(self.trusted):
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                yield Problem(dotted("trusted", place), f"{text!r} is no network: {error}.", 'Write "192.168.1.0/24".')
        yield from within(self, 8, 32, "ipv4_prefix")
        yield from within(self, 16, 64, "ipv6_prefix")
        yield from within(self, 0, MAX_GREET_WAIT_S, "greet_wait", "stress_greet_wait", unit="s")
        yield from within(self, 0, 365, "pass_days", unit="days")
        yield from within(self, 0, 1_000_000, "connections_per_network", "connections_per_minute")
        yield from within(self, 0, 1_000_000, "messages_per_minute", "recipients_per_minute", "harvest_unknown")
        yield from within(self, 0, 10_000, "tarpit_after", "tarpit_connections")
        yield from within(self, 0, 25, "tarpit_step", "tarpit_most", unit="s")
        yield from within(self, 0.1, 1, "harvest_share")
        yield from within(self, 1, 86_400, "harvest_pause", unit="s")
        yield from within(self, 1, 18, "callout_timeout", unit="s")
        yield from within(self, 1, 100, "callout_at_once")
        yield from within(self, 60, 31_536_000, "callout_refresh", "callout_expire", "callout_negative", unit="s")


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundConfig:
    """[door.outbound]"""

    connections: int = setting(20, "Connections of one account on the submission ports at the same time; 0: no limit.")
    messages_per_hour: int = setting(300, "Messages of one account in an hour before its mail is held; 0: no limit.")
    messages_per_day: int = setting(1500, "The same for a day.")
    recipients_per_hour: int = setting(1000, "Recipients outside in an hour before an account's mail is held; 0: none.")
    recipients_per_day: int = setting(3000, "The same for a day.")
    new_recipients_per_day: int = setting(
        750, "Recipients in a day to whom the account has not written before; 0 is no limit."
    )
    bounces: int = setting(50, "Failed deliveries in a day from which on their share counts; 0 is never.")
    bounce_share: float = setting(0.5, "Share of failed ones among a day's deliveries that means trouble.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from within(self, 0, 10_000_000, "connections", "messages_per_hour", "messages_per_day", "bounces")
        yield from within(self, 0, 10_000_000, "recipients_per_hour", "recipients_per_day", "new_recipients_per_day")
        yield from within(self, 0.05, 1, "bounce_share")
