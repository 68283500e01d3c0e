"""The settings of DNS lists."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import domain_name, setting, within
from appliance.errors import Problem

LOCAL = ipaddress.IPv4Network("127.0.0.0/8")


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsList:
    """[[spam.dnsbl.zones]]"""

    zone: str = setting("", "The list's domain, as in zen.spamhaus.org; a key of yours goes in front.")
    kind: Literal["peers", "senders", "links"] = setting(
        "peers",
        "What it lists: addresses of peers, domains of senders and HELO names, or domains of links in the text.",
    )
    score: float = setting(2.5, "Weight of being listed; below zero for lists of good senders.")
    codes: tuple[str, ...] = setting(
        (), 'Answers that count, as in "127.0.0.2" or "127.0.0.4/30"; empty: 127.0.0.0/16.'
    )
    received: bool = setting(False, "Ask a list of peers for the addresses in Received fields, too.")

    def problems(self) -> Iterator[Problem]:
        """Names and numbers that are none."""
        yield from domain_name("zone", self.zone)
        yield from within(self, -100, 100, "score")
        for text in self.codes:
            try:
                inside = ipaddress.IPv4Network(text, strict=False).subnet_of(LOCAL)
            except (TypeError, ValueError):
                inside = False
            if not inside:
                yield Problem(
                    "codes", f"{text!r} is no answer of a list.", 'Write it like "127.0.0.2" or "127.0.0.4/30".'
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsblConfig:
    """[spam.dnsbl]"""

    zones: tuple[DnsList, ...] = setting(
        (), "The lists to ask. Mind their terms: many want a key, or only small offices."
    )
    timeout: float = setting(5.0, "Seconds for all questions about one message; who has not answered is left out.")
    most: float = setting(8.0, "What all lists together may weigh at most, since they copy from each other.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and lists named twice."""
        yield from within(self, 0.5, 30, "timeout", unit="s")
        yield from within(self, 0, 100, "most")
        names = [(one.zone, one.kind) for one in self.zones]
        if len(names) != len(set(names)):
            yield Problem("zones", "names a list twice.", "Take one of them out.")
