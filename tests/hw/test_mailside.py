"""Mail's end of the socket: what it says, what it makes known, and that nothing palomar-hw does stops mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.timestate import TimeState
from hw.mailside import ALIVE_EVERY_S, FIRST_PAUSE_S, HwLink, open_ports
from hw.messages import AddressState, Alive, Hello, Listeners, Refused
from tests.hw.fake_hw import WARNING, listening, state


class FakeCore:
    """What the link touches of the core."""

    def __init__(self, *bound: tuple[str, int]) -> None:
        self.time_state: TimeState = "synced"
        self.listeners = [SimpleNamespace(bound=list(bound))]
        self.networks: list[Sequence[str]] = []
        self.queue_looks = 0
        self.store = SimpleNamespace(refusing_mail=False)
        self.dispatch = SimpleNamespace(network_changed=lambda *, addresses: self.networks.append(addresses))
        self.queue = SimpleNamespace(notify=self.notify)

    def notify(self) -> None:
        self.queue_looks += 1


class Bench:
    """A link that runs, with a sleep that ends when it is told."""

    def __init__(self, core: FakeCore, path: Path) -> None:
        self.core = core
        self.slept: list[float] = []
        self.turns: dict[float, asyncio.Semaphore] = {}
        self.link = HwLink(core, path, sleep=self.sleep)  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.turns.setdefault(seconds, asyncio.Semaphore(0)).acquire()

    def turn(self, seconds: float) -> None:
        self.turns.setdefault(seconds, asyncio.Semaphore(0)).release()


@asynccontextmanager
async def running(core: FakeCore, path: Path) -> AsyncIterator[Bench]:
    bench = Bench(core, path)
    ready = asyncio.Event()
    task = asyncio.create_task(bench.link.run(ready.set))
    await asyncio.wait_for(ready.wait(), 60)
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def test_it_greets_tells_its_ports_and_that_it_lives(tmp_path: Path) -> None:
    core = FakeCore(("127.0.0.1", 143), ("::1", 25), ("0.0.0.0", 587), ("::", 25), ("fe80::1%2", 110))
    async with listening(tmp_path / "s", state()) as hw, running(core, tmp_path / "s") as bench:
        await until(lambda: len(hw.heard) == 3)
        assert hw.heard[0] == Hello(role="mail", version="0.1.0")
        assert hw.heard[1:] == [Listeners(ports=(25, 110, 587)), Alive()]
        bench.turn(ALIVE_EVERY_S)
        await until(lambda: len(hw.heard) == 4)
        core.listeners[0].bound.append(("192.0.2.5", 993))
        bench.turn(ALIVE_EVERY_S)
        await until(lambda: len(hw.heard) == 6)
        assert hw.heard[3:] == [Alive(), Listeners(ports=(25, 110, 587, 993)), Alive()]


async def test_it_tells_that_mail_is_refused_for_want_of_room(tmp_path: Path) -> None:
    core = FakeCore()
    async with listening(tmp_path / "s", state()) as hw, running(core, tmp_path / "s") as bench:
        await until(lambda: len(hw.heard) == 3)
        for full in (True, False):
            core.store.refusing_mail = full
            bench.turn(ALIVE_EVERY_S)
            await until(lambda full=full: hw.heard[-1] == Alive(full=full))
        assert hw.heard[2:] == [Alive(), Alive(full=True), Alive()]


async def test_what_changes_is_made_known_once(tmp_path: Path) -> None:
    core = FakeCore()
    async with listening(tmp_path / "s", state(time_state="unset")) as hw, running(core, tmp_path / "s"):
        await until(lambda: core.networks)
        assert (core.networks, core.time_state, core.queue_looks) == ([["192.0.2.5"]], "unset", 1)
        hw.tell(state(time_state="synced"))
        await until(lambda: core.time_state == "synced")
        assert (core.queue_looks, len(core.networks)) == (2, 1)
        other = AddressState(nic="eth0", address="2001:db8::5/64", source="ra")
        tentative = AddressState(nic="eth0", address="192.0.2.9/24", source="static", usable=False)
        hw.tell(state(addresses=(other, tentative)))
        await until(lambda: len(core.networks) == 2)
        assert core.networks[-1] == ["2001:db8::5"]
        hw.tell(state(addresses=()))
        await until(lambda: len(core.networks) == 3)
        assert core.networks[-1] == []


async def test_the_clock_is_in_doubt_until_the_watcher_speaks(tmp_path: Path) -> None:
    core = FakeCore()
    HwLink(core, tmp_path / "s")  # type: ignore[arg-type]
    assert core.time_state == "plausible"
    core = FakeCore()
    HwLink(core, tmp_path / "no such folder" / "s")  # type: ignore[arg-type]
    assert core.time_state == "synced"


async def test_without_palomar_hw_it_tries_for_ever_with_growing_pauses(tmp_path: Path) -> None:
    core = FakeCore()
    async with running(core, tmp_path / "s") as bench:
        for number, pause in enumerate((0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)):
            await until(lambda number=number: len(bench.slept) == number + 1)
            assert bench.slept[-1] == pause
            bench.turn(pause)
        assert list(bench.link.lines()) == [
            ("Network", f"palomar-hw does not run (nobody answers at {tmp_path}/s); the system sets it up", "info")
        ]
        assert core.networks == []


@pytest.mark.parametrize("nonsense", [b"hello\n", b'{"type":"state"}\n', b"x" * 300_000, b'{"type":"alive"}\n'])
async def test_nonsense_ends_the_connection_and_it_comes_back(tmp_path: Path, nonsense: bytes) -> None:
    core = FakeCore()
    async with listening(tmp_path / "s", state()) as hw, running(core, tmp_path / "s") as bench:
        await until(lambda: bench.link.connected)
        hw.say(nonsense)
        await until(lambda: not bench.link.connected)
        assert next(iter(bench.link.lines()))[2] == "error"
        bench.turn(FIRST_PAUSE_S)
        await until(lambda: bench.link.connected)
        assert len(core.networks) == 1


async def test_a_restart_of_palomar_hw_is_followed(tmp_path: Path) -> None:
    core = FakeCore()
    async with running(core, tmp_path / "s") as bench:
        for _ in range(2):
            async with listening(tmp_path / "s", state()) as hw:
                bench.turn(FIRST_PAUSE_S)
                await until(lambda hw=hw: Alive() in hw.heard)
            await until(lambda: not bench.link.connected)


async def test_a_refusal_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        listening(tmp_path / "s", Refused(reason="there is a mail process already")),
        running(FakeCore(), tmp_path / "s") as bench,
    ):
        await until(lambda: FIRST_PAUSE_S in bench.slept)
    assert "it refused us: there is a mail process already" in caplog.text


async def test_the_status_has_notes_with_their_levels(tmp_path: Path) -> None:
    async with listening(tmp_path / "s", state(notes=(WARNING,))), running(FakeCore(), tmp_path / "s") as bench:
        await until(lambda: bench.link.connected)
        lines = list(bench.link.lines())
    assert lines[-1] == ("Note (flaps)", WARNING.text, "warning")
    assert all(level in {"info", "warning", "error"} for _, _, level in lines)


async def test_the_core_tells_of_a_clock_in_doubt_once(tmp_path: Path) -> None:
    async with listening(tmp_path / "s", state(time_state="unset")), running(FakeCore(), tmp_path / "s") as bench:
        await until(lambda: bench.link.connected)
        assert "Time" not in [label for label, _, _ in bench.link.lines()]


def test_ports_are_those_of_all_listeners() -> None:
    core = FakeCore(("0.0.0.0", 25))
    core.listeners.append(SimpleNamespace(bound=[("::", 25), ("127.0.0.2", 8025)]))
    assert open_ports(core) == (25,)  # type: ignore[arg-type]
