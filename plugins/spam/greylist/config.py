"""The settings of greylisting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import network, setting, within
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class GreylistConfig:
    """[spam.greylist]"""

    delay: float = setting(120.0, "Seconds after which a stranger's second try is taken.")
    retry_hours: float = setting(24.0, "Hours within which that second try must come.")
    passes: int = setting(2, "Messages of a peer's network that passed, after which all its mail is taken at once.")
    keep_days: float = setting(36.0, "Days for which who has passed is remembered, counted from the last message.")
    trust_authenticated: bool = setting(
        True, "Do not delay mail whose sender SPF, DKIM or DMARC has proven: login codes should not wait."
    )
    trust_correspondents: bool = setting(
        True, "Do not delay mail of senders to whom a recipient has written (spam.lists remembers them)."
    )
    exempt: tuple[str, ...] = setting((), "Networks whose mail is never delayed.")
    ipv4_prefix: int = setting(24, "Length of the IPv4 networks that count as one peer.")
    ipv6_prefix: int = setting(64, "The same for IPv6.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and networks that are none."""
        yield from within(self, 1, 3600, "delay", unit="s")
        yield from within(self, 1, 240, "retry_hours", unit="hours")
        yield from within(self, 1, 1000, "passes")
        yield from within(self, 1, 400, "keep_days", unit="days")
        yield from within(self, 8, 32, "ipv4_prefix")
        yield from within(self, 32, 128, "ipv6_prefix")
        for text in self.exempt:
            yield from network("exempt", text)
