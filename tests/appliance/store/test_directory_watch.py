"""Sessions of an account that is disabled or deleted are told to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.store.accounts import create_account, delete_account, set_enabled
from tests.appliance.office import Office, office


async def gone_after(o: Office, change: str) -> list[str]:
    told: list[str] = []
    for name in ("ana", "luis"):
        o.store.directory.watch(f"{name}@palomar.test", lambda name=name: told.append(name))  # type: ignore[misc]
    end = o.store.directory.watch("ana@palomar.test", lambda: told.append("ended watch"))
    end()
    end()
    if change == "disable":
        await o.store.write(lambda db: set_enabled(db, "ana@palomar.test", enabled=False))
    elif change == "delete":
        await o.store.write(lambda db: delete_account(db, "ana@palomar.test"))
    else:
        await o.store.write(lambda db: create_account(db, "eva@palomar.test", []))
    return told


@pytest.mark.parametrize(("change", "told"), [("disable", ["ana"]), ("delete", ["ana"]), ("other", [])])
async def test_who_is_told(tmp_path: Path, change: str, told: list[str]) -> None:
    async with office(tmp_path) as o:
        assert await gone_after(o, change) == told


async def test_another_back_ends_account_is_not_watched(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        o.store.directory.watch("someone@elsewhere.test", lambda: None)()
        assert o.store.directory._watched == {}
