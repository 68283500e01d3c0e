"""From counts to a number: how much a message looks like the spam, or like the mail, that was learnt. Pure.

Each token speaks by the logarithm of how often it stood in spam and in other mail. Tokens depend on each other, so
their sum is divided by the root of how many there are, zone by zone (header, subject, text, shape, links), and no zone
says more than LOUDEST: a copied newsletter cannot drown a forged header, nor pasted prose a link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import log, sqrt

from plugins.spam.bayes.protocol_tokens import ZONE_BITS, ZONES

COUNT_BITS = 20
MAX_COUNT = (1 << COUNT_BITS) - 1
LOUDEST = 4.0  # of one zone
STRONGEST = LOUDEST * ZONES  # of a message
UNSEEN = 0.02  # stands for "never" in a logarithm
OWN_WEIGHT = 4  # a message that an account has sorted itself counts as so many of the base
_ZONE = (1 << ZONE_BITS) - 1
_BOTH = (1 << 2 * COUNT_BITS) - 1


@dataclass(slots=True)
class Counts:
    """How often each token stood in spam and in other mail: `day << 40 | spam << 20 | ham` by token."""

    tokens: dict[int, int] = field(default_factory=dict)
    spam: int = 0  # messages
    ham: int = 0

    def learn(self, tokens: Iterable[int], *, spam: bool, day: int) -> None:
        """Count one message. `day` counts from 1970."""
        self.spam += spam
        self.ham += not spam
        for token in tokens:
            value = self.tokens.get(token, 0)
            bad, good = (value >> COUNT_BITS & MAX_COUNT) + spam, (value & MAX_COUNT) + (not spam)
            self.tokens[token] = day << 2 * COUNT_BITS | min(bad, MAX_COUNT) << COUNT_BITS | min(good, MAX_COUNT)

    def forget_rare(self, room: int) -> list[int]:
        """Forget tokens until `room` are left: the rarest of the oldest first. Returns those that are gone."""
        excess = len(self.tokens) - room
        if excess <= 0:
            return []
        gone = sorted(self.tokens, key=lambda token: _worth(self.tokens[token]))[:excess]
        for token in gone:
            del self.tokens[token]
        return gone


def _worth(value: int) -> tuple[int, int]:
    """Tokens seen once go before those seen twice, whatever their day."""
    seen = (value >> COUNT_BITS & MAX_COUNT) + (value & MAX_COUNT)
    return min(seen, 3), value >> 2 * COUNT_BITS


@dataclass(frozen=True, slots=True)
class Verdict:
    """`strength` from -STRONGEST (as learnt mail) to STRONGEST (as spam), and what each zone said of it."""

    strength: float
    zones: tuple[float, ...]
    known: int  # tokens that had been seen before


def classify(tokens: Iterable[int], base: Counts, own: Counts | None = None) -> Verdict:
    """Compare a message with what the base, and an account over it, has learnt. Nothing learnt of one side says 0."""
    spam, ham = base.spam, base.ham
    if own is not None:
        spam, ham = spam + OWN_WEIGHT * own.spam, ham + OWN_WEIGHT * own.ham
    if not spam or not ham:
        return Verdict(0.0, (0.0,) * ZONES, 0)
    sums, counts = _sums(tokens, base.tokens, own.tokens if own is not None else {}, log((ham + 1) / (spam + 1)))
    zones = tuple(
        max(-LOUDEST, min(LOUDEST, total / sqrt(count + 1))) for total, count in zip(sums, counts, strict=True)
    )
    return Verdict(sum(zones), zones, sum(counts))


def _sums(
    tokens: Iterable[int], base: Mapping[int, int], own: Mapping[int, int], prior: float
) -> tuple[list[float], list[int]]:
    """Sum of the logarithms and number of known tokens, zone by zone."""
    sums, counts = [0.0] * ZONES, [0] * ZONES
    if not own:
        for token in tokens:
            if value := base.get(token):
                zone = token & _ZONE
                counts[zone] += 1
                sums[zone] += prior + _ratio(value & _BOTH)
        return sums, counts
    for token in tokens:
        value = base.get(token, 0)
        bad, good = value >> COUNT_BITS & MAX_COUNT, value & MAX_COUNT
        if mine := own.get(token):
            bad += OWN_WEIGHT * (mine >> COUNT_BITS & MAX_COUNT)
            good += OWN_WEIGHT * (mine & MAX_COUNT)
        elif not value:
            continue
        zone = token & _ZONE
        counts[zone] += 1
        sums[zone] += prior + log((bad + UNSEEN) / (good + UNSEEN))
    return sums, counts


@lru_cache(maxsize=50_000)
def _ratio(both: int) -> float:
    """The logarithm for two counts that stand as in Counts.tokens. Most tokens share few pairs of them."""
    return log(((both >> COUNT_BITS) + UNSEEN) / ((both & MAX_COUNT) + UNSEEN))
