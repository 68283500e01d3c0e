"""What is said of a filter's scores, each figure with its 95 % bootstrap interval."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

RESAMPLES = 400
Figure = Callable[[Sequence[float], Sequence[float]], float]


def area(ham: Sequence[float], spam: Sequence[float]) -> float:
    """ROC AUC: how often spam scores higher than other mail; equal scores count half."""
    ordered = sorted(ham)
    below = sum(bisect_left(ordered, score) + bisect_right(ordered, score) for score in spam)
    return below / 2 / len(ham) / len(spam)


def missed_at(false_positives: float) -> Figure:
    """The share of spam that is missed where that share of other mail, at most, is taken for spam."""

    def missed(ham: Sequence[float], spam: Sequence[float]) -> float:
        limit = sorted(ham, reverse=True)[int(false_positives * len(ham))]
        return sum(score <= limit for score in spam) / len(spam)

    return missed


def interval(figure: Figure, ham: Sequence[float], spam: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """The middle 95 % of a figure over samples that are drawn from both kinds with replacement."""
    draw = random.Random(seed)
    found = sorted(figure(draw.choices(ham, k=len(ham)), draw.choices(spam, k=len(spam))) for _ in range(RESAMPLES))
    return found[int(0.025 * RESAMPLES)], found[int(0.975 * RESAMPLES) - 1]


def table(name: str, ham: Sequence[float], spam: Sequence[float]) -> list[str]:
    """The lines for one filter."""
    rows: list[tuple[str, Figure, float, str]] = [
        ("ROC AUC", area, 1, ""),
        ("spam missed at 1 % false positives", missed_at(0.01), 100, " %"),
        ("spam missed at 0.1 % false positives", missed_at(0.001), 100, " %"),
    ]
    lines = [name]
    for label, figure, factor, unit in rows:
        low, high = interval(figure, ham, spam)
        digits = 4 if factor == 1 else 1
        value, low, high = (round(one * factor, digits) for one in (figure(ham, spam), low, high))
        lines.append(f"  {label:38} {value:.{digits}f}{unit}  [{low:.{digits}f}, {high:.{digits}f}]")
    return lines
