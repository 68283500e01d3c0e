"""What people and cards do wrong: the appliance comes up, and says where the user can see it what is the matter."""

from __future__ import annotations

import contextlib
import imaplib
import re
import smtplib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hw.clock import PATIENCE_S
from image.qemu import BUILT, Guest, Setup
from tests.image.guest.card import Card
from tests.image.guest.datapart import DataPartition
from tests.image.guest.mailload import ACCOUNT, HOST, PASSWORD, Promises, found_in_inbox, text_of

pytestmark = pytest.mark.image

BOOT_S = 300.0
MAIL_S = 120.0
TOLD_S = 60.0  # a few seconds on a Pi
ROOM = 12 << 20  # octets that the smallest card lacks for some hundred messages beside the store's reserve and files
REST_S = 20.0
LARGE = 50_000  # octets of the messages that fill a card
IS_FULL = "The data partition of .* is full: new mail is refused"
FIRST_BOOT = f"""
hostname = "mail.example.org"
domains = ["example.org"]

[[setup.accounts]]
name = "{ACCOUNT}"
password = "{PASSWORD}"

# The load comes from one address, which is no stranger's: nobody counts or delays it.
[door]
trusted = ["10.0.2.0/24"]
"""


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


def test_a_clock_at_1970_stops_no_mail_and_is_told(card: Card, tmp_path: Path) -> None:
    with Guest(Setup(disk=card.disk, rtc="1970-01-01T00:00:00,clock=vm"), tmp_path) as guest:
        assert guest.banner("smtp", BOOT_S).startswith(b"220 palomar-")
        guest.expect("The clock is not set, and no time server answers", PATIENCE_S + TOLD_S)
    assert "The clock is not set" in card.read("PALOMAR-STATUS.txt", tmp_path)


def test_a_full_card_takes_no_mail_and_loses_none(tmp_path: Path) -> None:
    """From the first 452 over a power cut to the first 250 after mail was deleted."""
    card = Card(tmp_path / "card.img", size=_smallest() + ROOM)
    card.put("palomar.toml", FIRST_BOOT, tmp_path)
    promises = Promises()
    with _started(card, tmp_path / "first") as guest:
        _fill(guest, promises)
        assert len(promises.promised) > 20
        guest.expect(IS_FULL, TOLD_S)
        guest.expect("Next step", TOLD_S, start=guest.expect(IS_FULL, TOLD_S).end())  # the status file is written
    assert "is full: new mail is refused. Delete mail" in card.read("PALOMAR-STATUS.txt", tmp_path)

    with _started(card, tmp_path / "second") as guest:
        _fill(guest, promises)  # the start has tidied up
        found = found_in_inbox(guest.ports["imaps"])
        assert not promises.lost(found)
        assert not promises.doubled(found)
        assert not promises.invented(found)
        _delete_all(guest)
        deadline = time.monotonic() + MAIL_S
        while _refusal(guest, promises):
            assert time.monotonic() < deadline, "room did not come back"
            time.sleep(1)
        assert sum(found_in_inbox(guest.ports["imaps"]).values()) == 1


def test_a_partition_that_somebody_else_filled_stops_no_start(tmp_path: Path) -> None:
    """Not a block is left, not even for a log: what was promised can be read all the same."""
    card = Card(tmp_path / "card.img", size=_smallest())
    card.put("palomar.toml", FIRST_BOOT, tmp_path)
    promises = Promises()
    with _started(card, tmp_path / "first") as guest:
        assert not _refusal(guest, promises)
    with DataPartition(card, tmp_path) as data:
        data.fill()

    with _started(card, tmp_path / "second") as guest:
        guest.expect(IS_FULL, MAIL_S)  # before anybody was refused
        while not (code := _refusal(guest, promises, large=True)):
            pass  # the store's log was written back after that, which made a little room
        assert code == 452
        found = found_in_inbox(guest.ports["imaps"])
    assert not promises.lost(found)


def test_a_damaged_data_partition_is_repaired_and_says_so(tmp_path: Path) -> None:
    """Its top folder is lost, which `e2fsck -p` leaves to people. Nobody is there, so it is mended without asking."""
    card = Card(tmp_path / "card.img", size=_smallest() + (256 << 20))
    card.put("palomar.toml", FIRST_BOOT, tmp_path)
    promises = Promises()
    with _started(card, tmp_path / "first") as guest:
        for _ in range(3):
            assert not _refusal(guest, promises)
    identity = card.read("PALOMAR-STATUS.txt", tmp_path)
    with DataPartition(card, tmp_path) as data:
        data.damage()

    with _started(card, tmp_path / "second") as guest:
        guest.expect("/data/mail was found again", 1.0)
        guest.expect("The data partition was damaged and has been repaired", MAIL_S)
        found = found_in_inbox(guest.ports["imaps"])
        assert not promises.lost(found)
        assert not _refusal(guest, promises)
    status = card.read("PALOMAR-STATUS.txt", tmp_path)
    assert "The data partition was damaged" in status
    (certificate,) = re.findall("Certificate: .*", identity)
    assert certificate in status  # it is still the same machine
    with _started(card, tmp_path / "third") as guest:  # the next start has nothing to repair
        assert not promises.lost(found_in_inbox(guest.ports["imaps"]))
        guest.expect(r"State: +in order", MAIL_S)
        assert "repaired" not in guest.console


def _smallest() -> int:
    """The size of a card that leaves the data partition nothing to grow into."""
    return next((BUILT / "whole").glob("palomar-*.img")).stat().st_size


@contextlib.contextmanager
def _started(card: Card, folder: Path) -> Iterator[Guest]:
    folder.mkdir()
    with Guest(Setup(disk=card.disk), folder) as guest:
        assert guest.banner("smtp", BOOT_S).startswith(b"220 ")
        yield guest


def _refusal(guest: Guest, promises: Promises, *, large: bool = False) -> int:
    """Send one message: 0 if it was taken, else the code of the reply."""
    number = promises.take()
    while large and len(text_of(number)) < LARGE:
        promises.refused(number)  # never sent
        number = promises.take()
    with smtplib.SMTP(HOST, guest.ports["smtp"], timeout=MAIL_S) as client:
        try:
            client.sendmail("load@example.net", [ACCOUNT], text_of(number))
        except smtplib.SMTPRecipientsRefused as error:
            promises.refused(number)
            return next(code for code, _ in error.recipients.values())
        except smtplib.SMTPResponseException as error:
            promises.refused(number)
            return error.smtp_code
    promises.keep(number)
    return 0


def _fill(guest: Guest, promises: Promises) -> None:
    """Send until nothing more is taken, and not after a rest either: then the store tidies up, which makes room."""
    while not _refusal(guest, promises):
        while not (code := _refusal(guest, promises, large=True)):
            pass
        assert code == 452
        time.sleep(REST_S)


def _delete_all(guest: Guest) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the appliance's certificate is its own
    with imaplib.IMAP4_SSL(HOST, guest.ports["imaps"], ssl_context=context, timeout=MAIL_S) as client:
        client.login(ACCOUNT, PASSWORD)
        client.select("INBOX")
        assert client.store("1:*", "+FLAGS.SILENT", r"(\Deleted)")[0] == "OK"
        assert client.expunge()[0] == "OK"
