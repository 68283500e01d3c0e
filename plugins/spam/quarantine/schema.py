"""The tables of quarantine: links that were given out, since when what is held is known, and who was told.

Functions of (db, …).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.store.database import Database, json_list
from appliance.store.queue import ENTRY_BITS, HELD
from appliance.store.schema import Migration

ROUND = 0  # in place of an account's id: the round through all of them


def m001_links_and_digests(db: sqlite3.Connection) -> None:
    """Links by the hash of their token, each for one entry of one message (the trace id tells it from a later one).

    Digests by account: the day (a proleptic ordinal); the other number is not used.
    """
    db.execute(
        "CREATE TABLE quarantine_link (hash BLOB PRIMARY KEY, account_id INTEGER NOT NULL, entry_id INTEGER NOT NULL,"
        " trace_id TEXT NOT NULL, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE quarantine_digest (account_id INTEGER PRIMARY KEY, day INTEGER NOT NULL, until INTEGER NOT NULL)"
        " STRICT"
    )


def m002_seen(db: sqlite3.Connection) -> None:
    """Since when (epoch seconds, by a clock that was right) an entry is known to be held, and whether it was told."""
    db.execute(
        "CREATE TABLE quarantine_seen (entry_id INTEGER PRIMARY KEY, trace_id TEXT NOT NULL, seen_at INTEGER NOT NULL,"
        " told INTEGER NOT NULL) STRICT"
    )


MIGRATIONS = (  # append only; never edit a shipped one
    Migration("spam.quarantine.m001_links_and_digests", m001_links_and_digests),
    Migration("spam.quarantine.m002_seen", m002_seen),
)


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


def forget_gone(db: Database, now: int) -> None:
    """Drop links that are too old, and all that concerns what is not queued any more."""
    gone = "NOT EXISTS (SELECT 1 FROM queue_judged j WHERE j.id = entry_id)"
    db.execute(f"DELETE FROM quarantine_link WHERE expires_at <= ? OR {gone}", (now,))
    db.execute(f"DELETE FROM quarantine_seen WHERE {gone}")


# ── what was seen, and told ───────────────────────────────────────────────────────────────────────────────────────

_HELD = (
    f"FROM queue_judged j JOIN queue_entry e ON e.id = j.id AND e.held = {HELD}"
    f" JOIN queued q ON q.id = j.id >> {ENTRY_BITS}"
    " LEFT JOIN quarantine_seen s ON s.entry_id = j.id AND s.trace_id = q.trace_id"
)


def has_unseen(db: sqlite3.Connection) -> bool:
    """Whether something is held that nobody has noted yet."""
    return db.execute(f"SELECT 1 {_HELD} WHERE s.entry_id IS NULL LIMIT 1").fetchone() is not None


def note_seen(db: Database, now: int) -> None:
    """Count the days of what is held from now on: when it came, the clock may have been wrong."""
    db.execute(
        f"INSERT OR REPLACE INTO quarantine_seen SELECT j.id, q.trace_id, ?, 0 {_HELD} WHERE s.entry_id IS NULL", (now,)
    )


def seen_before(db: sqlite3.Connection, at: int, limit: int) -> list[int]:
    """The ids of entries that are held and were seen before that time."""
    rows = db.execute(f"SELECT j.id {_HELD} WHERE s.seen_at < ? LIMIT ?", (at, limit))
    return [entry_id for (entry_id,) in rows]


def untold(db: sqlite3.Connection) -> set[int]:
    """The ids of entries that are held and stand in no digest."""
    return {entry_id for (entry_id,) in db.execute(f"SELECT j.id {_HELD} WHERE s.told IS NOT 1")}


def set_told(db: Database, entry_ids: Sequence[int], *, told: bool) -> None:
    """Note that entries stand in a digest, or do not."""
    db.execute(
        "UPDATE quarantine_seen SET told = ? WHERE entry_id IN (SELECT value FROM json_each(?))",
        (told, json_list(entry_ids)),
    )


# ── digests ───────────────────────────────────────────────────────────────────────────────────────────────────────


def digest_day(db: sqlite3.Connection, account_id: int) -> int:
    """The day of the last digest of an account, or of the last round; 0 if there was none."""
    row = db.execute("SELECT day FROM quarantine_digest WHERE account_id = ?", (account_id,)).fetchone()
    return 0 if row is None else int(row[0])


def note_digest(db: Database, account_id: int, day: int) -> None:
    """Note that an account was told, or all were, for that day."""
    db.execute("INSERT OR REPLACE INTO quarantine_digest VALUES (?, ?, 0)", (account_id, day))


def add_links(db: Database, links: Sequence[Link]) -> None:
    """Add links that are about to be given out."""
    db.executemany(
        "INSERT INTO quarantine_link VALUES (?, ?, ?, ?, ?)",
        [(one.hash, one.account_id, one.entry_id, one.trace_id, one.expires_at) for one in links],
    )


def drop_links(db: Database, links: Sequence[Link]) -> None:
    """Take links back that were not given out after all."""
    db.executemany("DELETE FROM quarantine_link WHERE hash = ?", [(one.hash,) for one in links])
