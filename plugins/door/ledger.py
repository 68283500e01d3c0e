"""What the outbound limit has counted, written down now and then, so that a restart does not forget it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING

from appliance.store.database import Database
from appliance.store.schema import Migration
from plugins.door.outbound import Outbound
from plugins.door.usage import DAY_SLOTS, MAX_DESTINATIONS, SLOT_S, Slot, Usage

if TYPE_CHECKING:
    from appliance.core import Core

Rows = tuple[list[tuple[str, int, int, int, int, int, int]], list[tuple[str, int, int]]]


def m001_usage(db: sqlite3.Connection) -> None:
    """Counts by account and slot, and whom an account has written to."""
    db.execute(
        "CREATE TABLE door_usage (account TEXT NOT NULL, slot INTEGER NOT NULL, messages INTEGER NOT NULL,"
        " recipients INTEGER NOT NULL, new INTEGER NOT NULL, settled INTEGER NOT NULL, failed INTEGER NOT NULL,"
        " PRIMARY KEY (account, slot)) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE door_destination (account TEXT NOT NULL, hash INTEGER NOT NULL, last_at INTEGER NOT NULL,"
        " PRIMARY KEY (account, hash)) STRICT, WITHOUT ROWID"
    )


MIGRATIONS = (Migration("door.m001_usage", m001_usage),)


class Ledger:
    """Reads and writes it, when a Flusher says so."""

    def __init__(self, core: Core, outbound: Outbound) -> None:
        self._core = core
        self._outbound = outbound
        self._soft = core.store.soft
        self._soft.add(MIGRATIONS)
        self._destinations_from = 0  # those noted before are on the disk

    async def load(self) -> None:
        """Read what the run before has counted."""
        first = int(self._core.now() // SLOT_S) - DAY_SLOTS
        found = await self._soft.read(lambda db: _read(db, first))
        counted, written_to = found or ([], [])
        for account, *numbers in counted:
            self._usage(account).load(Slot(*numbers))
        for account, key, at in written_to:
            self._usage(account).destination(key, at)

    async def flush(self) -> None:
        """Write down what has changed. If that fails it is tried again the next time."""
        touched = self._outbound.touched.copy()
        if not touched:
            return
        now = int(self._core.now())
        rows = self._rows(touched, now)
        if await self._soft.write(lambda db: _write(db, touched, rows, now)):
            self._outbound.touched -= touched
            self._destinations_from = now

    def _rows(self, accounts: Iterable[str], now: int) -> Rows:
        """What is to be written: the whole last day, and those who were written to since the last time."""
        counted, written_to = [], []
        for account in accounts:
            usage = self._usage(account)
            counted += [
                (account, slot.number, slot.messages, slot.recipients, slot.new, slot.settled, slot.failed)
                for slot in usage.slots(now // SLOT_S - DAY_SLOTS + 1)
            ]
            since = self._destinations_from
            written_to += [(account, key, at) for key, at in usage.destinations.items() if at >= since]
        return counted, written_to

    def _usage(self, account: str) -> Usage:
        return self._outbound.usage.entry(account, Usage)


def _read(db: Database, first: int) -> Rows:
    counted = db.execute(
        "SELECT account, slot, messages, recipients, new, settled, failed FROM door_usage WHERE slot > ? ORDER BY slot",
        (first,),
    ).fetchall()
    written_to = db.execute("SELECT account, hash, last_at FROM door_destination ORDER BY last_at").fetchall()
    return counted, written_to


def _write(db: Database, accounts: Iterable[str], rows: Rows, now: int) -> bool:
    counted, written_to = rows
    db.executemany("DELETE FROM door_usage WHERE account = ?", [(account,) for account in accounts])
    db.executemany("INSERT INTO door_usage VALUES (?, ?, ?, ?, ?, ?, ?)", counted)
    db.execute("DELETE FROM door_usage WHERE slot <= ?", (now // SLOT_S - DAY_SLOTS,))
    db.executemany("INSERT OR REPLACE INTO door_destination VALUES (?, ?, ?)", written_to)
    for account in accounts:
        db.execute(
            "DELETE FROM door_destination WHERE account = ?1 AND last_at < (SELECT last_at FROM door_destination"
            " WHERE account = ?1 ORDER BY last_at DESC LIMIT 1 OFFSET ?2)",
            (account, MAX_DESTINATIONS),
        )
    return True
