"""The clock: what is believed, what is not, and what lasts. 1970, 2038 and time servers that lie included."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.timestate import TimeState
from hw.clock import (
    CLOCK_FILE,
    LIFETIME_S,
    LOOK_EVERY_S,
    OLDEST_FLOOR,
    PATIENCE_S,
    RELEASE_FILE,
    RESTART,
    RTC_FILE,
    SAVE_EVERY_S,
    SERVERS_FILE,
    SYNCED_FILE,
    ClockKeeper,
    Decision,
    Evidence,
    decide,
    image_time,
    kernel_is_synced,
)
from hw.part import Facts

FLOOR = 1_790_000_000.0
DAY = 86400.0
YEARS = 365 * DAY
IN_2039 = 2_180_000_000.0


@pytest.mark.parametrize(
    ("evidence", "state", "step_to"),
    [
        # no clock of its own, first boot: 1970, and what systemd made of it
        (Evidence(5, FLOOR), "unset", FLOOR),
        (Evidence(FLOOR + 5, FLOOR), "unset", None),
        # last-known time
        (Evidence(5, FLOOR, saved=FLOOR + DAY), "plausible", FLOOR + DAY),
        (Evidence(FLOOR + 5, FLOOR, saved=FLOOR + DAY), "plausible", FLOOR + DAY),
        (Evidence(FLOOR + 2 * DAY, FLOOR, saved=FLOOR + DAY), "plausible", None),
        (Evidence(FLOOR + DAY - 1, FLOOR, saved=FLOOR + DAY), "plausible", None),
        # saved by an older image, or garbage
        (Evidence(5, FLOOR, saved=FLOOR - DAY), "unset", FLOOR),
        (Evidence(FLOOR + 5, FLOOR, saved=2**62), "unset", None),
        # a battery-backed clock: good, empty, run wild, behind what was saved
        (Evidence(5, FLOOR, rtc=FLOOR + DAY), "plausible", FLOOR + DAY),
        (Evidence(FLOOR + DAY, FLOOR, rtc=FLOOR + DAY), "plausible", None),
        (Evidence(0, FLOOR, rtc=0), "unset", FLOOR),
        (Evidence(0, FLOOR, saved=FLOOR + DAY, rtc=0), "plausible", FLOOR + DAY),
        (Evidence(FLOOR + 21 * YEARS, FLOOR, rtc=FLOOR + 21 * YEARS), "unset", FLOOR),
        (Evidence(FLOOR + 21 * YEARS, FLOOR, saved=FLOOR + DAY, rtc=FLOOR + 21 * YEARS), "plausible", FLOOR + DAY),
        (Evidence(FLOOR + DAY, FLOOR, saved=FLOOR + 3 * DAY, rtc=FLOOR + DAY), "plausible", FLOOR + 3 * DAY),
        # beyond 2038-01-19, when 32 bits are full
        (Evidence(IN_2039, FLOOR, rtc=IN_2039), "plausible", None),
        (Evidence(IN_2039, FLOOR, saved=IN_2039 - DAY, confirmed=True), "synced", None),
        # time servers
        (Evidence(FLOOR + 5, FLOOR, confirmed=True), "synced", None),
        (Evidence(FLOOR + DAY, FLOOR, saved=FLOOR + 9 * DAY, confirmed=True), "synced", None),
        (Evidence(5, FLOOR, confirmed=True), "unset", FLOOR),
        (Evidence(FLOOR + 30 * YEARS, FLOOR, saved=FLOOR + DAY, confirmed=True), "plausible", FLOOR + DAY),
    ],
)
def test_the_chain_of_evidence(evidence: Evidence, state: TimeState, step_to: float | None) -> None:
    assert decide(evidence) == Decision(state, step_to)


times = st.floats(-1e12, 1e12)


@given(times, st.none() | times, st.none() | times, st.booleans())
def test_a_clock_that_is_obeyed_is_credible_and_left_alone(
    now: float, saved: float | None, rtc: float | None, confirmed: bool
) -> None:
    first = decide(Evidence(now, FLOOR, saved, rtc, confirmed))
    after = now if first.step_to is None else first.step_to
    assert FLOOR <= after <= FLOOR + LIFETIME_S
    again = decide(Evidence(after, FLOOR, saved, rtc, confirmed=False))
    assert again.step_to is None or again.step_to > after


class Machine:
    """A clock that can be set, and the commands that were given."""

    def __init__(self, root: Path, now: float = 5.0) -> None:
        self.root = root
        self.now = now
        self.up = 0.0
        self.commands: list[Sequence[str]] = []
        self.reported: list[Facts] = []
        self.confirmed = False
        self.turns = asyncio.Semaphore(0)
        self.asleep = asyncio.Event()

    def keeper(self) -> ClockKeeper:
        return ClockKeeper(
            self.root,
            data=self.root,
            floor=FLOOR,
            now=lambda: self.now,
            clock=lambda: self.up,
            set_time=self.set,
            confirmed=lambda: self.confirmed,
            tell=self.tell,
            sleep=self.sleep,
        )

    def set(self, at: float) -> None:
        self.now = at

    def write(self, name: Path, text: str = "") -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def saved(self) -> int:
        return int((self.root / CLOCK_FILE).read_text())

    async def tell(self, command: Sequence[str]) -> int:
        self.commands.append(command)
        return 0

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await self.turns.acquire()
        self.now += seconds
        self.up += seconds

    async def turn(self) -> None:
        self.asleep.clear()
        self.turns.release()
        await self.asleep.wait()


async def test_the_day_of_a_board_without_a_clock(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    keeper = machine.keeper()
    task = asyncio.create_task(keeper.run(machine.reported.append))
    await machine.asleep.wait()
    assert (machine.now, machine.reported) == (FLOOR, ["unset"])
    assert not (tmp_path / CLOCK_FILE).exists()
    machine.now = FLOOR + 40 * DAY  # timesyncd steps it
    machine.write(SYNCED_FILE)
    await machine.turn()
    assert machine.reported == ["unset", "synced", ()]
    assert machine.saved() == int(FLOOR + 40 * DAY + 10)
    machine.up += SAVE_EVERY_S
    machine.now += SAVE_EVERY_S
    await machine.turn()
    await machine.turn()
    assert machine.saved() >= FLOOR + 40 * DAY + SAVE_EVERY_S
    machine.now += 7
    at_the_end = int(machine.now)
    task.cancel()
    await asyncio.wait([task])
    assert machine.saved() == at_the_end
    again = Machine(tmp_path)
    (tmp_path / SYNCED_FILE).unlink()
    keeper = again.keeper()
    keeper.look()
    assert (keeper.state, again.now) == ("plausible", at_the_end)


async def test_hourly_saving_touches_one_file_in_place(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FLOOR + DAY)
    machine.write(RTC_FILE, f"{FLOOR + DAY:.0f}\n")
    keeper = machine.keeper()
    keeper.look()
    keeper.save()
    before = os.stat(tmp_path / CLOCK_FILE)
    machine.now += SAVE_EVERY_S
    keeper.save()
    after = os.stat(tmp_path / CLOCK_FILE)
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size) == (before.st_ino, 21)
    assert machine.saved() == FLOOR + DAY + SAVE_EVERY_S


def test_only_a_confirmed_time_replaces_a_later_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FLOOR + DAY)
    machine.write(CLOCK_FILE, f"{FLOOR + 3 * YEARS:.0f}\n")  # a battery-backed clock was wrong once
    keeper = machine.keeper()
    keeper.look()
    assert keeper.state == "plausible"
    machine.now = FLOOR + DAY
    keeper.save()
    assert machine.saved() == FLOOR + 3 * YEARS
    machine.confirmed = True
    keeper.look()
    keeper.save()
    assert (keeper.state, machine.saved()) == ("synced", FLOOR + DAY)


@pytest.mark.parametrize("text", ["", "tomorrow\n", "-5\n", "\0" * 21, "9" * 400])
def test_a_damaged_file_is_no_evidence(tmp_path: Path, text: str) -> None:
    machine = Machine(tmp_path)
    machine.write(CLOCK_FILE, text)
    keeper = machine.keeper()
    keeper.look()
    assert (keeper.state, machine.now) == ("unset", FLOOR)


def test_a_clock_that_cannot_be_set_is_unset(tmp_path: Path) -> None:
    def refuse(at: float) -> None:
        raise PermissionError(1, "Operation not permitted")

    keeper = ClockKeeper(tmp_path, floor=FLOOR, now=lambda: 5.0, set_time=refuse, confirmed=lambda: False)
    keeper.look()
    assert keeper.state == "unset"


async def test_a_lying_time_server_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FLOOR + DAY)
    machine.write(RTC_FILE, f"{FLOOR + DAY:.0f}\n")
    machine.confirmed = True
    task = asyncio.create_task(machine.keeper().run(machine.reported.append))
    await machine.asleep.wait()
    machine.now = 1000.0
    await machine.turn()
    assert machine.reported[:2] == ["synced", "plausible"]
    (note,) = machine.reported[2]
    assert note.level == "error"  # type: ignore[union-attr]
    assert machine.now >= FLOOR + DAY
    task.cancel()
    await asyncio.wait([task])


async def test_a_clock_that_nobody_sets_is_told_after_a_while(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    task = asyncio.create_task(machine.keeper().run(machine.reported.append))
    await machine.asleep.wait()
    while machine.up < PATIENCE_S - LOOK_EVERY_S:
        await machine.turn()
    assert machine.reported == ["unset"]
    for _ in range(3):
        await machine.turn()
    assert len(machine.reported) == 2  # told once
    (note,) = machine.reported[1]
    assert (note.level, note.text[:20]) == ("error", "The clock is not set")  # type: ignore[union-attr]
    machine.confirmed = True
    await machine.turn()
    assert machine.reported[2:] == ["synced", ()]
    task.cancel()
    await asyncio.wait([task])


async def test_timesyncd_gets_the_servers_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    keeper = machine.keeper()
    keeper.servers(["192.0.2.1", "ntp.example.org", "192.0.2.1", "bad\nNTP=evil", "", "2001:db8::1"])
    task = asyncio.create_task(keeper.run(machine.reported.append))
    await machine.asleep.wait()
    assert (tmp_path / SERVERS_FILE).read_text() == "[Time]\nNTP=192.0.2.1 ntp.example.org 2001:db8::1\n"
    keeper.servers(["192.0.2.1", "ntp.example.org", "2001:db8::1"])
    await machine.turn()
    assert machine.commands == [RESTART]
    keeper.servers([])
    await machine.turn()
    assert machine.commands == [RESTART, RESTART]
    assert not (tmp_path / SERVERS_FILE).exists()
    task.cancel()
    await asyncio.wait([task])


def test_the_floor_is_the_images_age(tmp_path: Path) -> None:
    (tmp_path / RELEASE_FILE).parent.mkdir(parents=True)
    (tmp_path / RELEASE_FILE).write_text("{}")
    os.utime(tmp_path / RELEASE_FILE, (FLOOR, FLOOR))
    assert image_time(tmp_path) == FLOOR
    os.utime(tmp_path / RELEASE_FILE, (0, 0))
    assert image_time(tmp_path) == OLDEST_FLOOR


def test_the_kernel_can_be_asked() -> None:
    assert kernel_is_synced() in {True, False}
