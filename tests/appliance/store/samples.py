"""Messages, wishes and short cuts for the store's tests."""

from __future__ import annotations

import random
from collections.abc import Sequence

from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.store import Accepted, Account, Filing, Mailbox, MessageRow, QueueWish, Store
from appliance.store.mailboxes import require_mailbox
from appliance.store.messages import list_rows

PREFIX = b"Return-Path: <bob@example.com>\r\nDelivered-To: ana@palomar.test\r\n"
ENVELOPE = Envelope(Address("bob", "example.com"), ret="HDRS", envid="e+1", body="8BITMIME")


class Clock:
    """Epoch seconds that stand still until somebody moves them."""

    def __init__(self) -> None:
        self.at = 1_790_000_000.0

    def __call__(self) -> float:
        return self.at


def message(number: int = 1, size: int = 200) -> Message:
    """A message of about `size` octets that nobody can compress."""
    text = random.Random(number).randbytes(size // 2).hex().encode()
    return Message.parse(b"From: bob@example.com\r\nSubject: number %d\r\n\r\n%s\r\n" % (number, text))


def wish(address: str = "carla@example.org", transport: str = "relay", *, hold: bool = False) -> QueueWish:
    return QueueWish(Recipient(Address.parse(address)), Route(transport, "mx.example.org", "may"), hold)


async def accept(
    store: Store,
    what: Message,
    *accounts: Account,
    mailbox: str = "INBOX",
    flags: int = 0,
    keywords: tuple[str, ...] = (),
    wishes: Sequence[QueueWish] = (),
) -> Accepted:
    """File a message in one mailbox of each account."""
    filings = [Filing(account.id, mailbox, PREFIX, flags, keywords) for account in accounts]
    return await store.accept(what, filings, wishes, ENVELOPE, trace_id="trace")


def box(store: Store, account: Account, name: str = "INBOX") -> Mailbox:
    return store.peek(lambda db: require_mailbox(db, account.id, name))


def rows(store: Store, mailbox: Mailbox) -> list[MessageRow]:
    return [MessageRow(*row) for row in store.peek(lambda db: list_rows(db, mailbox.id))]


def uids(store: Store, mailbox: Mailbox) -> list[int]:
    return [row.uid for row in rows(store, mailbox)]


def count(store: Store, table: str) -> int:
    (number,) = store.peek(lambda db: db.execute(f"SELECT count(*) FROM {table}").fetchone())
    return int(number)


async def swept(store: Store, table: str = "body", left: int = 0) -> None:
    """Let the sweeper work, between other jobs, until so many rows are left."""
    for _ in range(500):
        if count(store, table) <= left:
            return
        await store.write(lambda _: None)
    raise AssertionError(f"{count(store, table)} rows of {table} are left")
