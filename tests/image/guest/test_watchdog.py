"""The hardware watchdog of QEMU's `virt`, which counts as a Pi's does: fed only while both processes are well."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hw.mailside import ALIVE_EVERY_S
from hw.watchdog import SILENCE_S, TIMEOUT_S
from image.qemu import Guest, Setup
from tests.image.guest.admin import PORTS, Admin
from tests.image.guest.card import Card
from tests.image.guest.doors import SETUP

pytestmark = [pytest.mark.image, pytest.mark.programs("ssh", "ssh-keygen")]

BOOT_S = 400.0  # emulated, on a machine that does other things too
KILLED_S = 60.0 + 20.0  # WatchdogSec and TimeoutAbortSec of palomar.service
RESTART_S = 60.0
SLACK_S = 60.0
REBOOT = 0  # QEMU's end when the guest restarts
DEVICE = ("-device", "i6300esb")
WAIT_FOR_ANOTHER = """
until now=$(systemctl show --value -p MainPID {unit}); [ "$now" != 0 ] && [ "$now" != {process} ]; do sleep 1; done
"""


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    return Admin(tmp_path)


@pytest.fixture
def setup(card: Card, admin: Admin, tmp_path: Path) -> Setup:
    card.put("palomar.toml", SETUP.replace("[setup]", f'[setup]\nssh_keys = ["{admin.public}"]'), tmp_path)
    return Setup(disk=card.disk, ports=PORTS, arguments=DEVICE)


def test_the_board_restarts_when_its_own_process_hangs(setup: Setup, admin: Admin, tmp_path: Path) -> None:
    with Guest(setup, tmp_path) as guest:
        guest.banner("smtp", BOOT_S)
        _expect_armed(guest, admin)
        stopped_at = time.monotonic()
        _stop(guest, admin, "palomar-hw.service")
        assert guest.wait(TIMEOUT_S + SLACK_S) == REBOOT
        assert time.monotonic() - stopped_at > TIMEOUT_S / 2  # fed until then


def test_the_board_restarts_when_mail_hangs_and_systemd_does_not_help(
    setup: Setup, admin: Admin, tmp_path: Path
) -> None:
    with Guest(setup, tmp_path) as guest:
        guest.banner("smtp", BOOT_S)
        _expect_armed(guest, admin)
        process = _stop(guest, admin, "palomar.service")
        another = WAIT_FOR_ANOTHER.format(unit="palomar.service", process=process)
        admin.run(guest, another, KILLED_S + RESTART_S)  # the board goes on: systemd has brought mail back
        assert guest.banner("smtp", RESTART_S).startswith(b"220 ")

        admin.run(guest, "systemctl service-watchdogs no")
        stopped_at = time.monotonic()
        _stop(guest, admin, "palomar.service")
        assert guest.wait(SILENCE_S + TIMEOUT_S + SLACK_S) == REBOOT
        # Fed for as long as mail had leave to say nothing, which is many times what the device counts.
        assert time.monotonic() - stopped_at > SILENCE_S - 2 * ALIVE_EVERY_S


def _expect_armed(guest: Guest, admin: Admin) -> None:
    assert "i6300ESB" in admin.run(guest, "cat /sys/class/watchdog/watchdog0/identity")
    assert admin.run(guest, "cat /sys/class/watchdog/watchdog0/state").strip() == "active"
    assert admin.run(guest, "cat /sys/class/watchdog/watchdog0/timeout").strip() == str(TIMEOUT_S)


def _stop(guest: Guest, admin: Admin, unit: str) -> int:
    """Let a service's process hang; its number."""
    process = int(admin.run(guest, f"systemctl show --value -p MainPID {unit}"))
    assert process > 0
    admin.run(guest, f"kill -STOP {process}")
    return process
