"""Mailboxes: names, hierarchy, subscriptions, counters (RFC 3501 section 6.3). Functions of (db, …)."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from appliance.errors import ExistsError, HasChildrenError, NotFoundError, StoreError
from appliance.store.database import Database
from appliance.store.model import DELIMITER, FIRST_KEYWORD_BIT, MAX_KEYWORDS, Mailbox
from appliance.store.rights import copy_entries, forget_entries, list_entries, put_entries

INBOX = "INBOX"
MAX_NAME = 500  # characters of a mailbox name with all its levels
MAX_LEVELS = 20
MAX_MAILBOXES = 20_000  # per account
MAX_KEYWORD_NAME = 100  # characters
SPECIAL_USES = ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash")  # RFC 6154 section 2

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Dots would be places in a path: in URLs (RFC 5092 section 7), and in folders that mail is exported to.
_NO_LEVELS = frozenset({"", ".", ".."})
_COLUMNS = (
    "m.id, m.account_id, m.name, m.uidvalidity, m.uidnext, m.highestmodseq, m.messages, m.unseen, m.bytes,"
    " EXISTS (SELECT 1 FROM subscription s WHERE s.account_id = m.account_id AND s.name = m.name),"
    " m.special_use, m.selectable"
)


def normal_name(name: str) -> str:
    """The form in which a mailbox name is stored: NFC, INBOX upper case as the first level.

    Raises StoreError for an empty level or one of dots, control characters, or a name over MAX_NAME or MAX_LEVELS.
    """
    name = unicodedata.normalize("NFC", name)
    levels = name.split(DELIMITER)
    if not _NO_LEVELS.isdisjoint(levels) or _CONTROL.search(name):
        raise StoreError("a mailbox name has no empty levels, no . or .. as a level, and no control characters")
    if len(name) > MAX_NAME or len(levels) > MAX_LEVELS:
        raise StoreError(f"a mailbox name has at most {MAX_NAME} characters and {MAX_LEVELS} levels")
    if levels[0].upper() == INBOX:
        levels[0] = INBOX
    return DELIMITER.join(levels)


def list_mailboxes(db: sqlite3.Connection, account_id: int) -> list[Mailbox]:
    """All mailboxes of an account in the order of their names, INBOX first."""
    keywords: dict[int, list[str]] = {}
    for mailbox_id, name in db.execute(
        "SELECT k.mailbox_id, k.name FROM mailbox m JOIN keyword k ON k.mailbox_id = m.id"
        " WHERE m.account_id = ? ORDER BY k.mailbox_id, k.bit",
        (account_id,),
    ):
        keywords.setdefault(mailbox_id, []).append(name)
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM mailbox m WHERE m.account_id = ? ORDER BY m.name <> 'INBOX', m.name", (account_id,)
    )
    return [_mailbox(row, keywords.get(row[0], ())) for row in rows]


def get_mailbox(db: sqlite3.Connection, account_id: int, name: str) -> Mailbox | None:
    """One mailbox by its name, or None; also for a name that no mailbox can have."""
    try:
        name = normal_name(name)
    except StoreError:
        return None
    return _one(db, "m.account_id = ? AND m.name = ?", (account_id, name))


def mailbox_by_id(db: sqlite3.Connection, mailbox_id: int) -> Mailbox | None:
    """One mailbox, or None if it is not there or is being emptied after its deletion."""
    return _one(db, "m.id = ? AND m.account_id IS NOT NULL", (mailbox_id,))


def mailboxes_by_id(db: sqlite3.Connection, mailbox_ids: Iterable[int]) -> list[Mailbox]:
    """Those of these mailboxes that are there, without their keywords."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM json_each(?) j CROSS JOIN mailbox m ON m.id = j.value WHERE m.account_id IS NOT NULL",
        (json.dumps(list(mailbox_ids)),),
    )
    return [_mailbox(row, ()) for row in rows]


def require_mailbox(db: sqlite3.Connection, account_id: int, name: str) -> Mailbox:
    """One mailbox by its name. Raises NotFoundError."""
    if (mailbox := get_mailbox(db, account_id, name)) is None:
        raise NotFoundError(f"no mailbox {name}")
    return mailbox


def create_mailbox(
    db: Database, account_id: int, name: str, *, special_use: str = "", subscribe: bool = False
) -> Mailbox:
    r"""Create a mailbox; levels above it that are missing become places in the hierarchy (``\Noselect``).

    Raises ExistsError if the name is taken, StoreError for a bad name or too many mailboxes.
    """
    name = normal_name(name.rstrip(DELIMITER))
    if special_use and special_use not in SPECIAL_USES:
        raise StoreError(f"{special_use} is no special use of RFC 6154")
    found = get_mailbox(db, account_id, name)
    if found is not None and found.selectable:
        raise ExistsError(f"mailbox {name} exists already")
    (count,) = db.execute("SELECT count(*) FROM mailbox WHERE account_id = ?", (account_id,)).fetchone()
    if count >= MAX_MAILBOXES:
        raise StoreError(f"an account has at most {MAX_MAILBOXES} mailboxes")
    _make_parents(db, account_id, name)
    if found is not None:
        db.happened(account_id, "created", name)
        # The place becomes a mailbox: nobody may take it for one of that name that was there before.
        db.execute(
            "UPDATE mailbox SET selectable = 1, uidvalidity = ?, special_use = ? WHERE id = ?",
            (take_uidvalidity(db), special_use, found.id),
        )
    else:
        _insert(db, account_id, name, selectable=True, special_use=special_use)
    if subscribe:
        set_subscribed(db, account_id, name, subscribed=True)
    return require_mailbox(db, account_id, name)


def delete_mailbox(db: Database, account_id: int, name: str) -> None:
    """Delete a mailbox with its messages. One that has children stays as a place in the hierarchy.

    The subscription stays (RFC 3501 section 6.3.6). Raises NotFoundError; StoreError for INBOX and for a mere place
    that has children.
    """
    mailbox = require_mailbox(db, account_id, name)
    if mailbox.name == INBOX:
        raise StoreError("INBOX cannot be deleted")
    children = any(ids_below(db, account_id, mailbox.name))
    if children and not mailbox.selectable:
        raise HasChildrenError(f"{mailbox.name} is only the place of the mailboxes below it")
    entries = list_entries(db, mailbox.id)
    detach_mailboxes(db, "id = ?", mailbox.id)
    db.happened(account_id, "deleted", mailbox.name)
    if children:
        place = _insert(db, account_id, mailbox.name, selectable=False)
        put_entries(db, place, entries)  # who may do what below it stays as it was


def detach_mailboxes(db: Database, condition: str, parameter: int) -> None:
    """Take mailboxes out of their account at once; the sweeper removes their messages in small steps afterwards."""
    for mailbox_id, account_id, modseq in db.execute(
        f"SELECT id, account_id, highestmodseq FROM mailbox WHERE account_id IS NOT NULL AND {condition}", (parameter,)
    ).fetchall():
        uids = tuple(uid for (uid,) in db.execute("SELECT uid FROM message WHERE mailbox_id = ?", (mailbox_id,)))
        db.execute(
            "UPDATE mailbox SET account_id = NULL, special_use = '', highestmodseq = ? WHERE id = ?",
            (modseq + 1, mailbox_id),
        )
        db.changed(mailbox_id, account_id, modseq + 1, expunged=uids)
        forget_entries(db, mailbox_id)
    db.garbage = True


def rename_mailbox(db: Database, account_id: int, name: str, new_name: str) -> Mailbox:
    """Rename a mailbox and all below it. Renaming INBOX moves its messages and leaves it empty and its children alone.

    Raises NotFoundError, ExistsError, or StoreError for a bad name (RFC 3501 section 6.3.5).
    """
    mailbox = require_mailbox(db, account_id, name)
    new_name = normal_name(new_name.rstrip(DELIMITER))
    if get_mailbox(db, account_id, new_name) is not None:
        raise ExistsError(f"mailbox {new_name} exists already")
    if mailbox.name == INBOX:
        return _rename_inbox(db, mailbox, new_name)
    if new_name.startswith(mailbox.name + DELIMITER):
        raise StoreError("a mailbox cannot be moved below itself")
    moved = [(mailbox.id, mailbox.name), *_children(db, account_id, mailbox.name)]
    renamed = [(normal_name(new_name + old[len(mailbox.name) :]), child) for child, old in moved]
    _make_parents(db, account_id, new_name)
    db.executemany("UPDATE mailbox SET name = ? WHERE id = ?", renamed)
    db.happened(account_id, "renamed", new_name, old_name=mailbox.name)
    return require_mailbox(db, account_id, new_name)


def _rename_inbox(db: Database, inbox: Mailbox, new_name: str) -> Mailbox:
    from appliance.store.messages import move  # the two modules need each other only here

    target = create_mailbox(db, inbox.account_id, new_name)
    move(db, inbox.id, None, target.id)
    return require_mailbox(db, inbox.account_id, new_name)


def set_subscribed(db: Database, account_id: int, name: str, *, subscribed: bool) -> None:
    """Subscribe to a name or give it up. The mailbox need not be there (RFC 3501 section 6.3.6)."""
    name = normal_name(name)
    if not subscribed:
        if db.execute("DELETE FROM subscription WHERE account_id = ? AND name = ?", (account_id, name)).rowcount:
            db.happened(account_id, "subscription", name)
        return
    (count,) = db.execute("SELECT count(*) FROM subscription WHERE account_id = ?", (account_id,)).fetchone()
    if count >= 2 * MAX_MAILBOXES:
        raise StoreError("too many subscriptions")
    if db.execute("INSERT OR IGNORE INTO subscription VALUES (?, ?)", (account_id, name)).rowcount:
        db.happened(account_id, "subscription", name)


def list_subscriptions(db: sqlite3.Connection, account_id: int) -> list[str]:
    """Subscribed names, those of deleted mailboxes included."""
    return [name for (name,) in db.execute("SELECT name FROM subscription WHERE account_id = ?", (account_id,))]


def claim_recent(db: Database, mailbox_id: int, below: int | None = None) -> int:
    r"""Take over the `\Recent` messages: all from the returned uid on are recent for this session, for no later one.

    For a session that has selected the mailbox for writing (RFC 3501 section 2.3.2). `below` is the first uid that it
    has not been told of, None if it was told of all.
    """
    row = db.execute("SELECT recent_from, uidnext FROM mailbox WHERE id = ?", (mailbox_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no mailbox {mailbox_id}")
    end = row[1] if below is None else min(below, row[1])
    if row[0] < end:
        db.execute("UPDATE mailbox SET recent_from = ? WHERE id = ?", (end, mailbox_id))
    first: int = row[0]
    return first


def recent_from(db: sqlite3.Connection, mailbox_id: int) -> int:
    """The first uid that no session has claimed as recent yet (for EXAMINE and STATUS RECENT)."""
    row = db.execute("SELECT recent_from FROM mailbox WHERE id = ?", (mailbox_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no mailbox {mailbox_id}")
    first: int = row[0]
    return first


def take_uids(db: Database, mailbox_id: int, count: int, *, unseen: int, octets: int) -> tuple[int, int, int]:
    """Reserve `count` uids and one modseq: (first uid, modseq, account id). The counters grow with them.

    Call inside the transaction that adds the messages. Raises NotFoundError, also for a mere place in the hierarchy.
    """
    row = db.execute(
        "UPDATE mailbox SET uidnext = uidnext + ?1, highestmodseq = highestmodseq + 1, messages = messages + ?1,"
        " unseen = unseen + ?2, bytes = bytes + ?3 WHERE id = ?4 AND selectable AND account_id IS NOT NULL"
        " RETURNING uidnext - ?1, highestmodseq, account_id",
        (count, unseen, octets, mailbox_id),
    ).fetchone()
    if row is None:
        raise NotFoundError(f"no mailbox {mailbox_id}")
    return row[0], row[1], row[2]


def keyword_bits(db: Database, mailbox_id: int, names: Sequence[str]) -> int:
    """The flag bits of keywords in one mailbox; names that are new there are registered. Compared without case.

    Raises StoreError when the mailbox would have more than MAX_KEYWORDS.
    """
    known = {name.lower(): bit for bit, name in _keywords(db, mailbox_id)}
    bits = 0
    for name in names:
        bit = known.get(name.lower())
        if bit is None:
            if not name or len(name) > MAX_KEYWORD_NAME or _CONTROL.search(name):
                raise StoreError(f"a keyword has 1 to {MAX_KEYWORD_NAME} printable characters")
            bit = len(known)
            if bit >= MAX_KEYWORDS:
                raise StoreError(f"a mailbox has at most {MAX_KEYWORDS} keywords")
            db.execute("INSERT INTO keyword VALUES (?, ?, ?)", (mailbox_id, bit, name))
            known[name.lower()] = bit
        bits |= 1 << FIRST_KEYWORD_BIT + bit
    return bits


def keyword_names(db: sqlite3.Connection, mailbox_id: int) -> tuple[str, ...]:
    """The keywords of a mailbox; index n is flag bit FIRST_KEYWORD_BIT + n."""
    return tuple(name for _, name in _keywords(db, mailbox_id))


def take_uidvalidity(db: Database) -> int:
    """A UIDVALIDITY that no mailbox has had: the time, or one more than the last (RFC 3501 section 2.3.1.1)."""
    (value,) = db.execute(
        "UPDATE meta SET value = max(value + 1, ?) WHERE key = 'uidvalidity' RETURNING value", (db.now,)
    ).fetchone()
    return int(value)


def mailbox_id_for(db: Database, account_id: int, name: str) -> int:
    """The id of a mailbox to file in, which is made and subscribed if it is not there."""
    return filing_target(db, account_id, name)[0]


def filing_target(db: Database, account_id: int, name: str) -> tuple[int, int]:
    """(id, the account's quota in octets) of the mailbox to file in, which is made and subscribed if it is not there.

    Raises NotFoundError without the account, StoreError for a bad name.
    """
    row = db.execute(_TARGET, (account_id, name)).fetchone()
    if row is None:
        if db.execute("SELECT 1 FROM account WHERE id = ?", (account_id,)).fetchone() is None:
            raise NotFoundError(f"no account {account_id}")
        name = normal_name(name)
        found = get_mailbox(db, account_id, name)
        if found is None or not found.selectable:
            create_mailbox(db, account_id, name, subscribe=True)
        row = db.execute(_TARGET, (account_id, name)).fetchone()
    return row[0], row[1]


_TARGET = (
    "SELECT m.id, a.quota_bytes FROM mailbox m JOIN account a ON a.id = m.account_id"
    " WHERE m.account_id = ? AND m.name = ? AND m.selectable"
)


def _keywords(db: sqlite3.Connection, mailbox_id: int) -> list[tuple[int, str]]:
    return db.execute("SELECT bit, name FROM keyword WHERE mailbox_id = ? ORDER BY bit", (mailbox_id,)).fetchall()


def _one(db: sqlite3.Connection, condition: str, parameters: tuple[int | str, ...]) -> Mailbox | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM mailbox m WHERE {condition}", parameters).fetchone()
    return None if row is None else _mailbox(row, keyword_names(db, row[0]))


def _mailbox(row: Sequence[Any], keywords: Sequence[str]) -> Mailbox:
    number, account_id, name, uidvalidity, uidnext, modseq, messages, unseen, octets, subscribed, use, selectable = row
    return Mailbox(
        id=number,
        account_id=account_id,
        name=name,
        uidvalidity=uidvalidity,
        uidnext=uidnext,
        highestmodseq=modseq,
        messages=messages,
        unseen=unseen,
        bytes=octets,
        subscribed=bool(subscribed),
        special_use=use,
        keywords=tuple(keywords),
        selectable=bool(selectable),
    )


def ids_below(db: sqlite3.Connection, account_id: int, name: str) -> Iterator[int]:
    """The ids of all mailboxes below a name; looked up as they are asked for."""
    for (mailbox_id,) in db.execute("SELECT id" + _BELOW, _below(account_id, name)):
        yield mailbox_id


def _children(db: sqlite3.Connection, account_id: int, name: str) -> list[tuple[int, str]]:
    """(id, name) of all mailboxes below a name."""
    return db.execute("SELECT id, name" + _BELOW, _below(account_id, name)).fetchall()


_BELOW = " FROM mailbox WHERE account_id = ? AND name > ? AND name < ?"


def _below(account_id: int, name: str) -> tuple[int, str, str]:
    """`0` is the character after the delimiter."""
    return account_id, name + DELIMITER, name + chr(ord(DELIMITER) + 1)


def _insert(db: Database, account_id: int, name: str, *, selectable: bool, special_use: str = "") -> int:
    """A new row; whoever may do something with the mailbox above it may do so here (RFC 4314 section 4)."""
    mailbox_id = db.execute(
        "INSERT INTO mailbox (account_id, name, uidvalidity, special_use, selectable) VALUES (?, ?, ?, ?, ?)",
        (account_id, name, take_uidvalidity(db), special_use, selectable),
    ).lastrowid
    assert mailbox_id is not None
    above = db.execute(
        "SELECT id FROM mailbox WHERE account_id = ? AND name = ?", (account_id, name.rpartition(DELIMITER)[0])
    ).fetchone()
    if above is not None:
        copy_entries(db, above[0], mailbox_id)
    db.happened(account_id, "created", name)
    return mailbox_id


def _make_parents(db: Database, account_id: int, name: str) -> None:
    levels = name.split(DELIMITER)
    for depth in range(1, len(levels)):
        parent = DELIMITER.join(levels[:depth])
        row = db.execute("SELECT 1 FROM mailbox WHERE account_id = ? AND name = ?", (account_id, parent)).fetchone()
        if row is None:
            _insert(db, account_id, parent, selectable=False)
