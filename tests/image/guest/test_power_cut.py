"""Power cuts under load: no message with a 250 is lost or doubled, and the card comes up by itself every time.

`CUTS=1000 .venv/bin/pytest -m image tests/image/guest/test_power_cut.py` for more of them; `CUT_SEED=N` repeats the
choices of a run (moments and losses; the guest's own timing is not repeatable).
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from image.qemu import Guest, Setup
from tests.image.cutdisk.disk import CutDisk, Tally, build
from tests.image.guest.card import Card
from tests.image.guest.mailload import ACCOUNT, PASSWORD, Load, Promises, found_in_inbox

pytestmark = [pytest.mark.image, pytest.mark.programs("nbdkit", "gcc")]

CUTS = int(os.environ.get("CUTS", "5"))
BOOT_S = 300.0
SPAN_S = (0.5, 12.0)  # from the first 250 to the cut
FLUSH_US = 20_000  # as a slow card; the shorter, the fewer cuts meet a write that is not flushed
EARLY_CUTS = 0.2  # this share of the cuts comes while it still boots

FIRST_BOOT = f"""
hostname = "mail.example.org"
domains = ["example.org"]

[[setup.accounts]]
name = "{ACCOUNT}"
password = "{PASSWORD}"
"""
Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return say


class Appliance:
    """The card, and one guest after the other on it."""

    def __init__(self, card: Card, folder: Path, seed: int) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._plugin = build(folder)
        self._card = card
        card.put("palomar.toml", FIRST_BOOT, folder)
        self.promises = Promises()
        self.total = Tally()

    def power(self) -> tuple[CutDisk, Guest]:
        disk = CutDisk(self._plugin, self._card.path, seed=self._chance.getrandbits(32), flush_us=FLUSH_US)
        disk.start()
        folder = self._folder / "guest"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return disk, Guest(Setup(disk=disk.uri), folder)

    def up(self) -> tuple[CutDisk, Guest]:
        """Power on and wait for mail. What comes up must do so without anybody's help."""
        disk, guest = self.power()
        try:
            guest.banner("smtp", BOOT_S)
        except BaseException:
            guest.kill()
            disk.close()
            raise
        return disk, guest

    def cut(self, disk: CutDisk, guest: Guest, load: Load | None = None) -> Tally:
        guest.kill()
        if load is not None:
            load.stop()
        tally = disk.cut()
        self.total.add(tally)
        return tally

    def cut_under_load(self) -> Tally:
        disk, guest = self.up()
        load = Load(guest.ports["smtp"], self.promises)
        assert load.first.wait(120), "no message was accepted within two minutes"
        time.sleep(self._chance.uniform(*SPAN_S))  # the moment of the cut is the test's own
        return self.cut(disk, guest, load)

    def cut_while_booting(self, boot_s: float) -> Tally:
        disk, guest = self.power()
        time.sleep(self._chance.uniform(0.1, boot_s))
        return self.cut(disk, guest)

    def next_is_early(self) -> bool:
        return self._chance.random() < EARLY_CUTS


def test_power_cuts_under_load(card: Card, tmp_path: Path, say: Say, report: dict[str, Any]) -> None:
    seed = int(os.environ.get("CUT_SEED") or random.SystemRandom().getrandbits(32))
    say(f"\n{CUTS} power cuts, CUT_SEED={seed}")
    appliance = Appliance(card, tmp_path, seed)
    promises = appliance.promises
    started = time.monotonic()
    disk, guest = appliance.up()  # first boot: grows the card, makes the account
    boot_s = time.monotonic() - started
    appliance.cut(disk, guest)
    lost: set[int] = set()
    doubled: set[int] = set()
    for number in range(1, CUTS + 1):
        early = number > 1 and appliance.next_is_early()
        tally = appliance.cut_while_booting(boot_s) if early else appliance.cut_under_load()
        kind = "booting" if early else "load"
        say(
            f"  cut {number:4} ({kind}): {len(promises.promised)} promised, {tally.held} writes unflushed:"
            f" {tally.whole} kept, {tally.torn} torn, {tally.dropped} dropped"
        )
        if number % 5 == 0 or number == CUTS:
            disk, guest = appliance.up()
            found = found_in_inbox(guest.ports["imaps"])
            lost |= set(promises.lost(found))
            doubled |= set(promises.doubled(found))
            assert not promises.invented(found)
            appliance.cut(disk, guest)
            say(f"  read back: {sum(found.values())} messages, {len(lost)} lost, {len(doubled)} twice")
    report.update(
        {
            "cuts": CUTS,
            "lost": len(lost),
            "doubled": len(doubled),
            "promised": len(promises.promised),
            "unflushed_writes": appliance.total.held,
            "cut_seed": seed,
        }
    )
    assert not lost, f"{sorted(lost)[:20]} had a 250 and are gone (CUT_SEED={seed})"
    assert not doubled, f"{sorted(doubled)[:20]} are there twice (CUT_SEED={seed})"
    assert appliance.total.held, "no cut met an unflushed write: this run proved nothing"
