"""SMTP load on a guest that will be cut off, and what must be there afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import imaplib
import random
import re
import smtplib
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

ACCOUNT = "ana@example.org"
PASSWORD = "correct horse battery"
HOST = "127.0.0.1"
ANSWER_S = 60.0
_NUMBER = re.compile(rb"X-Number: (\d+)")


def text_of(number: int) -> bytes:
    """Message `number`: a size of its own, and the digest of its body in a header."""
    chance = random.Random(number)
    lines = [chance.randbytes(27).hex() for _ in range(chance.choice((5, 40, 400, 1600)))]
    body = "\r\n".join(lines) + "\r\n"
    digest = hashlib.sha256(body.encode()).hexdigest()
    head = (
        f"From: load@example.net\r\nTo: {ACCOUNT}\r\nSubject: {number}\r\nX-Number: {number}\r\nX-Digest: {digest}\r\n"
    )
    return (head + "\r\n" + body).encode()


@dataclass(slots=True)
class Promises:
    """What the guest said about each message, over all cuts."""

    promised: set[int] = field(default_factory=set)  # it said 250
    unsure: set[int] = field(default_factory=set)  # sent, and no answer came
    next_number: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int:
        with self.lock:
            number = self.next_number
            self.next_number += 1
            self.unsure.add(number)  # until the answer is there
            return number

    def keep(self, number: int) -> None:
        with self.lock:
            self.unsure.discard(number)
            self.promised.add(number)

    def refused(self, number: int) -> None:
        with self.lock:
            self.unsure.discard(number)

    def copy(self) -> Promises:
        """What stands at this moment."""
        with self.lock:
            return Promises(set(self.promised), set(self.unsure), self.next_number)

    def lost(self, found: Counter[int]) -> list[int]:
        return sorted(self.promised - set(found))

    def doubled(self, found: Counter[int]) -> list[int]:
        return sorted(number for number, count in found.items() if count > 1)

    def invented(self, found: Counter[int]) -> list[int]:
        return sorted(set(found) - self.promised - self.unsure)


class Load:
    """Clients that send one message after the other until the guest is gone, or until it has taken `enough`."""

    def __init__(self, port: int, promises: Promises, clients: int = 6, *, enough: int | None = None) -> None:
        self._port = port
        self._promises = promises
        self._enough = enough
        self._ended = threading.Event()
        self.first = threading.Event()  # some message of this span had its 250
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _is_over(self) -> bool:
        return self._ended.is_set() or (self._enough is not None and len(self._promises.promised) >= self._enough)

    def _run(self) -> None:
        while not self._is_over():
            with (
                contextlib.suppress(OSError, smtplib.SMTPException),
                smtplib.SMTP(HOST, self._port, timeout=ANSWER_S) as client,
            ):
                while not self._is_over():
                    self._send(client)

    def _send(self, client: smtplib.SMTP) -> None:
        number = self._promises.take()
        try:
            client.sendmail("load@example.net", [ACCOUNT], text_of(number))
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
            self._promises.refused(number)
            raise
        self._promises.keep(number)
        self.first.set()

    def finish(self, timeout_s: float) -> None:
        """Wait until the guest has taken enough."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), f"only {len(self._promises.promised)} messages within {timeout_s:g} s"

    def stop(self) -> None:
        """To be called when the guest is dead: its connections end the clients."""
        self._ended.set()
        for thread in self._threads:
            thread.join(ANSWER_S + 10)
            assert not thread.is_alive(), "a client hangs"


def found_in_inbox(port: int) -> Counter[int]:
    """Read every message of the account by IMAP over TLS, check its digest, and count by number."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the appliance made its certificate itself
    found: Counter[int] = Counter()
    client = imaplib.IMAP4_SSL(HOST, port, ssl_context=context, timeout=300)
    try:
        client.login(ACCOUNT, PASSWORD)
        _, answer = client.select("INBOX", readonly=True)
        total = int(answer[0] or b"0")
        for start in range(1, total + 1, 100):
            _, rows = client.fetch(f"{start}:{min(total, start + 99)}", "(BODY.PEEK[])")
            for row in rows:
                if isinstance(row, tuple):
                    found[_checked(row[1])] += 1
        assert sum(found.values()) == total
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            client.logout()
    return found


def _checked(message: bytes) -> int:
    match = _NUMBER.search(message)
    assert match is not None, f"a message that nobody sent: {message[:200]!r}"
    number = int(match[1])
    sent = text_of(number)
    assert message.endswith(sent[sent.index(b"\r\n\r\n") :]), f"message {number} is damaged"
    return number
