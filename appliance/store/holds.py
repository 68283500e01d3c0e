"""Accounts whose outgoing mail is held, and which queued messages that concerns. Functions of (db, …)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from appliance.store.accounts import require_account
from appliance.store.database import Database, json_list
from appliance.store.queue import ACTIVE, ENTRY_BITS
from appliance.store.queuedesk import hold


def hold_account(db: Database, name: str, why: str) -> int:
    """Hold what an account sends from now on; `why` is for people. Returns its id. Raises NotFoundError."""
    account = require_account(db, name)
    db.execute(
        "INSERT INTO account_hold VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET why = excluded.why",
        (account.id, db.now, why),
    )
    db.touch_directory()
    return account.id


def held_accounts(db: sqlite3.Connection) -> dict[str, str]:
    """The names of accounts that are held, each with the reason."""
    rows = db.execute("SELECT a.name, h.why FROM account_hold h JOIN account a ON a.id = h.account_id ORDER BY a.name")
    return dict(rows.fetchall())


def note_held(db: sqlite3.Connection, trace_id: str, account_id: int) -> None:
    """Note that a message is about to wait because its account is held."""
    db.execute("INSERT OR REPLACE INTO held_message VALUES (?, ?)", (trace_id, account_id))


def waiting_of(db: sqlite3.Connection, account_id: int) -> list[int]:
    """The queue's entries that wait to be sent for an account, by their ids.

    They are known by their senders, which are the account, its sub-addresses, and aliases that lead to it; what an
    address of ours sends on for others is not meant.
    """
    rows = db.execute(
        "WITH RECURSIVE own(address) AS (SELECT name FROM account WHERE id = :account UNION"
        " SELECT a.address FROM alias a JOIN own ON a.target = own.address),"
        " sub(first, last) AS (SELECT substr(name, 1, instr(name, '@') - 1) || '+', substr(name, instr(name, '@'))"
        " FROM account WHERE id = :account)"
        f" SELECT e.id FROM queued q CROSS JOIN queue_entry e"
        f" ON e.id BETWEEN q.id << {ENTRY_BITS} AND (q.id + 1 << {ENTRY_BITS}) - 1, sub"
        f" WHERE e.held = {ACTIVE} AND NOT EXISTS (SELECT 1 FROM queue_via v WHERE v.id = e.id)"
        " AND (lower(q.sender) IN (SELECT address FROM own) OR (substr(lower(q.sender), 1, length(first)) = first"
        " AND substr(lower(q.sender), -length(last)) = last)) ORDER BY e.id",
        {"account": account_id},
    )
    return [entry_id for (entry_id,) in rows]


def hold_waiting(db: Database, account_id: int, entry_ids: Sequence[int], why: str) -> int:
    """Hold entries because their account is. Returns how many."""
    db.execute(
        f"INSERT OR REPLACE INTO held_message SELECT DISTINCT q.trace_id, ? FROM queued q WHERE q.id IN"
        f" (SELECT value >> {ENTRY_BITS} FROM json_each(?))",
        (account_id, json_list(entry_ids)),
    )
    return hold(db, entry_ids, why)


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
