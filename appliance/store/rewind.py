"""What must happen to mailboxes when the store goes back in time: after a restore, before anybody logs in.

Clients have seen messages, flags and removals that the backup does not know of. What they hold stays right only if
nothing that was given since the backup is given a second time, or if they are told to forget all. Functions of
(db, …), for the process that restores: they touch every message.
"""

from __future__ import annotations

from appliance.store.database import Database
from appliance.store.history import note_expunged
from appliance.store.mailboxes import take_uidvalidity

UIDS_BEYOND = 1_000_000  # no mailbox has got more messages between a backup and the loss
MODSEQS_BEYOND = 1 << 32  # nor more changes
IDS_BEYOND = 1 << 24  # nor has the store made more mailboxes, accounts, filings
UIDVALIDITIES_BEYOND = 1 << 20  # nor given more of them than seconds have passed
LAST_UID = 0xFFFF_0000  # a mailbox whose uids end above that cannot give many more


def raise_past(db: Database, *, uids: int = UIDS_BEYOND, modseqs: int = MODSEQS_BEYOND) -> None:
    """Raise every mailbox past whatever it can have given since the backup; its UIDVALIDITY stays.

    The UIDs passed over count as removed, so that a client with QRESYNC drops the mail that is lost; all messages
    count as changed, so that it takes their flags from us again. `uids` and `modseqs` are how many of them one mailbox
    can have given at most. A mailbox with no room for so many UIDs gets a new UIDVALIDITY instead.
    """
    raise_ids(db)
    mailboxes = db.execute("SELECT id, uidnext, highestmodseq FROM mailbox WHERE account_id IS NOT NULL").fetchall()
    for mailbox_id, uidnext, modseq in mailboxes:
        if uidnext + uids > LAST_UID:
            change_uidvalidity(db, mailbox_id)
            continue
        highest = modseq + modseqs
        (spans,) = db.execute(
            "UPDATE mailbox SET uidnext = uidnext + ?1, gone = gone + ?1, highestmodseq = ?2,"
            " history_spans = history_spans + 1 WHERE id = ?3 RETURNING history_spans",
            (uids, highest, mailbox_id),
        ).fetchone()
        note_expunged(db, mailbox_id, highest, [(uidnext, uidnext + uids - 1)], spans)
        db.execute("UPDATE message SET modseq = ? WHERE mailbox_id = ?", (highest, mailbox_id))


def change_uidvalidity(db: Database, mailbox_id: int | None = None) -> None:
    """Give one mailbox, or all, a UIDVALIDITY that none has had: clients read it anew from the beginning."""
    if mailbox_id is None:
        raise_ids(db)
    chosen = db.execute(
        "SELECT id FROM mailbox WHERE account_id IS NOT NULL AND (?1 IS NULL OR id = ?1)", (mailbox_id,)
    ).fetchall()
    for (one,) in chosen:
        db.execute("UPDATE mailbox SET uidvalidity = ? WHERE id = ?", (take_uidvalidity(db), one))


def raise_ids(db: Database) -> None:
    """Let no mailbox, account or filing get an id, nor any mailbox a UIDVALIDITY, that may have been given before."""
    db.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name IN ('mailbox', 'account')", (IDS_BEYOND,))
    db.next_filing_id += IDS_BEYOND
    db.execute(
        "INSERT INTO meta VALUES ('next_filing_id', ?1) ON CONFLICT DO UPDATE SET value = max(value, ?1)",
        (db.next_filing_id,),
    )
    db.execute("UPDATE meta SET value = value + ? WHERE key = 'uidvalidity'", (UIDVALIDITIES_BEYOND,))
