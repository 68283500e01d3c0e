"""The table of what people have listed. It lies in the store: nobody wants to list anything twice."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal

from appliance.store.database import Database
from appliance.store.schema import Migration

MAX_ENTRIES = 20_000  # of one account, or of the whole office

Kind = Literal["allow", "deny"]


def m001_entries(db: sqlite3.Connection) -> None:
    """Entries by owner (an account's id, 0 for the whole office) and pattern."""
    db.execute(
        "CREATE TABLE spam_list (owner INTEGER NOT NULL, pattern TEXT NOT NULL, kind TEXT NOT NULL,"
        " note TEXT NOT NULL, made_at INTEGER NOT NULL, PRIMARY KEY (owner, pattern)) STRICT, WITHOUT ROWID"
    )


MIGRATIONS = (Migration("spam.lists.m001_entries", m001_entries),)  # append only; never edit a shipped one


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `owner` is an account's id, or 0."""

    owner: int
    pattern: str
    kind: Kind
    note: str
    made_at: int


def list_entries(db: sqlite3.Connection) -> list[Entry]:
    """All entries, by owner and pattern."""
    return [Entry(*row) for row in db.execute("SELECT owner, pattern, kind, note, made_at FROM spam_list")]


def put_entry(db: Database, entry: Entry) -> bool:
    """Add an entry, or change the one of that pattern; False if there is no room."""
    (count,) = db.execute("SELECT count(*) FROM spam_list WHERE owner = ?", (entry.owner,)).fetchone()
    if count >= MAX_ENTRIES:
        return False
    db.execute(
        "INSERT OR REPLACE INTO spam_list VALUES (?, ?, ?, ?, ?)",
        (entry.owner, entry.pattern, entry.kind, entry.note, entry.made_at),
    )
    return True


def remove_entry(db: Database, owner: int, pattern: str) -> bool:
    """Remove an entry; False if there was none."""
    return db.execute("DELETE FROM spam_list WHERE owner = ? AND pattern = ?", (owner, pattern)).rowcount > 0
