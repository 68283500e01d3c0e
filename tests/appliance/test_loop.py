from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from appliance import loop
from appliance.supervisor import Supervisor


def test_the_status_of_main_is_returned_and_the_loop_is_uvloops() -> None:
    async def main() -> int:
        assert type(asyncio.get_running_loop()).__module__ == "uvloop"
        assert sys.getswitchinterval() == pytest.approx(loop.SWITCH_INTERVAL_S)
        return 7

    assert loop.run(main) == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_main_in_order(number: signal.Signals) -> None:
    ended = []

    async def main() -> int:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return 1

    assert loop.run(main) == 0
    assert ended == [True]


def test_main_may_answer_the_signal_with_a_status_of_its_own() -> None:
    async def main() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 4
        return 1

    assert loop.run(main) == 4


def test_an_error_passes_through() -> None:
    async def main() -> int:
        raise LookupError("no such thing")

    with pytest.raises(LookupError):
        loop.run(main)


SLOW_END = """
import asyncio, os, signal
from appliance import loop
from appliance.supervisor import Supervisor

async def main():
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        os.kill(os.getpid(), signal.SIGTERM)  # a second request to stop changes nothing
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

loop.run(main)
"""


def test_a_second_interrupt_ends_the_process_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", SLOW_END], capture_output=True, timeout=20, check=False)
    assert done.returncode == loop.EXIT_INTERRUPTED, done.stderr


def test_asyncios_own_loop_serves_where_uvloop_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    async def main() -> int:
        assert type(asyncio.get_running_loop()).__module__.startswith("asyncio")
        return 0

    assert loop.run(main) == 0
    assert "uvloop is not installed" in caplog.text


def test_a_hangup_before_the_supervisor_listens_is_a_reload_and_no_end() -> None:
    reloads = []

    async def main() -> int:
        signal.raise_signal(signal.SIGHUP)  # to this thread, for a test's process may have others
        await asyncio.sleep(0)  # by default the process would have ended here
        supervisor = Supervisor([])

        def reload() -> bool:
            reloads.append(True)
            supervisor.stop()
            return True

        supervisor.on_reload(reload)
        return await supervisor.run()

    assert loop.run(main) == 0
    assert reloads == [True]
