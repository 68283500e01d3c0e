"""The tables of mail.db, and the named migrations that make and change them."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from appliance.errors import StoreError

log = logging.getLogger(__name__)

READER = 1  # what this release can read: a data folder with a higher `min_reader` is refused
WRITER = 1  # what this release can write: a data folder with a higher `min_writer` is refused


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `name` is unique for ever and begins with the owner: `core.m001_first_tables`.

    `apply` gets the connection inside a transaction of its own; it must not commit (`executescript` does).
    """

    name: str
    apply: Callable[[sqlite3.Connection], None]


def m001_first_tables(db: sqlite3.Connection) -> None:
    """Accounts, mailboxes, messages, bodies and the queue."""
    for statement in _FIRST_TABLES.split(";\n\n"):
        if statement.strip():
            db.execute(statement)
    db.executemany("INSERT INTO meta VALUES (?, ?)", [("min_reader", 1), ("min_writer", 1), ("uidvalidity", 0)])


# Columns that change stand in front of those that never do; blobs stand last, so that a look at a row's start does
# not walk its overflow pages. Rows that change often (message) hold nothing else.
_FIRST_TABLES = """
CREATE TABLE domain (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, catch_all TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, quota_bytes INTEGER NOT NULL DEFAULT 0,
    enabled INTEGER NOT NULL DEFAULT 1, redirect TEXT NOT NULL DEFAULT '',
    weak_mechanisms INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE credential (
    login TEXT NOT NULL, kind TEXT NOT NULL, account_id INTEGER NOT NULL, label TEXT NOT NULL DEFAULT '',
    data BLOB NOT NULL, PRIMARY KEY (login, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX credential_account ON credential (account_id);

CREATE TABLE alias (
    address TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (address, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account_id INTEGER, name TEXT NOT NULL, uidvalidity INTEGER NOT NULL,
    uidnext INTEGER NOT NULL DEFAULT 1, highestmodseq INTEGER NOT NULL DEFAULT 1,
    recent_from INTEGER NOT NULL DEFAULT 1, messages INTEGER NOT NULL DEFAULT 0, unseen INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0, selectable INTEGER NOT NULL DEFAULT 1, special_use TEXT NOT NULL DEFAULT '',
    UNIQUE (account_id, name)
) STRICT;

CREATE TABLE keyword (
    mailbox_id INTEGER NOT NULL, bit INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (mailbox_id, bit)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscription (
    account_id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (account_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    mailbox_id INTEGER NOT NULL, uid INTEGER NOT NULL, flags INTEGER NOT NULL, modseq INTEGER NOT NULL,
    size INTEGER NOT NULL, internal_at INTEGER NOT NULL, body_id INTEGER NOT NULL, filing_id INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, uid)
) STRICT, WITHOUT ROWID;

CREATE TABLE filing (
    id INTEGER PRIMARY KEY, refs INTEGER NOT NULL, body_id INTEGER NOT NULL, prefix BLOB NOT NULL
) STRICT;

CREATE INDEX filing_dead ON filing (id) WHERE refs = 0;

CREATE TABLE body (
    id INTEGER PRIMARY KEY, refs INTEGER NOT NULL, codec INTEGER NOT NULL, text_size INTEGER NOT NULL,
    segment INTEGER, position INTEGER, stored INTEGER NOT NULL, envelope BLOB NOT NULL,
    bodystructure BLOB NOT NULL, parts BLOB NOT NULL, header BLOB NOT NULL, text BLOB
) STRICT;

CREATE INDEX body_dead ON body (id) WHERE refs = 0;

CREATE TABLE extent (
    segment INTEGER NOT NULL, position INTEGER NOT NULL, length INTEGER NOT NULL, body_id INTEGER NOT NULL,
    PRIMARY KEY (segment, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE queued (
    id INTEGER PRIMARY KEY, body_id INTEGER NOT NULL, sender TEXT, ret TEXT NOT NULL, envid TEXT NOT NULL,
    body TEXT NOT NULL, smtputf8 INTEGER NOT NULL, require_tls INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL,
    created_at INTEGER NOT NULL, trace_id TEXT NOT NULL
) STRICT;

CREATE TABLE queue_entry (
    id INTEGER PRIMARY KEY, held INTEGER NOT NULL, attempts INTEGER NOT NULL, waited_s INTEGER NOT NULL,
    tried_at INTEGER NOT NULL, next_at INTEGER NOT NULL, delay_warned INTEGER NOT NULL, address TEXT NOT NULL,
    notify TEXT NOT NULL, orcpt TEXT NOT NULL, transport TEXT NOT NULL, next_hop TEXT NOT NULL, policy TEXT NOT NULL,
    last_reply TEXT NOT NULL
) STRICT;

CREATE INDEX queue_due ON queue_entry (next_at) WHERE held = 0;

CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
"""


def m002_domain_next_hop(db: sqlite3.Connection) -> None:
    """The host to which a domain of kind relay is passed on."""
    db.execute("ALTER TABLE domain ADD COLUMN next_hop TEXT NOT NULL DEFAULT ''")


def m003_expunge_history(db: sqlite3.Connection) -> None:
    """What was removed, for QRESYNC (RFC 7162). It begins now: what was removed before nobody has noted."""
    db.execute(
        "CREATE TABLE expunged (mailbox_id INTEGER NOT NULL, modseq INTEGER NOT NULL, first_uid INTEGER NOT NULL,"
        " last_uid INTEGER NOT NULL, PRIMARY KEY (mailbox_id, modseq, first_uid)) STRICT, WITHOUT ROWID"
    )
    for column in ("gone", "history_from", "history_spans"):
        db.execute(f"ALTER TABLE mailbox ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE mailbox SET gone = uidnext - 1 - messages, history_from = highestmodseq")


def m004_saved(db: sqlite3.Connection) -> None:
    """When messages came into their mailbox (RFC 8514), where that is not their internal date."""
    db.execute(
        "CREATE TABLE saved (mailbox_id INTEGER NOT NULL, first_uid INTEGER NOT NULL, last_uid INTEGER NOT NULL,"
        " saved_at INTEGER NOT NULL, PRIMARY KEY (mailbox_id, first_uid)) STRICT, WITHOUT ROWID"
    )


def m005_annotations(db: sqlite3.Connection) -> None:
    """What clients note about mailboxes and the server (RFC 5464)."""
    db.execute(
        "CREATE TABLE annotation (mailbox_id INTEGER NOT NULL, account_id INTEGER NOT NULL, entry TEXT NOT NULL,"
        " value BLOB NOT NULL, PRIMARY KEY (mailbox_id, account_id, entry)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE INDEX annotation_account ON annotation (account_id)")


def m006_access_control(db: sqlite3.Connection) -> None:
    """Who may do what with mailboxes of others (RFC 4314), and which accounts are those of a role."""
    db.execute(
        "CREATE TABLE acl (mailbox_id INTEGER NOT NULL, account_id INTEGER NOT NULL, negative INTEGER NOT NULL,"
        " rights TEXT NOT NULL, PRIMARY KEY (mailbox_id, account_id, negative)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE INDEX acl_account ON acl (account_id)")
    db.execute("CREATE TABLE role_account (account_id INTEGER PRIMARY KEY) STRICT")


def m007_queue_terms_and_history(db: sqlite3.Connection) -> None:
    """What few messages in the queue ask for, and what happened to entries so far.

    Tables of their own: a release before this one, which fills whole rows, can go on writing. Triggers, so that what
    it settles leaves nothing behind for the next message that gets the same id.
    """
    db.execute(
        "CREATE TABLE queue_terms (id INTEGER PRIMARY KEY, priority INTEGER NOT NULL, release_at INTEGER NOT NULL,"
        " deliver_by INTEGER NOT NULL, by_mode TEXT NOT NULL, auth TEXT NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE queue_history (entry_id INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL,"
        " what TEXT NOT NULL, peer TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (entry_id, number))"
        " STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE TRIGGER queued_gone AFTER DELETE ON queued BEGIN DELETE FROM queue_terms WHERE id = old.id; END")
    db.execute(
        "CREATE TRIGGER queue_entry_gone AFTER DELETE ON queue_entry BEGIN"
        " DELETE FROM queue_history WHERE entry_id = old.id; END"
    )


def m008_redirects_and_lists(db: sqlite3.Connection) -> None:
    """Which address of ours sent a queued message on; redirects that keep a copy here; lists of members."""
    db.execute("CREATE TABLE queue_via (id INTEGER PRIMARY KEY, via TEXT NOT NULL) STRICT")
    db.execute(
        "CREATE TRIGGER queue_via_gone AFTER DELETE ON queue_entry BEGIN DELETE FROM queue_via WHERE id = old.id; END"
    )
    db.execute("ALTER TABLE account ADD COLUMN redirect_keep INTEGER NOT NULL DEFAULT 0")
    db.execute(
        "CREATE TABLE list (address TEXT PRIMARY KEY, title TEXT NOT NULL, owner TEXT NOT NULL, post TEXT NOT NULL,"
        " reply_to_list INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE list_member (list TEXT NOT NULL, key TEXT NOT NULL, address TEXT NOT NULL,"
        " PRIMARY KEY (list, key)) STRICT, WITHOUT ROWID"
    )


def m009_account_holds(db: sqlite3.Connection) -> None:
    """Accounts whose outgoing mail is held, and the queued messages that this concerns, by their trace ids."""
    db.execute(
        "CREATE TABLE account_hold (account_id INTEGER PRIMARY KEY, since INTEGER NOT NULL, why TEXT NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE held_message (trace_id TEXT PRIMARY KEY, account_id INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )


def m010_queue_judged(db: sqlite3.Connection) -> None:
    """What filters concluded about queued mail that is held because of them, and the lines it is filed with."""
    db.execute(
        "CREATE TABLE queue_judged (id INTEGER PRIMARY KEY, score REAL NOT NULL, demanded TEXT NOT NULL,"
        " header BLOB NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TRIGGER queue_judged_gone AFTER DELETE ON queue_entry BEGIN"
        " DELETE FROM queue_judged WHERE id = old.id; END"
    )


def m011_account_language(db: sqlite3.Connection) -> None:
    """In which language the appliance writes to an account."""
    db.execute("ALTER TABLE account ADD COLUMN language TEXT NOT NULL DEFAULT ''")


MIGRATIONS = (  # append only; never edit a shipped one
    Migration("core.m001_first_tables", m001_first_tables),
    Migration("core.m002_domain_next_hop", m002_domain_next_hop),
    Migration("core.m003_expunge_history", m003_expunge_history),
    Migration("core.m004_saved", m004_saved),
    Migration("core.m005_annotations", m005_annotations),
    Migration("core.m006_access_control", m006_access_control),
    Migration("core.m007_queue_terms_and_history", m007_queue_terms_and_history),
    Migration("core.m009_account_holds", m009_account_holds),
    Migration("core.m008_redirects_and_lists", m008_redirects_and_lists),
    Migration("core.m010_queue_judged", m010_queue_judged),
    Migration("core.m011_account_language", m011_account_language),
)


def migrate(db: sqlite3.Connection, migrations: Sequence[Migration], *, now: Callable[[], float] = time.time) -> None:
    """Apply the steps that are not recorded yet, each in its own transaction together with its record.

    Those of a new database share one.

    Raises StoreError, naming the step, if a name stands twice or a step fails; the steps before it stay.
    """
    names = [step.name for step in migrations]
    if twice := {name for name in names if names.count(name) > 1}:
        raise StoreError(f"two migrations have one name: {', '.join(sorted(twice))}")
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migration'").fetchone() is None:
        _begin(db, migrations, now)
    done = {name for (name,) in db.execute("SELECT name FROM migration")}
    for step in migrations:
        if step.name in done:
            continue
        try:
            with _transaction(db):
                _apply(db, step, now)
        except Exception as error:
            raise StoreError(f"migration {step.name} failed: {error}") from error


_RECORDS = "CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, applied_at INTEGER NOT NULL)"


def _begin(db: sqlite3.Connection, migrations: Sequence[Migration], now: Callable[[], float]) -> None:
    """Make a new database in one transaction: it is there or not, and a card is flushed once, not for each step."""
    try:
        with _transaction(db):
            db.execute(_RECORDS)
            for step in migrations:
                _apply(db, step, now)
    except Exception as error:  # noqa: BLE001  # taken one by one, the steps tell which of them it was
        log.debug("the database is made step by step: %s", error)
        db.execute(_RECORDS)


def _apply(db: sqlite3.Connection, step: Migration, now: Callable[[], float]) -> None:
    step.apply(db)
    if not db.in_transaction:
        raise StoreError("the step ended its transaction")
    db.execute("INSERT INTO migration VALUES (?, ?)", (step.name, int(now())))


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def check_format(db: sqlite3.Connection, *, reader: int = READER, writer: int = WRITER) -> None:
    """Refuse a data folder that a newer release has written in a way this one cannot read or continue."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone() is None:
        return  # a new folder
    needs = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('min_reader', 'min_writer')"))
    for key, can in (("min_reader", reader), ("min_writer", writer)):
        if needs.get(key, 0) > can:
            raise StoreError(
                f"the data folder needs a release whose {key[4:]} version is {needs[key]} or later; this one has {can}."
                " Update the appliance, or restore a backup made by this release."
            )
