"""The instrument itself: does the disk lose what it may lose, keep what it must, and nothing else?"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.image.cutdisk.client import NbdClient
from tests.image.cutdisk.disk import CutDisk, Tally, build
from tests.image.cutdisk.panel import Moment

SECTOR = 512
SIZE = 1 << 20
ZERO = bytes(SECTOR)

pytestmark = pytest.mark.programs("nbdkit", "gcc")

Make = Callable[..., CutDisk]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(SIZE))
    return path


@pytest.fixture
def make(plugin: Path, image: Path) -> Iterator[Make]:
    disks: list[CutDisk] = []

    def make(seed: int = 1, **more: Any) -> CutDisk:
        disks.append(CutDisk(plugin, image, seed=seed, **{"flush_us": 0, **more}))
        disks[-1].start()
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()


def cut(client: NbdClient, disk: CutDisk) -> Tally:
    client.hang_up()
    return disk.cut()


def test_reads_see_what_was_written_and_not_flushed(make: Make, image: Path) -> None:
    disk = make()
    client = NbdClient(disk.socket)
    assert client.size == SIZE
    client.write(SECTOR, b"a" * 3 * SECTOR)
    client.write(2 * SECTOR, b"b" * SECTOR)
    assert client.read(0, 5 * SECTOR) == ZERO + b"a" * SECTOR + b"b" * SECTOR + b"a" * SECTOR + ZERO
    assert image.read_bytes() == bytes(SIZE), "unflushed writes are in the file already"
    cut(client, disk)


def test_a_cut_loses_unflushed_writes(make: Make, image: Path) -> None:
    lost = whole = 0
    for seed in range(24):
        disk = make(seed)
        client = NbdClient(disk.socket)
        client.write(0, bytes([seed + 1]) * SECTOR)
        tally = cut(client, disk)
        survived = image.read_bytes()[:SECTOR] == bytes([seed + 1]) * SECTOR
        assert tally.loss.held == 1
        assert (tally.loss.whole == 1) == survived
        whole += survived
        lost += not survived
    assert lost >= 6
    assert whole >= 3  # a cut need not lose everything


def test_a_flushed_write_stays(make: Make, image: Path) -> None:
    for seed in range(12):
        disk = make(seed)
        client = NbdClient(disk.socket)
        data = random.Random(seed).randbytes(64 * SECTOR)
        client.write(SECTOR, data)
        client.flush()
        assert cut(client, disk).loss.held == 0
        assert image.read_bytes()[SECTOR : 65 * SECTOR] == data


def test_fua_covers_its_own_write_only(make: Make, image: Path) -> None:
    other_lost = 0
    for seed in range(24):
        image.write_bytes(bytes(SIZE))
        disk = make(seed)
        client = NbdClient(disk.socket)
        client.write(0, b"x" * SECTOR)  # older, elsewhere
        client.write(SECTOR, b"x" * SECTOR)  # older, same place: must not come back over it
        client.write(SECTOR, b"y" * SECTOR, fua=True)
        assert cut(client, disk).fua == 1
        after = image.read_bytes()
        assert after[SECTOR : 2 * SECTOR] == b"y" * SECTOR
        other_lost += after[:SECTOR] == ZERO
    assert other_lost


def test_a_write_of_many_sectors_is_torn_between_sectors_never_inside(make: Make, image: Path) -> None:
    torn = 0
    for seed in range(60):
        image.write_bytes(bytes(SIZE))
        disk = make(seed)
        client = NbdClient(disk.socket)
        client.write(0, b"".join(bytes([n + 1]) * SECTOR for n in range(16)))
        tally = cut(client, disk)
        after = image.read_bytes()
        kept = 0
        for n in range(16):
            sector = after[n * SECTOR : (n + 1) * SECTOR]
            assert sector in (ZERO, bytes([n + 1]) * SECTOR)
            kept += sector != ZERO
        assert tally.loss.lost_bytes == (16 - kept) * SECTOR
        if tally.loss.torn:
            assert kept < 16
            torn += 1
    assert torn >= 3


def test_each_sector_has_one_of_the_states_it_went_through(make: Make, image: Path) -> None:
    """Random writes and flushes: after the cut no sector is older than its last flush, and none was never written."""
    for seed in range(8):
        chance = random.Random(seed)
        image.write_bytes(bytes(SIZE))
        possible: list[list[bytes]] = [[ZERO] for _ in range(64)]
        disk = make(seed)
        client = NbdClient(disk.socket)
        for number in range(200):
            if chance.random() < 0.05:
                client.flush()
                possible = [versions[-1:] for versions in possible]
                continue
            start = chance.randrange(64)
            count = chance.randint(1, 64 - start)
            data = [bytes([number, place]) * (SECTOR // 2) for place in range(start, start + count)]
            client.write(start * SECTOR, b"".join(data))
            for place, sector in enumerate(data, start):
                possible[place].append(sector)
        assert client.read(0, 64 * SECTOR) == b"".join(versions[-1] for versions in possible)
        cut(client, disk)
        after = image.read_bytes()
        for place, versions in enumerate(possible):
            assert after[place * SECTOR : (place + 1) * SECTOR] in versions


def test_the_same_seed_loses_the_same(make: Make, image: Path) -> None:
    def run(seed: int) -> bytes:
        image.write_bytes(bytes(SIZE))
        disk = make(seed)
        client = NbdClient(disk.socket)
        for number in range(40):
            client.write(number * 4 * SECTOR, bytes([number + 1]) * 4 * SECTOR)
        cut(client, disk)
        return image.read_bytes()

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_a_flush_that_power_ended_promises_nothing(make: Make, image: Path) -> None:
    """The machine dies while its flush is on the way: its writes are still at the mercy of the cut."""
    disk = make(3, flush_us=20_000_000)
    client = NbdClient(disk.socket)
    client.write(0, b"z" * 64 * SECTOR)
    client.begin_flush()
    tally = cut(client, disk)
    assert tally.flushes == 0
    assert tally.loss.held == 1


def test_a_full_cache_writes_back(make: Make, image: Path) -> None:
    disk = make(cache="8K")
    client = NbdClient(disk.socket)
    client.write(0, b"c" * 24 * SECTOR)
    assert cut(client, disk).overflows == 1
    assert image.read_bytes()[: 24 * SECTOR] == b"c" * 24 * SECTOR


def test_part_of_a_sector_is_refused(make: Make) -> None:
    client = NbdClient(make().socket)
    with pytest.raises(OSError, match="refused"):
        client.write(0, b"x" * 100)


def test_it_says_why_it_does_not_start(plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No such file"):
        CutDisk(plugin, tmp_path / "nothing", seed=1).start()


# ── the moment of the cut ─────────────────────────────────────────────────────────────────────────────────────────────


class Writer(threading.Thread):
    """A guest that writes sector after sector, a flush after every fourth; it ends when its disk is gone."""

    def __init__(self, disk: CutDisk) -> None:
        super().__init__(daemon=True)
        self.client = NbdClient(disk.socket)
        self.written = 0  # sectors that were answered
        self.flushed = 0  # of these: before a flush that was answered
        self.start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                self.client.write((self.written % 1024) * SECTOR, b"%512d" % self.written)
                self.written += 1
                if self.written % 4 == 0:
                    self.client.flush()
                    self.flushed = self.written

    def kill(self) -> None:
        self.client.hang_up()
        self.join(10)
        assert not self.is_alive()


def test_it_stands_still_in_the_write_that_was_ordered(make: Make) -> None:
    disk = make()
    disk.order(Moment(writes=7))
    guest = Writer(disk)
    assert disk.stands_still(10)
    assert guest.written == 6  # the seventh has no answer
    guest.kill()
    assert disk.cut().loss.held == 3


def test_it_stands_still_before_a_flush_is_done(make: Make) -> None:
    disk = make()
    disk.order(Moment(flushes=3))
    guest = Writer(disk)
    assert disk.stands_still(10)
    assert (guest.written, guest.flushed) == (12, 8)
    guest.kill()
    tally = disk.cut()
    assert (tally.flushes, tally.loss.held) == (2, 4)


def test_it_waits_for_so_many_unflushed_writes_in_the_area(make: Make) -> None:
    disk = make()
    disk.order(Moment(writes=1, held=3, area=(20 * SECTOR, 30 * SECTOR)))
    guest = Writer(disk)
    assert disk.stands_still(10)
    assert guest.written == 22
    guest.kill()
    assert disk.cut().loss.held == 3


def test_a_moment_that_does_not_come_is_told(make: Make) -> None:
    disk = make()
    client = NbdClient(disk.socket)
    disk.order(Moment(writes=2))
    client.write(0, ZERO)
    assert not disk.stands_still(0.1)
    cut(client, disk)


def test_what_a_killed_guest_still_sends_does_not_arrive(make: Make, image: Path) -> None:
    disk = make()
    client = NbdClient(disk.socket)
    disk.order(Moment(writes=1))
    client.begin_write(0, b"a" * SECTOR)
    client.begin_flush()  # it waits behind the write
    assert disk.stands_still(10)
    client.hang_up()
    tally = disk.cut()
    assert (tally.flushes, tally.loss.held) == (0, 1)


def test_a_copy_shows_what_a_cut_would_leave_and_the_disk_goes_on(make: Make, image: Path) -> None:
    disk = make()
    guest = Writer(disk)
    pictures = set()
    for number in range(1, 12):
        disk.order(Moment(writes=1 + number % 3, held=number % 4))
        if number > 1:
            disk.release()
        assert disk.stands_still(10)
        written, flushed = guest.written, guest.flushed
        copy, loss = disk.lost_copy()
        data = copy.read_bytes()
        assert 1 <= loss.held <= 4
        assert loss.whole + loss.dropped == loss.held
        for place in range(min(written + 1, 1024)):
            sector = data[place * SECTOR : (place + 1) * SECTOR]
            if sector == ZERO:
                assert place >= flushed
            else:
                assert int(sector) % 1024 == place
        assert guest.written == written, "it went on meanwhile"
        pictures.add(data)
    assert len(pictures) > 5
    disk.release()
    guest.kill()
    disk.cut()


# ── a card that lies ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_card_that_lies_loses_what_was_flushed(make: Make, image: Path) -> None:
    disk = make()
    disk.lie(loses_all=True)
    client = NbdClient(disk.socket)
    client.write(0, b"a" * SECTOR)
    client.flush()
    client.write(SECTOR, b"a" * SECTOR, fua=True)
    assert client.read(0, 2 * SECTOR) == b"a" * 2 * SECTOR
    tally = cut(client, disk)
    assert (tally.lies, tally.loss.dropped) == (2, 2)
    assert image.read_bytes() == bytes(SIZE)


def test_a_card_that_lies_now_and_then(make: Make, image: Path) -> None:
    disk = make()
    disk.lie(2, loses_all=True)
    client = NbdClient(disk.socket)
    for number in range(3):
        client.write(number * SECTOR, b"a" * SECTOR)
        client.flush()
    client.write(3 * SECTOR, b"a" * SECTOR)
    client.flush()
    assert cut(client, disk).lies == 2
    assert image.read_bytes()[: 4 * SECTOR] == b"a" * 3 * SECTOR + ZERO
