"""Which messages were removed, and at which modseq: for clients that were away (RFC 7162). Functions of (db, …).

One row for each range of UIDs that an operation has removed. A mailbox keeps at most MAX_SPANS of them; when older
ones are dropped, `history_from` tells from where on the history is whole.

`gone` counts the UIDs of a mailbox that have no message any more. They and the messages that are there are all UIDs
ever given, unless a release that does not know of the history has removed some: then the history does not count.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from appliance.errors import NotFoundError
from appliance.store.database import Database, ranges

Span = tuple[int, int]  # first and last uid, both included

MAX_SPANS = 10_000  # of one mailbox
KEPT_SPANS = 9_000  # of those, when there were more

_ADD = "INSERT INTO expunged (mailbox_id, modseq, first_uid, last_uid) VALUES (?, ?, ?, ?)"
_BETWEEN = "SELECT count(*) FROM message WHERE mailbox_id = ? AND uid BETWEEN ? AND ?"


def spans_of(db: sqlite3.Connection, mailbox_id: int, uids: Sequence[int]) -> list[Span]:
    """The ranges to note for messages that are about to be removed; UIDs between them may have gone before."""
    found = ranges(uids)
    if len(found) > 1:
        (between,) = db.execute(_BETWEEN, (mailbox_id, found[0][0], found[-1][1])).fetchone()
        if between == len(uids):
            return [(found[0][0], found[-1][1])]
    return found


def note_expunged(db: Database, mailbox_id: int, modseq: int, spans: Sequence[Span], held: int) -> None:
    """Note what was removed; `held` is how many spans the mailbox has with these (`history_spans`)."""
    db.executemany(_ADD, [(mailbox_id, modseq, *span) for span in spans])
    if held > MAX_SPANS:
        _forget_oldest(db, mailbox_id, held - KEPT_SPANS)


def expunged_since(db: sqlite3.Connection, mailbox_id: int, modseq: int, upto: int) -> list[Span] | None:
    """What was removed after `modseq`, up to and including the modseq `upto`, in no order and perhaps twice.

    None if the history does not reach back so far: then all UIDs that have no message may have been removed since.
    Raises NotFoundError.
    """
    row = db.execute(
        "SELECT history_from, messages + gone = uidnext - 1 FROM mailbox WHERE id = ?", (mailbox_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"no mailbox {mailbox_id}")
    if modseq < row[0] or not row[1]:
        return None
    return db.execute(
        "SELECT first_uid, last_uid FROM expunged WHERE mailbox_id = ? AND modseq > ? AND modseq <= ?",
        (mailbox_id, modseq, upto),
    ).fetchall()


def changed_since(
    db: sqlite3.Connection, mailbox_id: int, modseq: int, first_uid: int = 0, last_uid: int = 0xFFFF_FFFF
) -> list[tuple[int, int]]:
    """(uid, modseq) of the messages in a range that have changed, or come, after `modseq`; ascending."""
    return db.execute(
        "SELECT uid, modseq FROM message WHERE mailbox_id = ? AND uid BETWEEN ? AND ? AND modseq > ? ORDER BY uid",
        (mailbox_id, first_uid, last_uid, modseq),
    ).fetchall()


def mend_history(db: sqlite3.Connection) -> None:
    """Begin the history anew where it does not count any more, after an older release has had the data folder."""
    broken = db.execute(
        "SELECT id FROM mailbox WHERE account_id IS NOT NULL AND messages + gone <> uidnext - 1"
    ).fetchall()
    db.executemany("DELETE FROM expunged WHERE mailbox_id = ?", broken)
    db.executemany(
        "UPDATE mailbox SET gone = uidnext - 1 - messages, history_from = highestmodseq, history_spans = 0"
        " WHERE id = ?",
        broken,
    )


def forget_history(db: Database, mailbox_id: int) -> None:
    """Drop all of it with its mailbox."""
    db.execute("DELETE FROM expunged WHERE mailbox_id = ?", (mailbox_id,))


def _forget_oldest(db: Database, mailbox_id: int, count: int) -> None:
    """Drop at least `count` spans, always all of one modseq."""
    (modseq,) = db.execute(
        "SELECT modseq FROM expunged WHERE mailbox_id = ? ORDER BY modseq LIMIT 1 OFFSET ?", (mailbox_id, count - 1)
    ).fetchone()
    dropped = db.execute("DELETE FROM expunged WHERE mailbox_id = ? AND modseq <= ?", (mailbox_id, modseq)).rowcount
    db.execute(
        "UPDATE mailbox SET history_from = ?, history_spans = history_spans - ? WHERE id = ?",
        (modseq, dropped, mailbox_id),
    )
