"""The activity LED: the kernel's triggers where they are, our own blinking where not, and never a failure."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hw.leds import STEPS_MS, Lamp, find_led, main, set_pattern

TRIGGERS = "none timer [mmc0] heartbeat default-on"


def led(root: Path, name: str = "ACT", triggers: str = TRIGGERS) -> Path:
    folder = root / "sys/class/leds" / name
    folder.mkdir(parents=True)
    (folder / "trigger").write_text(triggers)
    (folder / "max_brightness").write_text("255\n")
    (folder / "brightness").write_text("0")
    return folder


def shown(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "max_brightness"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), None),
        (("led1",), None),
        (("led0", "ACT"), "ACT"),
        (("led0",), "led0"),
        (("board:green:act",), "board:green:act"),
    ],
)
def test_which_led(tmp_path: Path, names: tuple[str, ...], found: str | None) -> None:
    for name in names:
        led(tmp_path, name)
    one = find_led(tmp_path)
    assert (one.name if one else None) == found


@pytest.mark.parametrize(
    ("pattern", "state"),
    [
        ("setup", {"trigger": "timer", "delay_on": "500", "delay_off": "500", "brightness": "0"}),
        ("rescue", {"trigger": "timer", "delay_on": "125", "delay_off": "125", "brightness": "0"}),
        ("healthy", {"trigger": "none", "brightness": "255"}),
        ("degraded", {"trigger": "heartbeat", "brightness": "0"}),
    ],
)
def test_the_kernel_blinks(tmp_path: Path, pattern: str, state: dict[str, str]) -> None:
    folder = led(tmp_path)
    assert set_pattern(folder, pattern)  # type: ignore[arg-type]
    assert shown(folder) == state
    folder.joinpath("trigger").write_text(TRIGGERS)
    folder.joinpath("brightness").write_text("0")
    assert main([pattern], tmp_path) == 0
    assert shown(folder) == state


def test_the_command_never_fails_a_boot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup"], tmp_path) == 0  # no LED
    folder = led(tmp_path, triggers="[none] mmc0")
    assert main(["degraded"], tmp_path) == 0
    assert shown(folder)["brightness"] == "255"  # lit is the best it can do without staying
    assert main(["disco"], tmp_path) == 2
    assert "usage: palomar-hw led setup|healthy|degraded" in capsys.readouterr().err


class Sleeps:
    """Ends every sleep when it is told."""

    def __init__(self) -> None:
        self.spans: list[float] = []
        self.turns = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.spans.append(seconds)
        await self.turns.acquire()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_identify_ends_and_the_pattern_comes_back(tmp_path: Path) -> None:
    folder, sleep = led(tmp_path), Sleeps()
    lamp = Lamp(tmp_path, sleep=sleep)
    task = asyncio.create_task(lamp.run([].append))
    lamp.show("healthy")
    await settle()
    assert shown(folder)["brightness"] == "255"
    folder.joinpath("trigger").write_text(TRIGGERS)
    lamp.identify(30)
    await settle()
    assert (shown(folder)["delay_on"], sleep.spans) == ("60", [30])
    sleep.turns.release()
    await settle()
    assert shown(folder)["trigger"] == "none"
    task.cancel()
    await asyncio.wait([task])
    assert shown(folder)["brightness"] == "255"  # what was shown last stays


async def test_without_triggers_it_blinks_itself_and_stops_when_told(tmp_path: Path) -> None:
    folder, sleep = led(tmp_path, triggers="[none]"), Sleeps()
    lamp = Lamp(tmp_path, sleep=sleep)
    task = asyncio.create_task(lamp.run([].append))
    lamp.show("degraded")
    levels = []
    for _ in range(8):
        await settle()
        levels.append(shown(folder)["brightness"])
        sleep.turns.release()
    assert levels == ["255", "0"] * 4
    assert [round(span * 1000) for span in sleep.spans[:4]] == list(STEPS_MS["degraded"])
    lamp.show("healthy")
    await settle()
    assert shown(folder)["brightness"] == "255"
    task.cancel()
    await asyncio.wait([task])


async def test_a_board_without_an_led_is_as_good(tmp_path: Path) -> None:
    lamp = Lamp(tmp_path)
    task = asyncio.create_task(lamp.run([].append))
    for pattern in STEPS_MS:
        lamp.show(pattern)
        await settle()
    lamp.identify(0.001)
    await settle()
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
