"""The settings of header rules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.errors import Problem
from plugins.spam.headers.patterns import PatternError, compiled

MAX_RULES = 500

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_FIELD = re.compile(r"[!-9;-~]{1,77}")  # RFC 5322 section 2.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """[[spam.headers.rules]]"""

    name: str = setting("", "A word for it, for `palomar spam why` and X-Spam-Status.")
    header: str = setting("", "The name of the field, as in Subject; all fields of that name are looked at, decoded.")
    pattern: str = setting("", "A regular expression of RE2 that is looked for anywhere in the field.")
    any_case: bool = setting(True, "Take small and capital letters for the same.")
    missing: bool = setting(False, "The rule means messages in which no such field is found.")
    score: float = setting(0.0, "Weight of it; below zero for what speaks against spam.")
    action: Literal["", "junk", "quarantine", "refuse"] = setting("", "What is done whatever the score is.")
    reason: str = setting("", "What it means, for people; the sender of refused mail reads it, too.")

    def problems(self) -> Iterator[Problem]:
        """Names that are none, patterns that cannot be used, and rules from which nothing follows."""
        if not _NAME.fullmatch(self.name):
            yield Problem("name", f"{self.name!r} is no name for a rule.", "Use small letters, digits and hyphens.")
        if not _FIELD.fullmatch(self.header):
            yield Problem("header", f"{self.header!r} is no header field.", 'Write it without the colon: "Subject".')
        if not self.pattern and not self.missing:
            yield Problem("pattern", "is empty, so it would be found in all mail.", "Say what to look for.")
        yield from within(self, -100, 100, "score")
        if not self.score and not self.action:
            yield Problem("score", "is 0, and there is no action: nothing would follow.", "Set one of them.")
        if len(self.reason) > 200 or not self.reason.isprintable():
            yield Problem("reason", "is longer than 200 characters, or no plain line.", "Make it shorter.")
        try:
            compiled(self.pattern, any_case=self.any_case)
        except PatternError as error:
            remedy = "Correct it; https://github.com/google/re2/wiki/Syntax shows what there is."
            yield Problem("pattern", f"{self.pattern!r:.100} cannot be used: {error}.", remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadersConfig:
    """[spam.headers]"""

    rules: tuple[Rule, ...] = setting((), "The rules; each is asked of every message from outside.")
    max_octets: int = setting(262_144, "Octets of header fields that all rules together look at in one message.")
    max_seconds: float = setting(0.25, "Seconds for all rules together; those that are left then are left out.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and names that stand twice."""
        yield from within(self, 1000, 16 << 20, "max_octets", unit="octets")
        yield from within(self, 0.01, 5, "max_seconds", unit="s")
        if len(self.rules) > MAX_RULES:
            yield Problem("rules", f"are more than {MAX_RULES}.", "Join some of them by |.")
        if twice := [name for name, count in Counter(rule.name for rule in self.rules).items() if count > 1]:
            yield Problem("rules", f"name {', '.join(twice)} twice.", "Give each a name of its own.")
