"""The same inputs give the same image. The slot image every time; the whole card by REPRODUCE=whole."""

from __future__ import annotations

import os
from typing import Any

import pytest

from image.build.reproduce import build_twice
from image.qemu import CHECKOUT

pytestmark = pytest.mark.image


def test_built_twice_it_is_the_same(report: dict[str, Any]) -> None:
    what = os.environ.get("REPRODUCE", "slot")
    comparison = build_twice(CHECKOUT, what, print)
    report.update({"reproducible": comparison.same, "reproducible_what": what})
    assert comparison.same, str(comparison)
