"""Connections that only read: what is read ahead at the start."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from appliance.store import Account, Store, readers
from appliance.store.readers import Readers
from tests.appliance.store.samples import accept, message


def warmed(folder: Path) -> list[tuple[int, int]]:
    """The connections after a warm-up."""
    found = Readers(folder / "mail.db")
    found.warm_up()
    found.pool.shutdown(wait=True)
    kept = [(generation, db.execute("SELECT count(*) FROM message").fetchone()[0]) for generation, db in found._idle]
    found.close()
    return kept


async def test_the_rows_of_messages_are_read_ahead(
    store: Store, ana: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await accept(store, message(1), ana)
    assert warmed(store.folder) == [(0, 1)]
    assert "ahead" not in caplog.text


async def test_reading_ahead_ends_in_time(
    store: Store, ana: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(readers, "WARM_UP_S", -1.0)
    monkeypatch.setattr(readers, "WARM_UP_STEPS", 1)
    await accept(store, message(1), ana)
    assert warmed(store.folder) == [(0, 1)]  # and the connection is good for others
    assert "not all rows of messages were read ahead: interrupted" in caplog.text


def test_what_cannot_be_read_is_left_to_who_asks_for_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "mail.db").write_bytes(b"no database at all" * 1000)
    found = Readers(tmp_path / "mail.db")
    found.warm_up()
    found.close()
    assert "no rows were read ahead" in caplog.text
