"""The power button: an orderly end, after which the disk has nothing left to write."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from image.qemu import Guest, GuestError, Setup
from tests.image.cutdisk.disk import CutDisk, build
from tests.image.guest.card import Card
from tests.image.guest.crashed import Crashed
from tests.image.guest.cutting import BOOT_S, FIRST_BOOT
from tests.image.guest.datapart import DataPartition
from tests.image.guest.mailload import Load, Promises

pytestmark = [pytest.mark.image, pytest.mark.programs("nbdkit", "gcc")]

END_S = 120.0


def test_the_power_button_ends_it_in_order(card: Card, tmp_path: Path) -> None:
    """Pressed while mail comes in. QEMU stays at the end, so that it cannot flush in the guest's place."""
    card.put("palomar.toml", FIRST_BOOT, tmp_path)
    promises = Promises()
    disk = CutDisk(build(tmp_path), card.path, seed=1)
    disk.start()
    try:
        # With ACPI the board's button would be a device of ACPI; without it is as on a Pi, keys on GPIO pins.
        arguments = ("-machine", "acpi=off", "-action", "shutdown=pause")
        with Guest(Setup(disk=disk.uri, arguments=arguments), tmp_path) as guest:
            guest.banner("smtp", BOOT_S)
            load = Load(guest.ports["smtp"], promises)
            assert load.first.wait(END_S)
            guest.ask("system_powerdown")
            _wait_for_the_end(guest)
        load.stop()
        tally = disk.cut()
    finally:
        disk.close()
    assert tally.writes
    assert tally.loss.held == 0, "writes were not flushed when it switched itself off"
    with DataPartition(card, tmp_path) as data:
        assert data.is_clean
    found = Crashed(card.path, tmp_path / "found").mail()
    assert not promises.lost(found)
    assert not promises.doubled(found)


def _wait_for_the_end(guest: Guest) -> None:
    deadline = time.monotonic() + END_S
    while guest.ask("query-status")["status"] != "shutdown":
        if time.monotonic() > deadline:
            raise GuestError(f"it has not switched itself off within {END_S:g} s\n{guest.console[-2000:]}")
        time.sleep(0.5)
