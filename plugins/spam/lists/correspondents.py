"""Whom an account has written to: bounded, in memory, written to soft.db in batches. Addresses are kept as hashes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from appliance.store.database import Database
from appliance.store.schema import Migration

MAX_KNOWN = 50_000  # pairs of an account and an address; those not used for longest go first
DAY_S = 86_400

Row = tuple[int, int]  # hash, day of the last message


def m001_correspondents(db: sqlite3.Connection) -> None:
    """Hashes of account and address, and the day (since 1970) of the last message to it."""
    db.execute("CREATE TABLE correspondent (key INTEGER PRIMARY KEY, day INTEGER NOT NULL) STRICT")


MIGRATIONS = (Migration("spam.lists.m001_correspondents", m001_correspondents),)


class Correspondents:
    """The pairs."""

    def __init__(self) -> None:
        self._days: OrderedDict[int, int] = OrderedDict()
        self._touched: set[int] = set()

    def __len__(self) -> int:
        return len(self._days)

    def note(self, account: str, address_key: str, day: int) -> None:
        """The account has written to that address."""
        key = _key(account, address_key)
        if self._days.get(key) != day:
            self._touched.add(key)
        self._days[key] = day
        self._days.move_to_end(key)
        while len(self._days) > MAX_KNOWN:
            gone, _ = self._days.popitem(last=False)
            self._touched.discard(gone)

    def knows(self, account: str, address_key: str, since_day: int) -> bool:
        """Whether the account has written to that address on that day or later."""
        return self._days.get(_key(account, address_key), -1) >= since_day

    def take_touched(self) -> list[Row]:
        """The rows that changed since the last call."""
        rows = [(key, self._days[key]) for key in self._touched if key in self._days]
        self._touched.clear()
        return rows

    def load(self, rows: Iterable[Row]) -> None:
        """Take over rows, the oldest first."""
        self._days.update(rows)


def _key(account: str, address_key: str) -> int:
    digest = hashlib.blake2b(f"{account}\0{address_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def read(db: Database) -> list[Row]:
    """All rows, the oldest first."""
    return db.execute("SELECT key, day FROM correspondent ORDER BY day").fetchall()


def write(db: Database, rows: Sequence[Row], before_day: int) -> bool:
    """Write rows down, and forget those of days before that."""
    db.executemany("INSERT OR REPLACE INTO correspondent VALUES (?, ?)", rows)
    db.execute("DELETE FROM correspondent WHERE day < ?", (before_day,))
    return True
