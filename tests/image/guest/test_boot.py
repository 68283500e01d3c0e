"""The very image from the card to mail: first start, mail in and out of every door, second start."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image.qemu import Guest, Setup
from tests.image.guest.card import Card
from tests.image.guest.doors import MAIL_S, PASSWORD, SETUP, send, subjects_by_imap, subjects_by_pop3, submit

pytestmark = pytest.mark.image

BOOT_S = 400.0  # emulated, on a machine that does other things too


def test_a_card_becomes_a_mail_server_and_stays_one(card: Card, tmp_path: Path, report: dict[str, Any]) -> None:
    card.put("palomar.toml", SETUP, tmp_path)
    untouched = {number: card.digest(number) for number in (2, 3)}
    with _started(card, tmp_path / "first") as guest:
        assert guest.banner("smtp", BOOT_S).startswith(b"220 mail.office.example ")
        send(guest, "from outside")
        submit(guest, "from ana")
        assert subjects_by_imap(guest, 2) == {"from outside", "from ana"}
        assert subjects_by_pop3(guest) == {"from outside", "from ana"}
        # The status file is on the card before the console tells it, and has no news after the last of the addresses.
        guest.expect(r"Addresses: +10\.0\.2\.15 [^\n]*\n +fe80:[^\n]*\n +fec0:", MAIL_S)
        # No farewell: the plug is pulled.
    status = card.read("PALOMAR-STATUS.txt", tmp_path)
    assert "mail.office.example" in status
    assert PASSWORD not in card.read("palomar.toml", tmp_path)
    boot = card.digest(1)

    with _started(card, tmp_path / "second") as guest:
        guest.banner("smtp", BOOT_S)
        report["boot_to_banner_s"] = round(time.monotonic() - guest.started_at, 1)
        assert subjects_by_imap(guest, 2) == {"from outside", "from ana"}
    report["mail_round_trip"] = True
    assert card.digest(1) == boot, "the second start wrote to the boot partition"
    assert {number: card.digest(number) for number in (2, 3)} == untouched


@contextlib.contextmanager
def _started(card: Card, folder: Path) -> Iterator[Guest]:
    folder.mkdir()
    with Guest(Setup(disk=card.disk), folder) as guest:
        yield guest
