"""Rows and texts of the queue damaged at random: what is whole leaves, what is not is kept, shown, and told of."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.store.queue import ENTRY_BITS, queue_counts
from appliance.store.queuedesk import Selection, history_of, listed, summary
from tests.appliance.queue.office import RAW, Office, office, until, working

MESSAGES = 3
Harm = tuple[str, str, bytes | int]
NUMBERS = {
    "queue_entry": ("held", "attempts", "waited_s", "tried_at", "next_at", "delay_warned"),
    "queued": ("body_id", "smtputf8", "require_tls", "size", "created_at"),
    "body": ("codec", "text_size", "segment", "position", "stored"),
}
TEXTS = {
    "queue_entry": ("address", "notify", "orcpt", "transport", "next_hop", "policy", "last_reply"),
    "queued": ("sender", "ret", "envid", "body", "trace_id"),
    "body": ("header", "text", "parts"),
}
ODD = st.sampled_from(
    [b"", b"\xff\xfe", b"\x00", b"a@b.test\r\nRCPT TO:<x@y.test>", b"@", b"x" * 70_000, b"FULL", b"local"]
)

LARGE = st.integers(-(1 << 63), (1 << 63) - 1)
harm = st.sampled_from(sorted(NUMBERS)).flatmap(
    lambda table: st.one_of(
        st.tuples(st.just(table), st.sampled_from(NUMBERS[table]), st.one_of(st.integers(-3, 9), LARGE)),
        st.tuples(st.just(table), st.sampled_from(TEXTS[table]), st.one_of(ODD, st.binary(max_size=30))),
        st.tuples(st.sampled_from(["queued", "body"]), st.just(""), st.just(b"")),
    )
)


def damage(db: Any, message_id: int, table: str, column: str, value: bytes | int) -> None:
    """Change one row of a message, or delete it where no column is named."""
    key = "id >> 16" if table == "queue_entry" else "id"
    if not column:
        db.execute(f"DELETE FROM {table} WHERE {key} = ?", (message_id,))
        return
    text = isinstance(value, bytes) and table != "body"
    db.execute(
        f"UPDATE {table} SET {column} = {'CAST(? AS TEXT)' if text else '?'} WHERE {key} = ?", (value, message_id)
    )


async def survives(folder: Path, harms: list[tuple[int, Harm]]) -> None:
    """Damage the rows of the first messages, run the queue until the others have left, and look at what stays."""
    async with office(folder) as made:
        long = RAW + b"text that is long enough for a segment\r\n" * 2000
        names = [f"{kind}{number}@b.test" for number in range(MESSAGES) for kind in ("hurt", "sound")]
        await asyncio.gather(*[made.queue(name, raw=long if name.endswith("1@b.test") else RAW) for name in names])
        ids = {str(entry.recipient.address): entry.message_id for entry in await made.entries()}
        hurt = [(ids[f"hurt{number}@b.test"], what) for number, what in harms]
        await made.store.write(lambda db: [damage(db, message_id, *what) for message_id, what in hurt])
        async with working(made) as runner:
            await until(lambda: {name for name in names if name.startswith("sound")} <= set(made.transport.recipients))
            assert made.task is not None
            assert not made.task.done()
            await read_all(made)
            await runner.desk.remove(Selection())
            assert await read_all(made) == []


async def read_all(made: Office) -> list[dict[str, Any]]:
    """Whatever the rows hold, people see them, and why some were put aside."""
    now = int(made.now)
    rows, counts, groups = await made.store.read(  # in one view: entries are being settled
        lambda db: (listed(db, Selection(), now), queue_counts(db), summary(db, Selection(), now))
    )
    assert sum(total for _, total, _ in groups) == sum(counts[1:]) == len(rows)
    for row in rows:
        number, _, index = row["name"].partition(".")
        entry_id = (int(number) << ENTRY_BITS) + int(index)
        await made.store.read(lambda db, one=entry_id: history_of(db, one))  # type: ignore[misc]
        assert row["state"] != "damaged" or not row["recipient"].startswith("sound")
    return rows


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, MESSAGES - 1), harm), min_size=1, max_size=4))
def test_damage_stops_nobody_else(harms: list[tuple[int, Harm]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(survives(Path(folder), harms))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE queue_entry SET address = 'nobody'", "AddressError"),
        ("UPDATE queue_entry SET address = CAST(x'ff' AS TEXT)", "decode"),
        ("UPDATE queue_entry SET attempts = -1", "attempts is -1"),
        ("UPDATE queued SET body_id = 99", "body_id is 99"),
        ("UPDATE queued SET ret = 'SOME'", "ret is 'SOME'"),
        ("DELETE FROM queued", "its message is gone"),
        ("DELETE FROM body", "no body"),
    ],
)
async def test_what_is_damaged_is_put_aside_with_a_reason(tmp_path: Path, change: str, why: str) -> None:
    async with office(tmp_path) as made:
        await made.queue("hurt@b.test", "too@b.test")
        await made.store.write(lambda db: db.execute(change))
        await made.queue("sound@c.test")
        async with working(made):
            await until(lambda: made.store.peek(queue_counts)[3] == 2)
            await until(lambda: made.transport.recipients == ["sound@c.test"])
            rows = made.store.peek(lambda db: listed(db, Selection(), 0))[:2]
            assert [row["state"] for row in rows] == ["damaged", "damaged"]
            for index in range(2):
                (event,) = made.store.peek(lambda db, i=index: history_of(db, (1 << ENTRY_BITS) + i))  # type: ignore[misc]
                assert event.what == "damaged"
                assert why in event.text
