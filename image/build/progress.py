"""What the builder sees: one line per step with its time, and signs of life while a step runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

QUIET_SPAN = 30.0  # seconds without a sign of life where there is no terminal


class Progress:
    """Numbered steps with their times. On a terminal the running step shows its last output in place."""

    def __init__(
        self, steps: int, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps = steps
        self._stream = stream or sys.stderr
        self._clock = clock
        self._number = 0
        self._title = ""
        self._begun = self._told = self._first = clock()

    def begin(self, title: str) -> None:
        """A step starts (or turns out to be kept)."""
        self._number += 1
        self._title = title
        self._begun = self._told = self._clock()

    def note(self, text: str) -> None:
        """One line of output of the running step."""
        now = self._clock()
        if self._stream.isatty():
            self._stream.write(f"\r{self._head()} {now - self._begun:4.0f} s  {text[:70]}\x1b[K")
        elif now - self._told >= QUIET_SPAN:
            self._stream.write(f"{self._head()} {now - self._begun:4.0f} s  {text[:100]}\n")
        else:
            return
        self._told = now
        self._stream.flush()

    def end(self, result: str) -> None:
        """The step is over; `result` is how it went."""
        self._line(f"{self._head()} {self._clock() - self._begun:6.1f} s  {result}")

    def say(self, text: str) -> None:
        """A line that belongs to no step."""
        self._line(text)

    def total(self) -> float:
        """Seconds since the first step."""
        return self._clock() - self._first

    def _head(self) -> str:
        return f"[{self._number:2d}/{self._steps}] {self._title:<34}"

    def _line(self, text: str) -> None:
        start, end = ("\r", "\x1b[K\n") if self._stream.isatty() else ("", "\n")
        self._stream.write(start + text + end)
        self._stream.flush()
