"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.appliance_process import ACCOUNTS, HOSTNAME, Appliance, Certificate

Make = Callable[..., Appliance]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The authority that all programs here trust."""
    return trustme.CA()


@pytest.fixture(scope="session")
def trust(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's certificate as a PEM file."""
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def issue(authority: trustme.CA) -> Callable[..., Certificate]:
    """Issue a certificate for names."""

    def issue(*names: str) -> Certificate:
        made = authority.issue_cert(*names, common_name=names[0])  # fetchmail wants one
        return Certificate(b"".join(pem.bytes() for pem in made.cert_chain_pems), made.private_key_pem.bytes())

    return issue


@pytest.fixture(scope="session")
def certificate(issue: Callable[..., Certificate]) -> Certificate:
    """The appliances' certificate, for every name that a program here may know them by."""
    return issue("localhost", HOSTNAME, "127.0.0.1")


@pytest.fixture(scope="module")
def make_appliance(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Make]:
    """Make and start appliances that end with the module's tests. `accounts` names those to add."""
    with ExitStack() as running:

        def make(*, accounts: tuple[str, ...] = ACCOUNTS, **settings: Any) -> Appliance:
            folder = tmp_path_factory.mktemp("appliance")
            made = Appliance(folder, **{"certificate": certificate, **settings})
            made.add_accounts(*accounts)
            return running.enter_context(made)

        yield make


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    """One running appliance with the accounts ana and luis, shared by a module's tests."""
    return make_appliance()
