"""mutt: sends through submission and files a copy by IMAP; reads by IMAP and POP3, driven on a terminal by keys."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.programs import find, run, write_private

pytestmark = pytest.mark.e2e

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


class Mutt:
    """Runs mutt for one account."""

    def __init__(self, appliance: Appliance, home: Path, trust: Path, account: str = ANA) -> None:
        self._ports, self._home, self._account = appliance.ports, home, account
        self._piped = home / "piped"
        self._certificates = home / "certificates"
        self._certificates.touch()  # it asks before it makes one
        self._common = f"""
set from={account} realname="Ana" use_envelope_from=yes send_charset="us-ascii:utf-8"
set smtp_pass="{PASSWORD}" imap_user={account} imap_pass="{PASSWORD}" pop_user={account} pop_pass="{PASSWORD}"
set ssl_ca_certificates_file={trust} certificate_file={self._certificates} ssl_force_tls=yes ssl_starttls=yes
set folder="{self.url("imaps")}" spoolfile="{self.url("imaps")}INBOX" mbox_type=Maildir
"""

    def url(self, port: str, scheme: str = "") -> str:
        user = self._account.replace("@", "%40")
        names = {"submission": "smtp", "submissions": "smtps", "pop3": "pop", "pop3s": "pops"}
        return f"{scheme or names.get(port, port)}://{user}@localhost:{self._ports[port]}/"

    def send(self, port: str, *arguments: str, text: str, settings: str = "") -> None:
        """Send a message in batch."""
        config = self._write(f'set smtp_url="{self.url(port)}"\nset copy=no\n{settings}\n')
        run("mutt", "-n", "-F", config, *arguments, home=self._home, stdin=text.encode())

    def press(self, mailbox: str, keys: str, settings: str = "") -> str:
        """Open a mailbox on a terminal, press keys, and return what was on the screen."""
        quiet = "set quit=yes wait_key=no move=no delete=yes mail_check=1 sort=mailbox-order pipe_decode=no"
        config = self._write(f'{quiet} pipe_split=yes\n{settings}\npush "{keys}"\n')
        command = shlex.join([find("mutt"), "-n", "-F", str(config), "-f", mailbox])
        terminal = {"TERM": "vt100", "COLUMNS": "200", "LINES": "50"}
        return run("script", "-qec", command, "/dev/null", home=self._home, environment=terminal).text

    def read(self, mailbox: str, pattern: str = "~A") -> list[bytes]:
        """All messages of a mailbox that match, as mutt pipes them, one by one."""
        self._piped.unlink(missing_ok=True)
        mark = "==next message=="
        keys = (
            f"<tag-pattern>{pattern}<enter><tag-prefix-cond><pipe-message>cat >> {self._piped}<enter><end-cond><quit>"
        )
        self.press(mailbox, keys, f'set pipe_sep="{mark}"')
        text = self._piped.read_bytes().removesuffix(mark.encode())
        return [message.replace(b"\n", b"\r\n") for message in text.split(mark.encode())]

    def _write(self, text: str) -> Path:
        return write_private(self._home / "muttrc", self._common + text)


@pytest.fixture
def mutt(appliance: Appliance, tmp_path: Path, trust: Path) -> Mutt:
    return Mutt(appliance, tmp_path, trust)


@pytest.mark.parametrize("port", ["submission", "submissions"])
@pytest.mark.parametrize("mechanisms", ["", "plain", "login", "scram-sha-256"])
def test_a_message_is_sent(appliance: Appliance, mutt: Mutt, port: str, mechanisms: str) -> None:
    subject = f"mutt-{port}-{mechanisms}-"
    settings = f'set smtp_authenticators="{mechanisms}"' if mechanisms else ""
    mutt.send(port, "-s", subject, LUIS, text=".\n..\nat one? ñandú\n", settings=settings)
    stored = inbox(appliance, subject, LUIS)
    assert letters.header_value(stored, "From") == "Ana <ana@palomar.test>"
    assert letters.header_value(stored, "To") == LUIS
    assert stored.endswith("\r\n\r\n.\r\n..\r\nat one? ñandú\r\n".encode())


def test_an_attachment_and_a_copy_in_sent(appliance: Appliance, mutt: Mutt, tmp_path: Path) -> None:
    octets = letters.noise(100_000)
    (tmp_path / "plan.bin").write_bytes(octets)
    copy = f'set copy=yes record="{mutt.url("imaps")}Sent"'
    mutt.send("submissions", "-s", "mutt-plan", "-a", "plan.bin", "--", LUIS, ANA, text="here\n", settings=copy)
    received = [letters.as_sent(inbox(appliance, "mutt-plan", account)) for account in (LUIS, ANA)]
    assert received[0] == received[1]
    assert letters.attachment(received[0]) == octets
    with Reader(appliance) as reader:
        kept = reader.wait("mutt-plan", "Sent")
        assert letters.attachment(kept) == octets
        assert reader.flags("Sent")["mutt-plan"] == {"\\Seen"}


@pytest.mark.parametrize("way", ["imap", "imaps", "pop3", "pop3s"])
def test_mail_is_read(appliance: Appliance, mutt: Mutt, way: str) -> None:
    with Reader(appliance) as reader:
        reader.clear()
        appliance.deliver(letters.awkward(f"mutt-read-{way}"))
        appliance.deliver(letters.with_attachment(f"mutt-read-too-{way}", letters.noise(50_000)))
        stored = reader.messages()
    read = mutt.read(mutt.url(way) + ("INBOX" if way.startswith("imap") else ""))
    assert [_without_status(message) for message in read] == stored


def _without_status(message: bytes) -> bytes:
    """Without the fields in which mutt notes for itself what is read and how long it is."""
    return re.sub(rb"^(?:Status|Content-Length|Lines): [^\r\n]*\r\n", b"", message, flags=re.MULTILINE)


def test_headers_are_listed(appliance: Appliance, mutt: Mutt) -> None:
    with Reader(appliance) as reader:
        reader.clear()
    for number in range(12):
        appliance.deliver(letters.plain(f"mutt index {number:02}"))
    for url in (mutt.url("imaps") + "INBOX", mutt.url("pop3s")):
        screen = mutt.press(url, "<refresh><quit>")
        assert all(f"mutt index {number:02}" in screen for number in range(12))


def test_a_search_on_the_server_a_flag_and_a_deletion(appliance: Appliance, mutt: Mutt) -> None:
    with Reader(appliance) as reader:
        reader.clear()
        for number in range(5):
            appliance.deliver(letters.plain(f"mutt-change-{number}", lines=(f"needle number {number}",)))
        mailbox = mutt.url("imaps") + "INBOX"
        found = mutt.read(mailbox, "=b 'needle number 3'")  # = lets the server search
        assert [letters.header_value(message, "Subject") for message in found] == ["mutt-change-3"]
        keys = "<tag-pattern>~s change-1<enter><tag-prefix><flag-message><untag-pattern>~A<enter>"
        keys += "<delete-pattern>~s change-2<enter><sync-mailbox><quit>"
        mutt.press(mailbox, keys)
        flags = reader.flags()
        assert "mutt-change-2" not in flags
        assert [subject for subject in flags if "\\Flagged" in flags[subject]] == ["mutt-change-1"]


def test_a_message_is_saved_to_another_mailbox(appliance: Appliance, mutt: Mutt) -> None:
    with Reader(appliance) as reader:
        reader.clear()
        appliance.deliver(letters.awkward("mutt-save"))
        stored = reader.wait("mutt-save")
        target = mutt.url("imaps") + "Archive"
        mutt.press(
            mutt.url("imaps") + "INBOX", f"<save-message>{target}<enter><sync-mailbox><quit>", "set confirmappend=no"
        )
        assert reader.messages() == []
        assert reader.messages("Archive") == [stored]
