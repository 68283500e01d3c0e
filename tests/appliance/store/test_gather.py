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
    ("commit_s", "company", "taken"),
    [(0.010, 4, 4), (0.010, 3, 3), (0.010, 1, 1), (0.0003, 4, 1), (0.010, 99, 5)],
    ids=["all", "no more than lately", "alone", "fast disk", "the rest never comes"],
)
async def test_how_many_a_group_takes(writer: Writer, commit_s: float, company: int, taken: int) -> None:
    first, *later = jobs(5)
    arrivals = Arrivals(first, later)
    writer._queue = arrivals  # type: ignore[assignment]
    writer._link.commit_s = commit_s
    writer._company = company
    assert len(writer._collect()) == taken
    assert arrivals.waits == (taken if company == 99 else taken - 1)
