"""The wall clock of a board that mostly has none: a chain of evidence, from the image's age to a time server.

At the start the clock is put forward to the latest time that must have passed: when the image was built, when this
machine last saved the time (hourly, and at its stop), what a battery-backed clock says. After that systemd-timesyncd
keeps it; `ClockKeeper` tells it the servers that DHCP and the configuration name, and tells everybody how far the
clock can be trusted. `decide` is pure.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.timestate import TimeState
from hw.messages import Note
from hw.part import Report

log = logging.getLogger(__name__)

SAVE_EVERY_S = 3600.0
PATIENCE_S = 180.0  # a clock that nobody has set for so long is worth a word
LOOK_EVERY_S = 10.0  # a stat and a system call
LIFETIME_S = 20 * 365 * 86400  # a clock so far behind the image's build has run wild, or its battery is empty
SLACK_S = 2.0  # steps smaller than this are not worth a jump of everybody's timers
OLDEST_FLOOR = 1_764_547_200  # 2025-12-01: before the first image was built
MAX_SERVERS = 8

CLOCK_FILE = Path("hw/time")  # in the data folder
RELEASE_FILE = Path("usr/lib/palomar-release.json")
RTC_FILE = Path("sys/class/rtc/rtc0/since_epoch")
SYNCED_FILE = Path("run/systemd/timesync/synchronized")
SERVERS_FILE = Path("run/systemd/timesyncd.conf.d/50-palomar.conf")
RESTART = ("systemctl", "--no-block", "restart", "systemd-timesyncd.service")

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_OCTETS = 256  # struct timex has 208 on 64-bit machines
_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,252}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the time, in epoch seconds; None where there is nothing."""

    now: float
    floor: float
    """When the image was built: it is later than that."""
    saved: float | None = None
    rtc: float | None = None
    confirmed: bool = False
    """Whether a time server has set the clock since the machine was started."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How far the clock can be trusted, and where it must be put for that; None leaves it alone."""

    state: TimeState
    step_to: float | None = None


def decide(evidence: Evidence) -> Decision:
    """Weigh the evidence.

    A time before the image was built, or twenty years after, is none: whoever says it is not believed, the time
    server included.
    """
    floor, latest = evidence.floor, evidence.floor + LIFETIME_S

    def credible(at: float | None) -> float | None:
        return at if at is not None and floor <= at <= latest else None

    saved, rtc = credible(evidence.saved), credible(evidence.rtc)
    passed = max(floor, saved or floor, rtc or floor)
    now_is_credible = credible(evidence.now) is not None
    if evidence.confirmed and now_is_credible:
        return Decision("synced")
    state: TimeState = "plausible" if saved is not None or rtc is not None else "unset"
    if now_is_credible and evidence.now >= passed - SLACK_S:
        return Decision(state)
    return Decision(state, passed)


class ClockKeeper:
    """The part "clock". `root` is where the file system begins, `data` is what lasts.

    The rest stands in for the machine in tests: `set_time` puts the clock (needs CAP_SYS_TIME), `confirmed` asks the
    kernel whether it is synced, `tell` runs a command.
    """

    name = "clock"

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        data: Path | None = None,
        floor: float | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        set_time: Callable[[float], None] = lambda at: time.clock_settime(time.CLOCK_REALTIME, at),
        confirmed: Callable[[], bool] | None = None,
        tell: Callable[[Sequence[str]], Awaitable[int]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._root = root
        self._file = (data or root / "data") / CLOCK_FILE
        self._floor = image_time(root) if floor is None else floor
        self._now = now
        self._clock = clock
        self._set_time = set_time
        self._kernel_confirms = confirmed or kernel_is_synced
        self._tell = tell or _run
        self._sleep = sleep
        self._saved_at = -SAVE_EVERY_S  # by `clock`
        self._servers: tuple[str, ...] | None = None
        self._servers_changed = False
        self._unset_since: float | None = None  # by `clock`
        self.state: TimeState = "unset"

    def servers(self, servers: Sequence[str]) -> None:
        """Name the time servers to ask, the best first. What cannot be a name or address is passed over."""
        fit = tuple(dict.fromkeys(one for one in servers if _SERVER.fullmatch(one)))[:MAX_SERVERS]
        if fit != self._servers:
            self._servers, self._servers_changed = fit, True

    async def run(self, report: Report) -> None:
        """Put the clock right, then watch it, and save the time hourly and at the end."""
        told: tuple[Note, ...] = ()
        try:
            self.look()
            report(self.state)
            while True:
                if self._servers_changed:
                    await self._write_servers()
                if self._clock() - self._saved_at >= SAVE_EVERY_S:
                    self.save()
                await self._sleep(LOOK_EVERY_S)
                before = self.state
                self.look()
                notes = self._notes()
                if self.state != before:
                    log.info("the clock is %s now", self.state)
                    report(self.state)
                    self.save()
                if self.state != before or notes != told:
                    report(notes)
                    told = notes
        finally:
            self.save()

    def look(self) -> None:
        """Weigh what is known now, and step the clock if it must be."""
        evidence = self._evidence()
        decision = decide(evidence)
        if decision.step_to is not None:
            log.warning("the clock said %s; put to %s", _words(evidence.now), _words(decision.step_to))
            try:
                self._set_time(decision.step_to)
            except OSError as error:
                log.error("the clock could not be set: %s", error)
                decision = Decision("unset")
        self.state = decision.state
        if self.state != "unset":
            self._unset_since = None
        elif self._unset_since is None:
            self._unset_since = self._clock()

    def save(self) -> None:
        """Note the time in place: one block of the disk, no new file.

        Only a time that a server has confirmed replaces a later one.
        """
        self._saved_at = self._clock()
        now, saved = int(self._now()), self._read_saved()
        earlier = saved is not None and now < saved <= self._floor + LIFETIME_S
        if self.state == "unset" or (earlier and self.state != "synced"):
            return
        path = self._file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.pwrite(descriptor, b"%020d\n" % now, 0)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warning("the time could not be saved in %s: %s", path, error.strerror)

    def _evidence(self) -> Evidence:
        confirmed = (self._root / SYNCED_FILE).exists() or self._kernel_confirms()
        return Evidence(self._now(), self._floor, self._read_saved(), _number(self._root / RTC_FILE), confirmed)

    def _read_saved(self) -> float | None:
        return _number(self._file)

    def _notes(self) -> tuple[Note, ...]:
        if self.state != "synced" and self._kernel_confirms():
            text = f"The time server says {_words(self._now())}, which cannot be. Check it, or set network.ntp."
        elif self._unset_since is not None and self._clock() - self._unset_since >= PATIENCE_S:
            text = "The clock is not set, and no time server answers; nothing expires. Check network and network.ntp."
        else:
            return ()
        return (Note(source=self.name, level="error", text=text),)

    async def _write_servers(self) -> None:
        """Hand the servers to timesyncd, which reads its files at its start only."""
        self._servers_changed = False
        path = self._root / SERVERS_FILE
        if self._servers:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"[Time]\nNTP={' '.join(self._servers)}\n")
            path.chmod(0o644)  # timesyncd runs as a user of its own
        elif path.exists():
            path.unlink()
        else:
            return
        log.info("time servers: %s", " ".join(self._servers or ()) or "those of the image")
        if status := await self._tell(RESTART):
            log.error("systemd-timesyncd could not be restarted (exit %d): it keeps its servers", status)


def image_time(root: Path) -> float:
    """When the image was built: the date of its release file, which is that of its inputs."""
    for path in (root / RELEASE_FILE, Path(__file__)):
        with contextlib.suppress(OSError):
            return max(path.stat().st_mtime, OLDEST_FLOOR)
    return OLDEST_FLOOR


def kernel_is_synced() -> bool:
    """Whether something disciplines the kernel's clock (adjtimex(2), which needs no privilege to be read)."""
    buffer = ctypes.create_string_buffer(_TIMEX_OCTETS)  # modes 0: change nothing
    return ctypes.CDLL(None, use_errno=True).adjtimex(buffer) not in {-1, _TIME_ERROR}


def _number(path: Path) -> float | None:
    try:
        text = path.read_bytes()[:32].strip()
    except OSError:
        return None
    return float(text) if text.isdigit() else None


def _words(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f} s"


async def _run(command: Sequence[str]) -> int:
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    except OSError as error:
        log.error("%s: %s", command[0], error.strerror)
        return 127
    return await process.wait()
