"""Power cuts during the first start: whenever it is, the next start finishes what the user set up.

The card stands still at each write to the boot partition and the partition table (or at writes anywhere, further
apart); what a cut would leave there is kept and examined: both file systems, the files that start the machine, and
the second start's own work, done here by the same code on what is there. A few of these cards are then really
started. `CUT_PICTURES=N` for more moments, `CUT_STARTS=N` for more true starts.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from image.bootstate import BootState, decode
from image.firstboot.boot import firstboot
from image.firstboot.durable import Disk
from image.firstboot.places import STATUS_NAME, Places
from image.qemu import Guest, Setup
from tests.image.cutdisk.panel import Loss, Moment
from tests.image.guest.card import Card, place
from tests.image.guest.crashed import BOOT, Crashed
from tests.image.guest.cutting import BOOT_S, Appliance
from tests.image.guest.mailload import ACCOUNT, PASSWORD, found_in_inbox

pytestmark = [pytest.mark.image, pytest.mark.programs("nbdkit", "gcc")]

PICTURES = int(os.environ.get("CUT_PICTURES", "16"))
STARTS = int(os.environ.get("CUT_STARTS", "1"))
APART = 20  # at most so many writes from one moment to the next, where all count
QUIET_S = 20.0  # without a write to the boot partition after the banner: no more will come
LOADER_WRITES = 12  # more than the boot loader needs; Linux follows with its own
HOSTNAME = "mail.example.org"
WRITTEN = {"palomar.toml", STATUS_NAME}  # what a start writes there

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """The card at one moment."""

    number: int
    moment: Moment
    loss: Loss
    crashed: Crashed


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return say


@pytest.mark.parametrize("where", ["boot partition", "anywhere"])
def test_power_cuts_during_the_first_start(
    where: str, card: Card, tmp_path: Path, say: Say, report: dict[str, Any]
) -> None:
    seed = int(os.environ.get("CUT_SEED") or random.SystemRandom().getrandbits(32))
    chance = random.Random(seed)
    say(f"\nfirst start, cuts at writes to {where}, CUT_SEED={seed}")
    start_files = _files(Crashed(card.path, tmp_path / "fresh").take_out_boot())
    appliance = Appliance(card, tmp_path, chance, say)
    area = (0, sum(place(card.path, BOOT)))
    everywhere = (Moment(writes=chance.randint(1, APART)) for _ in itertools.count())
    moments = itertools.repeat(Moment(writes=1, area=area)) if where == "boot partition" else everywhere
    pictures = list(_pictures(appliance, moments, _until_mail))
    say(f"  {len(pictures)} moments, {sum(one.loss.held for one in pictures)} unflushed writes")
    assert len(pictures) > 5
    chosen = sorted(chance.sample(pictures, min(PICTURES, len(pictures))), key=lambda one: one.number)
    wrong = {one.number: words for one in chosen if (words := _second_start(one, start_files, say))}
    assert not wrong, f"CUT_SEED={seed}"
    for one in chance.sample(chosen, min(STARTS, len(chosen))):
        _true_start(one, tmp_path, say)
    report[f"first_start_cuts_{where.replace(' ', '_')}"] = len(chosen)


def test_power_cuts_while_the_boot_loader_counts_a_trial(card: Card, tmp_path: Path, say: Say) -> None:
    trial = BootState().try_slot("B")
    appliance = Appliance(card, tmp_path, random.Random(1), say)
    card.put_bytes("boot.env", trial.encode(), tmp_path)
    start_files = _files(Crashed(card.path, tmp_path / "fresh").take_out_boot())
    moments = itertools.repeat(Moment(writes=1, area=(0, sum(place(card.path, BOOT)))))
    pictures = _pictures(appliance, moments, lambda guest: guest.expect("Palomar: starting slot A", BOOT_S))
    found = []
    for one in itertools.islice(pictures, LOADER_WRITES):
        one.crashed.check_boot()
        files = _files(one.crashed.take_out_boot())
        found.append(decode(files.pop("boot.env")))
        assert files == {name: data for name, data in start_files.items() if name != "boot.env"}
    say(f"\n  cuts while the boot loader counts: {[state.left for state in found]} tries left")
    assert found
    assert set(found) <= {trial, trial.counted()}


# ── the cuts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pictures(appliance: Appliance, moments: Iterator[Moment], until: Callable[[Guest], Any]) -> Iterator[Picture]:
    """What a cut would leave at each of the moments, as far as they come within a while after `until` has returned."""
    disk, guest = appliance.power()
    with ThreadPoolExecutor(1) as waiting:
        try:
            over = waiting.submit(until, guest)
            for number, moment in enumerate(moments, 1):
                disk.order(moment)
                disk.release()
                while not (still := disk.stands_still(QUIET_S)) and not over.done():
                    pass
                if not still:
                    over.result()
                    return
                image, loss = disk.lost_copy()
                yield Picture(number, moment, loss, Crashed(image, appliance.folder / f"picture{number}"))
        finally:
            guest.kill()
            disk.close()


def _until_mail(guest: Guest) -> bytes:
    return guest.banner("smtp", BOOT_S)


# ── the next start, done here ─────────────────────────────────────────────────────────────────────────────────────────


def _second_start(picture: Picture, start_files: dict[str, bytes], say: Say) -> list[str]:
    """What is wrong with the card after the start that follows the cut, in words."""
    crashed = picture.crashed
    crashed.check_data()
    checked = crashed.check_boot()
    boot, data = crashed.take_out_boot(), crashed.take_out()
    found = _files(boot)
    wrong = [f"{name} is damaged" for name in start_files.keys() - WRITTEN if found.get(name) != start_files[name]]
    places = _places(crashed.folder, boot, data)
    told = firstboot(places, Disk(), tell=lambda _: None)
    wrong += [str(one) for one in (*told.failures, *told.outcome.problems)]
    wrong += [told.refused] if told.refused else []
    if told.outcome.hostname != HOSTNAME:
        wrong.append(f"the host name is {told.outcome.hostname}")
    if ACCOUNT not in told.outcome.accounts:
        wrong.append("the account was not made")
    if any(PASSWORD.encode() in data for data in _files(boot).values()):
        wrong.append("the password is not blanked")
    if not (boot / STATUS_NAME).exists():
        wrong.append("there is no status file")
    loss = picture.loss
    say(
        f"  {picture.number:3} {picture.moment!s:10} {loss.held:3} unflushed, {loss.dropped} dropped, {loss.torn} torn:"
        f" {'; '.join(wrong) or 'in order'} | FAT: {checked[:200]}"
    )
    return wrong


def _places(folder: Path, boot: Path, data: Path) -> Places:
    """A system whose card lies in folders."""
    for name in ("run", "etc", "sysfs", "dev"):
        (folder / name).mkdir()
    release = folder / "release.json"
    release.write_text('{"version": "1"}')
    system = Places(
        boot=boot, data=data, run=folder / "run", etc=folder / "etc", sysfs=folder / "sysfs", dev=folder / "dev"
    )
    return dataclasses.replace(system, release=release, user=None, led=("true",))


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ── the next start, in QEMU ───────────────────────────────────────────────────────────────────────────────────────────


def _true_start(picture: Picture, folder: Path, say: Say) -> None:
    card = picture.crashed.card(folder / "crashed.img")
    home = folder / f"start{picture.number}"
    home.mkdir()
    with Guest(Setup(disk=card.disk), home) as guest:
        assert guest.banner("smtp", BOOT_S).startswith(f"220 {HOSTNAME} ".encode())
        assert not found_in_inbox(guest.ports["imaps"])  # the account is there, with its password
        guest.expect(r"Addresses: +10\.0\.2\.15 ", BOOT_S)
    assert "State:        in order" in card.read(STATUS_NAME, folder)
    assert PASSWORD not in card.read("palomar.toml", folder)
    say(f"  {picture.number:3} started again: in order")
