"""Connections to SQLite as the store needs them, and what a transaction notes about itself on the way."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from appliance.errors import StoreError
from appliance.store.model import Change, FlagEdit, MailboxEvent, Notice

# Measured with 4 KiB messages in groups of ten (octets written per octet of mail, checkpoints included, with and
# without compression): pages of 1 KiB 2.5 and 3.1, of 2 KiB 3.2 and 3.5, of 4 KiB 3.7 and 4.0. A group touches many
# pages that hold one changed row each, and rows of 3 KiB leave less room empty in small pages. Reading 10,000
# envelopes takes 17 ms instead of 15.
PAGE_SIZE = 1024
WRITER_CACHE_KIB = 4096
READER_CACHE_KIB = 1024
LOOP_CACHE_KIB = 512
BUSY_TIMEOUT_S = 5.0  # only another process can make us wait: an inspection by hand, or a backup
PRIVATE = 0o600
JOURNAL_LIMIT = 32 << 20  # octets to which the log is cut back once it has been larger


class Database(sqlite3.Connection):
    """One connection. The functions of `appliance.store` take it as their first argument.

    On the writer's connection they also note what the transaction did: `changed()` for the mailboxes, so that their
    watchers hear of it after the commit, `happened()` for their names and annotations, `touch_directory()` for
    accounts, domains and aliases, `garbage` when rows are left for the sweeper, and `removed` when bodies are gone, so
    that there is room to give back. `now` is the time of the transaction in epoch seconds.
    """

    now: int = 0
    origin: object = None
    garbage: bool = False
    removed: bool = False
    directory_touched: bool = False
    next_body_id: int = 1  # given by the writer, so that no id comes back within one process
    next_filing_id: int = 1

    def __init__(self, path: str) -> None:
        super().__init__(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self.changes: list[Notice] = []

    def changed(
        self,
        mailbox_id: int,
        account_id: int,
        modseq: int,
        *,
        added: tuple[int, ...] = (),
        expunged: tuple[int, ...] = (),
        flags: tuple[tuple[int, int], ...] = (),
        edits: tuple[FlagEdit, ...] = (),
    ) -> None:
        """Note a change of one mailbox; it is published if and when the transaction is on the disk."""
        self.changes.append(Change(mailbox_id, account_id, modseq, added, expunged, flags, edits, self.origin))

    def happened(
        self,
        account_id: int,
        kind: Literal["created", "deleted", "renamed", "subscription", "annotations", "rights"],
        name: str,
        *,
        old_name: str = "",
        entries: tuple[str, ...] = (),
        seen_by: int = 0,
    ) -> None:
        """Note what happened to a mailbox's name, subscription or annotations, in the manner of `changed`."""
        self.changes.append(MailboxEvent(account_id, kind, name, old_name, entries, seen_by, self.origin))

    def touch_directory(self) -> None:
        """Note that accounts, domains or aliases change, so that the directory in memory is read anew."""
        self.directory_touched = True

    def forget_notes(self) -> None:
        """Start with no notes: at the start of a transaction, and after one that was rolled back."""
        self.changes = []
        self.garbage = False
        self.removed = False
        self.directory_touched = False
        self.origin = None


def connect(path: Path, *, cache_kib: int, read_only: bool = False, full_sync: bool = True) -> Database:
    """Open the database file, creating it with our page size if it is not there, and for this user alone.

    Raises StoreError if the file is no database or cannot be opened.
    """
    db: Database | None = None
    try:
        if not read_only:
            _keep_private(path)
        db = Database(str(path))
        if db.execute("PRAGMA page_count").fetchone()[0] == 0:
            # Both count only before the first table; later the second would write at every opening.
            db.execute(f"PRAGMA page_size={PAGE_SIZE}")
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        if db.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise StoreError(f"{path}: this file system does not allow write-ahead logging")
        db.execute(f"PRAGMA synchronous={'FULL' if full_sync else 'NORMAL'}")
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute(f"PRAGMA journal_size_limit={JOURNAL_LIMIT}")
        db.execute(f"PRAGMA cache_size=-{cache_kib}")
        # Mapped pages count as our memory, and a bad block under a mapping is SIGBUS instead of an error.
        db.execute("PRAGMA mmap_size=0")
        db.execute("PRAGMA secure_delete=FAST")  # zeroes what it rewrites anyway; full zeroing doubles the writes
        db.execute("PRAGMA temp_store=MEMORY")
        if read_only:
            db.execute("PRAGMA query_only=ON")
        return db
    except (sqlite3.Error, OSError) as error:
        if db is not None:
            db.close()
        raise StoreError(f"{path}: {error}") from error


def _keep_private(path: Path) -> None:
    """Let nobody else read all mail and some passwords, whatever the folder's mode and the umask are.

    SQLite gives -wal and -shm the mode of the database; those that are there already keep theirs.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE))
    except FileExistsError:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                file = f"{path}{suffix}"
                if os.stat(file).st_mode & 0o077:
                    os.chmod(file, PRIVATE)


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code of an error, 0 if it has none."""
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF


def json_list(values: Iterable[int]) -> str:
    """Integers as one parameter, for `IN (SELECT value FROM json_each(?))`."""
    return json.dumps(list(values), separators=(",", ":"))


def ranges(uids: Collection[int]) -> list[tuple[int, int]]:
    """Sorted, disjoint (first, last) ranges that hold exactly the numbers given."""
    found: list[tuple[int, int]] = []
    first = last = None
    for uid in sorted(uids):
        if last is not None and first is not None and uid <= last + 1:
            last = uid
            continue
        if first is not None and last is not None:
            found.append((first, last))
        first = last = uid
    if first is not None and last is not None:
        found.append((first, last))
    return found


def within(column: str, uids: Sequence[int] | None) -> tuple[str, list[int | str]]:
    """An SQL condition that `column` is one of `uids` (None: all), and its parameters. Few ranges become BETWEEN."""
    if uids is None:
        return "1", []
    spans = ranges(uids)
    if len(spans) == 1:
        return f"{column} BETWEEN ? AND ?", list(spans[0])
    return f"{column} IN (SELECT value FROM json_each(?))", [json_list(uids)]
