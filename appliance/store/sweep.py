"""Removing in small steps what nobody refers to any more: it never holds up a delivery for long."""

from __future__ import annotations

from appliance.store.annotations import forget_annotations
from appliance.store.database import Database
from appliance.store.history import forget_history
from appliance.store.messages import release_filings, remove_dead_bodies, remove_dead_filings
from appliance.store.saved import forget_saved

STEP = 200  # rows that one transaction removes


def sweep(db: Database) -> bool:
    """Remove one portion. Returns whether more may be left."""
    filings = [row[0] for row in db.execute("SELECT id FROM filing WHERE refs = 0 LIMIT ?", (STEP,))]
    if filings:
        remove_dead_filings(db, filings)
        return True
    bodies = [row[0] for row in db.execute("SELECT id FROM body WHERE refs = 0 LIMIT ?", (STEP,))]
    if bodies:
        remove_dead_bodies(db, bodies)
        return True
    return _empty_detached(db)


def _empty_detached(db: Database) -> bool:
    """Take messages out of a mailbox that was deleted, and at last remove it."""
    row = db.execute("SELECT id FROM mailbox WHERE account_id IS NULL LIMIT 1").fetchone()
    if row is None:
        return False
    (mailbox_id,) = row
    rows = db.execute(
        "SELECT uid, filing_id FROM message WHERE mailbox_id = ? ORDER BY uid LIMIT ?", (mailbox_id, STEP)
    ).fetchall()
    if rows:
        db.execute("DELETE FROM message WHERE mailbox_id = ? AND uid <= ?", (mailbox_id, rows[-1][0]))
        release_filings(db, [filing for _, filing in rows])
    else:
        db.execute("DELETE FROM keyword WHERE mailbox_id = ?", (mailbox_id,))
        forget_history(db, mailbox_id)
        forget_saved(db, mailbox_id)
        forget_annotations(db, mailbox_id)
        db.execute("DELETE FROM mailbox WHERE id = ?", (mailbox_id,))
    return True
