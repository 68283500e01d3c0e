"""Who may do what with a mailbox that is another's: its access control list (RFC 4314). Functions of (db, …).

The owner has all rights and no entry. An entry is for one account or for EVERYBODY, and gives rights or takes them
away. Entries go with their mailbox or account; they stay with a mailbox that gets another name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from appliance.errors import LimitError
from appliance.mail.rights import ALL_RIGHTS, NO_RIGHTS, edited_rights, effective_rights
from appliance.store.database import Database
from appliance.store.model import EVERYBODY

MAX_ENTRIES = 200  # of one mailbox


class Entry(NamedTuple):
    """One entry. `negative`: the rights are taken away, whatever other entries give."""

    account_id: int
    negative: bool
    rights: str


def list_entries(db: sqlite3.Connection, mailbox_id: int) -> list[Entry]:
    """The entries of a mailbox, those for EVERYBODY first."""
    rows = db.execute(
        "SELECT account_id, negative, rights FROM acl WHERE mailbox_id = ? ORDER BY account_id, negative", (mailbox_id,)
    )
    return [Entry(account_id, bool(negative), rights) for account_id, negative, rights in rows]


def set_entry(
    db: Database, mailbox_id: int, account_id: int, letters: str, *, mode: str = "", negative: bool = False
) -> None:
    """Give ("+"), take ("-") or replace ("") the rights of an entry; one without rights is none. Raises LimitError."""
    key = (mailbox_id, account_id, negative)
    row = db.execute("SELECT rights FROM acl WHERE mailbox_id = ? AND account_id = ? AND negative = ?", key).fetchone()
    rights = edited_rights(row[0] if row else NO_RIGHTS, mode, letters)
    db.happened(EVERYBODY, "rights", "")
    if not rights:
        db.execute("DELETE FROM acl WHERE mailbox_id = ? AND account_id = ? AND negative = ?", key)
        return
    (count,) = db.execute("SELECT count(*) FROM acl WHERE mailbox_id = ?", (mailbox_id,)).fetchone()
    if row is None and count >= MAX_ENTRIES:
        raise LimitError(f"a mailbox is shared by at most {MAX_ENTRIES} entries")
    db.execute("INSERT OR REPLACE INTO acl VALUES (?, ?, ?, ?)", (*key, rights))


def rights_on(db: sqlite3.Connection, account_id: int, mailbox_id: int) -> str:
    """The rights of an account on a mailbox: all on its own, none on one that is not there."""
    row = db.execute("SELECT account_id FROM mailbox WHERE id = ?", (mailbox_id,)).fetchone()
    if row is None or row[0] is None:
        return NO_RIGHTS
    if row[0] == account_id:
        return ALL_RIGHTS
    return effective_rights(
        db.execute(
            "SELECT negative, rights FROM acl WHERE mailbox_id = ? AND account_id IN (?, ?)",
            (mailbox_id, EVERYBODY, account_id),
        )
    )


def rights_on_others(db: sqlite3.Connection, account_id: int) -> dict[int, str]:
    """The rights of an account on all mailboxes that are not its own, by mailbox id, where it has any."""
    grants: dict[int, list[tuple[bool, str]]] = {}
    for mailbox_id, negative, rights in db.execute(
        "SELECT a.mailbox_id, a.negative, a.rights FROM acl a JOIN mailbox m ON m.id = a.mailbox_id"
        " WHERE a.account_id IN (?1, ?2) AND m.account_id <> ?2",
        (EVERYBODY, account_id),
    ):
        grants.setdefault(mailbox_id, []).append((bool(negative), rights))
    found = {mailbox_id: effective_rights(entries) for mailbox_id, entries in grants.items()}
    return {mailbox_id: rights for mailbox_id, rights in found.items() if rights}


def copy_entries(db: Database, from_id: int, to_id: int) -> None:
    """Give a mailbox the entries of another in place of its own."""
    db.happened(EVERYBODY, "rights", "")
    forget_entries(db, to_id)
    db.execute("INSERT INTO acl SELECT ?, account_id, negative, rights FROM acl WHERE mailbox_id = ?", (to_id, from_id))


def put_entries(db: Database, mailbox_id: int, entries: Iterable[Entry]) -> None:
    """Give a mailbox these entries in place of its own."""
    db.happened(EVERYBODY, "rights", "")
    forget_entries(db, mailbox_id)
    db.executemany("INSERT INTO acl VALUES (?, ?, ?, ?)", [(mailbox_id, *entry) for entry in entries])


def forget_entries(db: Database, mailbox_id: int) -> None:
    """Take away all entries of a mailbox that is deleted."""
    db.execute("DELETE FROM acl WHERE mailbox_id = ?", (mailbox_id,))


def forget_entries_for(db: Database, account_id: int) -> None:
    """Take away all entries for an account that is deleted."""
    db.happened(EVERYBODY, "rights", "")
    db.execute("DELETE FROM acl WHERE account_id = ?", (account_id,))
    db.execute("DELETE FROM role_account WHERE account_id = ?", (account_id,))
