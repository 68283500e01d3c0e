"""The table of what POP3 clients have: since when a message's days are counted. Functions of (db, …)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from appliance.store.database import Database
from appliance.store.messages import expunge
from appliance.store.model import FLAGGED, SEEN
from appliance.store.schema import Migration


def m001_taken(db: sqlite3.Connection) -> None:
    """When a POP3 session ended that had fetched a message, or listed one that was read already."""
    db.execute(
        "CREATE TABLE pop3_taken (mailbox_id INTEGER NOT NULL, uid INTEGER NOT NULL, taken_at INTEGER NOT NULL,"
        " PRIMARY KEY (mailbox_id, uid)) STRICT, WITHOUT ROWID"
    )


MIGRATIONS = (Migration("pop3.m001_taken", m001_taken),)  # append only; never edit a shipped one

_UNKNOWN = " AND NOT EXISTS (SELECT 1 FROM pop3_taken t WHERE t.mailbox_id = m.mailbox_id AND t.uid = m.uid)"


def seen_and_not_noted(db: sqlite3.Connection, mailbox_id: int, last_uid: int) -> list[int]:
    """The uids up to `last_uid` of messages that are read and whose days are not counted yet."""
    rows = db.execute(
        f"SELECT uid FROM message m WHERE mailbox_id = ? AND uid <= ? AND flags & {SEEN}{_UNKNOWN}",
        (mailbox_id, last_uid),
    )
    return [uid for (uid,) in rows]


def note_taken(db: Database, mailbox_id: int, uids: Sequence[int], at: int) -> None:
    """Count the days of these messages from now on; those that are counted already keep their day."""
    db.executemany("INSERT OR IGNORE INTO pop3_taken VALUES (?, ?, ?)", [(mailbox_id, uid, at) for uid in uids])


def due(db: sqlite3.Connection, mailbox_id: int, before: int, limit: int) -> list[int]:
    """At most `limit` messages that were taken before that time (epoch seconds) and are not flagged."""
    rows = db.execute(
        "SELECT t.uid FROM pop3_taken t JOIN message m ON m.mailbox_id = t.mailbox_id AND m.uid = t.uid"
        f" WHERE t.mailbox_id = ? AND t.taken_at < ? AND NOT m.flags & {FLAGGED} ORDER BY t.uid LIMIT ?",
        (mailbox_id, before, limit),
    )
    return [uid for (uid,) in rows]


def remove_due(db: Database, mailbox_id: int, before: int, limit: int) -> list[int]:
    """Remove what is `due` and return the uids."""
    return expunge(db, mailbox_id, due(db, mailbox_id, before, limit), deleted_only=False)


def gone(db: sqlite3.Connection, limit: int) -> list[tuple[int, int]]:
    """At most `limit` (mailbox id, uid) whose days are counted and that are not there any more."""
    return db.execute(
        "SELECT mailbox_id, uid FROM pop3_taken t WHERE NOT EXISTS"
        " (SELECT 1 FROM message m WHERE m.mailbox_id = t.mailbox_id AND m.uid = t.uid) LIMIT ?",
        (limit,),
    ).fetchall()


def forget(db: Database, messages: Sequence[tuple[int, int]]) -> None:
    """Count the days of these no more. What is moved back has another uid."""
    db.executemany("DELETE FROM pop3_taken WHERE mailbox_id = ? AND uid = ?", messages)
