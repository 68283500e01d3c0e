"""What people and cards do wrong: the appliance comes up, and says where the user can see it what is the matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.qemu import Guest, Setup
from tests.image.guest.card import Card

pytestmark = pytest.mark.image

BOOT_S = 300.0


def test_a_broken_configuration_is_told_with_its_line(card: Card, tmp_path: Path) -> None:
    card.put("palomar.toml", 'hostname = "mail.office.example"\n\n[smtp]\nmx_prot = 26\n', tmp_path)
    with Guest(Setup(disk=card.disk), tmp_path) as guest:
        assert guest.banner("smtp", BOOT_S).startswith(b"220 palomar-")
        guest.expect(r"mx_prot", 60.0)
        guest.expect(r"Addresses: +10\.0\.2\.15 ", 120.0)
    status = card.read("PALOMAR-STATUS.txt", tmp_path)
    assert "palomar.toml, line 4" in status or "palomar.toml:4" in status
    assert "mx_prot" in status


def test_an_unreadable_boot_partition_stops_no_mail(card: Card, tmp_path: Path) -> None:
    with Guest(Setup(disk=card.disk), tmp_path) as guest:
        guest.expect("Palomar: starting slot A", BOOT_S)
        # The boot loader has what it needs; from here on the file system is garbage.
        card.fill(1, [b"\xff" * (1 << 20)])
        assert guest.banner("smtp", BOOT_S).startswith(b"220 palomar-")
        guest.expect("the boot partition", 60.0)


def test_a_clock_at_1970_stops_no_mail(card: Card, tmp_path: Path) -> None:
    with Guest(Setup(disk=card.disk, rtc="1970-01-01T00:00:00,clock=vm"), tmp_path) as guest:
        assert guest.banner("smtp", BOOT_S).startswith(b"220 palomar-")
