"""Settings of the queue: [queue]."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.config import setting
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

    def __post_init__(self) -> None:
        if not 1 <= self.deliveries <= _MAX_TOTAL:
            raise ValueError(f"deliveries must be within 1..{_MAX_TOTAL}, not {self.deliveries}")
        if not 1 <= self.deliveries_per_destination <= self.deliveries:
            raise ValueError("deliveries_per_destination must be within 1 and the value of deliveries")
        if not 10 <= self.first_retry <= 7200:
            raise ValueError(f"first_retry must be within 10..7200 s, not {self.first_retry}")
        if not self.first_retry <= self.longest_retry <= 86400:
            raise ValueError(f"longest_retry must be within first_retry and 86400 s, not {self.longest_retry}")
        if not 0.01 <= self.max_age_days <= 30:
            raise ValueError(f"max_age_days must be within 0.01..30, not {self.max_age_days}")
        if not 0 <= self.warn_after_hours <= 24 * self.max_age_days:
            raise ValueError("warn_after_hours must be 0 or less than max_age_days")
        if not 0 <= self.grace <= 25:
            raise ValueError(f"grace must be within 0..25 s, not {self.grace}")

    @property
    def schedule(self) -> Schedule:
        """The retry schedule that follows from the settings."""
        return Schedule(
            self.first_retry, self.longest_retry, round(self.max_age_days * 86400), round(self.warn_after_hours * 3600)
        )
