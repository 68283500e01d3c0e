"""Who has tried and who has passed: kept in memory, bounded, written down in batches.

Keys are hashes of 64 bits, so that neither addresses nor the length of a stranger's name lie in the file.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.store.database import Database
from appliance.store.schema import Migration

MAX_KNOWN = 100_000  # triplets and networks; whoever was not seen for longest goes first


def m001_greylist(db: sqlite3.Connection) -> None:
    """Triplets and networks by hash: first seen, last seen (epoch seconds), and how many messages passed."""
    db.execute(
        "CREATE TABLE greylist (key INTEGER PRIMARY KEY, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,"
        " passed INTEGER NOT NULL) STRICT"
    )


MIGRATIONS = (Migration("spam.greylist.m001_greylist", m001_greylist),)


@dataclass(slots=True)
class Seen:
    """A triplet, or a network."""

    first_at: int
    last_at: int
    passed: int = 0


class Memory:
    """What was seen, by key."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, Seen] = OrderedDict()
        self._touched: set[int] = set()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: int) -> Seen | None:
        """What is known of a key."""
        return self._known.get(key)

    def put(self, key: int, seen: Seen) -> None:
        """Note it, as the one seen last."""
        self._known[key] = seen
        self._known.move_to_end(key)
        self._touched.add(key)
        while len(self._known) > MAX_KNOWN:
            gone, _ = self._known.popitem(last=False)
            self._touched.discard(gone)

    def take_touched(self) -> list[tuple[int, int, int, int]]:
        """The rows that changed since the last call."""
        rows = [
            (key, one.first_at, one.last_at, one.passed)
            for key in self._touched
            if (one := self._known.get(key)) is not None
        ]
        self._touched.clear()
        return rows

    def load(self, rows: Iterable[tuple[int, int, int, int]]) -> None:
        """Take over rows, the one seen longest ago first."""
        for key, first_at, last_at, passed in rows:
            self._known[key] = Seen(first_at, last_at, passed)


def key_of(*parts: str) -> int:
    """A key of 63 bits for a network, or for network, sender and recipient."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def read(db: Database) -> list[tuple[int, int, int, int]]:
    """All rows, the one seen longest ago first."""
    return db.execute("SELECT key, first_at, last_at, passed FROM greylist ORDER BY last_at").fetchall()


def write(db: Database, rows: Sequence[tuple[int, int, int, int]], forget_before: int) -> bool:
    """Write rows down, and forget what was last seen before that time."""
    db.executemany("INSERT OR REPLACE INTO greylist VALUES (?, ?, ?, ?)", rows)
    db.execute("DELETE FROM greylist WHERE last_at < ?", (forget_before,))
    return True
