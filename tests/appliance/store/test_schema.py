"""Migrations, formats, and folders that cannot be used."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.store import Migration, Store
from appliance.store.database import PAGE_SIZE, Database, ranges, within
from appliance.store.schema import MIGRATIONS, READER, WRITER, check_format, migrate


def names(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM migration ORDER BY rowid")]


def open_and_close(folder: Path, *migrations: Migration) -> None:
    Store.open(folder, migrations=migrations, reserve_bytes=0)._shut_down()


def make_table(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE plugin_table (a)")


PLUGIN = Migration("plugin.m001_table", make_table)


def test_the_file_is_made_as_we_want_it(tmp_path: Path) -> None:
    open_and_close(tmp_path)
    db = sqlite3.connect(tmp_path / "mail.db")
    assert db.execute("PRAGMA page_size").fetchone() == (PAGE_SIZE,)
    assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (tmp_path / "mail.db").stat().st_mode & 0o077 == 0 or tmp_path.stat().st_mode & 0o077 == 0


def test_the_writer_syncs_every_commit_and_never_checkpoints_by_itself(tmp_path: Path) -> None:
    store = Store.open(tmp_path, reserve_bytes=0)
    db = store._writer._link.db
    assert db is not None
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert db.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    store._shut_down()


def test_plugins_migrate_by_the_same_door_once(tmp_path: Path) -> None:
    for _ in range(2):
        open_and_close(tmp_path, PLUGIN)
    db = sqlite3.connect(tmp_path / "mail.db")
    assert names(db) == [*(step.name for step in MIGRATIONS), PLUGIN.name]
    open_and_close(tmp_path)  # a plugin that is gone leaves its tables


def test_a_failed_step_leaves_nothing_and_those_before_it_stay(tmp_path: Path) -> None:
    def fail(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE half_done (a)")
        db.execute("INSERT INTO not_there VALUES (1)")

    with pytest.raises(StoreError, match=r"plugin\.m002_bad failed: no such table"):
        open_and_close(tmp_path, PLUGIN, Migration("plugin.m002_bad", fail))
    db = sqlite3.connect(tmp_path / "mail.db")
    assert names(db) == [*(step.name for step in MIGRATIONS), PLUGIN.name]
    assert not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half_done'").fetchall()


def test_a_step_may_not_end_its_transaction(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="ended its transaction"):
        open_and_close(tmp_path, Migration("plugin.m001_commits", lambda db: db.execute("COMMIT")))  # type: ignore[arg-type]


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="two migrations have one name"):
        open_and_close(tmp_path, PLUGIN, PLUGIN)


@pytest.mark.parametrize(("key", "can"), [("min_reader", READER), ("min_writer", WRITER)])
def test_a_folder_of_a_newer_release_is_refused_with_words(tmp_path: Path, key: str, can: int) -> None:
    open_and_close(tmp_path)
    db = sqlite3.connect(tmp_path / "mail.db")
    db.execute("UPDATE meta SET value = ? WHERE key = ?", (can + 1, key))
    db.commit()
    with pytest.raises(StoreError, match="Update the appliance"):
        open_and_close(tmp_path)
    check_format(db, reader=can + 1, writer=can + 1)


def test_a_folder_that_cannot_be_used_is_refused_with_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        open_and_close(tmp_path / "file")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "mail.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        open_and_close(tmp_path / "bad")


def test_an_old_database_is_migrated_step_by_step() -> None:
    db = Database(":memory:")
    migrate(db, MIGRATIONS, now=lambda: 5)
    assert db.execute("SELECT DISTINCT applied_at FROM migration").fetchall() == [(5,)]
    migrate(db, [*MIGRATIONS, PLUGIN], now=lambda: 6)
    assert db.execute("SELECT name FROM migration WHERE applied_at = 6").fetchall() == [(PLUGIN.name,)]


def test_ranges_and_conditions() -> None:
    assert ranges([5, 1, 2, 3, 9, 2]) == [(1, 3), (5, 5), (9, 9)]
    assert ranges([]) == []
    assert within("uid", None) == ("1", [])
    assert within("uid", [3, 2]) == ("uid BETWEEN ? AND ?", [2, 3])
    assert within("uid", [1, 3])[1] == ["[1,3]"]
    assert within("uid", [])[1] == ["[]"]
