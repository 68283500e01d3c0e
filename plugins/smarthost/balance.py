"""In which order hosts are tried: by weight within a group, fallbacks behind it, and last of all those that failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random

from appliance.queue.schedule import host_pause_s
from plugins.smarthost.config import SmartHost


def in_order(chain: Sequence[Sequence[SmartHost]], rests: Callable[[str], bool], random: Random) -> list[SmartHost]:
    """One order for one delivery. A host with twice the weight stands first in its group twice as often."""
    drawn = [
        host
        for group in chain
        for host in sorted(group, key=lambda host: random.random() ** (1 / host.weight), reverse=True)
    ]
    return sorted(drawn, key=lambda host: rests(host.label))


class Resting:
    """Hosts that could not be used a moment ago: not asked first again for a minute, then two, up to an hour.

    `clock` gives seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}  # failures in a row, and until when it rests

    def failed(self, key: str) -> None:
        """It could not be used. Failures of deliveries side by side count once."""
        failures, until = self._failed.get(key, (0, 0.0))
        if self._clock() >= until:
            self._failed[key] = failures + 1, self._clock() + host_pause_s(failures + 1)

    def answered(self, key: str) -> None:
        """It could be used."""
        self._failed.pop(key, None)

    def rests(self, key: str) -> bool:
        """Whether others should be tried before it."""
        return key in self._failed and self._clock() < self._failed[key][1]
