"""Whoever made the data folder, and with whatever mode: its files are this user's alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.mail.message import Message
from appliance.store import Store
from appliance.store.accounts import create_account
from appliance.store.model import Filing
from tests.appliance.store.samples import ENVELOPE
from tests.appliance.store.test_soft import NOTES, add


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def fill(folder: Path) -> None:
    """Open a store, and let every kind of file be made."""
    store = Store.open(folder, reserve_bytes=0)
    await store.start()
    store.soft.add(NOTES)
    await store.soft.write(add)
    ana = await store.write(lambda db: create_account(db, f"ana{os.urandom(4).hex()}@palomar.test"))
    message = Message.parse(b"Subject: large\r\n\r\n" + os.urandom(1 << 20).hex().encode())
    await store.accept(message, [Filing(ana.id)], [], ENVELOPE, trace_id="t")
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert {"mail.db", "mail.db-wal", "soft.db", "soft.db-wal"} <= set(modes)
    assert any(path.parent.name == "segments" for path in folder.rglob("*"))
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
    await store.close()


async def test_files_are_private_in_an_open_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    await fill(folder)


async def test_files_that_were_open_are_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    await fill(folder)
    for name in ("mail.db", "soft.db"):
        (folder / name).chmod(0o644)
    await fill(folder)
