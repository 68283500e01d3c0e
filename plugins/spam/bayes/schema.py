"""What was learnt, in soft.db: counts by owner (an account's id, 0 for the base) and token."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from appliance.store.database import Database
from appliance.store.schema import Migration
from plugins.spam.bayes.protocol_classifier import Counts

BASE = 0


def m001_bayes(db: sqlite3.Connection) -> None:
    """Packed counts (see Counts) by owner and token, and messages by owner."""
    db.execute(
        "CREATE TABLE bayes_token (owner INTEGER NOT NULL, token INTEGER NOT NULL, packed INTEGER NOT NULL,"
        " PRIMARY KEY (owner, token)) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE bayes_owner (owner INTEGER PRIMARY KEY, spam INTEGER NOT NULL, ham INTEGER NOT NULL) STRICT"
    )


MIGRATIONS = (Migration("spam.bayes.m001_bayes", m001_bayes),)  # append only; never edit a shipped one


def read(db: Database) -> dict[int, Counts]:
    """All counts by owner."""
    made = {owner: Counts({}, spam, ham) for owner, spam, ham in db.execute("SELECT owner, spam, ham FROM bayes_owner")}
    for owner, token, packed in db.execute("SELECT owner, token, packed FROM bayes_token"):
        if owner in made:
            made[owner].tokens[token] = packed
    return made


def write(
    db: Database,
    totals: Sequence[tuple[int, int, int]],
    rows: Sequence[tuple[int, int, int]],
    gone: Sequence[tuple[int, int]],
) -> bool:
    """Write down totals (owner, spam, ham), changed rows (owner, token, packed), and remove others (owner, token)."""
    db.executemany("INSERT OR REPLACE INTO bayes_owner VALUES (?, ?, ?)", totals)
    db.executemany("INSERT OR REPLACE INTO bayes_token VALUES (?, ?, ?)", rows)
    db.executemany("DELETE FROM bayes_token WHERE owner = ? AND token = ?", gone)
    return True
