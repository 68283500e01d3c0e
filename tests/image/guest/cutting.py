"""An appliance on a card that loses power, and what it promised meanwhile."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from image.qemu import Guest, Setup
from tests.image.cutdisk.disk import CutDisk, build
from tests.image.cutdisk.panel import Loss, Moment
from tests.image.guest.card import Card
from tests.image.guest.crashed import Crashed
from tests.image.guest.mailload import ACCOUNT, PASSWORD, Load, Promises

BOOT_S = 400.0
FIRST_S = 120.0  # to the first 250 after the banner
MOMENT_S = 6.0  # until a moment comes that waits for much that is not flushed; then the next write has to do
FLUSH_US = 20_000  # as a slow card

FIRST_BOOT = f"""
hostname = "mail.example.org"
domains = ["example.org"]

[[setup.accounts]]
name = "{ACCOUNT}"
password = "{PASSWORD}"

# The load comes from one address, which is no stranger's: nobody counts or delays it.
[door]
trusted = ["10.0.2.0/24"]
"""
Say = Callable[[str], None]


def random_moment(chance: random.Random) -> Moment:
    """Mostly in a flush, which is when most is held; else in a write, now and then with much held."""
    if chance.random() < 0.5:
        return Moment(flushes=chance.randint(1, 12))
    return Moment(writes=chance.randint(1, 80), held=chance.choice((0, 0, 2, 3, 6)))


@dataclass(slots=True)
class Toll:
    """What all cuts of a run met, and what is wrong after them."""

    cuts: int = 0
    unflushed: int = 0  # writes that were held at a cut …
    dropped: int = 0  # … and of these: gone
    torn: int = 0  # kept in part
    lost_bytes: int = 0
    met: int = 0  # cuts that met any
    lost: set[int] = field(default_factory=set)  # messages that had a 250
    doubled: set[int] = field(default_factory=set)
    invented: set[int] = field(default_factory=set)  # refused, or never sent

    def add(self, loss: Loss) -> None:
        """Count one cut."""
        self.cuts += 1
        self.met += loss.held > 0
        self.unflushed += loss.held
        self.dropped += loss.dropped
        self.torn += loss.torn
        self.lost_bytes += loss.lost_bytes

    def judge(self, promises: Promises, found: Counter[int]) -> str:
        """Compare what is there with what was promised; in words."""
        lost, doubled, invented = promises.lost(found), promises.doubled(found), promises.invented(found)
        self.lost.update(lost)
        self.doubled.update(doubled)
        self.invented.update(invented)
        wrong = f", {len(invented)} refused and there" if invented else ""
        there = f"{len(promises.promised)} promised, {sum(found.values())} there"
        return f"{there}, {len(lost)} lost, {len(doubled)} twice{wrong}"


class Appliance:
    """The card, and one guest after the other on it. With `lie` it answers every so-manieth flush and does nothing."""

    def __init__(self, card: Card, folder: Path, chance: random.Random, say: Say, *, lie: int = 0) -> None:
        self.chance, self.say, self.folder = chance, say, folder
        self.card = card
        self.promises = Promises()
        self.toll = Toll()
        self.boot_s = BOOT_S  # what the last start took
        self._lie = lie
        self._plugin = build(folder)
        card.put("palomar.toml", FIRST_BOOT, folder)

    def power(self) -> tuple[CutDisk, Guest]:
        """Power on."""
        disk = CutDisk(self._plugin, self.card.path, seed=self.chance.getrandbits(32), flush_us=FLUSH_US)
        disk.start()
        folder = self.folder / "guest"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return disk, Guest(Setup(disk=disk.uri), folder)

    def up(self) -> tuple[CutDisk, Guest]:
        """Power on and wait for mail. What comes up must do so without anybody's help."""
        disk, guest = self.power()
        try:
            guest.banner("smtp", BOOT_S)
            self.boot_s = time.monotonic() - guest.started_at
        except BaseException:
            guest.kill()
            disk.close()
            raise
        disk.lie(self._lie)
        return disk, guest

    def cut(self, disk: CutDisk, guest: Guest, load: Load | None = None) -> Loss:
        """Pull the plug."""
        guest.kill()
        if load is not None:
            load.stop()
        loss = disk.cut().loss
        self.toll.add(loss)
        return loss

    def crashed(self, image: Path) -> Crashed:
        """An image after a cut, for examination outside QEMU."""
        return Crashed(image, self.folder / "crashed")

    def stand_still(self, disk: CutDisk, moment: Moment) -> Moment:
        """Wait for a moment that was ordered, or for the next write; which it was."""
        if disk.stands_still(MOMENT_S):
            return moment
        disk.order(Moment(writes=1))
        assert disk.stands_still(FIRST_S), "the guest writes nothing any more"
        return Moment(writes=1)

    # ── what is done to it ────────────────────────────────────────────────────────────────────────────────────────

    def cuts_under_load(self, pictures: int) -> None:
        """A start, load, cuts seen in a copy while it goes on, and a true cut at the end, examined as well."""
        disk, guest = self.up()
        load = Load(guest.ports["smtp"], self.promises)
        try:
            assert load.first.wait(FIRST_S), f"no message was accepted within {FIRST_S:g} s"
            moment = random_moment(self.chance)
            disk.order(moment)
            for _ in range(pictures):
                moment = self._picture(disk, moment)
            moment = self.stand_still(disk, moment)
        except BaseException:
            guest.kill()
            disk.close()
            raise
        loss = self.cut(disk, guest, load)
        words = self.toll.judge(self.promises, self.crashed(self.card.path).mail())
        self._tell(f"power cut in {moment}", loss, words)

    def _picture(self, disk: CutDisk, moment: Moment) -> Moment:
        """What a cut would leave at that moment: examined while the guest goes on to the next, which is returned."""
        moment = self.stand_still(disk, moment)
        image, loss = disk.lost_copy()
        crashed = self.crashed(image)
        then = self.promises.copy()  # as late as possible: the disk has not moved since
        following = random_moment(self.chance)
        disk.order(following)
        disk.release()
        self.toll.add(loss)
        self._tell(f"copy in {moment}", loss, self.toll.judge(then, crashed.mail()))
        return following

    def cut_while_booting(self) -> None:
        """A cut before mail is there: at a write of the start, or at a random time."""
        disk, guest = self.power()
        moment = Moment(writes=self.chance.randint(1, 40))
        disk.order(moment)
        still = disk.stands_still(self.chance.uniform(0.3, 1.2) * self.boot_s)
        loss = self.cut(disk, guest)
        words = self.toll.judge(self.promises, self.crashed(self.card.path).mail())
        self._tell(f"power cut while starting, {f'in {moment}' if still else 'at some time'}", loss, words)

    def _tell(self, what: str, loss: Loss, words: str) -> None:
        unflushed = f"{loss.held:3} unflushed: {loss.whole} kept, {loss.torn} torn, {loss.dropped} dropped"
        self.say(f"  {self.toll.cuts:4} {what:34} {unflushed} ({loss.lost_bytes >> 10} KiB gone); {words}")
