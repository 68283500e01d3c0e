"""The flap guard: a link that comes and goes is slowed down to 100 Mb/s, and somebody is told."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from hw import ethtool
from hw.messages import Note
from hw.part import Report

FLAPS = 10  # lost links in an hour that are too many; a cable that is plugged by hand makes two or three
WINDOW_S = 3600.0


class Flaps:
    """Counts how often links were lost within the last hour. Pure: times come in as arguments."""

    def __init__(self, limit: int = FLAPS, window_s: float = WINDOW_S) -> None:
        self._limit = limit
        self._window_s = window_s
        self._changes: dict[str, int] = {}  # IFLA_CARRIER_CHANGES: counts both ways
        self._lost: dict[str, deque[float]] = {}

    def seen(self, nic: str, changes: int, now: float) -> bool:
        """Take a reading of IFLA_CARRIER_CHANGES. True when the interface has flapped too often just now."""
        before = self._changes.get(nic)
        self._changes[nic] = changes
        lost = self._lost.setdefault(nic, deque(maxlen=self._limit))
        if before is None or changes < before:  # new, or replaced by another of the same name
            lost.clear()
            return False
        flaps = (changes + 1) // 2 - (before + 1) // 2
        lost.extend([now] * min(flaps, self._limit))
        return bool(flaps) and len(lost) == self._limit and now - lost[0] <= self._window_s

    def forget(self, nic: str) -> None:
        """The interface is gone, or its count begins anew."""
        self._changes.pop(nic, None)
        self._lost.pop(nic, None)


class FlapGuard:
    """The part "flaps". `step_down` slows an interface down, and says whether that worked."""

    name = "flaps"

    def __init__(
        self,
        step_down: Callable[[str], bool] = ethtool.limit_to_100,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._step_down = step_down
        self._clock = clock
        self._flaps = Flaps()
        self._words: dict[str, str] = {}
        self._told = asyncio.Event()

    def carrier(self, nic: str, changes: int) -> None:
        """Call for every reading of a wired interface's IFLA_CARRIER_CHANGES."""
        if not self._flaps.seen(nic, changes, self._clock()) or nic in self._words:
            return
        if self._step_down(nic):
            done = "It offers 100 Mb/s at most until the next start. Try another cable, or another port of the switch."
        else:
            done = "It cannot be slowed down. Try another cable, or another port of the switch."
        self._words[nic] = f"{nic} lost its link {FLAPS} times within an hour. {done}"
        self._told.set()

    def gone(self, nic: str) -> None:
        """The interface was unplugged."""
        self._flaps.forget(nic)
        if self._words.pop(nic, None) is not None:
            self._told.set()

    async def run(self, report: Report) -> None:
        """Report what was found until cancelled."""
        while True:
            await self._told.wait()
            self._told.clear()
            report(tuple(Note(source=self.name, level="warning", text=text) for text in self._words.values()))
