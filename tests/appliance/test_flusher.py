"""What is learnt in memory: read first, written now and then, and at the end."""

from __future__ import annotations

import asyncio

import pytest

from appliance import flusher
from appliance.flusher import Flusher


class Ledger:
    """Counts what is asked of it."""

    def __init__(self, *, flushes: int = 3) -> None:
        self.done: list[str] = []
        self.wanted = flushes
        self.reached = asyncio.Event()

    async def load(self) -> None:
        self.done.append("load")

    async def flush(self) -> None:
        self.done.append("flush")
        if self.done.count("flush") == self.wanted:
            self.reached.set()


async def test_it_loads_before_it_is_ready_and_writes_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher, "FLUSH_S", 0.001)
    ledger = Ledger()
    service = Flusher("ledger", ledger.load, ledger.flush)
    task = asyncio.create_task(service.run(lambda: ledger.done.append("ready")))
    await ledger.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ledger.done[:2] == ["load", "ready"]
    assert ledger.done[2:].count("flush") >= 4  # three by the clock and the last one


async def test_it_writes_once_more_when_it_ends() -> None:
    ledger = Ledger()
    service = Flusher("ledger", ledger.load, ledger.flush)
    task = asyncio.create_task(service.run(lambda: None))
    while "load" not in ledger.done:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ledger.done == ["load", "flush"]


async def test_a_changed_configuration_is_told() -> None:
    ledger, told = Ledger(), []
    await Flusher("ledger", ledger.load, ledger.flush).reload()
    await Flusher("ledger", ledger.load, ledger.flush, changed=lambda: told.append(1)).reload()
    assert told == [1]
