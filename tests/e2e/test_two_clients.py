"""Several IMAP clients on one mailbox: what one does or what arrives, the others are told, within a second."""

from __future__ import annotations

import imaplib
import poplib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.mailreader import Reader

pytestmark = pytest.mark.e2e

ANA = "ana@palomar.test"
PROMPT_S = 10.0  # far less than any time after which a client or we would look by ourselves


class Idler:
    """A client that waits in IDLE (RFC 2177)."""

    def __init__(self, appliance: Appliance, mailbox: str = "INBOX") -> None:
        self._imap = imaplib.IMAP4("127.0.0.1", appliance.ports["imap"], timeout=60)
        self._imap.login(ANA, PASSWORD)
        self._imap.select(mailbox)
        self._imap.send(b"i1 IDLE\r\n")
        assert self._imap.readline().startswith(b"+ ")

    def hears(self, *lines: bytes) -> None:
        """Wait for these untagged lines, in any order, and no longer than PROMPT_S."""
        end = time.monotonic() + PROMPT_S
        missing = list(lines)
        heard = []
        while missing:
            self._imap.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                line = self._imap.readline()
            except (TimeoutError, OSError):
                raise AssertionError(f"not heard within {PROMPT_S:g} s: {missing}; but {heard}") from None
            heard.append(line)
            missing = [one for one in missing if one not in line]

    def is_quiet(self) -> bool:
        """Whether nothing more comes for a moment."""
        self._imap.sock.settimeout(0.2)
        try:
            return not self._imap.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True

    def done(self) -> None:
        self._imap.sock.settimeout(20)
        self._imap.send(b"DONE\r\n")
        line = self._imap.readline()
        while line.startswith(b"* "):
            line = self._imap.readline()
        assert line.startswith(b"i1 OK")

    def close(self) -> None:
        self._imap.shutdown()


@pytest.fixture
def reader(appliance: Appliance) -> Iterator[Reader]:
    """Another client, and an INBOX with three messages."""
    with Reader(appliance) as reader:
        reader.clear()
        for number in range(3):
            appliance.deliver(letters.plain(f"old-{number}"))
        yield reader


def test_new_mail_is_heard_by_all(appliance: Appliance, reader: Reader) -> None:
    with ExitStack() as closing:
        idlers = [Idler(appliance) for _ in range(5)]
        for idler in idlers:
            closing.callback(idler.close)
        for count in (4, 5, 6):
            appliance.deliver(letters.plain(f"new-{count}"))
            for idler in idlers:
                idler.hears(b"* %d EXISTS" % count)
        for idler in idlers:
            idler.done()


def test_mail_by_every_door_is_heard(appliance: Appliance, reader: Reader) -> None:
    idler = Idler(appliance)
    reader.append(letters.plain("appended"))
    idler.hears(b"* 4 EXISTS")
    appliance.command("send", "-f", ANA, ANA, stdin=letters.plain("sent").decode())
    idler.hears(b"* 5 EXISTS")
    idler.done()
    idler.close()


def test_flags_and_deletions_are_heard(appliance: Appliance, reader: Reader) -> None:
    idler = Idler(appliance)
    reader.store("old-1", "+FLAGS (\\Flagged)")
    idler.hears(b"* 2 FETCH (")
    reader.store("old-0", "+FLAGS (\\Deleted)")
    idler.hears(b"* 1 FETCH (")
    reader.expunge()
    idler.hears(b"* 1 EXPUNGE")
    assert idler.is_quiet()
    idler.done()
    idler.close()


def test_another_mailbox_is_not_heard(appliance: Appliance, reader: Reader) -> None:
    idler = Idler(appliance, "Sent")
    appliance.deliver(letters.plain("elsewhere"))
    assert idler.is_quiet()
    idler.done()
    idler.close()


def test_who_does_not_idle_is_told_with_the_next_command(appliance: Appliance, reader: Reader) -> None:
    imap = imaplib.IMAP4("127.0.0.1", appliance.ports["imap"], timeout=60)
    imap.login(ANA, PASSWORD)
    assert imap.select() == ("OK", [b"3"])
    appliance.deliver(letters.plain("told later"))
    reader.store("old-1", "+FLAGS (\\Deleted)")
    reader.expunge()
    # Numbers must not shift under a FETCH (RFC 3501 section 7.4.1): what is gone is told by NOOP.
    status, rows = imap.fetch("3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert status == "OK"
    assert rows[0][1] == b"Subject: old-2\r\n\r\n"
    imap.noop()
    assert imap.response("EXPUNGE")[1] == [b"2"]
    assert imap.search(None, "ALL") == ("OK", [b"1 2 3"])
    _, rows = imap.fetch("3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert rows[0][1] == b"Subject: told later\r\n\r\n"
    imap.logout()


def test_pop3_and_imap_on_one_mailbox(appliance: Appliance, reader: Reader) -> None:
    idler = Idler(appliance)
    pop = poplib.POP3("127.0.0.1", appliance.ports["pop3"], timeout=60)
    pop.user(ANA)
    pop.pass_(PASSWORD)
    pop.retr(3)
    pop.dele(1)
    pop.quit()
    idler.hears(b"* 1 EXPUNGE")
    idler.done()
    idler.close()
    flags = reader.flags()
    assert {subject for subject in flags if "\\Seen" in flags[subject]} == {"old-2"}
    assert set(flags) == {"old-1", "old-2"}
