"""The hardware watchdog: who is well, what is asked of the device, and that it never restarts a board for ever."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from hw.messages import Note
from hw.part import Facts
from hw.watchdog import ABSENCE_S, LOOK_EVERY_S, SILENCE_S, TIMEOUT_S, HardwareWatchdog, Mail, Watchdog, is_well

NOW = 10_000.0


@pytest.mark.parametrize(
    ("mail", "well"),
    [
        (Mail(), True),  # never came up: a restart would not make a wrong setting right
        (Mail(seen_at=NOW), True),
        (Mail(seen_at=NOW - SILENCE_S + 1), True),
        (Mail(seen_at=NOW - SILENCE_S), False),  # connected and silent: it hangs, and systemd could not end it
        (Mail(seen_at=NOW - ABSENCE_S, gone_at=NOW - ABSENCE_S + 1), True),  # being restarted
        (Mail(seen_at=NOW - ABSENCE_S, gone_at=NOW - ABSENCE_S), False),
        (Mail(seen_at=0, gone_at=0, stopped=True), True),
    ],
)
def test_who_is_well(mail: Mail, well: bool) -> None:
    assert is_well(mail, NOW) is well


class FakeDevice:
    """Counts feeds; a fed device that is closed without magic would bite."""

    identity = "fake"

    def __init__(self, timeout_s: int = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self.fed = 0
        self.closed = False

    def feed(self) -> None:
        assert not self.closed
        self.fed += 1

    def close(self) -> None:
        self.closed = True


class Bench:
    """A watchdog, its device, and a clock that turns when it is told."""

    def __init__(self, device: FakeDevice | None = None, *, stopped: bool = False) -> None:
        self.device = device or FakeDevice()
        self.now = 0.0
        self.slept = 0.0
        self.reported: list[Facts] = []
        self.stopped = stopped
        self.asleep = asyncio.Event()
        self.turns = asyncio.Semaphore(0)
        self.watchdog = Watchdog(
            lambda: self.device, clock=lambda: self.now, sleep=self.sleep, is_stopped=self.is_stopped
        )

    async def is_stopped(self) -> bool:
        return self.stopped

    async def sleep(self, seconds: float) -> None:
        self.slept = seconds
        self.asleep.set()
        await self.turns.acquire()

    async def start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.watchdog.run(self.reported.append))
        await self.asleep.wait()
        return task

    async def turn(self, seconds: float = 5.0) -> int:
        """Let that much time pass; how often the device was fed meanwhile."""
        before = self.device.fed
        self.now += seconds
        self.asleep.clear()
        self.turns.release()
        await self.asleep.wait()
        return self.device.fed - before


async def test_it_is_fed_while_both_are_well_and_closed_in_order() -> None:
    bench = Bench()
    task = await bench.start()
    assert (bench.device.fed, bench.slept) == (1, TIMEOUT_S / 3)
    bench.watchdog.mail_alive()
    assert await bench.turn() == 1
    assert bench.watchdog.mail_is_well
    task.cancel()
    await asyncio.wait([task])
    assert bench.device.closed


async def test_a_mail_process_that_hangs_starves_it_and_a_word_saves_it() -> None:
    bench = Bench()
    task = await bench.start()
    bench.watchdog.mail_alive()
    assert await bench.turn(SILENCE_S - 1) == 1
    assert await bench.turn(1) == 0
    assert [note.level for note in notes(bench.reported)] == ["error"]
    bench.watchdog.mail_alive()
    assert await bench.turn() == 1
    assert bench.reported[-1] == ()
    task.cancel()
    await asyncio.wait([task])


async def test_a_restart_of_mail_has_its_grace() -> None:
    bench = Bench()
    task = await bench.start()
    bench.watchdog.mail_alive()
    bench.watchdog.mail_gone()
    assert not bench.watchdog.mail_is_well
    assert await bench.turn(ABSENCE_S - 1) == 1
    bench.watchdog.mail_alive()
    assert await bench.turn(SILENCE_S - 1) == 1
    bench.watchdog.mail_gone()
    assert await bench.turn(ABSENCE_S) == 0
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("ever", [True, False])
async def test_a_stopped_or_never_started_mail_process_restarts_nothing(ever: bool) -> None:
    bench = Bench(stopped=True)
    task = await bench.start()
    if ever:
        bench.watchdog.mail_alive()
        bench.watchdog.mail_gone()
    for _ in range(10):
        assert await bench.turn(ABSENCE_S) == 1
    assert notes(bench.reported) == []
    task.cancel()
    await asyncio.wait([task])


async def test_a_device_whose_driver_comes_late_is_fed_from_then_on() -> None:
    device, looks, reported = FakeDevice(), 0, list[Facts]()
    asleep = asyncio.Semaphore(0)

    def open_device() -> FakeDevice:
        nonlocal looks
        looks += 1
        if looks < 4:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return device

    async def sleep(seconds: float) -> None:
        if not device.fed:
            assert seconds == LOOK_EVERY_S
            return
        asleep.release()
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(Watchdog(open_device, sleep=sleep).run(reported.append))
    await asyncio.wait_for(asleep.acquire(), 60)
    assert (looks, device.fed) == (4, 1)
    assert [note.level for note in notes(reported)] == ["info"]  # told once
    assert reported[-1] == ()  # and taken back
    task.cancel()
    await asyncio.wait([task])
    assert device.closed


async def test_a_timeout_that_the_device_did_not_take_is_told() -> None:
    bench = Bench(FakeDevice(timeout_s=300))
    task = await bench.start()
    assert "300 s" in notes(bench.reported)[0].text
    assert bench.slept == TIMEOUT_S / 3
    task.cancel()
    await asyncio.wait([task])


async def test_a_board_without_one_says_so_and_goes_on() -> None:
    def missing() -> FakeDevice:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    reported: list[Facts] = []
    task = asyncio.create_task(Watchdog(missing).run(reported.append))
    while not reported:
        await asyncio.sleep(0)
    assert notes(reported)[0].level == "info"
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


def test_a_file_in_the_devices_place(tmp_path: Path) -> None:
    path = tmp_path / "watchdog"
    path.touch()
    device = HardwareWatchdog(path)
    assert (device.identity, device.timeout_s) == ("", TIMEOUT_S)
    device.feed()
    device.feed()
    device.close()
    assert path.read_bytes() == b"\0\0V"  # the magic close comes last
    with pytest.raises(OSError):
        device.feed()


def test_only_the_device_itself_is_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HardwareWatchdog(tmp_path / "none")
    assert not os.listdir(tmp_path)


def notes(reported: list[Facts]) -> list[Note]:
    return [note for facts in reported if isinstance(facts, tuple) for note in facts]
