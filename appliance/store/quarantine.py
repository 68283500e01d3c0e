"""Queue entries that are held because of what filters found: quarantine. Functions of (db, …).

What an administrator holds, and what an account sends while it is held, are entries of the same queue and not here.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from appliance.mail.delivery import Route
from appliance.store.model import QueueWish
from appliance.store.queue import ENTRY_BITS, HELD


class Quarantined(msgspec.Struct, frozen=True):
    """One recipient's mail in quarantine."""

    entry_id: int
    body_id: int
    trace_id: str
    recipient: str
    route: Route
    sender: str  # empty for the null sender
    size: int
    held_at: int  # epoch seconds
    score: float
    reason: str
    demanded: str  # the finding that wants it held whatever the score; then only an administrator may release it
    header: bytes  # the judge's lines, with which it is filed

    @property
    def account(self) -> str:
        """The name of the account that it is for; empty if it goes to another system."""
        return self.route.next_hop if self.route.transport == "local" else ""


_SELECT = (
    "SELECT e.id, q.body_id, q.trace_id, e.address, e.transport, e.next_hop, e.policy, q.sender, q.size, q.created_at,"
    " j.score, e.last_reply, j.demanded, j.header FROM queue_judged j JOIN queue_entry e ON e.id = j.id"
    f" JOIN queued q ON q.id = j.id >> {ENTRY_BITS} WHERE e.held = {HELD}"
)


def quarantined(db: sqlite3.Connection, *, account: str = "", limit: int = 1000) -> list[Quarantined]:
    """What is held, or that of one account, the oldest first."""
    mine = " AND e.transport = 'local' AND e.next_hop = :account" if account else ""
    rows = db.execute(f"{_SELECT}{mine} ORDER BY q.created_at, e.id LIMIT :limit", {"account": account, "limit": limit})
    return [_made(row) for row in rows]


def quarantined_entry(db: sqlite3.Connection, entry_id: int) -> Quarantined | None:
    """One entry, or None if it is not held, or not because of filters."""
    row = db.execute(f"{_SELECT} AND e.id = ?", (entry_id,)).fetchone()
    return None if row is None else _made(row)


def quarantine_counts(db: sqlite3.Connection) -> list[tuple[str, int]]:
    """How much is held for each account here, most first."""
    return db.execute(
        "SELECT e.next_hop, count(*) AS n FROM queue_judged j JOIN queue_entry e ON e.id = j.id"
        f" WHERE e.held = {HELD} AND e.transport = 'local' GROUP BY e.next_hop ORDER BY n DESC, e.next_hop"
    ).fetchall()


def judged_rows(message_id: int, wishes: Sequence[QueueWish]) -> Iterator[tuple[object, ...]]:
    """Rows of `queue_judged`: what filters concluded about mail that is held because of them."""
    for number, wish in enumerate(wishes):
        if (judged := wish.judged) is not None:
            score = float(judged.score) if math.isfinite(judged.score) else 0.0  # SQLite takes NaN for NULL
            yield (message_id << ENTRY_BITS) + number, score, judged.demanded, judged.header


def judged_header(db: sqlite3.Connection, entry_id: int) -> bytes:
    """The lines that the judge has for a queued message; empty for nearly all."""
    row = db.execute("SELECT header FROM queue_judged WHERE id = ?", (entry_id,)).fetchone()
    return b"" if row is None else bytes(row[0])


def set_judged_header(db: sqlite3.Connection, entry_id: int, header: bytes) -> None:
    """Change the lines with which an entry will be filed; harmless if it is settled."""
    db.execute("UPDATE queue_judged SET header = ? WHERE id = ?", (header, entry_id))


def _made(row: Sequence[object]) -> Quarantined:
    entry_id, body_id, trace_id, address, transport, next_hop, policy, sender, size, held_at, *judged = row
    return Quarantined(  # the columns are STRICT
        entry_id,  # type: ignore[arg-type]
        body_id,  # type: ignore[arg-type]
        trace_id,  # type: ignore[arg-type]
        address,  # type: ignore[arg-type]
        Route(transport, next_hop, policy),  # type: ignore[arg-type]
        sender or "",  # type: ignore[arg-type]
        size,  # type: ignore[arg-type]
        held_at,  # type: ignore[arg-type]
        *judged,  # type: ignore[arg-type]
    )
