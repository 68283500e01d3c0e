"""The board's activity LED says how it is: slow in set-up, steady when all is well, double when not, fast in rescue.

The kernel's triggers blink, so the pattern stays when this process ends, and `palomar-hw led PATTERN` can set it
before it runs. Where the kernel lacks a trigger, `Lamp.run` blinks itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from hw.part import Report

log = logging.getLogger(__name__)

Pattern: TypeAlias = Literal["setup", "healthy", "degraded", "rescue", "identify"]

# Names under /sys/class/leds, the best first: Raspberry Pi, older kernels of it, other boards.
NAMES = ("ACT", "led0", "act", "*:act", "*:activity", "*:status", "*:heartbeat")
FOLDER = Path("sys/class/leds")
MODULES = ("ledtrig-timer", "ledtrig-heartbeat")
MODPROBE_S = 5.0

STEPS_MS: dict[Pattern, tuple[int, ...]] = {
    "setup": (500, 500),
    "healthy": (),
    "degraded": (100, 150, 100, 1150),
    "rescue": (125, 125),
    "identify": (60, 60),
}
"""Milliseconds lit and dark in turn; empty: steady."""
_DOUBLE = "heartbeat"


class Lamp:
    """The part "lamp". Never fails because of an LED: boards without one are as good."""

    name = "lamp"

    def __init__(self, root: Path = Path("/"), *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._led = find_led(root)
        self._sleep = sleep
        self._pattern: Pattern | None = None
        self._identify_s = 0.0
        self._changed = asyncio.Event()

    def show(self, pattern: Pattern) -> None:
        """Show how the board is, from now on."""
        if pattern != self._pattern:
            self._pattern = pattern
            self._changed.set()

    def identify(self, seconds: float) -> None:
        """Flicker for so long, then show again what was shown."""
        self._identify_s = seconds
        self._changed.set()

    async def run(self, report: Report) -> None:
        """Show what is asked for until cancelled; the last pattern stays."""
        while True:
            self._changed.clear()
            if self._identify_s:
                seconds, self._identify_s = self._identify_s, 0.0
                await self._until_changed("identify", seconds)
            elif self._pattern is not None:
                await self._until_changed(self._pattern, None)
            else:
                await self._changed.wait()

    async def _until_changed(self, pattern: Pattern, seconds: float | None) -> None:
        """Show a pattern until another is wanted or the time is up."""
        blinking = None
        if self._led is not None and not set_pattern(self._led, pattern):
            blinking = asyncio.create_task(self._blink(self._led, STEPS_MS[pattern]))
        waits = [asyncio.create_task(self._changed.wait())]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self._sleep(seconds)))  # type: ignore[arg-type]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*waits, *([blinking] if blinking is not None else [])):
                task.cancel()

    async def _blink(self, led: Path, steps_ms: Sequence[int]) -> None:
        while steps_ms:
            for place, span in enumerate(steps_ms):
                _write(led / "brightness", "0" if place % 2 else _brightest(led))
                await self._sleep(span / 1000)


def find_led(root: Path) -> Path | None:
    """The folder of the activity LED, if the board has one."""
    folder = root / FOLDER
    found = (path for name in NAMES for path in sorted(folder.glob(name)))
    return next(found, None)


def set_pattern(led: Path, pattern: Pattern) -> bool:
    """Let the kernel show a pattern. False when it cannot, and whoever asks must blink."""
    steps = STEPS_MS[pattern]
    if not steps:
        return _write(led / "trigger", "none") and _write(led / "brightness", _brightest(led))
    available = _read(led / "trigger").replace("[", "").replace("]", "").split()
    if len(steps) == 2 and "timer" in available:
        return (
            _write(led / "trigger", "timer")
            and _write(led / "delay_on", str(steps[0]))
            and _write(led / "delay_off", str(steps[1]))
        )
    if len(steps) == 4 and _DOUBLE in available:
        return _write(led / "trigger", _DOUBLE)
    _write(led / "trigger", "none")
    return False


def main(arguments: Sequence[str], root: Path = Path("/")) -> int:
    """`palomar-hw led PATTERN`: set the pattern and leave. It never fails a boot; only a wrong word is an error."""
    patterns = get_args(Pattern)
    if len(arguments) != 1 or arguments[0] not in patterns:
        print(f"usage: palomar-hw led {'|'.join(patterns)}", file=sys.stderr)  # noqa: T201
        return 2
    led = find_led(root)
    if led is None:
        return 0
    pattern: Pattern = arguments[0]  # type: ignore[assignment]
    if not set_pattern(led, pattern):
        if root == Path("/"):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(["modprobe", "--quiet", "--all", *MODULES], timeout=MODPROBE_S, check=False)
        if not set_pattern(led, pattern):
            _write(led / "brightness", _brightest(led))
    return 0


def _brightest(led: Path) -> str:
    return _read(led / "max_brightness").strip() or "1"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> bool:
    try:
        path.write_text(text)
    except OSError as error:
        log.debug("%s: %s", path, error.strerror)
        return False
    return True
