"""The settings of lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem
from plugins.spam.lists.patterns import PatternError, parse_pattern


@dataclass(frozen=True, kw_only=True, slots=True)
class ListsConfig:
    """[spam.lists]"""

    allow: tuple[str, ...] = setting((), "Addresses, domains and networks that everybody here trusts.")
    deny: tuple[str, ...] = setting((), "Addresses, domains and networks from which nobody here wants mail.")
    allow_score: float = setting(-20.0, "Weight of a sender that is allowed, and proven to be that sender.")
    unproven_score: float = setting(0.0, "Weight where nothing proves it: whoever knows the name could write it.")
    known_score: float = setting(-3.0, "Weight of a proven sender to whom the account has written before.")
    known_days: float = setting(540.0, "Days for which an account's correspondents are remembered; 0: not at all.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and entries that are none."""
        yield from within(self, -1000, 1000, "allow_score", "unproven_score", "known_score")
        yield from within(self, 0, 3650, "known_days", unit="days")
        for name in ("allow", "deny"):
            for text in getattr(self, name):
                try:
                    parse_pattern(text)
                except PatternError as error:
                    yield Problem(
                        name, f"{text!r}: {error}.", 'Write "ana@office.test", "office.test" or "192.0.2.0/24".'
                    )
