"""Reads what is in an account's mailboxes, by IMAP and Python's own client."""

from __future__ import annotations

import imaplib
import re
import time
from collections.abc import Iterator
from types import TracebackType

from appliance.wire.imap import decode_mailbox, encode_mailbox
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for

ARRIVAL_S = 90.0


class Reader:
    """One IMAP connection of one account. It never sets a flag by reading."""

    def __init__(self, appliance: Appliance, account: str = "ana@palomar.test", password: str = PASSWORD) -> None:
        self._imap = imaplib.IMAP4("127.0.0.1", appliance.ports["imap"], timeout=60)
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

    def status(self, mailbox: str = "INBOX") -> bytes:
        """STATUS with all that a change would change."""
        status, rows = self._imap.status(f'"{mailbox}"', "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")
        assert status == "OK", rows
        assert isinstance(rows[0], bytes)
        return rows[0]

    def mailboxes(self) -> list[str]:
        """The names of all mailboxes."""
        status, rows = self._imap.list()
        assert status == "OK", rows
        return [decode_mailbox(row.rpartition(b' "/" ')[2].strip(b'"')) for row in rows if isinstance(row, bytes)]

    def flags(self, mailbox: str = "INBOX") -> dict[str, frozenset[str]]:
        """The flags of each message by its subject, without \\Recent."""
        return {subject: flags for _, subject, flags in self._list(mailbox)}

    def arrivals(self, mailbox: str = "INBOX") -> dict[str, int]:
        """When each message arrived (INTERNALDATE, in epoch seconds), by its subject."""
        subjects = [subject for _, subject, _ in self._list(mailbox)]
        status, rows = self._imap.uid("FETCH", "1:*", "(INTERNALDATE)")
        assert status == "OK", rows
        times = [imaplib.Internaldate2tuple(row) for row in rows]
        return {subject: int(time.mktime(at)) for subject, at in zip(subjects, times, strict=True) if at is not None}

    def store(self, subject: str, change: str, mailbox: str = "INBOX") -> None:
        """Change flags of the message with that subject, as in `+FLAGS (\\Flagged)`."""
        uids = [uid for uid, found, _ in self._list(mailbox) if found == subject]
        assert len(uids) == 1, f"{len(uids)} messages {subject!r} in {mailbox}"
        self._select(mailbox, readonly=False)
        sign, _, flags = change.partition(" ")
        assert self._imap.uid("STORE", uids[0], sign, flags)[0] == "OK"

    def append(self, message: bytes, mailbox: str = "INBOX", flags: str = "") -> None:
        """Store a message."""
        assert self._imap.append(f'"{mailbox}"', flags, "", message)[0] == "OK"

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

    def _list(self, mailbox: str) -> Iterator[tuple[str, str, frozenset[str]]]:
        """UID, subject and flags of each message."""
        self._select(mailbox)
        status, rows = self._imap.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        assert status == "OK", rows
        for row in rows:
            if isinstance(row, tuple):
                found = re.search(rb"UID (\d+)", row[0]), re.search(rb"FLAGS \(([^)]*)\)", row[0])
                assert found[0] is not None, row
                assert found[1] is not None, row
                subject = row[1].decode("utf-8", "replace").strip().partition(": ")[2]
                yield found[0][1].decode(), subject, frozenset(found[1][1].decode().split()) - {"\\Recent"}

    def _select(self, mailbox: str, *, readonly: bool = True) -> int:
        name = encode_mailbox(mailbox).decode()
        status, rows = self._imap.select(f'"{name}"', readonly=readonly)
        assert status == "OK", rows
        return int(rows[0] or 0)


def inbox(appliance: Appliance, marker: bytes | str, account: str = "ana@palomar.test") -> bytes:
    """Wait for the one message in INBOX that contains the marker."""
    with Reader(appliance, account) as reader:
        return reader.wait(marker)
