"""Stress: whether a port is so full that it has to hurry (the idea of Postfix's stress-dependent settings)."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

LEAVE_SHARE = 0.75  # of the number at which stress begins: below it, stress ends


class Stress:
    """On from `enter` connections, off again when there are fewer than three quarters of that. 0 is never.

    What lies between keeps the state as it is, so that it does not flutter. Each change is logged.
    """

    __slots__ = ("_changed", "_enter", "_leave", "_name", "on")

    def __init__(self, name: str = "", enter: int = 0, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called after each change of `on`."""
        self.on = False
        self._name = name
        self._enter = enter
        self._leave = int(enter * LEAVE_SHARE)
        self._changed = changed

    def note(self, connections: int) -> None:
        """Take note of how many connections there are now."""
        if self.on:
            if connections < self._leave:
                self.on = False
                log.warning("%s: stress is over, at %d connections", self._name, connections)
                self._changed()
        elif 0 < self._enter <= connections:
            self.on = True
            log.warning("%s: stress at %d connections: time-outs and budgets are tight now", self._name, connections)
            self._changed()
