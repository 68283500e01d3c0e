"""The tables of quarantine: links that were given out, and up to when each account was told. Functions of (db, …)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.store.database import Database
from appliance.store.schema import Migration

ROUND = 0  # in place of an account's id: the round through all of them


def m001_links_and_digests(db: sqlite3.Connection) -> None:
    """Links by the hash of their token, each for one entry of one message (the trace id tells it from a later one).

    Digests by account: the day (a proleptic ordinal), and up to when (epoch seconds) they list what is held.
    """
    db.execute(
        "CREATE TABLE quarantine_link (hash BLOB PRIMARY KEY, account_id INTEGER NOT NULL, entry_id INTEGER NOT NULL,"
        " trace_id TEXT NOT NULL, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE quarantine_digest (account_id INTEGER PRIMARY KEY, day INTEGER NOT NULL, until INTEGER NOT NULL)"
        " STRICT"
    )


MIGRATIONS = (Migration("spam.quarantine.m001_links_and_digests", m001_links_and_digests),)  # append only


@dataclass(frozen=True, slots=True)
class Link:
    """What one link releases, for whom, and until when."""

    hash: bytes
    account_id: int
    entry_id: int
    trace_id: str
    expires_at: int


def find_link(db: sqlite3.Connection, hashed: bytes, now: int) -> Link | None:
    """The link of that hash, unless it is used or too old."""
    row = db.execute(
        "SELECT hash, account_id, entry_id, trace_id, expires_at FROM quarantine_link"
        " WHERE hash = ? AND expires_at > ?",
        (hashed, now),
    ).fetchone()
    return None if row is None else Link(*row)


def use_links(db: Database, entry_id: int) -> None:
    """Make every link to that entry useless."""
    db.execute("DELETE FROM quarantine_link WHERE entry_id = ?", (entry_id,))


def forget_links(db: Database, now: int) -> None:
    """Drop links that are too old, and those to what is not held any more."""
    db.execute(
        "DELETE FROM quarantine_link WHERE expires_at <= ?"
        " OR NOT EXISTS (SELECT 1 FROM queue_judged j WHERE j.id = entry_id)",
        (now,),
    )


def digest_of(db: sqlite3.Connection, account_id: int) -> tuple[int, int] | None:
    """The day of the last digest of an account, or of the last round, and up to when it lists what is held."""
    row = db.execute("SELECT day, until FROM quarantine_digest WHERE account_id = ?", (account_id,)).fetchone()
    return None if row is None else (row[0], row[1])


def note_digest(db: Database, account_id: int, day: int, until: int, links: Sequence[Link] = ()) -> None:
    """Note a digest before it is sent, with its links: after a crash it is missing rather than sent twice."""
    db.execute("INSERT OR REPLACE INTO quarantine_digest VALUES (?, ?, ?)", (account_id, day, until))
    db.executemany(
        "INSERT INTO quarantine_link VALUES (?, ?, ?, ?, ?)",
        [(one.hash, one.account_id, one.entry_id, one.trace_id, one.expires_at) for one in links],
    )


def take_back_digest(db: Database, account_id: int, before: tuple[int, int] | None, links: Sequence[Link]) -> None:
    """Forget a digest that could not be sent, so that it is tried again."""
    db.execute("DELETE FROM quarantine_digest WHERE account_id = ?", (account_id,))
    if before is not None:
        db.execute("INSERT INTO quarantine_digest VALUES (?, ?, ?)", (account_id, *before))
    db.executemany("DELETE FROM quarantine_link WHERE hash = ?", [(one.hash,) for one in links])
