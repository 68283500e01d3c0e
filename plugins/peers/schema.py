"""The tables of lists that servers behind us have brought. Functions of (db, …)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.store.database import Database
from appliance.store.schema import Migration
from plugins.peers.protocol import NONE
from plugins.peers.protocol_list import digest


def m001_lists(db: sqlite3.Connection) -> None:
    """One row per list, and its entries. A list that is still being brought is not `active`."""
    db.execute(
        "CREATE TABLE peer_list (id INTEGER PRIMARY KEY, peer TEXT NOT NULL, domain TEXT NOT NULL,"
        " active INTEGER NOT NULL, salt BLOB NOT NULL, separators TEXT NOT NULL, digest BLOB NOT NULL,"
        " confirmed_at INTEGER NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX peer_list_of ON peer_list (peer, domain)")
    db.execute(
        "CREATE TABLE peer_entry (list_id INTEGER NOT NULL, entry BLOB NOT NULL, PRIMARY KEY (list_id, entry))"
        " STRICT, WITHOUT ROWID"
    )


MIGRATIONS = (Migration("peers.m001_lists", m001_lists),)  # append only; never edit a shipped one


@dataclass(frozen=True, slots=True)
class Kept:
    """One list. `confirmed_at`: when its owner last said that it is its own, in epoch seconds."""

    id: int
    peer: str
    domain: str
    salt: bytes
    separators: str
    digest: bytes
    confirmed_at: int


_KEPT = "id, peer, domain, salt, separators, digest, confirmed_at"


def kept_lists(db: sqlite3.Connection, peer: str | None = None) -> list[Kept]:
    """The lists in force, of one peer or of all."""
    rows = db.execute(
        f"SELECT {_KEPT} FROM peer_list WHERE active AND (?1 IS NULL OR peer = ?1) ORDER BY peer, domain", (peer,)
    )
    return [Kept(*row) for row in rows]


def kept_list(db: sqlite3.Connection, peer: str, domain: str) -> Kept | None:
    """The list of one domain that is in force."""
    row = db.execute(
        f"SELECT {_KEPT} FROM peer_list WHERE peer = ? AND domain = ? AND active", (peer, domain)
    ).fetchone()
    return None if row is None else Kept(*row)


def holds_any(db: sqlite3.Connection, list_id: int, entries: Sequence[bytes]) -> bool:
    """Whether a list has one of these entries."""
    found = "SELECT 1 FROM peer_entry WHERE list_id = ? AND entry = ?"
    return any(db.execute(found, (list_id, one)).fetchone() for one in entries)


def size_of(db: sqlite3.Connection, list_id: int) -> int:
    """How many entries a list has."""
    (count,) = db.execute("SELECT count(*) FROM peer_entry WHERE list_id = ?", (list_id,)).fetchone()
    return int(count)


def begin_list(db: Database, peer: str, domain: str, salt: bytes, separators: str) -> int:
    """Make room for a list that will be brought in parts; what an earlier attempt left goes. Returns its id."""
    drop_lists(db, [row[0] for row in _rows(db, peer, domain, active=False)])
    row = db.execute(
        "INSERT INTO peer_list (peer, domain, active, salt, separators, digest, confirmed_at)"
        " VALUES (?, ?, 0, ?, ?, ?, 0) RETURNING id",
        (peer, domain, salt, separators, NONE),
    ).fetchone()
    return int(row[0])


def change_entries(db: Database, list_id: int, add: Sequence[bytes], remove: Sequence[bytes]) -> None:
    """Put entries in and take others out. Until `finish_list` the list is not whole, and equal to none."""
    db.execute("UPDATE peer_list SET digest = ? WHERE id = ?", (NONE, list_id))
    db.executemany("DELETE FROM peer_entry WHERE list_id = ? AND entry = ?", [(list_id, one) for one in remove])
    db.executemany("INSERT OR IGNORE INTO peer_entry VALUES (?, ?)", [(list_id, one) for one in add])


def finish_list(db: Database, list_id: int, peer: str, domain: str, now: int) -> bytes:
    """Put a list in force, in place of the one that was. Returns its digest."""
    drop_lists(db, [row[0] for row in _rows(db, peer, domain, active=True) if row[0] != list_id])
    salt, separators = db.execute("SELECT salt, separators FROM peer_list WHERE id = ?", (list_id,)).fetchone()
    entries = db.execute("SELECT entry FROM peer_entry WHERE list_id = ? ORDER BY entry", (list_id,))
    made = digest(salt, separators, (one for (one,) in entries))
    db.execute("UPDATE peer_list SET active = 1, digest = ?, confirmed_at = ? WHERE id = ?", (made, now, list_id))
    return made


def confirm(db: Database, list_ids: Sequence[int], now: int) -> None:
    """Note that these lists are their owner's still."""
    db.executemany("UPDATE peer_list SET confirmed_at = ? WHERE id = ?", [(now, one) for one in list_ids])


def drop_lists(db: Database, list_ids: Sequence[int]) -> None:
    """Forget lists."""
    db.executemany("DELETE FROM peer_entry WHERE list_id = ?", [(one,) for one in list_ids])
    db.executemany("DELETE FROM peer_list WHERE id = ?", [(one,) for one in list_ids])


def _rows(db: Database, peer: str, domain: str, *, active: bool) -> list[tuple[int]]:
    found = "SELECT id FROM peer_list WHERE peer = ? AND domain = ? AND active = ?"
    return db.execute(found, (peer, domain, active)).fetchall()
