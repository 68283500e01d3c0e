"""Power cuts under load: no message with a 250 is lost or doubled, and the card comes up by itself every time.

The card decides the moment: in its N-th write or flush from now on it stands still, and with it the guest. Then the
guest is killed, and a random part of what no flush had covered is gone. Before that, at `PICTURES` further moments of
each start, the same is done to a copy of the card, which is examined outside QEMU while the guest goes on.

    CUTS=1000 .venv/bin/pytest -m image tests/image/guest/test_power_cut.py

for more starts; `CUT_MINUTES=N` begins none after so long. `CUT_SEED=N` repeats the choices of a run (moments and
losses; the guest's own timing is not repeatable). `CUT_LIE=N` has the card answer every N-th flush without doing it:
the test must fail then.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from image.qemu import Guest
from tests.image.cutdisk.disk import CutDisk
from tests.image.cutdisk.panel import Moment
from tests.image.guest.card import Card
from tests.image.guest.cutting import FIRST_S, Appliance
from tests.image.guest.mailload import Load, found_in_inbox

pytestmark = [pytest.mark.image, pytest.mark.programs("nbdkit", "gcc")]

CUTS = int(os.environ.get("CUTS", "5"))  # starts that end in a cut
MINUTES = float(os.environ.get("CUT_MINUTES", "inf"))
PICTURES = int(os.environ.get("CUT_PICTURES", "7"))
LIE = int(os.environ.get("CUT_LIE", "0"))
EARLY_CUTS = 0.2  # this share of the cuts comes while it still boots
READ_BACK = 10  # starts after which everything is read from the guest too
LIES = 500  # writes to the card that lies


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return say


@pytest.fixture
def appliance(card: Card, tmp_path: Path, say: Callable[[str], None]) -> Appliance:
    seed = int(os.environ.get("CUT_SEED") or random.SystemRandom().getrandbits(32))
    say(f"\n{CUTS} starts, each with {PICTURES} copies and a power cut, CUT_SEED={seed}")
    return Appliance(card, tmp_path, random.Random(seed), say, lie=LIE)


def test_power_cuts_under_load(appliance: Appliance, report: dict[str, Any]) -> None:
    started = time.monotonic()
    number = 0
    while number < CUTS and time.monotonic() - started < MINUTES * 60:
        number += 1  # the first start grows the card and makes the account
        if number > 1 and appliance.chance.random() < EARLY_CUTS:
            appliance.cut_while_booting()
        else:
            appliance.cuts_under_load(PICTURES)
        if number % READ_BACK == 0:
            _read_back(appliance)
    _read_back(appliance, show_a_card_that_lies=not LIE)
    toll = appliance.toll
    report.update(
        {
            "cuts": toll.cuts,
            "cuts_booted": number,
            "lost": len(toll.lost),
            "doubled": len(toll.doubled),
            "promised": len(appliance.promises.promised),
            "unflushed_writes": toll.unflushed,
            "unflushed_dropped": toll.dropped,
            "unflushed_torn": toll.torn,
        }
    )
    appliance.say(
        f"  {toll.cuts} cuts, {toll.met} of them met {toll.unflushed} unflushed writes: {toll.dropped} dropped,"
        f" {toll.torn} torn, {toll.lost_bytes >> 10} KiB gone; {len(appliance.promises.promised)} messages promised,"
        f" {len(toll.lost)} lost, {len(toll.doubled)} twice; {(time.monotonic() - started) / 60:.0f} minutes"
    )
    assert not toll.lost, f"{sorted(toll.lost)[:20]} had a 250 and are gone"
    assert not toll.doubled, f"{sorted(toll.doubled)[:20]} are there twice"
    assert not toll.invented, f"{sorted(toll.invented)[:20]} were refused and are there"
    assert toll.met > toll.cuts / 2, "hardly any cut met an unflushed write: this run proved little"


def _read_back(appliance: Appliance, *, show_a_card_that_lies: bool = False) -> None:
    """Read everything from the guest itself. At the end the same judge must see what a card that lies loses."""
    disk, guest = appliance.up()
    try:
        found = found_in_inbox(guest.ports["imaps"])
        appliance.say(f"  read from the guest: {appliance.toll.judge(appliance.promises, found)}")
        if show_a_card_that_lies:
            _see_a_lie(appliance, disk, guest)
    finally:
        guest.kill()
        disk.close()


def _see_a_lie(appliance: Appliance, disk: CutDisk, guest: Guest) -> None:
    before, promises = appliance.promises, appliance.promises.copy()  # what it loses does not count
    disk.lie(loses_all=True)
    disk.order(Moment(writes=LIES))
    load = Load(guest.ports["smtp"], promises)
    try:
        assert disk.stands_still(FIRST_S), "there was no load"
        image, _ = disk.lost_copy()
        then = promises.copy()
        lost = set(then.lost(appliance.crashed(image).mail()))
    finally:
        guest.kill()
        load.stop()
    made = len(then.promised) - len(before.promised)
    appliance.say(f"  a card that lies: {made} messages promised, {len(lost)} are seen to be lost")
    assert lost, "the loss of a card that lies was not seen"
    assert not lost & before.promised
