"""The same card in QEMU's model of a Pi 3B: its own SD controller, its own serial port, network through its own USB."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.qemu import Guest, Setup
from tests.image.guest.card import Card
from tests.image.guest.doors import ANA, PASSWORD, SETUP, send, subjects_by_imap

pytestmark = pytest.mark.image

BOOT_S = 500.0


def test_the_card_serves_mail_on_a_pi(card: Card, tmp_path: Path) -> None:
    card.put("palomar.toml", SETUP, tmp_path)
    with Guest(Setup(disk=card.disk, board="raspi3b"), tmp_path) as guest:
        guest.expect("Palomar: starting slot A", BOOT_S)
        guest.plug_in_usb_network()
        assert guest.banner("smtp", BOOT_S).startswith(b"220 mail.office.example ")
        send(guest, "to a Pi")
        assert subjects_by_imap(guest, 1) == {"to a Pi"}
        guest.expect(rf"Accounts: +{ANA}", BOOT_S)
        guest.expect(r"Addresses: +10\.0\.2\.15 ", BOOT_S)
    assert "Addresses:    10.0.2.15 (" in card.read("PALOMAR-STATUS.txt", tmp_path)
    assert PASSWORD not in card.read("palomar.toml", tmp_path)
