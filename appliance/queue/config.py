"""Settings of the queue: [queue]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem
from appliance.queue.schedule import Schedule

_MAX_TOTAL = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueConfig:
    """[queue]"""

    deliveries: int = setting(100, "Deliveries under way at once, over all destinations.")
    deliveries_per_destination: int = setting(20, "Deliveries under way at once to one destination.")
    first_retry: int = setting(300, "Seconds until a deferred message is tried again; doubled after each attempt.")
    longest_retry: int = setting(4000, "Seconds between two attempts at most.")
    max_age_days: float = setting(5.0, "Days after which an undelivered message goes back to its sender.")
    warn_after_hours: float = setting(4.0, "Hours after which the sender is warned, once; 0 never warns.")
    grace: float = setting(10.0, "Seconds that deliveries under way are given at shutdown.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and pairs that contradict each other."""
        yield from within(self, 1, _MAX_TOTAL, "deliveries", "deliveries_per_destination")
        yield from within(self, 10, 7200, "first_retry", unit="s")
        yield from within(self, 10, 86_400, "longest_retry", unit="s")
        yield from within(self, 0.01, 30, "max_age_days", unit="days")
        yield from within(self, 0, 24 * self.max_age_days, "warn_after_hours", unit="hours")
        yield from within(self, 0, 25, "grace", unit="s")
        for small, great in (("deliveries_per_destination", "deliveries"), ("first_retry", "longest_retry")):
            if getattr(self, small) > (most := getattr(self, great)):
                yield Problem(small, f"must not exceed {great}, which is {most}.", f"Lower it, or raise {great}.")

    @property
    def schedule(self) -> Schedule:
        """The retry schedule that follows from the settings."""
        return Schedule(
            self.first_retry, self.longest_retry, round(self.max_age_days * 86400), round(self.warn_after_hours * 3600)
        )
