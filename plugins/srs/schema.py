"""The tables of sender rewriting: its keys, and senders that are too long to be written into another address.

They lie in the store and not in files of their own, so that a restored backup still knows what is on its way back.
Functions of (db, …).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from appliance.store.database import Database
from appliance.store.schema import Migration


def m001_keys_and_senders(db: sqlite3.Connection) -> None:
    """Keys by the time they were made (epoch seconds), and kept senders with the time of their last use."""
    db.execute("CREATE TABLE srs_key (id INTEGER PRIMARY KEY, made_at INTEGER NOT NULL, secret BLOB NOT NULL) STRICT")
    db.execute(
        "CREATE TABLE srs_sender (token TEXT PRIMARY KEY, sender TEXT NOT NULL, used_at INTEGER NOT NULL)"
        " STRICT, WITHOUT ROWID"
    )


MIGRATIONS = (Migration("srs.m001_keys_and_senders", m001_keys_and_senders),)  # append only; never edit a shipped one


@dataclass(frozen=True, slots=True)
class Key:
    """One secret. The newest makes return addresses; all that are there check them."""

    made_at: int
    secret: bytes


def list_keys(db: sqlite3.Connection) -> list[Key]:
    """All keys, the newest first."""
    return [Key(*row) for row in db.execute("SELECT made_at, secret FROM srs_key ORDER BY id DESC")]


def add_key(db: Database, key: Key, *, after: int | None, window_s: int) -> list[Key]:
    """Add a newest key, unless that made at `after` is not the newest any more. Returns all, the newest first.

    Keys go that were replaced more than `window_s` before: nothing that they made is good for anything now.
    """
    keys = list_keys(db)
    if (keys[0].made_at if keys else None) == after:
        db.execute("INSERT INTO srs_key (made_at, secret) VALUES (?, ?)", (key.made_at, key.secret))
        db.execute(
            "DELETE FROM srs_key WHERE id < (SELECT max(id) FROM srs_key WHERE made_at <= ?)",
            (key.made_at - window_s,),
        )
    return list_keys(db)


def forget_older_keys(db: Database) -> None:
    """Keep the newest key alone."""
    db.execute("DELETE FROM srs_key WHERE id < (SELECT max(id) FROM srs_key)")


def keep_sender(db: Database, token: str, sender: str, at: int, window_s: int) -> None:
    """Keep a sender under its token, and drop those that were used last before the window."""
    db.execute(
        "INSERT INTO srs_sender VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET used_at = excluded.used_at",
        (token, sender, at),
    )
    db.execute("DELETE FROM srs_sender WHERE used_at < ?", (at - window_s,))


def kept_sender(db: sqlite3.Connection, token: str) -> str | None:
    """The sender of a token, or None if it is not kept any more."""
    row = db.execute("SELECT sender FROM srs_sender WHERE token = ?", (token,)).fetchone()
    return None if row is None else str(row[0])
