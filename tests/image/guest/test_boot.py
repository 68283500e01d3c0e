"""The very image from the card to mail: first start, mail in and out of every door, second start."""

from __future__ import annotations

import contextlib
import imaplib
import poplib
import smtplib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image.qemu import Guest, Setup
from tests.image.guest.card import Card

pytestmark = pytest.mark.image

BOOT_S = 400.0  # emulated, on a machine that does other things too
MAIL_S = 120.0
ANA, PASSWORD = "ana@office.example", "pigeons come home"
SETUP = f"""
hostname = "mail.office.example"
domains = ["office.example"]

[setup]
time_zone = "Europe/Madrid"

[[setup.accounts]]
name = "{ANA}"
password = "{PASSWORD}"
"""


def test_a_card_becomes_a_mail_server_and_stays_one(card: Card, tmp_path: Path, report: dict[str, Any]) -> None:
    card.put("palomar.toml", SETUP, tmp_path)
    untouched = {number: card.digest(number) for number in (2, 3)}
    with _started(card, tmp_path / "first") as guest:
        assert guest.banner("smtp", BOOT_S).startswith(b"220 mail.office.example ")
        _send(guest, "from outside")
        _submit(guest, "from ana")
        assert _subjects_by_imap(guest, 2) == {"from outside", "from ana"}
        assert _subjects_by_pop3(guest) == {"from outside", "from ana"}
        guest.expect(r"Addresses: +10\.0\.2\.15 ", MAIL_S)  # the status file is on the card before the console tells it
        # No farewell: the plug is pulled.
    status = card.read("PALOMAR-STATUS.txt", tmp_path)
    assert "mail.office.example" in status
    assert PASSWORD not in card.read("palomar.toml", tmp_path)
    boot = card.digest(1)

    with _started(card, tmp_path / "second") as guest:
        guest.banner("smtp", BOOT_S)
        report["boot_to_banner_s"] = round(time.monotonic() - guest.started_at, 1)
        assert _subjects_by_imap(guest, 2) == {"from outside", "from ana"}
    report["mail_round_trip"] = True
    assert card.digest(1) == boot, "the second start wrote to the boot partition"
    assert {number: card.digest(number) for number in (2, 3)} == untouched


@contextlib.contextmanager
def _started(card: Card, folder: Path) -> Iterator[Guest]:
    folder.mkdir()
    with Guest(Setup(disk=card.disk), folder) as guest:
        yield guest


def _letter(subject: str) -> bytes:
    return f"From: <guest@elsewhere.example>\r\nTo: <{ANA}>\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode()


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the appliance's certificate is its own
    return context


def _send(guest: Guest, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", guest.ports["smtp"], timeout=MAIL_S) as client:
        client.sendmail("guest@elsewhere.example", [ANA], _letter(subject))


def _submit(guest: Guest, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", guest.ports["submission"], timeout=MAIL_S) as client:
        client.starttls(context=_context())
        client.login(ANA, PASSWORD)
        client.sendmail(ANA, [ANA], _letter(subject))


def _subjects_by_imap(guest: Guest, count: int) -> set[str]:
    with imaplib.IMAP4_SSL("127.0.0.1", guest.ports["imaps"], ssl_context=_context(), timeout=MAIL_S) as client:
        client.login(ANA, PASSWORD)
        assert client.select("INBOX", readonly=True) == ("OK", [b"%d" % count])
        _, answer = client.fetch(f"1:{count}", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return {part[1].decode().removeprefix("Subject: ").strip() for part in answer if isinstance(part, tuple)}


def _subjects_by_pop3(guest: Guest) -> set[str]:
    client = poplib.POP3_SSL("127.0.0.1", guest.ports["pop3s"], context=_context(), timeout=MAIL_S)
    client.user(ANA)
    client.pass_(PASSWORD)
    found = set()
    for number in range(1, client.stat()[0] + 1):
        _, lines, _ = client.top(number, 0)
        found |= {line.decode().removeprefix("Subject: ") for line in lines if line.startswith(b"Subject: ")}
    client.quit()
    return found
