"""The settings of the judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem

_SCORES = ("tag_score", "junk_score", "quarantine_score", "refuse_score")


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """[[spam.judge.rules]]"""

    recipients: tuple[str, ...] = setting(
        (), 'Whom this is for: accounts ("ana@office.test") or domains ("office.test").'
    )
    tag_score: float = setting(0.0, "As in [spam.judge]; 0 keeps what stands there, a negative number switches it off.")
    junk_score: float = setting(0.0, "The same.")
    quarantine_score: float = setting(0.0, "The same.")
    refuse_score: float = setting(0.0, "The same.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and rules for nobody."""
        yield from within(self, -1000, 1000, *_SCORES)
        if not self.recipients:
            yield Problem("recipients", "is empty, so the rule is for nobody.", "Name accounts or domains.")


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """[spam.judge]"""

    tag_score: float = setting(3.0, "Score from which X-Spam-Flag says YES, for rules of mail programs; 0: never.")
    junk_score: float = setting(5.0, "Score from which a message is filed in Junk; 0: never.")
    quarantine_score: float = setting(0.0, "Score from which it waits for a person, held in the queue; 0: never.")
    refuse_score: float = setting(12.0, "Score from which it is refused while the sender waits; 0: never.")
    rules: tuple[Thresholds, ...] = setting(
        (), "Other scores for some accounts or domains; the first that fits counts."
    )

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and scores that could never come to pass."""
        yield from within(self, 0, 1000, *_SCORES)
        if 0 < self.refuse_score <= self.junk_score:
            yield Problem(
                "refuse_score",
                "is not above junk_score, so nothing would ever be filed in Junk.",
                "Raise it, or set 0.",
            )
