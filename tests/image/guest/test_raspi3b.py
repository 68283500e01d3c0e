"""The same card in QEMU's model of a Pi 3B: its own SD controller, its own serial port."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.qemu import Guest, Setup
from tests.image.guest.card import Card
from tests.image.guest.test_boot import ANA, PASSWORD, SETUP

pytestmark = pytest.mark.image

BOOT_S = 500.0


def test_the_card_starts_on_a_pi(card: Card, tmp_path: Path) -> None:
    card.put("palomar.toml", SETUP, tmp_path)
    with Guest(Setup(disk=card.disk, board="raspi3b"), tmp_path) as guest:
        guest.expect("Palomar: starting slot A", BOOT_S)
        guest.expect(r"State: +in order", BOOT_S)
        guest.expect(rf"Accounts: +{ANA}", 30.0)
    assert "mail.office.example" in card.read("PALOMAR-STATUS.txt", tmp_path)
    assert PASSWORD not in card.read("palomar.toml", tmp_path)
