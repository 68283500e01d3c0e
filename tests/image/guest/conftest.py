"""Cards and guests for the tests that start the image, and the report that they fill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image.qemu import CHECKOUT
from tests.image.guest.card import Card

REPORT = CHECKOUT / "build/image.json"


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """A fresh card, as it comes from the writer."""
    return Card(tmp_path / "card.img")


@pytest.fixture(scope="session")
def report() -> Iterator[dict[str, Any]]:
    """What was measured; kept in build/image.json beside what earlier runs of other tests found."""
    found: dict[str, Any] = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    yield found
    REPORT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
