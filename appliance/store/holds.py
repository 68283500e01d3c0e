"""Accounts whose outgoing mail is held, and which queued messages that concerns. Functions of (db, …)."""

from __future__ import annotations

import sqlite3

from appliance.store.accounts import require_account
from appliance.store.database import Database
from appliance.store.queue import ENTRY_BITS


def hold_account(db: Database, name: str, why: str) -> None:
    """Hold what an account sends from now on; `why` is for people. Raises NotFoundError."""
    account = require_account(db, name)
    db.execute(
        "INSERT INTO account_hold VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET why = excluded.why",
        (account.id, db.now, why),
    )
    db.touch_directory()


def held_accounts(db: sqlite3.Connection) -> dict[str, str]:
    """The names of accounts that are held, each with the reason."""
    rows = db.execute("SELECT a.name, h.why FROM account_hold h JOIN account a ON a.id = h.account_id ORDER BY a.name")
    return dict(rows.fetchall())


def note_held(db: sqlite3.Connection, trace_id: str, account_id: int) -> None:
    """Note that a message is about to wait because its account is held."""
    db.execute("INSERT OR REPLACE INTO held_message VALUES (?, ?)", (trace_id, account_id))


def held_entries(db: sqlite3.Connection, account_id: int) -> list[int]:
    """The queue's entries of messages that wait because their account is, or was, held."""
    rows = db.execute(
        "SELECT e.id FROM queued q CROSS JOIN queue_entry e"
        f" ON e.id BETWEEN q.id << {ENTRY_BITS} AND (q.id + 1 << {ENTRY_BITS}) - 1"
        " WHERE q.trace_id IN (SELECT trace_id FROM held_message WHERE account_id = ?) ORDER BY e.id",
        (account_id,),
    )
    return [entry_id for (entry_id,) in rows]


def end_hold(db: Database, account_id: int) -> bool:
    """Let an account send again. Returns whether it was held."""
    count = db.execute("DELETE FROM account_hold WHERE account_id = ?", (account_id,)).rowcount
    db.touch_directory()
    return bool(count)


def forget_held(db: sqlite3.Connection, account_id: int) -> None:
    """Forget which messages waited: they have been seen to."""
    db.execute("DELETE FROM held_message WHERE account_id = ?", (account_id,))
