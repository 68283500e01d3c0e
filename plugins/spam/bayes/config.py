"""The settings of the learning filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class BayesConfig:
    """[spam.bayes]"""

    spam_score: float = setting(6.0, "Weight of a message that looks like learnt spam in every way.")
    ham_score: float = setting(-4.0, "Weight of one that looks like learnt mail in every way.")
    minimum: int = setting(50, "Messages of each kind that must be learnt before anything is said.")
    max_tokens: int = setting(
        600_000, "Tokens that are kept of all accounts' mail together, 100 octets of memory each."
    )
    max_own_tokens: int = setting(60_000, "The same for what one account has moved to and from Junk.")
    learn_spam_score: float = setting(
        9.0, "Mail that other checks alone give this score is learnt as spam by itself; 0: never."
    )
    learn_ham_score: float = setting(
        -1.0, "Mail that other checks alone give this score or less is learnt as wanted; 0: never."
    )
    learn_per_day: int = setting(200, "Messages of each kind that are learnt by themselves in a day, at most.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from within(self, 0, 1000, "spam_score", "learn_spam_score")
        yield from within(self, -1000, 0, "ham_score", "learn_ham_score")
        yield from within(self, 1, 100_000, "minimum")
        yield from within(self, 1000, 5_000_000, "max_tokens", "max_own_tokens")
        yield from within(self, 0, 100_000, "learn_per_day")
