"""Bounded children: what a job cannot do, and that the next one does not notice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from appliance import worker
from appliance.worker import Limits, Worker, WorkerError

JOBS = "tests.appliance.worker_jobs"
SMALL = Limits(cpu_s=1, deadline_s=20, memory_octets=64 << 20, output_octets=1000, input_octets=1 << 20)
Make = Callable[..., Worker]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())  # where the jobs of this file are found
    made = []

    def new(function: str, limits: Limits = SMALL) -> Worker:
        made.append(Worker(f"{JOBS}:{function}", limits))
        return made[-1]

    yield new
    for one in made:
        await one.close()


async def test_octets_go_there_and_back(make: Make) -> None:
    echo = make("echo", Limits())
    for octets in (b"", b"x", bytes(range(256)) * 8192):
        assert await echo.run(octets) == octets


async def test_each_job_is_a_process_of_its_own_and_the_child_stays(make: Make) -> None:
    pids = make("pid")
    answers = [await pids.run(b"") for _ in range(3)]
    assert len({answer.split()[0] for answer in answers}) == 3
    assert len({answer.split()[1] for answer in answers}) == 1


async def test_jobs_at_the_same_time_wait_for_each_other(make: Make) -> None:
    echo = make("echo")
    assert await asyncio.gather(*(echo.run(b"%d" % n) for n in range(8))) == [b"%d" % n for n in range(8)]


@pytest.mark.parametrize("deed", ["connect", "read", "write"])
async def test_nothing_can_be_opened(make: Make, deed: str) -> None:
    with pytest.raises(WorkerError, match="raised an error") as caught:
        await make("misbehave").run(deed.encode())
    assert caught.value.partial == b"begun "


@pytest.mark.parametrize("deed", ["fork", "raise limit"])
async def test_no_limit_can_be_raised(make: Make, deed: str) -> None:
    with pytest.raises(WorkerError, match="raised an error"):
        await make("misbehave").run(deed.encode())


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        ("spin", "SIGXCPU"),
        ("sleep", "SIGALRM"),
        ("ignore alarm", "deadline"),
        ("crash", "SIGSEGV"),
        ("eat", "raised an error"),
        ("exit", "status 7"),
    ],
)
async def test_whatever_it_does_the_next_job_runs(
    make: Make, monkeypatch: pytest.MonkeyPatch, deed: str, why: str
) -> None:
    monkeypatch.setattr(worker, "GRACE_S", 0.5)
    bad = make("misbehave", replace(SMALL, deadline_s=1) if why in ("SIGALRM", "deadline") else SMALL)
    with pytest.raises(WorkerError, match=why) as caught:
        await bad.run(deed.encode())
    assert caught.value.partial == (b"" if deed == "ignore alarm" else b"begun ")
    with pytest.raises(WorkerError, match="raised an error"):
        await bad.run(b"nothing of that name")


async def test_too_much_in_or_out(make: Make) -> None:
    with pytest.raises(WorkerError, match="too large") as caught:
        await make("flood").run(b"x" * 100)
    assert caught.value.partial == b"x" * SMALL.output_octets
    with pytest.raises(WorkerError, match="more than"):
        await make("echo").run(bytes(SMALL.input_octets + 1))


async def test_a_function_that_cannot_be_imported(make: Make) -> None:
    with pytest.raises(WorkerError, match="the child has died"):
        await make("none").run(b"")


async def test_a_child_without_jobs_ends_and_the_next_job_starts_another(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "IDLE_S", 0.0)
    pids = make("pid")
    first = (await pids.run(b"")).split()[1]
    while pids._ending is None:
        await asyncio.sleep(0)
    await pids._ending
    assert (await pids.run(b"")).split()[1] != first


async def test_a_job_that_is_given_up_is_killed(make: Make) -> None:
    bad = make("misbehave")
    task = asyncio.create_task(bad.run(b"sleep"))
    while bad._process is None:
        await asyncio.sleep(0)
    process = bad._process
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert process.returncode is not None
