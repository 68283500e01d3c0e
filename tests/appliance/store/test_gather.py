"""On a slow disk a group waits a moment for those whom the group before has just answered."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.store import Store
from appliance.store.writer import Job, Writer


class Arrivals:
    """A queue that has one job now, and hands out the others only to whoever is willing to wait."""

    def __init__(self, now: Job, later: list[Job]) -> None:
        self._now = [now]
        self._later = later
        self.waits = 0

    def get_nowait(self) -> list[Job]:
        if not self._now:
            raise queue.Empty
        return [self._now.pop()]

    def get(self, timeout: float | None = None) -> list[Job]:
        assert timeout is not None
        assert timeout > 0
        self.waits += 1
        if not self._later:
            raise queue.Empty
        return [self._later.pop()]


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    """A writer whose thread does not run, so that its steps can be taken one by one."""
    store = Store.open(tmp_path / "data", reserve_bytes=0)
    yield store._writer
    store._writer.stop()


def jobs(count: int) -> list[Job]:
    return [Job(asyncio.get_running_loop().create_future()) for _ in range(count)]


@pytest.mark.parametrize(
    ("commit_s", "gap_s", "company", "taken"),
    [
        pytest.param(0.010, 0.001, 4, 4, id="all"),
        pytest.param(0.010, 0.0, 4, 4, id="all, though none has come with another yet"),
        pytest.param(0.010, 0.001, 3, 3, id="no more than lately"),
        pytest.param(0.010, 0.001, 1, 1, id="alone"),
        pytest.param(0.0003, 0.0001, 4, 1, id="fast disk"),
        pytest.param(0.010, 0.0001, 99, 5, id="the rest never comes"),
        pytest.param(0.010, 0.004, 4, 1, id="the rest takes longer than a sync"),
    ],
)
async def test_how_many_a_group_takes(writer: Writer, commit_s: float, gap_s: float, company: int, taken: int) -> None:
    first, *later = jobs(5)
    arrivals = Arrivals(first, later)
    writer._queue = arrivals  # type: ignore[assignment]
    writer._link.commit_s = commit_s
    writer._company = company
    writer._gap_s = gap_s
    assert len(writer._collect()) == taken
    assert arrivals.waits == (taken if company == 99 else taken - 1)


async def test_the_gap_between_jobs_is_learned(writer: Writer) -> None:
    group = jobs(5)
    for number, job in enumerate(group):
        job.at = number * 0.004
    for _ in range(30):
        writer._learn(group)
    assert writer._gap_s == pytest.approx(0.004, rel=0.01)
    assert writer._company == 5
    for _ in range(30):
        writer._learn(group[:1])
    assert writer._gap_s == pytest.approx(0.004, rel=0.01)  # one alone tells nothing
    assert writer._company == 1
