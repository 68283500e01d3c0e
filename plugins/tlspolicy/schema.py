"""The tables in soft.db: what is lost with them is learnt again."""

from __future__ import annotations

import sqlite3

from appliance.store.schema import Migration


def m001_tables(db: sqlite3.Connection) -> None:
    """Policies that were fetched, levels that were seen, sessions that were counted, and reports of others."""
    db.execute(
        "CREATE TABLE tls_policy (domain TEXT PRIMARY KEY, id TEXT NOT NULL, mode TEXT NOT NULL, mx TEXT NOT NULL,"
        " max_age INTEGER NOT NULL, fetched_at INTEGER NOT NULL, used_at INTEGER NOT NULL) WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE tls_level (domain TEXT PRIMARY KEY, level TEXT NOT NULL, seen_at INTEGER NOT NULL) WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE tls_count (day INTEGER NOT NULL, domain TEXT NOT NULL, data BLOB NOT NULL,"
        " PRIMARY KEY (day, domain)) WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE tls_report (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, organization TEXT NOT NULL,"
        " report_id TEXT NOT NULL, begins TEXT NOT NULL, ends TEXT NOT NULL, data BLOB NOT NULL,"
        " UNIQUE (organization, report_id))"
    )


MIGRATIONS = (Migration("tlspolicy.m001_tables", m001_tables),)
