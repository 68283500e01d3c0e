from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from appliance.errors import ConfigError, PluginError, Problem
from appliance.notify import Notifier
from appliance.supervisor import HEALTHY_S, READY_S, STOP_S, Supervisor, in_order
from tests.appliance.fake_wire import settle


class FakeService:
    """A service that does as it is told and writes down what happens to it."""

    def __init__(self, name: str, diary: list[str], *, after: Sequence[str] = (), failures: int = 0) -> None:
        self.name, self.after, self.diary = name, after, diary
        self.failures = failures
        self.early: Exception | None = None
        self.deaf = self.shy = False
        self.crash = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        self.diary.append(f"+{self.name}")
        if self.early is not None:
            raise self.early
        try:
            if not self.shy:
                ready()
            if self.failures:
                self.failures -= 1
                raise RuntimeError(f"{self.name} broke")
            await self.crash.wait()
            self.crash.clear()
            raise RuntimeError(f"{self.name} broke late")
        except asyncio.CancelledError:
            if self.deaf:
                await asyncio.Event().wait()
            self.diary.append(f"-{self.name}")
            raise

    async def reload(self) -> None:
        self.diary.append(f"~{self.name}")
        if self.deaf:
            raise ValueError("cannot reload")


class Clock:
    """Time that passes only in sleep: each sleep writes itself down and ends at `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        event = asyncio.Event()
        self._sleepers.append((self.now + seconds, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        for until, event in self._sleepers:
            if until <= self.now:
                event.set()
        await settle()


def supervised(services: Sequence[FakeService], **named: object) -> tuple[Supervisor, Clock, asyncio.Task[int]]:
    clock = Clock()
    supervisor = Supervisor(services, clock=clock, sleep=clock.sleep, **named)  # type: ignore[arg-type]
    return supervisor, clock, asyncio.create_task(supervisor.run())


def names(services: Sequence[FakeService]) -> list[str]:
    return [service.name for service in in_order(services)]


def test_the_order_is_the_lists_moved_only_where_after_asks() -> None:
    a = FakeService("a", [], after=("c", "not there"))
    b, c, d = FakeService("b", []), FakeService("c", [], after=("d",)), FakeService("d", [])
    assert names([a, b, c, d]) == ["d", "c", "a", "b"]
    assert names([b, d, c, a]) == ["b", "d", "c", "a"]


def test_circles_and_namesakes_are_refused() -> None:
    a, b = FakeService("a", [], after=("b",)), FakeService("b", [], after=("a",))
    with pytest.raises(PluginError, match="a → b → a"):
        in_order([a, b])
    with pytest.raises(PluginError, match="two services are named 'a'"):
        in_order([a, FakeService("a", [])])


async def test_services_start_in_order_and_stop_in_reverse() -> None:
    diary: list[str] = []
    _, _, running = supervised([FakeService("store", diary), FakeService("smtp", diary), FakeService("imap", diary)])
    await settle()
    assert diary == ["+store", "+smtp", "+imap"]
    running.cancel()
    assert await running == 0
    assert diary[3:] == ["-imap", "-smtp", "-store"]


async def test_stop_gives_the_exit_status() -> None:
    supervisor, _, running = supervised([FakeService("store", [])])
    await settle()
    supervisor.stop(3)
    assert await running == 3


async def test_listeners_are_told_before_any_service_ends() -> None:
    diary: list[str] = []

    class Listening(FakeService):
        def begin_stop(self) -> None:
            self.diary.append(f"!{self.name}")

    services = [FakeService("store", diary), Listening("smtp", diary), Listening("imap", diary)]
    _, _, running = supervised(services)
    await settle()
    running.cancel()
    await running
    assert diary[3:] == ["!imap", "!smtp", "-imap", "-smtp", "-store"]


async def test_a_failing_service_is_restarted_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    diary: list[str] = []
    service = FakeService("fetch", diary, failures=9)
    supervisor, clock, running = supervised([service, other := FakeService("smtp", diary)])
    await settle()
    pauses = [seconds for seconds in clock.slept if seconds != READY_S]
    for _ in range(8):
        clock.slept.clear()
        await clock.advance(pauses[-1])
        pauses += clock.slept
    clock.slept.clear()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert supervisor.failures == {"fetch": 9}
    assert diary.count("+smtp") == 1
    assert "service fetch failed; again in 60 s" in caplog.text
    assert "fetch broke" in caplog.text
    await clock.advance(60)
    assert clock.slept == []
    await clock.advance(HEALTHY_S)  # it runs well for a while: the next failure is a first one again
    service.crash.set()
    await settle()
    assert clock.slept == [1]
    assert supervisor.failures == {"fetch": 1}
    running.cancel()
    await running
    assert other.diary[-1] == "-smtp"


async def test_a_service_that_just_ends_counts_as_failed(caplog: pytest.LogCaptureFixture) -> None:
    class Short(FakeService):
        async def run(self, ready: Callable[[], None]) -> None:
            ready()

    _, _, running = supervised([Short("short", [])])
    await settle()
    assert "service short ended by itself" in caplog.text
    running.cancel()
    assert await running == 0


async def test_a_failure_at_start_up_stops_what_was_started(caplog: pytest.LogCaptureFixture) -> None:
    diary: list[str] = []
    services = [FakeService("store", diary), FakeService("smtp", diary), FakeService("imap", diary)]
    services[1].early = OSError("no such device")
    _, _, running = supervised(services)
    assert await running == 1
    assert diary == ["+store", "+smtp", "-store"]
    assert "service smtp failed at start-up" in caplog.text


async def test_a_configuration_error_at_start_up_passes_on() -> None:
    diary: list[str] = []
    services = [FakeService("store", diary), FakeService("smtp", diary)]
    services[1].early = ConfigError([Problem("smtp.listen", "cannot listen", "Choose another port.")])
    _, _, running = supervised(services)
    with pytest.raises(ConfigError):
        await running
    assert diary == ["+store", "+smtp", "-store"]


async def test_a_service_that_never_gets_ready_stops_the_start(caplog: pytest.LogCaptureFixture) -> None:
    shy = FakeService("shy", [])
    shy.shy = True
    _, clock, running = supervised([shy])
    await settle()
    await clock.advance(READY_S)
    assert await running == 1
    assert "service shy was not ready within 60 s" in caplog.text


async def test_stopping_during_the_start() -> None:
    diary: list[str] = []
    shy = FakeService("shy", diary)
    shy.shy = True
    for way in ("cancel", "stop"):
        diary.clear()
        supervisor, _, running = supervised([FakeService("store", diary), shy, FakeService("smtp", diary)])
        await settle()
        if way == "cancel":
            running.cancel()
        else:
            supervisor.stop()
        assert await running == 0
        assert diary == ["+store", "+shy", "-shy", "-store"]


async def test_a_service_that_will_not_end_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    diary: list[str] = []
    deaf = FakeService("deaf", diary)
    deaf.deaf = True
    _, clock, running = supervised([FakeService("store", diary), deaf])
    await settle()
    running.cancel()
    await settle()
    assert "-store" not in diary
    await clock.advance(STOP_S)
    assert await running == 0
    assert diary[-1] == "-store"
    assert "service deaf did not end" in caplog.text


async def test_reload_asks_callbacks_and_then_every_service(caplog: pytest.LogCaptureFixture) -> None:
    diary: list[str] = []
    broken = FakeService("broken", diary)
    broken.deaf = True
    supervisor, _, running = supervised([FakeService("store", diary), broken, FakeService("smtp", diary)])
    accepts = True

    def take_over() -> bool:
        diary.append("settings")
        return accepts

    supervisor.on_reload(take_over)
    await settle()
    diary.clear()
    assert await supervisor.reload()
    assert diary == ["settings", "~store", "~broken", "~smtp"]
    assert "service broken could not reload" in caplog.text
    accepts = False
    assert not await supervisor.reload()
    assert diary[4:] == ["settings"]

    def fail() -> None:
        raise ConfigError([Problem("dns.zone_file", "is gone")])

    supervisor.on_reload(fail)
    accepts = True
    assert not await supervisor.reload()
    assert diary[5:] == ["settings"]
    assert "is gone" in caplog.text
    broken.deaf = False
    running.cancel()
    await running


async def test_a_hangup_signal_reloads_and_many_become_few() -> None:
    diary: list[str] = []
    supervisor, _, running = supervised([FakeService("store", diary)])
    await settle()
    os.kill(os.getpid(), signal.SIGHUP)
    while "~store" not in diary:
        await asyncio.sleep(0)
    diary.clear()
    for _ in range(5):
        supervisor.reload_soon()
    await settle()
    assert diary == ["~store"]
    running.cancel()
    await running


@pytest.mark.parametrize("abstract", [False, True])
async def test_systemd_hears_about_every_turn(tmp_path: Path, abstract: bool) -> None:
    path = f"@palomar-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + path[1:] if abstract else path)
        systemd.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())})
        supervisor, clock, running = supervised([FakeService("store", [])], notifier=notifier)
        await settle()
        await clock.advance(10)
        await supervisor.reload()
        notifier.status("two\nlines")
        running.cancel()
        await running
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(systemd.recv(200).decode().partition("\n")[0])
        assert heard == [
            "READY=1",
            "WATCHDOG=1",
            "WATCHDOG=1",
            "RELOADING=1",
            "READY=1",
            "STATUS=two",
            "STOPPING=1",
        ]
        notifier.close()
        notifier.ready()


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    environ = {"NOTIFY_SOCKET": "/nonexistent", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    notifier = Notifier(environ)
    assert notifier.watchdog_s == 0
    notifier.ready()  # nobody listens: that is no failure
    assert Notifier(environ | {"WATCHDOG_PID": str(os.getpid())}).watchdog_s == 1.0
    assert Notifier({"WATCHDOG_USEC": "1000000"}).watchdog_s == 0
    notifier.close()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
