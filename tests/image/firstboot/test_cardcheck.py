"""Cards that lie, as files: one wraps around, one drops writes, one has as much as it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from image.firstboot import boot, cardcheck
from image.firstboot.cardcheck import BLOCK, Room, places, verdict
from image.firstboot.durable import Disk
from tests.image.firstboot.conftest import Card

GIB = 1 << 30
KEY = b"k" * 16


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A sparse file of 32 GiB."""
    path = tmp_path / "mmcblk0"
    path.touch()
    os.truncate(path, 32 * GIB)
    return path


def lie(monkeypatch: pytest.MonkeyPatch, place_of: object, keeps: object) -> None:
    """Put a lying card between the check and the file: the system calls are what such a card does."""
    real_read, real_write = os.preadv, os.pwritev
    monkeypatch.setattr(cardcheck.os, "preadv", lambda fd, to, at: real_read(fd, to, place_of(at)))  # type: ignore[operator]
    monkeypatch.setattr(
        cardcheck.os,
        "pwritev",
        lambda fd, data, at: real_write(fd, data, place_of(at)) if keeps(at) else BLOCK,  # type: ignore[operator]
    )


def test_an_honest_card_is_left_as_it_was(device: Path) -> None:
    room = Room(device, 2 * GIB, 32 * GIB)
    with device.open("r+b") as file:
        file.seek(places(room)[3])
        file.write(b"what was there")
    assert verdict(room, key=KEY) == ""
    with device.open("rb") as file:
        file.seek(places(room)[3])
        assert file.read(14) == b"what was there"
    assert os.stat(device).st_blocks * 512 <= 8 << 20


@pytest.mark.parametrize("capacity", [4 * GIB, 8 * GIB, 16 * GIB])
def test_a_card_that_wraps_around_is_found_out_and_the_system_on_it_survives(
    device: Path, monkeypatch: pytest.MonkeyPatch, capacity: int
) -> None:
    with device.open("r+b") as file:
        file.write(b"boot partition" * 1000)
        before = (file.seek(0), file.read(1 << 20))[1]
    lie(monkeypatch, lambda at: at % capacity, lambda _: True)
    assert "says it has 34 GB" in verdict(Room(device, 2 * GIB, 32 * GIB), key=KEY)
    with device.open("rb") as file:
        assert file.read(1 << 20) == before


def test_a_card_that_drops_writes_is_found_out(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lie(monkeypatch, lambda at: at, lambda at: at < 7 * GIB)
    assert "is not kept" in verdict(Room(device, 2 * GIB, 32 * GIB), key=KEY)
    lie(monkeypatch, lambda at: at, lambda _: False)
    assert "everything that was tried" in verdict(Room(device, 2 * GIB, 32 * GIB), key=KEY)


def test_little_room_is_not_tried(device: Path) -> None:
    assert verdict(Room(device, 32 * GIB - 100, 32 * GIB), key=KEY) == ""


@pytest.mark.parametrize("size", [3 * GIB, 4 * GIB, 64 * GIB, 2000 * GIB])
def test_places_are_few_and_inside(size: int) -> None:
    room = Room(Path("x"), 5 * GIB // 4, size)
    chosen = places(room)
    assert 3 <= len(chosen) <= cardcheck.MAX_PLACES
    assert all(room.start <= place <= size - BLOCK and place % BLOCK == 0 for place in chosen)


def test_a_lying_card_is_refused_with_words_where_they_are_seen(
    card: Card, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = os.stat(card.places.data).st_dev
    disk = card.places.sysfs / "devices/mmcblk0"
    (disk / "mmcblk0p4").mkdir(parents=True)
    (disk / "size").write_text(str(32 * GIB // 512))
    (disk / "mmcblk0p4/start").write_text(str(GIB // 512))
    (disk / "mmcblk0p4/size").write_text(str(GIB // 512))
    (card.places.sysfs / "dev/block").mkdir(parents=True)
    (card.places.sysfs / f"dev/block/{os.major(number)}:{os.minor(number)}").symlink_to(disk / "mmcblk0p4")
    (card.places.dev / "mmcblk0").symlink_to(device)
    assert boot._check_card(card.places, _with_state(card), os.getrandom, card.told.append) == ""
    lie(monkeypatch, lambda at: at, lambda at: at < 7 * GIB)
    assert card.boot().refused == ""  # it was asked once, and is not written to again
    (card.places.state / boot.CARD).unlink()
    report = card.boot()
    assert report.refused
    assert "THIS CARD IS NOT USED" in card.status
    assert "from a shop that you trust" in card.status
    assert (card.places.runtime / "refused").exists()
    assert not (card.places.runtime / "card-ok").exists()
    assert (card.places.runtime / "notes/firstboot").read_text().startswith("error: This card is not used.")


def _with_state(card: Card) -> Disk:
    boot._folders(card.places, Disk())
    return Disk()
