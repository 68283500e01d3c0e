"""getmail: fetches by POP3 and IMAP by a command, and again only what is new."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.mailreader import Reader
from tests.e2e.programs import run, write_private

pytestmark = [pytest.mark.e2e, pytest.mark.programs("getmail")]

ANA = "ana@palomar.test"
RETRIEVERS = {"pop3": "SimplePOP3Retriever", "pop3s": "SimplePOP3SSLRetriever", "imaps": "SimpleIMAPSSLRetriever"}


class Getmail:
    """Runs getmail for one account."""

    def __init__(self, appliance: Appliance, home: Path, trust: Path, way: str, options: str) -> None:
        self._home = home
        self.folder = home / "Mail"
        self.folder.mkdir(parents=True)
        tls = "" if way == "pop3" else f"ca_certs = {trust}\n"
        self._config = write_private(
            home / "getmailrc",
            f"[retriever]\ntype = {RETRIEVERS[way]}\nserver = localhost\nport = {appliance.ports[way]}\n"
            f"username = {ANA}\npassword = {PASSWORD}\n{tls}\n"
            # Its own Maildir destination does not work for root, who runs these tests on a fresh machine.
            f"[destination]\ntype = MDA_external\npath = /bin/sh\nallow_root_commands = true\n"
            f"""arguments = ("-c", 'cat > "$(mktemp {self.folder}/XXXXXX)"')\n\n"""
            f"[options]\ndelivered_to = false\nreceived = false\n{options}\n",
        )

    def __call__(self) -> list[bytes]:
        """Fetch, and return what is new, by subject."""
        before = set(self.folder.iterdir())
        run("getmail", "--getmaildir", self._home, "--rcfile", self._config, home=self._home)
        new = set(self.folder.iterdir()) - before
        return sorted((unmarked(path.read_bytes()).replace(b"\n", b"\r\n") for path in new), key=subject_of)


def unmarked(message: bytes) -> bytes:
    """The message without the field that says which mailbox it came from."""
    return re.sub(rb"^X-getmail-[^\n]*\n", b"", message, flags=re.MULTILINE)


def subject_of(message: bytes) -> str:
    return letters.header_value(message, "Subject")


@pytest.mark.parametrize("way", RETRIEVERS)
def test_mail_is_fetched_and_again_only_what_is_new(
    appliance: Appliance, tmp_path: Path, trust: Path, way: str
) -> None:
    with Reader(appliance) as reader:
        reader.clear()
        for number in range(30):
            appliance.deliver(letters.plain(f"getmail {number:02}"))
        appliance.deliver(letters.with_attachment("getmail large", letters.noise(900_000)))
        stored = sorted(reader.messages(), key=subject_of)

        leaving = Getmail(appliance, tmp_path / "leaving", trust, way, "read_all = false\ndelete = false")
        assert leaving() == stored
        assert leaving() == []
        reader.store("getmail 03", "+FLAGS (\\Flagged)")
        reader.store("getmail 04", "+FLAGS (\\Deleted)")
        reader.expunge()
        appliance.deliver(letters.plain("getmail new"))
        assert [subject_of(message) for message in leaving()] == ["getmail new"]
        assert reader.count() == 31

        taking = Getmail(appliance, tmp_path / "taking", trust, way, "read_all = true\ndelete = true")
        assert len(taking()) == 31
        assert reader.count() == 0
