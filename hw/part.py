"""What palomar-hw runs side by side: parts, each of which may fail without stopping the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from appliance.timestate import TimeState
from hw.messages import Note, Storage, Vitals

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0  # before the first restart; doubles
LONGEST_PAUSE_S = 60.0
HEALTHY_S = 300.0  # after that long a new failure counts as the first again

Facts: TypeAlias = TimeState | Vitals | Storage | tuple[Note, ...]
"""What a part found out: how far the clock is trusted, how the board and its storage do, or all of the part's notes."""

Report: TypeAlias = Callable[[Facts], None]


class Part(Protocol):
    """One duty. `name` is for the log."""

    name: str

    async def run(self, report: Report) -> None:
        """Work until cancelled. Call `report` when something that this part knows has changed; notes replace notes."""


class Duty:
    """A part made of a coroutine function that has nothing to report."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._work = work

    async def run(self, report: Report) -> None:
        """See Part."""
        await self._work()


async def keep(
    part: Part,
    report: Report,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run a part for ever, with growing pauses after failures, and let people know that it fails.

    `clock` gives growing seconds and `sleep` waits them: for tests.
    """
    pause = FIRST_PAUSE_S
    while True:
        started = clock()
        try:
            await part.run(report)
            problem = "ended by itself"
            log.error("%s ended by itself; again in %.0f s", part.name, pause)
        except Exception as error:
            # What a part raises while it is being ended must not bring it to life again.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError from error
            problem = f"failed: {error or type(error).__name__}"
            log.exception("%s failed; again in %.0f s", part.name, pause)
        if clock() - started >= HEALTHY_S:
            pause = FIRST_PAUSE_S
        report((Note(source=part.name, level="error", text=f"{part.name} {problem}; it is started again."),))
        await sleep(pause)
        report(())
        pause = min(pause * 2, LONGEST_PAUSE_S)
