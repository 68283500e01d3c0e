"""The settings of the rule set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem
from plugins.spam.heuristics.protocol_rules import RULES


@dataclass(frozen=True, kw_only=True, slots=True)
class HeuristicsConfig:
    """[spam.heuristics]"""

    off: tuple[str, ...] = setting((), 'Rules that are not asked, by name ("html_only").')
    factor: float = setting(1.0, "What all scores are multiplied by.")
    most: float = setting(8.0, "What all rules together add to a message's score, at most.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and rules that do not exist."""
        yield from within(self, 0, 10, "factor")
        yield from within(self, 0, 100, "most")
        known = {rule.name for rule in RULES}
        for name in self.off:
            if name not in known:
                yield Problem("off", f"{name!r} is no rule.", "The rules are named in protocol_rules.py.")
