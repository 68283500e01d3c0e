"""The command that is killed: it stores, moves, removes and settles mail, and tells on stdout what it intends and did.

Each line is one system call: `would move 3 17`, then, when the store has promised it, `stored 42 3 18`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path

from appliance.errors import StoreError
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.store import Filing, QueueWish, Store, database, queue, segments
from appliance.store import link as link_module
from appliance.store import store as store_module
from appliance.store.accounts import create_account
from appliance.store.mailboxes import require_mailbox
from appliance.store.messages import expunge, move

WORKERS = 8
SIZES = (100, 3_000, 3_000, 20_000, 60_000, 700_000)  # the two last lie in segment files, in different lanes
ACCOUNT = "ana@palomar.test"
PREFIX = b"Return-Path: <test@palomar.test>\r\n"


def octets_of(number: int) -> bytes:
    """The message of that number: anyone can make it again to compare."""
    chance = random.Random(number)
    text = chance.randbytes(chance.choice(SIZES)).hex().encode()
    return b"X-Number: %d\r\nSubject: crash\r\n\r\n%s\r\n" % (number, text)


def number_of(message: Message) -> int:
    """The number in a message made by `octets_of`."""
    return int(message.get(b"x-number") or b"-1")


def say(*words: object) -> None:
    """Tell the test. A line is out before the next step is taken."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Mailer:
    """Does random things with a store until it is killed."""

    def __init__(self, store: Store, first: int, chance: random.Random) -> None:
        self.store = store
        self.next = first
        self.chance = chance
        self.inbox = self.archive = self.account = 0
        self.here: list[int] = []
        self.queued: list[int] = []

    async def prepare(self) -> None:
        if (account := self.store.directory.account(ACCOUNT)) is None:
            account = await self.store.write(lambda db: create_account(db, ACCOUNT))
        self.account = account.id
        find = require_mailbox
        self.inbox = self.store.peek(lambda db: find(db, self.account, "INBOX")).id
        self.archive = self.store.peek(lambda db: find(db, self.account, "Archive")).id
        say("mailboxes", self.inbox, self.archive)

    async def work(self) -> None:
        while True:
            steps = [self.take] * 8 + [self.move] * 2 + [self.remove] * 2 + [self.settle] * 2
            try:
                await self.chance.choice(steps)()
            except StoreError as error:  # a disk that fails: nothing was promised
                say("failed", str(error).replace("\n", " "))
                await asyncio.sleep(0.002)

    async def take(self) -> None:
        number, self.next = self.next, self.next + 1
        message = Message.parse(octets_of(number))
        filings = [Filing(self.account, "INBOX", PREFIX)]
        wishes = []
        if number % 4 == 0:
            wishes = [QueueWish(Recipient(Address("someone", "example.com")), Route("relay"))]
        envelope = Envelope(Address("ana", "palomar.test"))
        done = await self.store.accept(message, filings, wishes, envelope, trace_id=str(number))
        say("stored", number, done.filed[0].mailbox_id, done.filed[0].uid)
        self.here.append(done.filed[0].uid)
        if done.queue_id is not None:
            say("queued", number, done.queue_id)
            self.queued.append(done.queue_id)

    async def move(self) -> None:
        if self.here:
            uid = self.here.pop(self.chance.randrange(len(self.here)))
            say("would", "move", self.inbox, uid)
            await self.store.write(lambda db: move(db, self.inbox, [uid], self.archive))
            say("gone", self.inbox, uid)

    async def remove(self) -> None:
        if self.here:
            uid = self.here.pop(self.chance.randrange(len(self.here)))
            say("would", "remove", self.inbox, uid)
            await self.store.write(lambda db: expunge(db, self.inbox, [uid], deleted_only=False))
            say("gone", self.inbox, uid)

    async def settle(self) -> None:
        if self.queued:
            number = self.queued.pop(self.chance.randrange(len(self.queued)))
            say("would", "settle", number)
            await self.store.write(lambda db: queue.settle(db, queue.entry_ids_of(db, number)))
            say("settled", number)

    async def tidy(self) -> None:
        """Checkpoints and compaction, far more often than in life."""
        while True:
            await asyncio.sleep(self.chance.uniform(0.01, 0.2))
            with contextlib.suppress(StoreError):
                await self.store.tidy(everything=self.chance.random() < 0.3)


def _nothing(*_: object) -> None:
    return None


def sabotage(what: str) -> None:
    """Take one sync out of the store, so that a test can see that it is noticed."""
    real = database.connect
    unsafe: Callable[..., database.Database] = lambda path, **options: real(path, **{**options, "full_sync": False})  # noqa: E731
    if what == "commit":
        store_module.connect = link_module.connect = unsafe  # type: ignore[attr-defined]
    elif what == "segment":
        segments.Segments._sync_file = _nothing  # type: ignore[assignment]
    elif what == "folder":
        segments._sync_folder = _nothing  # type: ignore[assignment]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--without", default="", choices=("", "commit", "segment", "folder"))
    options = parser.parse_args()
    sabotage(options.without)
    link_module.REOPEN_PAUSE_S = (0.01, 0.1)
    store = Store.open(options.folder, reserve_bytes=0)
    await store.start()
    mailer = Mailer(store, options.first, random.Random(options.seed))
    await mailer.prepare()
    await asyncio.gather(mailer.tidy(), *(mailer.work() for _ in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main())
