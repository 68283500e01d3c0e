"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.appliance_process import ACCOUNTS, Appliance


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """One running appliance with the accounts ana and luis, shared by a module's tests."""
    made = Appliance(tmp_path_factory.mktemp("appliance"))
    made.add_accounts(*ACCOUNTS)
    with made:
        yield made
