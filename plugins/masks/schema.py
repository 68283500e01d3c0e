"""The tables of mask addresses: what they are lies in the store, how often they are used in soft.db."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.store.database import Database
from appliance.store.schema import Migration

Use = tuple[str, int, int]  # an address, how often it was used, and when last (epoch seconds)


def m001_masks(db: sqlite3.Connection) -> None:
    """Mask addresses by their key, with their account's id; times are epoch seconds, 0 is never."""
    db.execute(
        "CREATE TABLE mask (address TEXT PRIMARY KEY, account_id INTEGER NOT NULL, note TEXT NOT NULL,"
        " made_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )


def m001_uses(db: sqlite3.Connection) -> None:
    """How often each address got mail, and when last."""
    db.execute(
        "CREATE TABLE mask_use (address TEXT PRIMARY KEY, uses INTEGER NOT NULL, used_at INTEGER NOT NULL)"
        " STRICT, WITHOUT ROWID"
    )


MIGRATIONS = (Migration("masks.m001_masks", m001_masks),)  # append only; never edit a shipped one
SOFT_MIGRATIONS = (Migration("masks.m001_uses", m001_uses),)


@dataclass(frozen=True, slots=True)
class Mask:
    """One address. Times are epoch seconds; 0 is never."""

    address: str
    account_id: int
    note: str
    made_at: int
    expires_at: int = 0
    revoked_at: int = 0


def list_masks(db: sqlite3.Connection) -> list[Mask]:
    """All of them, the oldest first."""
    rows = db.execute(
        "SELECT address, account_id, note, made_at, expires_at, revoked_at FROM mask ORDER BY made_at, address"
    )
    return [Mask(*row) for row in rows]


def put_mask(db: Database, mask: Mask) -> None:
    """Add a mask, or change the one of that address."""
    db.execute(
        "INSERT OR REPLACE INTO mask VALUES (?, ?, ?, ?, ?, ?)",
        (mask.address, mask.account_id, mask.note, mask.made_at, mask.expires_at, mask.revoked_at),
    )


def remove_mask(db: Database, address: str) -> None:
    """Forget a mask; harmless if there is none."""
    db.execute("DELETE FROM mask WHERE address = ?", (address,))


def read_uses(db: Database) -> list[Use]:
    """All counts."""
    return db.execute("SELECT address, uses, used_at FROM mask_use").fetchall()


def write_uses(db: Database, uses: Sequence[Use], gone: Sequence[str]) -> bool:
    """Write counts down, and forget those of masks that are gone."""
    db.executemany("INSERT OR REPLACE INTO mask_use VALUES (?, ?, ?)", uses)
    db.executemany("DELETE FROM mask_use WHERE address = ?", [(address,) for address in gone])
    return True
