"""What few messages in the queue ask for, looked up by others than the queue. Functions of (db, …)."""

from __future__ import annotations

import sqlite3

from appliance.mail.address import Address


def waiting_for_release(db: sqlite3.Connection, sender: Address | None, now: int) -> int:
    """How many messages of a sender are kept back until a later time than `now`, in epoch seconds (RFC 4865)."""
    (count,) = db.execute(
        "SELECT count(*) FROM queue_terms t JOIN queued q ON q.id = t.id WHERE t.release_at > ? AND q.sender IS ?",
        (now, None if sender is None else str(sender)),
    ).fetchone()
    return int(count)
