"""A store in a fresh folder, and an account in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.store import Account, Store
from appliance.store.accounts import create_account
from tests.appliance.store.invariants import check_invariants
from tests.appliance.store.samples import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """Opened and started; after the test its tables are checked."""
    opened = Store.open(tmp_path / "data", reserve_bytes=0, now=clock)
    await opened.start()
    yield opened
    await opened.read(check_invariants)
    await opened.close()


@pytest.fixture
async def ana(store: Store) -> Account:
    return await store.write(lambda db: create_account(db, "ana@palomar.test", [("argon2id", b"hash")]))


@pytest.fixture
async def luis(store: Store) -> Account:
    return await store.write(lambda db: create_account(db, "luis@palomar.test"))
