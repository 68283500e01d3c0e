"""The hardware watchdog: the board restarts itself unless it is fed, and it is fed only while both processes are well.

This process is well while its loop turns, or nobody would be here to feed. The mail process says so every few seconds.
Systemd restarts a mail process that died or hangs; what is here is for the case that even this does not help. Two
cases must not restart the board for ever: a mail process that never came up since the board started (a wrong setting
would be no better after a restart), and one that somebody stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hw.messages import Note
from hw.part import Report

log = logging.getLogger(__name__)

TIMEOUT_S = 15  # the Raspberry Pi's counter reaches no further
FEEDS_PER_TIMEOUT = 3
LOOK_EVERY_S = 10.0  # for a device, while there is none
SILENCE_S = 120.0  # a connected mail process that says nothing for so long hangs, and systemd could not end it
ABSENCE_S = 900.0  # one that was well and is gone for so long does not come back by itself

_GET_SUPPORT = 0x80285700  # linux/watchdog.h: _IOR('W', 0, struct watchdog_info)
_SET_TIMEOUT = 0xC0045706
_GET_TIMEOUT = 0x80045707
_MAGIC_CLOSE = b"V"


@dataclass(frozen=True, slots=True)
class Mail:
    """What is known of the mail process, by a clock that only grows."""

    seen_at: float | None = None  # when it last said that it is well; None: never since the start
    gone_at: float | None = None  # when its connection ended; None: it is there, or never was
    stopped: bool = False  # whether somebody stopped it on purpose


def is_well(mail: Mail, now: float) -> bool:
    """Whether the watchdog may be fed. Pure."""
    if mail.seen_at is None or mail.stopped:
        return True
    if mail.gone_at is not None:
        return now - mail.gone_at < ABSENCE_S
    return now - mail.seen_at < SILENCE_S


class Device(Protocol):
    """A watchdog that has been opened, which starts its count."""

    identity: str
    timeout_s: int

    def feed(self) -> None:
        """Start the count anew. Raises OSError."""

    def close(self) -> None:
        """Stop the count, if the device can be stopped."""


class HardwareWatchdog:
    """`/dev/watchdog0`, or a file in its place.

    Not its other name `/dev/watchdog`, a device of no class: the unit could allow that only if it were there when
    this process starts.
    """

    def __init__(self, path: Path = Path("/dev/watchdog0")) -> None:
        """Open it, which starts the count, and ask for TIMEOUT_S. Raises OSError."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self.identity = self._identity()
        self.timeout_s = self._ask_timeout(TIMEOUT_S)

    def feed(self) -> None:
        """See Device."""
        os.write(self._descriptor, b"\0")

    def close(self) -> None:
        """Say that the end is meant (`V`, the magic close), so that the board is not restarted."""
        with contextlib.suppress(OSError):
            os.write(self._descriptor, _MAGIC_CLOSE)
        os.close(self._descriptor)

    def _identity(self) -> str:
        try:
            answer = fcntl.ioctl(self._descriptor, _GET_SUPPORT, bytes(40))
        except OSError:
            return ""
        return answer[8:].partition(b"\0")[0].decode("ascii", "replace")

    def _ask_timeout(self, wanted: int) -> int:
        """Set the timeout, and return the one that is in force: drivers refuse or round what they cannot count."""
        for seconds in (wanted, wanted // 2):
            try:
                fcntl.ioctl(self._descriptor, _SET_TIMEOUT, struct.pack("i", seconds))
                break
            except OSError as error:
                if error.errno not in {errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP}:
                    raise
        try:
            (seconds,) = struct.unpack("i", fcntl.ioctl(self._descriptor, _GET_TIMEOUT, bytes(4)))
        except OSError:
            return wanted  # a device that cannot be asked: feed it as if it were as fast as the Pi's
        return int(seconds)


class Watchdog:
    """The part "watchdog". `mail_alive` and `mail_gone` are called from the socket's side.

    `open_device` opens the device, `is_stopped` asks systemd whether somebody stopped the mail process; `clock` and
    `sleep` are for tests.
    """

    name = "watchdog"

    def __init__(
        self,
        open_device: Callable[[], Device] = HardwareWatchdog,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        is_stopped: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._open_device = open_device
        self._clock = clock
        self._sleep = sleep
        self._is_stopped = is_stopped or mail_is_stopped
        self._mail = Mail()

    def mail_alive(self) -> None:
        """The mail process said that it is well."""
        self._mail = Mail(seen_at=self._clock())

    def mail_gone(self) -> None:
        """The mail process's connection has ended."""
        if self._mail.seen_at is not None and self._mail.gone_at is None:
            self._mail = Mail(self._mail.seen_at, gone_at=self._clock())

    @property
    def mail_is_well(self) -> bool:
        """Whether the mail process is there and has spoken lately. For the LED."""
        mail = self._mail
        return mail.seen_at is not None and mail.gone_at is None and self._clock() - mail.seen_at < SILENCE_S

    async def run(self, report: Report) -> None:
        """Feed until cancelled, as long as both processes are well."""
        device = await self._first_device(report)
        log.info("hardware watchdog %s: %d s", device.identity or "(nameless)", device.timeout_s)
        if device.timeout_s > 4 * TIMEOUT_S or device.timeout_s < 1:
            text = f"The hardware watchdog counts {device.timeout_s} s, not the {TIMEOUT_S} s that were asked for."
            report((self._note("warning", text),))
        try:
            await self._feed(device, report)
        finally:
            device.close()

    async def _first_device(self, report: Report) -> Device:
        """Open it as soon as there is one: its driver may be loaded after this process has started."""
        told = ""
        while True:
            try:
                device = self._open_device()
            except OSError as error:
                text = f"This board has no hardware watchdog that can be used: {error.strerror}."
                if text != told:
                    report((self._note("info", text),))
                    told = text
                await self._sleep(LOOK_EVERY_S)
            else:
                if told:
                    report(())
                return device

    async def _feed(self, device: Device, report: Report) -> None:
        period = max(1, min(device.timeout_s, TIMEOUT_S)) / FEEDS_PER_TIMEOUT
        well = True
        while True:
            if not is_well(self._mail, self._clock()) and await self._is_stopped():
                self._mail = Mail(self._mail.seen_at, self._mail.gone_at, stopped=True)
            if is_well(self._mail, self._clock()):
                device.feed()
                if not well:
                    report(())
                well = True
            elif well:
                well = False
                text = f"The mail process is not well: the board restarts within {device.timeout_s} s."
                log.critical(text)
                report((self._note("error", text),))
            await self._sleep(period)

    def _note(self, level: str, text: str) -> Note:
        assert level in {"info", "warning", "error"}
        return Note(source=self.name, level=level, text=text)  # type: ignore[arg-type]


async def mail_is_stopped() -> bool:
    """Whether systemd says that nobody wants the mail process to run: it was stopped, and has not failed."""
    try:
        process = await asyncio.create_subprocess_exec(
            "systemctl", "is-active", "palomar.service", stdout=asyncio.subprocess.PIPE
        )
    except OSError:
        return False
    answer, _ = await process.communicate()
    return answer.strip() == b"inactive"
