"""What must be true of a store's tables at any time."""

from __future__ import annotations

import sqlite3

from appliance.store.model import SEEN


def check_invariants(db: sqlite3.Connection) -> None:
    """Counters agree with rows, references with those who hold them, extents with bodies."""
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    _check_mailboxes(db)
    _check_references(db)
    assert db.execute(
        "SELECT count(*) FROM queue_entry e WHERE NOT EXISTS (SELECT 1 FROM queued q WHERE q.id = e.id >> 16)"
    ).fetchone() == (0,)
    assert db.execute(
        "SELECT count(*) FROM queued q WHERE NOT EXISTS (SELECT 1 FROM queue_entry e WHERE e.id >> 16 = q.id)"
    ).fetchone() == (0,)


def _check_mailboxes(db: sqlite3.Connection) -> None:
    for mailbox_id, uidnext, modseq, messages, unseen, octets, gone, spans in db.execute(
        "SELECT id, uidnext, highestmodseq, messages, unseen, bytes, gone, history_spans FROM mailbox"
        " WHERE account_id IS NOT NULL"
    ).fetchall():
        assert messages + gone == uidnext - 1
        assert (spans,) == db.execute("SELECT count(*) FROM expunged WHERE mailbox_id = ?", (mailbox_id,)).fetchone()
        rows = db.execute("SELECT uid, flags, modseq, size FROM message WHERE mailbox_id = ?", (mailbox_id,)).fetchall()
        assert messages == len(rows)
        assert unseen == sum(not row[1] & SEEN for row in rows)
        assert octets == sum(row[3] for row in rows)
        assert all(0 < row[0] < uidnext and 0 < row[2] <= modseq for row in rows)


def _check_references(db: sqlite3.Connection) -> None:
    assert not db.execute(
        "SELECT f.id, f.refs, count(m.uid) FROM filing f LEFT JOIN message m ON m.filing_id = f.id"
        " GROUP BY f.id HAVING f.refs <> count(m.uid)"
    ).fetchall()
    assert not db.execute(
        "SELECT b.id, b.refs FROM body b WHERE b.refs <> (SELECT count(*) FROM filing f WHERE f.body_id = b.id)"
        " + (SELECT count(*) FROM queued q WHERE q.body_id = b.id)"
    ).fetchall()
    assert not db.execute(
        "SELECT m.uid FROM message m LEFT JOIN filing f ON f.id = m.filing_id LEFT JOIN body b ON b.id = m.body_id"
        " WHERE f.id IS NULL OR b.id IS NULL OR f.body_id <> m.body_id"
        " OR m.size <> length(f.prefix) + length(b.header) + b.text_size"
    ).fetchall()
    in_files = db.execute("SELECT id, segment, position, stored FROM body WHERE segment IS NOT NULL ORDER BY id")
    extents = db.execute("SELECT body_id, segment, position, length FROM extent ORDER BY body_id")
    assert in_files.fetchall() == extents.fetchall()
