"""A message on its way in: in memory while it is small, in a nameless file when it is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import StoreFullError
from appliance.spool import IN_MEMORY, LARGE_IN_MEMORY, SHARED_ROOM, Spool

HEADER = b"Subject: x\r\n\r\n"


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """Each test gives back all the shared room it took."""
    assert Spool.shared_room == SHARED_ROOM
    yield
    left, Spool.shared_room = Spool.shared_room, SHARED_ROOM
    assert left == SHARED_ROOM


def filled(folder: Path, octets: int, piece: int = 65536) -> Spool:
    spool = Spool(folder)
    spool.write(HEADER)
    while spool.size < octets:
        spool.write(b"y" * min(piece, octets - spool.size))
    return spool


@pytest.mark.parametrize("octets", [len(HEADER), 5000, IN_MEMORY + 1, LARGE_IN_MEMORY, LARGE_IN_MEMORY + 1])
def test_what_goes_in_comes_out(tmp_path: Path, octets: int) -> None:
    spool = filled(tmp_path / "spool", octets)
    message = spool.message()
    assert message.header == HEADER
    assert bytes(message.text) == b"y" * (octets - len(HEADER))
    del message
    spool.close()
    assert not (tmp_path / "spool").exists() or os.listdir(tmp_path / "spool") == []


def test_only_large_messages_use_a_file(tmp_path: Path) -> None:
    small, large = filled(tmp_path / "s", LARGE_IN_MEMORY), filled(tmp_path / "l", LARGE_IN_MEMORY + 1)
    assert not (tmp_path / "s").exists()
    assert (tmp_path / "l").exists()
    small.close()
    large.close()
    large.close()


def test_messages_share_the_room_in_memory(tmp_path: Path) -> None:
    spools = [filled(tmp_path / "s", 3 << 20) for _ in range(8)]
    assert 0 <= Spool.shared_room < 3 << 20
    assert sum(spool._file is None for spool in spools) == 5
    for spool in spools:
        spool.close()


def test_no_room_on_the_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    spool = filled(tmp_path / "spool", LARGE_IN_MEMORY)
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").write_text("in the way")
    with pytest.raises(StoreFullError):
        spool.write(b"more")
    spool.close()


@given(st.lists(st.binary(max_size=200_000), max_size=12))
def test_pieces_do_not_matter(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    spool = Spool(tmp_path_factory.getbasetemp() / "spool")
    spool.write(HEADER)
    for piece in pieces:
        spool.write(piece)
    assert bytes(spool.message()) == HEADER + b"".join(pieces)
    spool.close()
