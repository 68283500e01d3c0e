"""When messages came into their mailbox, where that is not their internal date (RFC 8514). Functions of (db, …).

Mail that is delivered has its internal date from that moment and costs nothing here. UIDs ascend, so what one
command copies, moves or appends is one row.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Sequence

from appliance.store.database import Database

SAME_S = 5  # seconds between an internal date and the commit that do not count as a difference

SavedSpan = tuple[int, int, int]  # first and last uid, epoch seconds

_EXTEND = """
    UPDATE saved SET last_uid = ?3 WHERE mailbox_id = ?1 AND saved_at = ?4 AND last_uid = ?2 - 1
    AND first_uid = (SELECT max(first_uid) FROM saved WHERE mailbox_id = ?1)
"""
# Ranges are disjoint, so the last one that begins at or before a uid is the only one that can hold it.
_FROM = "first_uid >= ifnull((SELECT max(first_uid) FROM saved WHERE mailbox_id = ?1 AND first_uid <= ?2), 0)"


def note_saved(db: Database, mailbox_id: int, first_uid: int, last_uid: int, at: int) -> None:
    """Note when messages with the newest UIDs of a mailbox came into it."""
    if not db.execute(_EXTEND, (mailbox_id, first_uid, last_uid, at)).rowcount:
        db.execute("INSERT INTO saved VALUES (?, ?, ?, ?)", (mailbox_id, first_uid, last_uid, at))


def saved_spans(db: sqlite3.Connection, mailbox_id: int, first_uid: int, last_uid: int) -> list[SavedSpan]:
    """What is noted of the UIDs from `first_uid` to `last_uid`, ascending; messages in none have their internal date.

    They may reach over both ends.
    """
    return db.execute(
        f"SELECT first_uid, last_uid, saved_at FROM saved WHERE mailbox_id = ?1 AND {_FROM} AND first_uid <= ?3"
        " ORDER BY first_uid",
        (mailbox_id, first_uid, last_uid),
    ).fetchall()


def forget_saved(db: Database, mailbox_id: int, first_uid: int = 0, last_uid: int = 0xFFFF_FFFF) -> None:
    """Drop what is noted of messages between two UIDs, if none of them is left."""
    db.execute(
        f"DELETE FROM saved WHERE mailbox_id = ?1 AND {_FROM} AND first_uid <= ?3 AND NOT EXISTS ("
        " SELECT 1 FROM message m WHERE m.mailbox_id = ?1 AND m.uid BETWEEN saved.first_uid AND saved.last_uid)",
        (mailbox_id, first_uid, last_uid),
    )


class SaveDates:
    """Looks up when a message was saved, by its UID."""

    __slots__ = ("_firsts", "_spans")

    def __init__(self, spans: Sequence[SavedSpan]) -> None:
        self._spans = spans
        self._firsts = [span[0] for span in spans]

    def at(self, uid: int, internal_at: int) -> int:
        """Epoch seconds: what is noted, else the internal date."""
        place = bisect_right(self._firsts, uid) - 1
        if place >= 0 and uid <= self._spans[place][1]:
            return self._spans[place][2]
        return internal_at
