"""The block map: what it leaves out, what it never may, and what bmaptool makes of it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image.products.bmap import BLOCK, Extent, mapped_ranges, render, write_bmap
from image.products.digest import sha256_of, write_sha256


def image_of(tmp_path: Path, *blocks: bytes) -> Path:
    path = tmp_path / "card.img"
    path.write_bytes(b"".join(block * BLOCK for block in blocks))
    return path


def spans(path: Path, *unused: Extent) -> list[tuple[int, int]]:
    return [(part.first, part.last) for part in mapped_ranges(path, unused)]


def test_only_zeros_in_unused_places_are_left_out(tmp_path: Path) -> None:
    path = image_of(tmp_path, b"\0", b"\0", b"x", b"\0", b"y", b"\0")
    assert spans(path) == [(0, 5)]  # a file system's zeros count
    assert spans(path, Extent(0, 6 * BLOCK)) == [(2, 2), (4, 4)]
    assert spans(path, Extent(0, BLOCK)) == [(1, 5)]
    assert spans(path, Extent(100, 2 * BLOCK)) == [(0, 0), (2, 5)]  # a block that is used in part is used


def test_holes_do_not_matter(tmp_path: Path) -> None:
    full = image_of(tmp_path, b"x", b"\0", b"\0", b"y")
    sparse = tmp_path / "sparse.img"
    with sparse.open("wb") as stream:
        stream.write(b"x" * BLOCK)
        stream.seek(3 * BLOCK)
        stream.write(b"y" * BLOCK)
    assert mapped_ranges(full, []) == mapped_ranges(sparse, [])


@given(st.integers(1, 1 << 40))
def test_the_file_s_checksum_is_that_of_itself_with_zeros_in_its_place(size: int) -> None:
    data = render(size, [])
    tree = ElementTree.fromstring(data)
    said = (tree.findtext("BmapFileChecksum") or "").strip()
    assert re.fullmatch("[0-9a-f]{64}", said)
    assert hashlib.sha256(data.replace(said.encode(), b"0" * 64)).hexdigest() == said


@pytest.mark.programs("bmaptool")
def test_bmaptool_takes_the_map_and_finds_damage(tmp_path: Path) -> None:
    path = image_of(tmp_path, b"a", b"\0", b"b", b"\0", b"\0", b"c")
    bmap, card = tmp_path / "card.bmap", tmp_path / "card"
    write_bmap(path, bmap, unused=[Extent(BLOCK, 2 * BLOCK), Extent(4 * BLOCK, 5 * BLOCK)])
    card.write_bytes(b"?" * 6 * BLOCK)  # a used card
    command = ["bmaptool", "--quiet", "copy", "--bmap", str(bmap), str(path), str(card)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    copied = [card.read_bytes()[at * BLOCK : at * BLOCK + 1] for at in range(6)]
    assert [copied[at] for at in (0, 2, 3, 5)] == [b"a", b"b", b"\0", b"c"]
    path.write_bytes(path.read_bytes().replace(b"b", b"B", 1))
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0


def test_sha256sum_agrees(tmp_path: Path) -> None:
    path = image_of(tmp_path, b"a")
    beside = write_sha256(path)
    assert beside.read_text() == f"{sha256_of(path)}  card.img\n"
    subprocess.run(["sha256sum", "--check", "--quiet", beside.name], cwd=tmp_path, check=True)
