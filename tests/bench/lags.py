"""How soon notices came, from what the generators noted. Without I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

Heard = Sequence[tuple[int, float]]  # how many messages a connection was told of, and when; both ascending


def notice_p99(
    told: Mapping[str, Sequence[float]], heard: Mapping[str, Sequence[Heard]], *, missing: int, worst: float
) -> float:
    """The 99th percentile, in seconds, of the time from a 250 to the notice, over all connections of each account.

    `told` has the times of the 250s of each account's messages. `missing` notices more, and those that never came,
    count as `worst`: a server that takes less mail than it was offered is none the quicker.
    """
    lags = [lag for user, times in told.items() for each in heard[user] for lag in _lags(times, each, worst)]
    lags += [worst] * missing
    lags.sort()
    return lags[len(lags) * 99 // 100]


def _lags(told: Sequence[float], heard: Heard, worst: float) -> Iterator[float]:
    """For each delivery at one connection. One notice may tell of several messages."""
    counts = [count for count, _ in heard]
    for number, at in enumerate(told, 1):
        place = bisect_left(counts, number)
        yield max(0.0, heard[place][1] - at) if place < len(heard) else worst
