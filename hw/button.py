"""The power button: a press leads to an orderly shutdown. Buttons are the kernel's input devices (linux/input.h).

The Pi 5 has one; on other boards `dtoverlay=gpio-shutdown` makes one of two pins, and QEMU's `virt` has one too.
systemd-logind, which does this elsewhere, is not in the image: it would bring D-Bus and sessions for one key.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from hw.part import Report

log = logging.getLogger(__name__)

DEVICES = Path("/dev/input")
KEY_POWER = 116
_EV_KEY = 1
_PRESSED = 1  # 0 is released, 2 repeated
_EVENT = struct.Struct("@llHHi")  # struct input_event: seconds, microseconds, type, code, value
_MAX_READ = 64 * _EVENT.size
_KEY_OCTETS = 0x2FF // 8 + 1
_EVIOCGBIT_KEY = (2 << 30) | (_KEY_OCTETS << 16) | (ord("E") << 8) | (0x20 + _EV_KEY)

HasKey = Callable[[int], bool]


def has_power_key(descriptor: int) -> bool:
    """Whether an input device has a power key, by its list of keys (EVIOCGBIT)."""
    try:
        bits = fcntl.ioctl(descriptor, _EVIOCGBIT_KEY, bytes(_KEY_OCTETS))
    except OSError:
        return False
    return bool(bits[KEY_POWER // 8] >> KEY_POWER % 8 & 1)


def is_press(data: bytes) -> bool:
    """Whether the power key was pressed among the events of one read. Pure; half an event is passed over."""
    whole = len(data) - len(data) % _EVENT.size
    return any(
        (kind, code, value) == (_EV_KEY, KEY_POWER, _PRESSED)
        for _, _, kind, code, value in _EVENT.iter_unpack(data[:whole])
    )


async def shut_down() -> None:
    """Ask systemd for an orderly end: services stop, file systems are unmounted, the power goes off."""
    process = await asyncio.create_subprocess_exec("systemctl", "--no-ask-password", "poweroff")
    if await process.wait():
        log.error("systemctl poweroff failed: %s", process.returncode)


class PowerButton:
    """The part "power button". `changed` is called when input devices came or went."""

    name = "power button"

    def __init__(
        self,
        devices: Path = DEVICES,
        *,
        has_key: HasKey = has_power_key,
        press: Callable[[], Awaitable[None]] = shut_down,
    ) -> None:
        self._devices = devices
        self._has_key = has_key
        self._press = press
        self._open: dict[Path, int] = {}
        self._wake = asyncio.Event()
        self._pressed = False

    def changed(self) -> None:
        """Devices came or went: look again."""
        self._wake.set()

    async def run(self, report: Report) -> None:
        """Watch until cancelled. Further presses do not count until what the first one led to is done."""
        try:
            while True:
                self._open_buttons()
                await self._wake.wait()
                self._wake.clear()
                if self._pressed:
                    log.warning("the power button was pressed: shutting down")
                    await self._press()
                    self._pressed = False
        finally:
            for path in list(self._open):
                self._close(path)

    def _open_buttons(self) -> None:
        for path in sorted(set(self._devices.glob("event*")) - set(self._open)):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                log.info("%s cannot be read: %s", path, error.strerror)
                continue
            if not self._has_key(descriptor):
                os.close(descriptor)
                continue
            self._open[path] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._readable, path)
            log.info("%s is a power button", path)

    def _readable(self, path: Path) -> None:
        try:
            data = os.read(self._open[path], _MAX_READ)
        except BlockingIOError:
            return
        except OSError:  # ENODEV: it was unplugged
            data = b""
        if not data:
            self._close(path)
        elif is_press(data):
            self._pressed = True
            self._wake.set()

    def _close(self, path: Path) -> None:
        descriptor = self._open.pop(path)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
