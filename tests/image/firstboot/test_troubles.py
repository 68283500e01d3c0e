"""What is wrong with the board stands in the status file, for as long as it is."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from image.firstboot.boot import status_file
from image.firstboot.durable import Disk
from tests.image.firstboot.conftest import Card

FULL = "Less than 5 % of 55 MiB are free. Delete mail, or use a larger medium."


def told(card: Card, *notes: Any) -> str:
    hw = card.places.run / "palomar-hw"
    hw.mkdir(exist_ok=True)
    (hw / "state.json").write_text(json.dumps({"settled": True, "notes": notes}))
    status_file(card.places, Disk())
    return card.status


def test_errors_of_the_board_come_and_go(card: Card) -> None:
    card.boot()
    assert "in order" in card.status
    warning = {"source": "flaps", "level": "warning", "text": "eth0 lost its link."}
    status = told(card, warning, {"source": "storage", "level": "error", "text": FULL})
    assert "needs your attention, see below (1)" in status
    assert f"* {FULL}" in status
    assert "eth0 lost" not in status
    assert "in order" in told(card, warning)


def test_what_first_boot_has_said_is_not_said_twice(card: Card) -> None:
    card.boot()
    assert "in order" in told(card, {"source": "firstboot", "level": "error", "text": "palomar.toml:3: …"})


def test_what_is_no_note_is_passed_over(card: Card) -> None:
    card.boot()
    assert "in order" in told(card, "error", {"level": "error"}, None)


class FullDisk(Disk):
    """Takes nothing more."""

    def write(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_full_disk_does_not_keep_it_from_telling(card: Card) -> None:
    card.boot()
    hw = card.places.run / "palomar-hw"
    hw.mkdir()
    addresses = [{"nic": "eth0", "address": "192.0.2.7/24", "source": "dhcp"}]
    notes = [{"source": "storage", "level": "error", "text": FULL}]
    (hw / "state.json").write_text(json.dumps({"settled": True, "addresses": addresses, "notes": notes}))
    status_file(card.places, FullDisk())
    assert FULL in card.status
    assert "192.0.2.7" in card.status
