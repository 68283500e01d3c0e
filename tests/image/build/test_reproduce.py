"""Where two builds differ is told; that they are the same is believed only byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.build.reproduce import compare, first_difference


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        (b"", b"", None),
        (b"abc", b"abc", None),
        (b"abc", b"abd", 2),
        (b"abc", b"abcd", 3),
        (b"x" * (3 << 20), b"x" * (3 << 20), None),
        (b"x" * (2 << 20) + b"yz", b"x" * (2 << 20) + b"yy", (2 << 20) + 1),
    ],
    ids=["empty", "same", "last", "longer", "large", "second piece"],
)
def test_the_first_difference(one: bytes, other: bytes, where: int | None, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(one)
    (tmp_path / "other").write_bytes(other)
    assert first_difference(tmp_path / "one", tmp_path / "other") == where
    comparison = compare("slot.img", tmp_path / "one", tmp_path / "other")
    assert comparison.same == (where is None)
    assert ("bit-identical" in str(comparison)) == comparison.same
