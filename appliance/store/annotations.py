"""Annotations of mailboxes and of the server: small named values that clients keep (RFC 5464). Functions of (db, …).

Private ones belong to one account, shared ones to everybody who may see the mailbox; those of the server have no
mailbox. They go with their mailbox or account.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from appliance.errors import LimitError, NotFoundError
from appliance.store.database import Database

MAX_ANNOTATIONS = 1_000  # of one account, those of all its mailboxes together
SERVER = 0  # in place of a mailbox's id
EVERYBODY = 0  # in place of an account's id: shared

Annotation = tuple[str, bytes]  # entry name in lower case, such as `/private/comment`; value


def list_annotations(db: sqlite3.Connection, account_id: int, mailbox_id: int) -> list[Annotation]:
    """All annotations of a mailbox, or of SERVER, that an account sees, by name."""
    return db.execute(
        "SELECT entry, value FROM annotation WHERE mailbox_id = ? AND account_id IN (?, ?) ORDER BY entry",
        (mailbox_id, EVERYBODY, account_id),
    ).fetchall()


def annotations_of_all(
    db: sqlite3.Connection, account_id: int, others: Iterable[int] = ()
) -> dict[int, dict[str, bytes]]:
    """What an account sees of all its mailboxes, and of these of others: by mailbox id, the values by entry."""
    found: dict[int, dict[str, bytes]] = {}
    for mailbox_id, entry, value in db.execute(
        "SELECT a.mailbox_id, a.entry, a.value FROM annotation a JOIN mailbox m ON m.id = a.mailbox_id"
        " WHERE m.account_id = ?2 AND a.account_id IN (?1, ?2)",
        (EVERYBODY, account_id),
    ):
        found.setdefault(mailbox_id, {})[entry] = value
    for mailbox_id in others:
        found[mailbox_id] = dict(list_annotations(db, account_id, mailbox_id))
    return found


def set_annotations(db: Database, account_id: int, mailbox_id: int, values: Iterable[tuple[str, bytes | None]]) -> None:
    """Set annotations, all or none; None takes one away. Raises LimitError."""
    entries: dict[int, list[str]] = {}  # by who sees them
    for entry, value in values:
        owner = account_id if entry.startswith("/private/") else EVERYBODY
        key = (mailbox_id, owner, entry)
        entries.setdefault(owner, []).append(entry)
        if value is None:
            db.execute("DELETE FROM annotation WHERE mailbox_id = ? AND account_id = ? AND entry = ?", key)
        else:
            db.execute("INSERT OR REPLACE INTO annotation VALUES (?, ?, ?, ?)", (*key, value))
    holder, name = (account_id, "") if mailbox_id == SERVER else _place(db, mailbox_id)
    if any(_count(db, one) > MAX_ANNOTATIONS for one in {account_id, holder}):
        raise LimitError(f"an account has at most {MAX_ANNOTATIONS} annotations")
    for owner, names in entries.items():
        db.happened(holder, "annotations", name, entries=tuple(names), seen_by=owner)


def _count(db: sqlite3.Connection, account_id: int) -> int:
    """All that an account has noted, and what is noted of its mailboxes."""
    (count,) = db.execute(
        "SELECT count(*) FROM annotation a WHERE a.account_id = ?1"
        " OR a.mailbox_id IN (SELECT id FROM mailbox WHERE account_id = ?1)",
        (account_id,),
    ).fetchone()
    return int(count)


def _place(db: sqlite3.Connection, mailbox_id: int) -> tuple[int, str]:
    """(account id, name) of a mailbox. Raises NotFoundError."""
    row = db.execute("SELECT account_id, name FROM mailbox WHERE id = ?", (mailbox_id,)).fetchone()
    if row is None or row[0] is None:
        raise NotFoundError("the mailbox was deleted")
    return row[0], row[1]


def forget_annotations(db: Database, mailbox_id: int) -> None:
    """Take away all annotations of a mailbox that is deleted."""
    db.execute("DELETE FROM annotation WHERE mailbox_id = ?", (mailbox_id,))


def forget_private_annotations(db: Database, account_id: int) -> None:
    """Take away the private annotations of an account that is deleted."""
    db.execute("DELETE FROM annotation WHERE account_id = ?", (account_id,))
