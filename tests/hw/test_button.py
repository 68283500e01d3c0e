"""The power button, on files that stand for input devices."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hw.button import KEY_POWER, PowerButton, has_power_key, is_press

PRESS, RELEASE, REPEAT = (KEY_POWER, 1), (KEY_POWER, 0), (KEY_POWER, 2)
ANOTHER = (30, 1)
SYNC = struct.pack("@llHHi", 1, 2, 0, 0, 0)


def event(key: int, value: int) -> bytes:
    return struct.pack("@llHHi", 1, 2, 1, key, value)


@pytest.mark.parametrize(
    ("data", "pressed"),
    [
        (event(*PRESS), True),
        (event(*ANOTHER) + SYNC + event(*PRESS) + SYNC, True),
        (event(*RELEASE), False),
        (event(*REPEAT), False),
        (event(*ANOTHER), False),
        (event(*PRESS)[:-1], False),
        (b"", False),
    ],
)
def test_only_a_press_of_the_power_key_counts(data: bytes, pressed: bool) -> None:
    assert is_press(data) is pressed


def test_a_file_without_keys_is_no_button(tmp_path: Path) -> None:
    path = tmp_path / "event0"
    path.touch()
    with path.open("rb") as file:
        assert not has_power_key(file.fileno())


@asynccontextmanager
async def watched(folder: Path, buttons: set[str], press: Callable[[], None]) -> AsyncIterator[PowerButton]:
    names: dict[tuple[int, int], str] = {}

    def has_key(descriptor: int) -> bool:
        found = os.fstat(descriptor)
        names.update({(one.stat().st_dev, one.stat().st_ino): one.name for one in folder.iterdir()})
        return names[found.st_dev, found.st_ino] in buttons

    async def pressed() -> None:
        press()

    button = PowerButton(folder, has_key=has_key, press=pressed)
    task = asyncio.create_task(button.run(lambda _: None))
    try:
        yield button
    finally:
        task.cancel()
        await asyncio.wait([task])


async def written(path: Path, data: bytes) -> None:
    """Write once somebody reads, which opening waits for."""
    descriptor = await asyncio.to_thread(os.open, path, os.O_WRONLY)
    os.write(descriptor, data)
    os.close(descriptor)


async def test_a_press_shuts_down_and_other_keys_do_not(tmp_path: Path) -> None:
    for name in ("event0", "event1"):
        os.mkfifo(tmp_path / name)
    pressed = asyncio.Event()
    async with watched(tmp_path, {"event1"}, pressed.set):
        await written(tmp_path / "event1", event(*ANOTHER) + event(*PRESS))
        await asyncio.wait_for(pressed.wait(), 60)


async def test_a_button_may_come_later_and_go(tmp_path: Path) -> None:
    count = 0
    pressed = asyncio.Event()

    def press() -> None:
        nonlocal count
        count += 1
        pressed.set()

    async with watched(tmp_path, {"event0", "event3"}, press) as button:
        await asyncio.sleep(0)
        for name in ("event0", "event3"):
            os.mkfifo(tmp_path / name)
        button.changed()
        await written(tmp_path / "event0", b"")  # its other end is closed: it is gone
        await written(tmp_path / "event3", event(*PRESS))
        await asyncio.wait_for(pressed.wait(), 60)
    assert count == 1
