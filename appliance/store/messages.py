"""Messages in mailboxes: rows, flags, COPY, MOVE, EXPUNGE. Functions of (db, …); uids are strictly ascending."""

from __future__ import annotations

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

from appliance.errors import NotFoundError, QuotaError, StoreError
from appliance.store.accounts import quota_left
from appliance.store.database import Database, json_list, within
from appliance.store.history import note_expunged, spans_of
from appliance.store.mailboxes import keyword_bits, keyword_names, take_uids
from appliance.store.model import ALL_FLAGS, DELETED, FIRST_KEYWORD_BIT, SEEN, FlagEdit
from appliance.store.saved import forget_saved, note_saved

Row = tuple[int, int, int, int, int, int, int]  # uid, flags, modseq, size, internal_at, body_id, filing_id
Chosen = tuple[int, int, int, int]  # uid, flags, size, filing_id: what COPY, MOVE and EXPUNGE look at

SWEEP_AT_ONCE = 500  # bodies that one transaction removes; the rest is left to the sweeper

_ROW = "uid, flags, modseq, size, internal_at, body_id, filing_id"
_EDIT = (
    "UPDATE message SET flags = flags & ? | ?, modseq = ?"
    " WHERE mailbox_id = ? AND uid BETWEEN ? AND ? AND flags & ? <> ?"
)
_COUNT_BY_SEEN = (
    f"SELECT count(*) FROM message WHERE mailbox_id = ? AND uid BETWEEN ? AND ? AND (flags & {SEEN} <> 0) = ?"
)
_SHRINK = (
    "UPDATE mailbox SET highestmodseq = highestmodseq + 1, messages = messages - ?1, unseen = unseen - ?2,"
    " bytes = bytes - ?3, gone = gone + ?1, history_spans = history_spans + ?4"
    " WHERE id = ?5 AND account_id IS NOT NULL RETURNING highestmodseq, account_id, history_spans"
)
# COPY by one statement: the nth of the chosen messages gets the nth new uid.
_COPY = (
    f"INSERT INTO message (mailbox_id, {_ROW}) SELECT ?, {{uid}}, {{flags}}, ?, size, internal_at, body_id, filing_id"
    " FROM message WHERE mailbox_id = ? AND {chosen} ORDER BY uid"
)
_COUNT_FILINGS = "UPDATE filing SET refs = refs + ? WHERE {chosen}"


def list_rows(db: sqlite3.Connection, mailbox_id: int, since_uid: int = 0, last_uid: int = 0xFFFF_FFFF) -> list[Row]:
    """All messages with a uid above `since_uid`, up to `last_uid`, ascending, as tuples in MessageRow's order."""
    return db.execute(
        f"SELECT {_ROW} FROM message WHERE mailbox_id = ? AND uid > ? AND uid <= ? ORDER BY uid",
        (mailbox_id, since_uid, last_uid),
    ).fetchall()


def list_sizes(db: sqlite3.Connection, mailbox_id: int) -> tuple[array[int], array[int]]:
    """The uids of all messages, ascending, and the size of each: what a maildrop is made of.

    SQLite joins them to two texts, which takes a third of the time of making a tuple for each message.
    """
    uids, sizes = db.execute(
        "SELECT group_concat(uid), group_concat(size)"
        " FROM (SELECT uid, size FROM message WHERE mailbox_id = ? ORDER BY uid)",
        (mailbox_id,),
    ).fetchone()
    if uids is None:
        return array("Q"), array("Q")
    return array("Q", map(int, uids.split(","))), array("Q", map(int, sizes.split(",")))


def list_flags(db: sqlite3.Connection, mailbox_id: int, since_uid: int = 0) -> list[tuple[int, int]]:
    """(uid, flags) of all messages with a uid above `since_uid`, ascending: what a selected mailbox starts from."""
    return db.execute(
        "SELECT uid, flags FROM message WHERE mailbox_id = ? AND uid > ? ORDER BY uid", (mailbox_id, since_uid)
    ).fetchall()


def list_modseqs(db: sqlite3.Connection, mailbox_id: int, first_uid: int, last_uid: int) -> list[tuple[int, int]]:
    """(uid, modseq) of the messages in a range, ascending."""
    return db.execute(
        "SELECT uid, modseq FROM message WHERE mailbox_id = ? AND uid BETWEEN ? AND ? ORDER BY uid",
        (mailbox_id, first_uid, last_uid),
    ).fetchall()


def count_deleted(db: sqlite3.Connection, mailbox_id: int) -> tuple[int, int]:
    r"""How many messages are `\Deleted`, and their octets."""
    count, octets = db.execute(
        f"SELECT count(*), ifnull(sum(size), 0) FROM message WHERE mailbox_id = ? AND flags & {DELETED}", (mailbox_id,)
    ).fetchone()
    return count, octets


def flags_since(db: sqlite3.Connection, mailbox_id: int, modseq: int) -> list[tuple[int, int]]:
    """(uid, flags) of the messages that have changed, or come, after `modseq`; ascending."""
    return db.execute(
        "SELECT uid, flags FROM message WHERE mailbox_id = ? AND modseq > ? ORDER BY uid", (mailbox_id, modseq)
    ).fetchall()


def flag_columns(db: sqlite3.Connection, mailbox_id: int) -> tuple[Sequence[int], list[int]]:
    """The uids of all messages, ascending, and the flags of each: `list_flags` for many, in a third of the time.

    SQLite joins the flags to one text; uids without gaps need not be read.
    """
    ordered = "FROM (SELECT uid, flags FROM message WHERE mailbox_id = ? ORDER BY uid)"
    count, first, last, joined = db.execute(
        f"SELECT count(*), min(uid), max(uid), group_concat(flags) {ordered}", (mailbox_id,)
    ).fetchone()
    if not count:
        return (), []
    texts = joined.split(",")
    values = {text: int(text) for text in set(texts)}
    flags = list(map(values.__getitem__, texts))
    if last - first + 1 == count:
        return range(first, last + 1), flags
    (uids,) = db.execute(f"SELECT group_concat(uid) {ordered}", (mailbox_id,)).fetchone()
    return array("I", map(int, uids.split(","))), flags


def list_uids(db: sqlite3.Connection, mailbox_id: int, first_uid: int, last_uid: int) -> list[tuple[int]]:
    """(uid,) of the messages that are there in a range, ascending."""
    return db.execute(
        "SELECT uid FROM message WHERE mailbox_id = ? AND uid BETWEEN ? AND ? ORDER BY uid",
        (mailbox_id, first_uid, last_uid),
    ).fetchall()


def structures(
    db: sqlite3.Connection, mailbox_id: int, first_uid: int, last_uid: int
) -> Iterator[tuple[int, bytes, bytes]]:
    """(uid, ENVELOPE, BODYSTRUCTURE) ready to send, ascending."""
    return db.execute(
        "SELECT m.uid, b.envelope, b.bodystructure FROM message m CROSS JOIN body b ON b.id = m.body_id"
        " WHERE m.mailbox_id = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid",
        (mailbox_id, first_uid, last_uid),
    )


def sortable(
    db: sqlite3.Connection, mailbox_id: int, first_uid: int, last_uid: int
) -> Iterator[tuple[int, int, int, bytes]]:
    """(uid, size, internal date, ENVELOPE), ascending."""
    return db.execute(
        "SELECT m.uid, m.size, m.internal_at, b.envelope FROM message m CROSS JOIN body b ON b.id = m.body_id"
        " WHERE m.mailbox_id = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid",
        (mailbox_id, first_uid, last_uid),
    )


def threadable(
    db: sqlite3.Connection, mailbox_id: int, first_uid: int, last_uid: int
) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(uid, internal date, ENVELOPE, header without the filing's own lines), ascending."""
    return db.execute(
        "SELECT m.uid, m.internal_at, b.envelope, b.header FROM message m CROSS JOIN body b ON b.id = m.body_id"
        " WHERE m.mailbox_id = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid",
        (mailbox_id, first_uid, last_uid),
    )


def prefixes(db: sqlite3.Connection, mailbox_id: int, first_uid: int, last_uid: int) -> Iterator[tuple[int, bytes]]:
    """(uid, the filing's own header lines), ascending."""
    return db.execute(
        "SELECT m.uid, f.prefix FROM message m CROSS JOIN filing f ON f.id = m.filing_id"
        " WHERE m.mailbox_id = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid",
        (mailbox_id, first_uid, last_uid),
    )


def body_ids(db: sqlite3.Connection, mailbox_id: int) -> dict[int, int]:
    """The body of each message of a mailbox, by uid, ascending."""
    return dict(db.execute("SELECT uid, body_id FROM message WHERE mailbox_id = ? ORDER BY uid", (mailbox_id,)))


def bodies_after(db: sqlite3.Connection, body_id: int, count: int) -> list[int]:
    """The next bodies above an id, at most so many, ascending."""
    return [row[0] for row in db.execute("SELECT id FROM body WHERE id > ? ORDER BY id LIMIT ?", (body_id, count))]


def headers(db: sqlite3.Connection, mailbox_id: int, first_uid: int, last_uid: int) -> Iterator[tuple[int, bytes]]:
    """(uid, header with the filing's own lines in front), ascending."""
    for uid, prefix, header in db.execute(
        "SELECT m.uid, f.prefix, b.header FROM message m CROSS JOIN filing f ON f.id = m.filing_id"
        " CROSS JOIN body b ON b.id = m.body_id WHERE m.mailbox_id = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid",
        (mailbox_id, first_uid, last_uid),
    ):
        yield uid, prefix + header


def parts(db: sqlite3.Connection, body_id: int) -> bytes:
    """The packed MIME tree of a body. Raises NotFoundError."""
    row = db.execute("SELECT parts FROM body WHERE id = ?", (body_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no body {body_id}")
    packed: bytes = row[0]
    return packed


def set_flags(
    db: Database,
    mailbox_id: int,
    uids: Sequence[int] | None,
    *,
    add: int = 0,
    remove: int = 0,
    replace: int | None = None,
    unchangedsince: int | None = None,
) -> tuple[int, list[tuple[int, int]]]:
    """Change flags of `uids` (None: all). Returns the mailbox's modseq and (uid, flags) of each message addressed.

    `replace` sets exactly those flags, else `remove` is taken away and then `add` added. Messages changed since
    `unchangedsince` are left alone and not returned (RFC 7162 section 3.1.3); uids that are not there are ignored.
    """
    condition, parameters = within("uid", uids)
    if unchangedsince is not None:
        condition += " AND modseq <= ?"
        parameters.append(unchangedsince)
    formula, flags = ("?", [replace]) if replace is not None else ("(flags & ~?) | ?", [remove, add])
    rows = db.execute(
        f"SELECT uid, flags, {formula} FROM message WHERE mailbox_id = ? AND {condition} ORDER BY uid",
        [*flags, mailbox_id, *parameters],
    ).fetchall()
    changed = tuple((uid, new) for uid, old, new in rows if old != new)
    modseq, account_id = _next_modseq(db, mailbox_id, grow=bool(changed))
    if changed:
        db.execute(
            f"UPDATE message SET flags = {formula}, modseq = ? WHERE mailbox_id = ? AND {condition}"
            f" AND flags <> {formula}",
            [*flags, modseq, mailbox_id, *parameters, *flags],
        )
        seen = sum((new & SEEN) - (old & SEEN) for _, old, new in rows)
        if seen:
            db.execute("UPDATE mailbox SET unseen = unseen - ? WHERE id = ?", (seen, mailbox_id))
        db.changed(mailbox_id, account_id, modseq, flags=changed)
    return modseq, [(uid, new) for uid, _, new in rows]


def edit_flags(
    db: Database, mailbox_id: int, spans: Sequence[tuple[int, int]], *, add: int = 0, remove: int = 0
) -> int:
    """Take `remove` from the flags of all messages in disjoint ranges of uids, then add `add`; returns the modseq.

    For ranges of many messages this takes a third of what `set_flags` takes, as no row leaves the database; the
    notice tells what was done in place of each message's flags.
    """
    modseq, account_id = _next_modseq(db, mailbox_id, grow=False)
    edits = [FlagEdit(*span, add, remove) for span in spans]
    unseen = sum(_more_unseen(db, mailbox_id, edit) for edit in edits) if (add | remove) & SEEN else 0
    changed = tuple(edit for edit in edits if _edit(db, mailbox_id, edit, modseq + 1))
    if changed:
        modseq, _ = _next_modseq(db, mailbox_id, grow=True)
        if unseen:
            db.execute("UPDATE mailbox SET unseen = unseen + ? WHERE id = ?", (unseen, mailbox_id))
        db.changed(mailbox_id, account_id, modseq, edits=changed)
    return modseq


def _more_unseen(db: sqlite3.Connection, mailbox_id: int, edit: FlagEdit) -> int:
    r"""By how many the messages without `\Seen` will grow."""
    becomes_seen = bool(edit.add & SEEN)
    values = (mailbox_id, edit.first_uid, edit.last_uid, not becomes_seen)
    count: int = db.execute(_COUNT_BY_SEEN, values).fetchone()[0]
    return -count if becomes_seen else count


def _edit(db: sqlite3.Connection, mailbox_id: int, edit: FlagEdit, modseq: int) -> bool:
    """Whether the flags of any message have changed by it."""
    touched = edit.remove | edit.add
    values = (~touched, edit.add, modseq, mailbox_id, edit.first_uid, edit.last_uid, touched, edit.add)
    return db.execute(_EDIT, values).rowcount > 0


def copy(
    db: Database, source_id: int, uids: Sequence[int] | None, target_id: int, *, flags: int = ALL_FLAGS
) -> list[tuple[int, int]]:
    """Copy messages (None: all) to another mailbox, or the same: (old uid, new uid), ascending.

    Internal dates go along, and of the flags those that are in `flags` (RFC 3501 section 6.4.7); of keywords all or
    none. Raises QuotaError, NotFoundError; then nothing is.
    """
    rows = _chosen(db, source_id, uids)
    if not rows:
        _account_of(db, target_id)
        return []
    octets = sum(row[2] for row in rows)
    left = quota_left(db, _account_of(db, target_id))
    if left is not None and octets > left:
        raise QuotaError("the copies would pass the account's quota")
    _count_filings(db, [row[3] for row in rows], 1)
    return _place(db, source_id, rows, target_id, flags)


def move(
    db: Database, source_id: int, uids: Sequence[int] | None, target_id: int, *, flags: int = ALL_FLAGS
) -> list[tuple[int, int]]:
    """Move messages (None: all) to another mailbox: (old uid, new uid), ascending (RFC 6851).

    Within one account no quota is asked, as nothing is added. Moving into the same mailbox gives new uids.
    `flags` as for `copy`.
    """
    rows = _chosen(db, source_id, uids)
    source, target = _account_of(db, source_id), _account_of(db, target_id)
    if not rows:
        return []
    if source != target:
        left = quota_left(db, target)
        if left is not None and sum(row[2] for row in rows) > left:
            raise QuotaError("the messages would pass the account's quota")
    _note_gone(db, source_id, rows)
    pairs = _place(db, source_id, rows, target_id, flags)
    _delete(db, source_id, rows)
    return pairs


def expunge(
    db: Database, mailbox_id: int, uids: Sequence[int] | None = None, *, deleted_only: bool = True
) -> list[int]:
    r"""Remove messages for good and return their uids, ascending.

    Those of `uids` (None: of all) that have `\Deleted` (RFC 3501 section 6.4.3, RFC 4315 section 2.1), or every one
    of them if `deleted_only` is false, as POP3 and retention need it.
    """
    rows = [row for row in _chosen(db, mailbox_id, uids) if row[1] & DELETED or not deleted_only]
    if rows:
        _note_gone(db, mailbox_id, rows)
        _delete(db, mailbox_id, rows)
        release_filings(db, [row[3] for row in rows])
    return [row[0] for row in rows]


def release_filings(db: Database, filing_ids: Sequence[int]) -> None:
    """Give up one reference each. Up to SWEEP_AT_ONCE dead ones are removed here, more are left to the sweeper."""
    _count_filings(db, filing_ids, -1)
    if len(filing_ids) > SWEEP_AT_ONCE:
        db.garbage = True
        return
    remove_dead_filings(db, [filing for (filing,) in db.execute(_DEAD_FILINGS, (json_list(filing_ids),))])


def _count_filings(db: Database, filing_ids: Sequence[int], by: int) -> None:
    """Change how many messages refer to filings, `by` for each time that one of them is named."""
    counted = Counter(filing_ids)
    if len(counted) == len(filing_ids):
        condition, parameters = within("id", filing_ids)
        db.execute(_COUNT_FILINGS.format(chosen=condition), [by, *parameters])
        return
    db.executemany(_COUNT_FILINGS.format(chosen="id = ?"), [(by * n, filing) for filing, n in counted.items()])


def remove_dead_filings(db: Database, filing_ids: Sequence[int]) -> None:
    """Remove filings that nobody refers to, and their bodies where those were the last."""
    if not filing_ids:
        return
    chosen = json_list(filing_ids)
    bodies = Counter(
        body
        for (body,) in db.execute(
            "SELECT body_id FROM filing WHERE id IN (SELECT value FROM json_each(?)) AND refs <= 0", (chosen,)
        )
    )
    db.execute("DELETE FROM filing WHERE id IN (SELECT value FROM json_each(?)) AND refs <= 0", (chosen,))
    release_bodies(db, bodies)


def release_bodies(db: Database, bodies: Counter[int]) -> None:
    """Give up references to bodies, and remove those that have none left."""
    db.executemany("UPDATE body SET refs = refs - ? WHERE id = ?", [(n, body) for body, n in bodies.items()])
    remove_dead_bodies(db, list(bodies))


def remove_dead_bodies(db: Database, body_ids: Sequence[int]) -> None:
    """Remove those of the bodies that nobody refers to. What lies in a segment file is freed by compaction."""
    chosen = json_list(body_ids)
    large = db.execute(
        "SELECT segment, position FROM body WHERE id IN (SELECT value FROM json_each(?))"
        " AND refs <= 0 AND segment IS NOT NULL",
        (chosen,),
    ).fetchall()
    if large:
        db.executemany("DELETE FROM extent WHERE segment = ? AND position = ?", large)
    gone = db.execute("DELETE FROM body WHERE id IN (SELECT value FROM json_each(?)) AND refs <= 0", (chosen,)).rowcount
    db.removed |= gone > 0


_DEAD_FILINGS = "SELECT id FROM filing WHERE refs <= 0 AND id IN (SELECT value FROM json_each(?))"


def _chosen(db: sqlite3.Connection, mailbox_id: int, uids: Sequence[int] | None) -> list[Chosen]:
    condition, parameters = within("uid", uids)
    return db.execute(
        f"SELECT uid, flags, size, filing_id FROM message WHERE mailbox_id = ? AND {condition} ORDER BY uid",
        [mailbox_id, *parameters],
    ).fetchall()


def _account_of(db: sqlite3.Connection, mailbox_id: int) -> int:
    row = db.execute("SELECT account_id FROM mailbox WHERE id = ? AND selectable", (mailbox_id,)).fetchone()
    if row is None or row[0] is None:
        raise NotFoundError(f"no mailbox {mailbox_id}")
    account_id: int = row[0]
    return account_id


def _next_modseq(db: Database, mailbox_id: int, *, grow: bool) -> tuple[int, int]:
    """(modseq, account id) of a mailbox, after a step if something changes."""
    row = db.execute(
        "UPDATE mailbox SET highestmodseq = highestmodseq + 1 WHERE id = ? AND account_id IS NOT NULL"
        " RETURNING highestmodseq, account_id"
        if grow
        else "SELECT highestmodseq, account_id FROM mailbox WHERE id = ? AND account_id IS NOT NULL",
        (mailbox_id,),
    ).fetchone()
    if row is None:
        raise NotFoundError(f"no mailbox {mailbox_id}")
    return row[0], row[1]


def _place(db: Database, source_id: int, rows: Sequence[Chosen], target_id: int, kept: int) -> list[tuple[int, int]]:
    """Put copies of messages under new uids into the target mailbox; their filings must be counted by the caller."""
    first, modseq, account_id = take_uids(
        db, target_id, len(rows), unseen=_unseen(rows) if kept & SEEN else len(rows), octets=sum(row[2] for row in rows)
    )
    note_saved(db, target_id, first, first + len(rows) - 1, db.now)
    flags = _translated(db, source_id, target_id, {row[1] for row in rows}, kept)
    uids = [row[0] for row in rows]
    side_by_side = uids[-1] - uids[0] + 1 == len(uids)
    changed = [value for pair in flags.items() if pair[0] != pair[1] for value in pair]
    condition, parameters = within("uid", uids)
    statement = _COPY.format(
        uid="uid + ?" if side_by_side else "row_number() OVER (ORDER BY uid) + ?",
        flags=f"CASE flags {'WHEN ? THEN ? ' * (len(changed) // 2)}ELSE flags END" if changed else "flags",
        chosen=condition,
    )
    shift = first - (uids[0] if side_by_side else 1)
    db.execute(statement, [target_id, shift, *changed, modseq, source_id, *parameters])
    new = range(first, first + len(rows))
    told = tuple(zip(new, [flags[row[1]] for row in rows], strict=True))
    db.changed(target_id, account_id, modseq, added=tuple(new), flags=told)
    return list(zip(uids, new, strict=True))


def _unseen(rows: Sequence[Chosen]) -> int:
    return sum(1 for row in rows if not row[1] & SEEN)


def _translated(db: Database, source_id: int, target_id: int, values: set[int], kept: int) -> dict[int, int]:
    """Flags of one mailbox as flags of another, those that are kept: keywords have bits of their own in each."""
    used = 0
    for value in values:
        used |= value & kept
    if source_id == target_id or not used >> FIRST_KEYWORD_BIT:
        return {value: value & kept for value in values}
    bits: dict[int, int] = {}
    for index, name in enumerate(keyword_names(db, source_id)):
        source_bit = 1 << FIRST_KEYWORD_BIT + index
        if used & source_bit:
            try:
                bits[source_bit] = keyword_bits(db, target_id, (name,))
            except StoreError:
                bits[source_bit] = 0  # the target is full of keywords: the copy goes without this one
    system = (1 << FIRST_KEYWORD_BIT) - 1
    return {value: (value & kept & system) | sum(new for old, new in bits.items() if value & old) for value in values}


def _note_gone(db: Database, mailbox_id: int, rows: Sequence[Chosen]) -> None:
    """Take messages out of the counters, and note for clients that they are gone; `_delete` follows."""
    uids = [row[0] for row in rows]
    spans = spans_of(db, mailbox_id, uids)
    octets = sum(row[2] for row in rows)
    found = db.execute(_SHRINK, (len(rows), _unseen(rows), octets, len(spans), mailbox_id)).fetchone()
    if found is None:
        raise NotFoundError(f"no mailbox {mailbox_id}")
    modseq, account_id, held = found
    note_expunged(db, mailbox_id, modseq, spans, held)
    db.changed(mailbox_id, account_id, modseq, expunged=tuple(uids))


def _delete(db: Database, mailbox_id: int, rows: Sequence[Chosen]) -> None:
    """Remove the rows from their mailbox; their filings must be counted by the caller."""
    uids = [row[0] for row in rows]
    condition, parameters = within("uid", uids)
    db.execute(f"DELETE FROM message WHERE mailbox_id = ? AND {condition}", [mailbox_id, *parameters])
    forget_saved(db, mailbox_id, uids[0], uids[-1])
