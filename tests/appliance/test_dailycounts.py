"""Counts by day and domain: due when the day is over, bounded, kept over a restart, given up after days."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import dailycounts
from appliance.dailycounts import DAY_S, KEEP_DAYS, DailyCounts
from appliance.store.schema import Migration
from appliance.store.soft import SoftStore

TABLE = Migration(
    "test.m001",
    lambda db: db.execute(  # type: ignore[arg-type, return-value]
        "CREATE TABLE demo (day INTEGER, domain TEXT, data BLOB, PRIMARY KEY (day, domain)) WITHOUT ROWID"
    ),
)


class Clock:
    at = 100.0 * DAY_S

    def __call__(self) -> float:
        return self.at


def counts(clock: Clock) -> DailyCounts[list[int]]:
    def merge(count: list[int], data: bytes) -> None:
        count += data

    return DailyCounts("demo", now=clock, new=list, pack=bytes, merge=merge)


def note(of: DailyCounts[list[int]], domain: str, number: int) -> bool:
    count = of.of_today(domain)
    if count is not None:
        count.append(number)
    return count is not None


def test_a_day_is_due_when_it_is_over() -> None:
    clock = Clock()
    of = counts(clock)
    assert note(of, "b.test", 1)
    assert note(of, "a.test", 2)
    assert of.due() == []
    clock.at += DAY_S
    assert note(of, "b.test", 3)
    assert sorted(of.due()) == [((100, "a.test"), [2]), ((100, "b.test"), [1])]
    assert of.all() == [((100, "a.test"), [2]), ((100, "b.test"), [1]), ((101, "b.test"), [3])]
    of.done((100, "b.test"))
    assert of.due() == [((100, "a.test"), [2])]
    clock.at += (KEEP_DAYS - 1) * DAY_S
    of.give_up_old()
    assert len(of.due()) == 2
    clock.at += DAY_S
    of.give_up_old()
    assert of.due() == [((101, "b.test"), [3])]


def test_only_so_many_domains_are_counted_in_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dailycounts, "MAX_DOMAINS", 3)
    clock = Clock()
    of = counts(clock)
    assert [note(of, f"{number}.test", 1) for number in range(5)] == [True, True, True, False, False]
    clock.at += DAY_S
    assert note(of, "4.test", 1)


async def test_what_has_changed_is_written_and_read_again(tmp_path: Path) -> None:
    clock = Clock()
    of, soft = counts(clock), SoftStore(tmp_path / "soft.db")
    soft.add([TABLE])
    note(of, "a.test", 1)
    note(of, "b.test", 2)
    write = of.changes()
    assert write is not None
    await soft.write(write)
    assert of.changes() is None
    of.done((100, "b.test"))
    note(of, "a.test", 3)
    write = of.changes()
    assert write is not None
    await soft.write(write)
    again = counts(clock)
    note(again, "a.test", 4)
    await soft.read(again.load)
    assert again.all() == [((100, "a.test"), [4, 1, 3])]
    await soft.close()
