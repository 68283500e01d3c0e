"""When the queue tries again, and when it gives up. Pure: times and chance come in as arguments.

Age is the sum of what a message has verifiably waited, not a difference of two clock readings: every attempt adds at
most twice the pause that was planned before it. A clock that jumps by years, or a machine that was off for a week,
therefore expires nothing. RFC 5321 section 4.5.4.1 asks for a first retry after some 30 minutes at most and for four
to five days in all.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE_S = 300
LONGEST_PAUSE_S = 4000
JITTER = 0.1  # share of a pause by which `chance` moves it, so that a host's mail does not come back in one lump
MAX_AGE_S = 5 * 86400
WARN_AFTER_S = 4 * 3600
FIRST_HOST_PAUSE_S = 60  # a destination that cannot be reached is left alone that long, then twice as long, …
_LONGEST_RUN = 16  # attempts after which the pause grows no more, whatever the settings; keeps the shift small


@dataclass(frozen=True, slots=True)
class Schedule:
    """The rules of one queue, all in seconds."""

    first_pause_s: int = FIRST_PAUSE_S
    longest_pause_s: int = LONGEST_PAUSE_S
    max_age_s: int = MAX_AGE_S
    warn_after_s: int = WARN_AFTER_S  # 0: never

    def pause_s(self, attempts: int) -> int:
        """The pause planned after that many attempts, without jitter; 0 before the first attempt."""
        if attempts <= 0:
            return 0
        return min(self.longest_pause_s, self.first_pause_s << min(attempts - 1, _LONGEST_RUN))

    def next_at(self, attempts: int, now: int, chance: float) -> int:
        """When to try again after `attempts` attempts, the last one at `now`. `chance` is within 0..1."""
        pause = self.pause_s(attempts)
        return now + max(1, round(pause * (1 + JITTER * (2 * chance - 1))))

    def waited_s(self, waited_s: int, attempts: int, tried_at: int, now: int) -> int:
        """The age at the attempt that is made `now`, after `attempts` earlier ones, the last of them at `tried_at`.

        It never shrinks and grows by at most twice the pause that was planned, however the clock moved.
        """
        if attempts <= 0 or tried_at <= 0:
            return waited_s
        return waited_s + min(max(0, now - tried_at), 2 * self.pause_s(attempts))

    def expired(self, waited_s: int) -> bool:
        """Whether the sender must be told that the message could not be delivered in time."""
        return waited_s >= self.max_age_s

    def warns(self, waited_s: int, warned: bool) -> bool:
        """Whether it is time for the one delay warning."""
        return not warned and 0 < self.warn_after_s <= waited_s < self.max_age_s


def host_pause_s(failures: int, longest_s: int = LONGEST_PAUSE_S) -> int:
    """How long a destination is left alone after that many failures to connect in a row."""
    if failures <= 0:
        return 0
    return min(longest_s, FIRST_HOST_PAUSE_S << min(failures - 1, _LONGEST_RUN))
