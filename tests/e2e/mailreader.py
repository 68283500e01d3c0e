"""Reads what is in an account's mailboxes, by IMAP and Python's own client."""

from __future__ import annotations

import imaplib
import re
from types import TracebackType

from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for

ARRIVAL_S = 20.0


class Reader:
    """One IMAP connection of one account. It never sets a flag by reading."""

    def __init__(self, appliance: Appliance, account: str = "ana@palomar.test", password: str = PASSWORD) -> None:
        self._imap = imaplib.IMAP4("127.0.0.1", appliance.ports["imap"], timeout=30)
        self._imap.login(account, password)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._imap.logout()

    def messages(self, mailbox: str = "INBOX") -> list[bytes]:
        """All messages as stored, oldest first."""
        self._select(mailbox)
        status, rows = self._imap.uid("FETCH", "1:*", "(BODY.PEEK[])")
        assert status == "OK", rows
        return [row[1] for row in rows if isinstance(row, tuple)]

    def count(self, mailbox: str = "INBOX") -> int:
        """How many there are."""
        return self._select(mailbox)

    def flags(self, mailbox: str = "INBOX") -> dict[str, frozenset[str]]:
        """The flags of each message by its subject, without \\Recent."""
        self._select(mailbox)
        status, rows = self._imap.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        assert status == "OK", rows
        found = {}
        for row in rows:
            if isinstance(row, tuple):
                flags = re.search(rb"FLAGS \(([^)]*)\)", row[0])
                assert flags is not None, row
                subject = row[1].decode("utf-8", "replace").strip().partition(": ")[2]
                found[subject] = frozenset(flags[1].decode().split()) - {"\\Recent"}
        return found

    def store(self, subject: str, change: str, mailbox: str = "INBOX") -> None:
        """Change flags of the message with that subject, as in `+FLAGS (\\Flagged)`."""
        self._select(mailbox, readonly=False)
        status, rows = self._imap.uid("SEARCH", "SUBJECT", f'"{subject}"')
        assert status == "OK", rows
        assert rows[0], f"no {subject!r} in {mailbox}"
        sign, _, flags = change.partition(" ")
        assert self._imap.uid("STORE", rows[0].split()[0].decode(), sign, flags)[0] == "OK"

    def expunge(self, mailbox: str = "INBOX") -> None:
        """Remove what is marked as deleted."""
        self._select(mailbox, readonly=False)
        assert self._imap.expunge()[0] == "OK"

    def clear(self, mailbox: str = "INBOX") -> None:
        """Remove everything."""
        if self._select(mailbox, readonly=False):
            self._imap.store("1:*", "+FLAGS.SILENT", "(\\Deleted)")
            assert self._imap.expunge()[0] == "OK"

    def find(self, marker: bytes, mailbox: str = "INBOX") -> list[bytes]:
        """The messages that contain the marker."""
        return [message for message in self.messages(mailbox) if marker in message]

    def wait(self, marker: bytes | str, mailbox: str = "INBOX", seconds: float = ARRIVAL_S) -> bytes:
        """Wait for the one message that contains the marker. Two are a failure."""
        wanted = marker.encode() if isinstance(marker, str) else marker
        found: list[bytes] = wait_for(lambda: self.find(wanted, mailbox), f"{wanted!r} in {mailbox}", seconds)
        assert len(found) == 1, f"{len(found)} messages with {wanted!r} in {mailbox}"
        return found[0]

    def _select(self, mailbox: str, *, readonly: bool = True) -> int:
        status, rows = self._imap.select(f'"{mailbox}"', readonly=readonly)
        assert status == "OK", rows
        return int(rows[0] or 0)


def inbox(appliance: Appliance, marker: bytes | str, account: str = "ana@palomar.test") -> bytes:
    """Wait for the one message in INBOX that contains the marker."""
    with Reader(appliance, account) as reader:
        return reader.wait(marker)
