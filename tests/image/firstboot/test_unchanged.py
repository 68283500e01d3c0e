"""Starts on a card that nobody touched: seen by the initramfs, without Python. Anything else goes the whole way."""

from __future__ import annotations

import subprocess

import pytest

from image.firstboot.places import CONFIG_NAME, PRESEED_NAME
from image.firstboot.reset import RESET, RESET_ALL
from image.firstboot.unchanged import UNCHANGED
from image.qemu import CHECKOUT
from tests.image.firstboot.conftest import Card

SCRIPT = CHECKOUT / "image/rootfs/usr/lib/palomar-boot/unchanged"


def whole_way(card: Card) -> bool:
    """Whether a start must look at everything: what the script says."""
    folders = [str(folder) for folder in (card.places.boot, card.places.data, card.places.run)]
    return subprocess.run(["/bin/sh", SCRIPT, *folders], check=False, timeout=20).returncode != 0


def test_a_new_card_goes_the_whole_way_and_then_no_more(card: Card) -> None:
    assert whole_way(card)
    card.boot()
    assert not whole_way(card)


@pytest.mark.parametrize("name", [CONFIG_NAME, PRESEED_NAME, RESET, f"{RESET_ALL}.txt"])
def test_what_somebody_wrote_on_the_card_is_seen(card: Card, name: str) -> None:
    card.boot()
    card.put("hostname = 'mail.example.org'\n", name)
    assert whole_way(card)


@pytest.mark.parametrize(
    "path", ["state/taken.json", "config/palomar.toml", "identity/machine-id", f"state/{UNCHANGED}"]
)
@pytest.mark.parametrize("cut", [False, True])
def test_what_got_lost_or_damaged_is_seen(card: Card, path: str, *, cut: bool) -> None:
    card.boot()
    file = card.places.data / path
    file.write_bytes(b"") if cut else file.unlink()
    assert whole_way(card)


@pytest.mark.parametrize("note", ["refused", "notes/data"])
def test_a_data_partition_in_trouble_is_seen(card: Card, note: str) -> None:
    card.boot()
    path = card.places.runtime / note
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("error: It was damaged.\n")
    assert whole_way(card)


def test_a_new_release_and_a_taken_away_file_are_seen(card: Card) -> None:
    card.boot()
    card.places.release.write_text('{"version": "1.2.4"}')
    assert whole_way(card)
    card.boot()
    assert not whole_way(card)
    (card.places.boot / CONFIG_NAME).unlink()
    assert whole_way(card)


def test_where_something_is_wrong_every_start_tells_it(card: Card) -> None:
    card.boot()
    card.put("hostname = 5\n")
    assert card.boot().outcome.problems
    assert not (card.places.state / UNCHANGED).exists()
    assert whole_way(card)
