"""Links that flap, and what ethtool's ioctl is asked."""

from __future__ import annotations

import asyncio
import errno
import struct

import pytest

from hw.ethtool import _EEE, _SETTINGS, GIGABIT, HUNDRED, eee_off, exchange, limit_to_100
from hw.flaps import FLAPS, FlapGuard, Flaps
from hw.part import Facts


def test_a_link_that_flaps_is_found_once_it_is_too_often() -> None:
    flaps = Flaps()
    assert not flaps.seen("eth0", 7, 0.0)  # whatever was before we came does not count
    told = [flaps.seen("eth0", 7 + 2 * number, number * 10.0) for number in range(1, FLAPS + 1)]
    assert told == [False] * (FLAPS - 1) + [True]


def test_seldom_is_not_flapping() -> None:
    flaps = Flaps()
    flaps.seen("eth0", 0, 0.0)
    assert not any(flaps.seen("eth0", 2 * number, number * 500.0) for number in range(1, 200))


@pytest.mark.parametrize("changes", [[0, 1, 0, 1], [0, 1, 1, 2, 2, 3]])
def test_half_a_flap_and_a_replaced_interface_do_not_count(changes: list[int]) -> None:
    flaps = Flaps(limit=3)
    assert not any(flaps.seen("eth0", number, 1.0) for number in changes)


def test_many_flaps_between_two_readings_count() -> None:
    flaps = Flaps()
    flaps.seen("eth0", 0, 0.0)
    assert flaps.seen("eth0", 2 * FLAPS, 1.0)


@pytest.mark.parametrize(("works", "words"), [(True, "100 Mb/s at most"), (False, "cannot be slowed down")])
async def test_the_guard_steps_down_once_and_says_so(works: bool, words: str) -> None:
    stepped: list[str] = []
    reported: list[Facts] = []

    def step_down(nic: str) -> bool:
        stepped.append(nic)
        return works

    guard = FlapGuard(step_down, clock=lambda: 100.0)
    task = asyncio.create_task(guard.run(reported.append))
    for changes in range(0, 6 * FLAPS, 2):
        guard.carrier("eth0", changes)
        guard.carrier("eth1", 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stepped == ["eth0"]
    assert words in str(reported)
    guard.gone("eth0")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert reported[-1] == ()
    task.cancel()
    await asyncio.wait([task])


class FakeDriver:
    """Holds the two structures, and refuses what it is told to."""

    def __init__(self, *, refuses: set[int] | None = None) -> None:
        self.refuses = refuses or set()
        self.eee = [0, 0x38, 0x38, 0x28, 1, 1, 1, 10, 0, 0]
        self.settings = [0, 0x62EF, 0x62EF, 1000, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0x2F]
        self.asked: list[int] = []

    def __call__(self, nic: str, octets: bytes) -> bytes:
        (command,) = struct.unpack_from("=I", octets)
        self.asked.append(command)
        if command in self.refuses:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        if command == 0x45:
            self.eee = list(_EEE.unpack(octets))
        elif command == 0x2:
            self.settings = list(_SETTINGS.unpack(octets))
            assert self.settings[7] == self.settings[10] == self.settings[11] == 0  # the kernel insists
        return _EEE.pack(*self.eee) if command in {0x44, 0x45} else _SETTINGS.pack(*self.settings)


def test_eee_goes_off_and_is_then_left_alone() -> None:
    driver = FakeDriver()
    assert eee_off("eth0", driver)
    assert (driver.eee[2], driver.eee[5], driver.eee[6]) == (0, 0, 0)
    assert eee_off("eth0", driver)
    assert driver.asked == [0x44, 0x45, 0x44]


@pytest.mark.parametrize("refused", [0x44, 0x45])
def test_a_driver_without_eee_is_no_error(refused: int) -> None:
    assert not eee_off("eth0", FakeDriver(refuses={refused}))


def test_the_step_down_keeps_negotiating_without_a_gigabit() -> None:
    driver = FakeDriver()
    assert limit_to_100("eth0", driver)
    advertised = driver.settings[2]
    assert not advertised & GIGABIT
    assert advertised & HUNDRED
    assert driver.settings[8] == 1


def test_a_link_that_knows_no_hundred_is_left_alone() -> None:
    driver = FakeDriver()
    driver.settings[1] = driver.settings[2] = GIGABIT
    assert not limit_to_100("eth0", driver)
    assert driver.asked == [0x1]


def test_the_kernel_takes_our_structures() -> None:
    # The loopback has a driver without either: the answer is a refusal, not a fault of the call.
    with pytest.raises(OSError) as error:
        exchange("lo", _EEE.pack(0x44, *[0] * 9))
    assert error.value.errno == errno.EOPNOTSUPP
    with pytest.raises(OSError) as error:
        exchange("no-such-nic", _SETTINGS.pack(0x1, *[0] * 15))
    assert error.value.errno == errno.ENODEV
