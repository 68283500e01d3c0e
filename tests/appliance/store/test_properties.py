"""Random work on a store agrees with a simple model, also when the process dies at any statement of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import StoreError
from appliance.store import DELETED, Database, Filing, Mailbox, MessageRow, Store, database, link, messages, queue
from appliance.store.accounts import create_account
from appliance.store.mailboxes import create_mailbox, delete_mailbox, get_mailbox, list_mailboxes, rename_mailbox
from tests.appliance.store.invariants import check_invariants
from tests.appliance.store.samples import ENVELOPE, message, wish

NAMES = ("INBOX", "Sent", "a", "a/b", "c")
SIZES = (60, 3000, 70_000)
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # syncs cost nothing there, and prove nothing here

Step = tuple[str, int, int, int]  # what, and three numbers that choose among what is there


@dataclass
class Model:
    """Mailboxes as lists of (uid, flags, octets), and what is queued."""

    boxes: dict[str, list[tuple[int, int, bytes]]] = field(default_factory=dict)
    next_uid: dict[str, int] = field(default_factory=dict)
    queued: dict[int, bytes] = field(default_factory=dict)

    def add(self, name: str, flags: int, octets: bytes) -> None:
        uid = self.next_uid.setdefault(name, 1)
        self.next_uid[name] = uid + 1
        self.boxes.setdefault(name, []).append((uid, flags, octets))

    def renamed(self, old: str, new: str) -> None:
        if old == "INBOX":
            moved, self.boxes[old] = self.boxes[old], []
            for _, flags, octets in moved:
                self.add(new, flags, octets)
            self.boxes.setdefault(new, [])
            return
        for name in [name for name in self.boxes if name == old or name.startswith(old + "/")]:
            self.boxes[new + name[len(old) :]] = self.boxes.pop(name)
            if name in self.next_uid:
                self.next_uid[new + name[len(old) :]] = self.next_uid.pop(name)


class Worker:
    """Does the same to a store and to the model."""

    def __init__(self, store: Store, account_id: int) -> None:
        self.store = store
        self.account_id = account_id
        self.model = Model({name: [] for name in ("INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive")})
        self.count = 0

    def there(self, name: str) -> Mailbox | None:
        found = self.store.peek(lambda db: get_mailbox(db, self.account_id, name))
        return found if found is not None and found.selectable else None

    async def step(self, step: Step) -> None:
        what, one, two, three = step
        source, target = NAMES[one % len(NAMES)], NAMES[two % len(NAMES)]
        await getattr(self, what)(source, target, three)

    async def accept(self, name: str, other: str, number: int) -> None:
        self.count += 1
        new = message(self.count, SIZES[number % len(SIZES)])
        filings = [Filing(self.account_id, one) for one in dict.fromkeys((name, other))]
        wishes = [wish()] if number % 3 == 0 else []
        done = await self.store.accept(new, filings, wishes, ENVELOPE, trace_id="t")
        for filing in filings:
            self.model.add(filing.mailbox, 0, bytes(new))
        if done.queue_id is not None:
            self.model.queued[done.queue_id] = bytes(new)

    async def append(self, name: str, _: str, number: int) -> None:
        if (mailbox := self.there(name)) is not None:
            items = [(message(number + extra, 100), extra, (), 7) for extra in range(number % 4)]
            await self.store.append(mailbox.id, items)
            for new, flags, _keywords, _at in items:
                self.model.add(name, flags, bytes(new))

    async def flag(self, name: str, _: str, number: int) -> None:
        if (mailbox := self.there(name)) is not None:
            chosen = self._chosen(name, number)
            await self.store.write(lambda db: messages.set_flags(db, mailbox.id, chosen, add=number & 31, remove=1))
            self.model.boxes[name] = [
                (uid, (flags & ~1) | (number & 31) if uid in chosen else flags, octets)
                for uid, flags, octets in self.model.boxes[name]
            ]

    async def edit(self, name: str, _: str, number: int) -> None:
        if (mailbox := self.there(name)) is not None:
            first, add, remove = number % 7, number & 5, number >> 2 & 7
            await self.store.write(
                lambda db: messages.edit_flags(db, mailbox.id, [(first, first + 3)], add=add, remove=remove)
            )
            self.model.boxes[name] = [
                (uid, (flags & ~remove) | add if first <= uid <= first + 3 else flags, octets)
                for uid, flags, octets in self.model.boxes[name]
            ]

    async def copy(self, name: str, other: str, number: int) -> None:
        source, target = self.there(name), self.there(other)
        if source is not None and target is not None:
            chosen = self._chosen(name, number)
            await self.store.write(lambda db: messages.copy(db, source.id, chosen, target.id))
            for uid, flags, octets in list(self.model.boxes[name]):
                if uid in chosen:
                    self.model.add(other, flags, octets)

    async def move(self, name: str, other: str, number: int) -> None:
        source, target = self.there(name), self.there(other)
        if source is not None and target is not None:
            chosen = self._chosen(name, number)
            await self.store.write(lambda db: messages.move(db, source.id, chosen, target.id))
            moved = [one for one in self.model.boxes[name] if one[0] in chosen]
            self.model.boxes[name] = [one for one in self.model.boxes[name] if one[0] not in chosen]
            for _uid, flags, octets in moved:
                self.model.add(other, flags, octets)

    async def expunge(self, name: str, _: str, number: int) -> None:
        if (mailbox := self.there(name)) is not None:
            await self.store.write(lambda db: messages.expunge(db, mailbox.id))
            self.model.boxes[name] = [one for one in self.model.boxes[name] if not one[1] & DELETED]

    async def create(self, name: str, _: str, number: int) -> None:
        try:
            await self.store.write(lambda db: create_mailbox(db, self.account_id, name))
        except StoreError:
            return
        self.model.boxes.setdefault(name, [])

    async def delete(self, name: str, _: str, number: int) -> None:
        if name == "INBOX" or self.there(name) is None:
            return
        await self.store.write(lambda db: delete_mailbox(db, self.account_id, name))
        del self.model.boxes[name]
        self.model.next_uid.pop(name, None)

    async def rename(self, name: str, other: str, number: int) -> None:
        try:
            await self.store.write(lambda db: rename_mailbox(db, self.account_id, name, other))
        except StoreError:
            return
        self.model.renamed(name, other)

    async def settle(self, _: str, __: str, number: int) -> None:
        if self.model.queued:
            chosen = sorted(self.model.queued)[number % len(self.model.queued)]
            await self.store.write(lambda db: queue.settle(db, queue.entry_ids_of(db, chosen)))
            del self.model.queued[chosen]

    async def tidy(self, _: str, __: str, number: int) -> None:
        await self.store.tidy(everything=bool(number % 2))

    def _chosen(self, name: str, number: int) -> list[int]:
        return [uid for uid, _, _ in self.model.boxes[name] if (number >> uid % 5) & 1]


async def seen(store: Store, account_id: int) -> tuple[dict[str, list[tuple[int, int, bytes]]], dict[int, bytes]]:
    """All that a user of the store can see."""
    await store.read(check_invariants)
    boxes: dict[str, list[tuple[int, int, bytes]]] = {}
    for mailbox in await store.read(lambda db: list_mailboxes(db, account_id)):
        if mailbox.selectable:
            rows = [MessageRow(*row) for row in store.peek(lambda db, box=mailbox: messages.list_rows(db, box.id))]  # type: ignore[misc]
            texts = await store.load_many(rows)
            boxes[mailbox.name] = [(row.uid, row.flags, bytes(text)) for row, text in zip(rows, texts, strict=True)]
    ids = [row[0] for row in store.peek(lambda db: db.execute("SELECT id FROM queued").fetchall())]
    return boxes, {one: bytes(await store.load(one)) for one in ids}


STEPS = (
    "accept",
    "accept",
    "append",
    "flag",
    "edit",
    "copy",
    "move",
    "expunge",
    "create",
    "delete",
    "rename",
    "settle",
    "tidy",
)
steps = st.lists(st.tuples(st.sampled_from(STEPS), *(st.integers(0, 31) for _ in range(3))), max_size=20)
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = Store.open(folder, reserve_bytes=0)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


@quick
@given(steps)
def test_random_work_agrees_with_the_model(work: list[Step]) -> None:
    async def run(folder: Path) -> None:
        async with opened(folder) as store:
            account = await store.write(lambda db: create_account(db, "ana@palomar.test"))
            worker = Worker(store, account.id)
            for step in work:
                await worker.step(step)
            assert await seen(store, account.id) == (worker.model.boxes, worker.model.queued)
        async with opened(folder) as again:
            assert await seen(again, account.id) == (worker.model.boxes, worker.model.queued)

    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        asyncio.run(run(Path(folder)))


class Copier:
    """At the chosen statement of the writer, copies the files as a killed process would leave them."""

    def __init__(self, folder: Path, at: int) -> None:
        self.folder = folder
        self.left = -1
        self.at = at

    def arm(self) -> None:
        self.left = self.at

    @property
    def copied(self) -> bool:
        return self.left == 0

    def statement(self) -> None:
        if self.left > 0:
            self.left -= 1
            if self.left:
                return
            ignore = shutil.ignore_patterns("*-shm")
            shutil.copytree(self.folder / "data", self.folder / "copy", ignore=ignore)

    def connect(self, path: Path, **options: Any) -> Database:
        """A connection whose statements are counted."""
        copier = self

        class Watched(Database):
            def execute(self, *call: Any) -> sqlite3.Cursor:
                copier.statement()
                return super().execute(*call)

            def executemany(self, *call: Any) -> sqlite3.Cursor:
                copier.statement()
                return super().executemany(*call)

        with mock.patch.object(database, "Database", Watched):
            return database.connect(path, **options)


@quick
@given(steps, st.integers(1, 120))
def test_a_process_that_dies_at_any_statement_leaves_the_state_before_or_after(work: list[Step], at: int) -> None:
    async def run(folder: Path) -> None:
        copier = Copier(folder, at)
        with mock.patch.object(link, "connect", copier.connect):
            async with opened(folder / "data") as store:
                account = await store.write(lambda db: create_account(db, "ana@palomar.test"))
                copier.arm()
                worker = Worker(store, account.id)
                before = worker.model
                for step in work:
                    before = deepcopy(worker.model)
                    await worker.step(step)
                    if copier.copied:
                        break
        if (folder / "copy").exists():
            async with opened(folder / "copy") as after:
                found = await seen(after, account.id)
            assert found in ((before.boxes, before.queued), (worker.model.boxes, worker.model.queued))

    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        asyncio.run(run(Path(folder)))
