"""The message trace: a bounded ring in compressed batches that never stands in mail's way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance import trace as trace_code
from appliance.store import Store
from appliance.trace import MAX_DETAIL, Trace, TraceRow


class Clock:
    at = 100.0

    def __call__(self) -> float:
        self.at += 1
        return self.at


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path, reserve_bytes=0)
    opened.now = Clock()
    yield opened
    await opened.close()


@pytest.fixture
def trace(store: Store) -> Trace:
    return Trace(store)


async def test_rows_are_found_before_and_after_they_are_written(trace: Trace) -> None:
    trace.record("t1", "intake", "accepted", "4096 octets from bob@example.com", 1.5)
    trace.record("t2", "spam.dnsbl", "refused", "listed")
    first = [TraceRow(101.0, "t1", "intake", "accepted", "4096 octets from bob@example.com", 1.5)]
    for _ in range(2):
        assert await trace.find("t1") == first
        assert await trace.find("BOB@example.com") == first
        assert [row.trace_id for row in await trace.find("")] == ["t1", "t2"]
        assert await trace.find("nothing") == []
        await trace.flush()
    assert not trace._rows


async def test_the_last_rows_come_oldest_first(trace: Trace) -> None:
    for number in range(10):
        trace.record(f"t{number}", "who", "what")
        if number in (3, 6):
            await trace.flush()
    assert [row.trace_id for row in await trace.find("", 5)] == ["t5", "t6", "t7", "t8", "t9"]
    assert [row.trace_id for row in await trace.find("", 2)] == ["t8", "t9"]
    assert len(await trace.find("what", 100)) == 10


async def test_details_are_cut(trace: Trace) -> None:
    trace.record("t", "who", "what", "x" * 10_000)
    assert len((await trace.find("t"))[0].detail) == MAX_DETAIL


async def test_the_ring_is_bounded_on_the_disk(trace: Trace, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_code, "MAX_BYTES", 2000)
    for number in range(60):
        trace.record(f"t{number}", "who", "what", str(number) * 100)
        await trace.flush()
    (octets,) = await store.soft.read(lambda db: db.execute("SELECT sum(length(data)) FROM trace").fetchone()) or (0,)
    assert 0 < octets <= 2000
    found = await trace.find("", 1000)
    assert found[-1].trace_id == "t59"
    assert len(found) < 60


async def test_as_many_rows_are_kept_as_the_settings_say(store: Store) -> None:
    keep = 10
    trace = Trace(store, keep=lambda: keep)
    for number in range(30):
        trace.record(f"t{number}", "who", "what")
        if number % 3 == 2:
            await trace.flush()
    assert [row.trace_id for row in await trace.find("", 1000)] == [f"t{number}" for number in range(18, 30)]
    keep = 1
    trace.record("t30", "who", "what")
    await trace.flush()
    assert [row.trace_id for row in await trace.find("", 1000)] == ["t30"]


async def test_while_nothing_can_be_written_the_newest_rows_stay(trace: Trace, store: Store, tmp_path: Path) -> None:
    (tmp_path / "soft.db").mkdir()
    for number in range(trace_code.MAX_WAITING + 5):
        trace.record(f"t{number}", "who", "what")
    await trace.flush()
    assert len(trace._rows) == trace_code.MAX_WAITING
    assert trace._rows[-1].trace_id == f"t{trace_code.MAX_WAITING + 4}"
    assert len(await trace.find("what", 10)) == 10
    (tmp_path / "soft.db").rmdir()
    store.soft._retry_at = 0.0
    await trace.flush()
    assert not trace._rows


async def test_the_service_writes_full_batches_and_the_last_one(trace: Trace, store: Store) -> None:
    ready = asyncio.Event()
    service = asyncio.ensure_future(trace.run(ready.set))
    await ready.wait()
    for number in range(trace_code.FLUSH_ROWS):
        trace.record(f"t{number}", "who", "what")
    while trace._rows:
        await asyncio.sleep(0)
    trace.record("last", "who", "what")
    service.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await service
    assert not trace._rows
    assert len(await Trace(store).find("last")) == 1


async def test_a_damaged_batch_hides_only_itself(trace: Trace, store: Store) -> None:
    for name in ("one", "two", "three"):
        trace.record(name, "who", "what")
        await trace.flush()
    await store.soft.write(lambda db: db.execute("UPDATE trace SET data = x'00' WHERE id = 2"))
    assert [row.trace_id for row in await trace.find("what")] == ["one", "three"]
