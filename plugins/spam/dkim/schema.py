"""The table of signing keys. They lie in the store, so that a restored backup signs with what DNS knows."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from appliance.store.database import Database
from appliance.store.schema import Migration


def m001_keys(db: sqlite3.Connection) -> None:
    """Keys by domain and selector; times are epoch seconds: made, first seen in DNS, replaced by a newer one."""
    db.execute(
        "CREATE TABLE dkim_key (domain TEXT NOT NULL, selector TEXT NOT NULL, kind TEXT NOT NULL,"
        " private BLOB NOT NULL, made_at INTEGER NOT NULL, published_at INTEGER, replaced_at INTEGER,"
        " PRIMARY KEY (domain, selector))"
        " STRICT, WITHOUT ROWID"
    )


MIGRATIONS = (Migration("spam.dkim.m001_keys", m001_keys),)  # append only; never edit a shipped one

_COLUMNS = "domain, selector, kind, private, made_at, published_at, replaced_at"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key. It signs from the moment it is seen in DNS until a newer one of its kind is."""

    domain: str
    selector: str
    kind: str
    private: bytes
    made_at: int
    published_at: int | None = None
    replaced_at: int | None = None


def list_keys(db: sqlite3.Connection) -> list[StoredKey]:
    """All keys, the newest of each domain first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM dkim_key ORDER BY domain, made_at DESC, selector")
    return [StoredKey(*row) for row in rows]


def add_key(db: Database, key: StoredKey) -> None:
    """Add a key; one that is there already stays."""
    db.execute(
        f"INSERT OR IGNORE INTO dkim_key ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (key.domain, key.selector, key.kind, key.private, key.made_at, key.published_at, key.replaced_at),
    )


def note_published(db: Database, key: StoredKey, at: int) -> None:
    """The key was seen in DNS: it signs from now on, and older ones of its kind have been replaced."""
    db.execute(
        "UPDATE dkim_key SET published_at = ?, replaced_at = NULL WHERE domain = ? AND selector = ?",
        (at, key.domain, key.selector),
    )
    db.execute(
        "UPDATE dkim_key SET replaced_at = ? WHERE domain = ? AND kind = ? AND made_at <= ? AND selector <> ?"
        " AND replaced_at IS NULL",
        (at, key.domain, key.kind, key.made_at, key.selector),
    )


def note_missing(db: Database, key: StoredKey) -> None:
    """The key is not in DNS any more: it must not sign."""
    db.execute("UPDATE dkim_key SET published_at = NULL WHERE domain = ? AND selector = ?", (key.domain, key.selector))


def remove_key(db: Database, domain: str, selector: str) -> bool:
    """Forget a key; False if there was none."""
    return db.execute("DELETE FROM dkim_key WHERE domain = ? AND selector = ?", (domain, selector)).rowcount > 0
