"""The tables in soft.db: what we will report, and what others have reported."""

from __future__ import annotations

import sqlite3

from appliance.store.schema import Migration


def m001_reports(db: sqlite3.Connection) -> None:
    """Messages that were counted by day and domain, and the reports of others with their rows. Times: epoch seconds."""
    db.execute(
        "CREATE TABLE dmarc_count (day INTEGER NOT NULL, domain TEXT NOT NULL, data BLOB NOT NULL,"
        " PRIMARY KEY (day, domain)) WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE dmarc_report (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, organization TEXT NOT NULL,"
        " report_id TEXT NOT NULL, domain TEXT NOT NULL, policy TEXT NOT NULL, begins_at INTEGER NOT NULL,"
        " ends_at INTEGER NOT NULL, UNIQUE (domain, organization, report_id))"
    )
    db.execute(
        "CREATE TABLE dmarc_row (id INTEGER PRIMARY KEY, report INTEGER NOT NULL, source_ip TEXT NOT NULL,"
        " count INTEGER NOT NULL, disposition TEXT NOT NULL, dkim INTEGER NOT NULL, spf INTEGER NOT NULL,"
        " header_from TEXT NOT NULL, envelope_from TEXT NOT NULL, reasons TEXT NOT NULL, results TEXT NOT NULL)"
    )
    db.execute("CREATE INDEX dmarc_row_report ON dmarc_row (report)")
    db.execute(
        "CREATE TABLE dmarc_failure (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, reporter TEXT NOT NULL,"
        " domain TEXT NOT NULL, source_ip TEXT NOT NULL, failure TEXT NOT NULL, delivery TEXT NOT NULL,"
        " sender TEXT NOT NULL, author TEXT NOT NULL, subject TEXT NOT NULL, incidents INTEGER NOT NULL)"
    )


MIGRATIONS = (Migration("spam.dmarc.m001_reports", m001_reports),)
