"""A slot that is damaged gives up in favour of the other one, and says so; two damaged ones end in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from image import bootstate
from image.build.verity import ROOT_OFFSET
from image.qemu import Guest, Setup
from tests.image.guest.card import Card

pytestmark = pytest.mark.image

BOOT_S = 300.0


def _copy_slot(card: Card) -> None:
    (source, size), (target, _) = card.place(2), card.place(3)
    with card.path.open("r+b") as file:
        for offset in range(0, size, 1 << 20):
            file.seek(source + offset)
            piece = file.read(1 << 20)
            if piece.strip(b"\0"):
                file.seek(target + offset)
                file.write(piece)


def _damage_root(card: Card, number: int) -> None:
    """The file system's first blocks, as a worn card loses them; the hash tree finds it at the mount."""
    with card.path.open("r+b") as file:
        file.seek(card.place(number)[0] + ROOT_OFFSET)
        file.write(b"\xff" * 65536)


def _boot_state(card: Card, folder: Path) -> bootstate.BootState:
    return bootstate.decode(card.read_bytes("boot.env", folder))


def test_a_damaged_slot_hands_over_to_the_other(card: Card, tmp_path: Path) -> None:
    _copy_slot(card)
    _damage_root(card, 2)
    with Guest(Setup(disk=card.disk), tmp_path) as guest:
        guest.expect("slot A cannot be started", BOOT_S)
        guest.expect("starting slot B instead", BOOT_S)
        guest.wait(60.0)  # it starts anew, which ends QEMU here
    assert _boot_state(card, tmp_path) == bootstate.BootState(first="B", gave_up="A")
    with Guest(Setup(disk=card.disk), tmp_path) as guest:
        guest.expect("Palomar: starting slot B", BOOT_S)
        assert guest.banner("smtp", BOOT_S).startswith(b"220 ")


def test_two_damaged_slots_end_in_words(card: Card, tmp_path: Path) -> None:
    _copy_slot(card)
    for number in (2, 3):
        _damage_root(card, number)
    with Guest(Setup(disk=card.disk), tmp_path) as guest:
        guest.wait(BOOT_S)
    with Guest(Setup(disk=card.disk), tmp_path) as guest:
        guest.expect("There is no other slot to start", BOOT_S)
    assert _boot_state(card, tmp_path).first == "B"


def test_a_trial_is_counted_and_ends(card: Card, tmp_path: Path) -> None:
    """A slot on trial that holds nothing is left for the good one at once, and one try is gone."""
    card.put_bytes("boot.env", bootstate.BootState().try_slot("B").encode(), tmp_path)
    with Guest(Setup(disk=card.disk), tmp_path) as guest:
        guest.expect("slot B is on trial, 2 more to come", BOOT_S)
        guest.expect("slot B cannot be started", BOOT_S)
        guest.expect("starting slot A", BOOT_S)
    assert _boot_state(card, tmp_path) == bootstate.BootState(trial="B", left=2)
