"""The maildrop of one session: INBOX as it was at the login, with what is marked for deletion."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from appliance.errors import NotFoundError
from appliance.mail.message import Message
from appliance.store import Store
from appliance.store.database import Database
from appliance.store.mailboxes import get_mailbox
from appliance.store.messages import expunge, list_rows, list_sizes, set_flags
from appliance.store.model import SEEN, Account, Mailbox, MessageRow
from appliance.store.stored import StoredMessage

# Clients fetch in order. While they take one batch of messages, a reader thread makes the next one ready; so at most
# two batches are in memory.
READ_AHEAD_BYTES = 160 * 1024  # of one batch; a larger message is a batch of its own, and not read ahead
READ_AHEAD_MESSAGES = 64
UPDATE_AT_ONCE = 500  # messages in one transaction at QUIT


class Maildrop:
    """Messages are numbered from 1 in the order of their uids; numbers stay while the session lasts."""

    def __init__(self, store: Store, account: Account, mailbox: Mailbox, uids: array[int], sizes: array[int]) -> None:
        self.account = account
        self._store = store
        self._mailbox = mailbox
        self._uids = uids
        self._sizes = sizes
        self._deleted: set[int] = set()
        self._fetched: set[int] = set()
        self._unseen: set[int] = set()  # of the messages that were read, those that nobody had seen before
        self._ahead: dict[int, Message] = {}
        self._ahead_headers = False  # whether what was read ahead are headers only
        self._coming: tuple[list[int], asyncio.Task[dict[int, Message]]] | None = None  # what is being read ahead
        self._last = 0  # the number that was read last
        self._octets = sum(sizes)

    @classmethod
    async def open(cls, store: Store, account: Account) -> Maildrop:
        """Read the account's INBOX. Raises NotFoundError if it has none, StoreError."""

        def read(db: Database) -> tuple[Mailbox, array[int], array[int]] | None:
            mailbox = get_mailbox(db, account.id, "INBOX")
            return None if mailbox is None else (mailbox, *list_sizes(db, mailbox.id))

        found = await store.read(read)
        if found is None:
            raise NotFoundError(f"{account.name} has no INBOX")
        return cls(store, account, *found)

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def messages(self) -> int:
        """How many are not marked as deleted."""
        return len(self._uids) - len(self._deleted)

    @property
    def octets(self) -> int:
        """The size of those together."""
        return self._octets

    @property
    def highest(self) -> int:
        """The highest message number, marked ones included."""
        return len(self._uids)

    def has(self, number: int) -> bool:
        """Whether that message is there and not marked as deleted."""
        return 0 < number <= len(self._uids) and number not in self._deleted

    def size(self, number: int) -> int:
        """Octets of one message as RETR sends it, before dots are doubled."""
        return self._sizes[number - 1]

    def uidl(self, number: int) -> str:
        """The unique id of one message, the same for ever (RFC 1939 section 7)."""
        return f"{self._mailbox.uidvalidity}.{self._uids[number - 1]}"

    def numbers(self) -> Iterator[int]:
        """All messages that are not marked as deleted."""
        return (number for number in range(1, len(self._uids) + 1) if number not in self._deleted)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def fetch(self, number: int) -> Message:
        """One whole message. Raises NotFoundError when it was removed by another client meanwhile, StoreError."""
        return await self._read(number, headers_only=False)

    async def fetch_header(self, number: int) -> Message:
        """One message with an empty text. Raises as `fetch` does."""
        return await self._read(number, headers_only=True)

    @asynccontextmanager
    async def reading(self, number: int) -> AsyncIterator[StoredMessage]:
        """One message to be sent piece by piece, see `Store.reading`: for those that are `large`."""
        self._forget(headers_only=False)
        self._last = number
        uid = self._uids[number - 1]
        rows = self._store.peek(lambda db: list_rows(db, self._mailbox.id, uid - 1, uid))
        if not rows:
            raise NotFoundError(f"no message {uid}")
        row = MessageRow(*rows[0])
        if not row.flags & SEEN:
            self._unseen.add(number)
        async with self._store.reading(row.body_id, row.filing_id) as message:
            yield message

    def large(self, number: int) -> bool:
        """Whether a message is too large to be held in memory for a client that takes its time."""
        return self.size(number) > READ_AHEAD_BYTES

    async def _read(self, number: int, *, headers_only: bool) -> Message:
        follows = number == self._last + 1
        if headers_only is not self._ahead_headers or not (follows or number in self._ahead):
            self._forget(headers_only=headers_only)
        self._last = number
        message = self._ahead.pop(number, None)
        if message is None:
            message = await self._take(number, follows=follows)
        if follows:
            self._look_ahead()
        return message

    async def _take(self, number: int, *, follows: bool) -> Message:
        """A message that is not there yet, and those that are read along with it."""
        coming, self._coming = self._coming, None
        if coming is not None and number in coming[0]:
            self._ahead = await coming[1]
        else:
            numbers = [number, *(self._following(number) if follows else ())]
            self._ahead = await self._load(numbers)
        message = self._ahead.pop(number, None)
        if message is None:
            raise NotFoundError(f"no message {self._uids[number - 1]}")
        return message

    def _look_ahead(self) -> None:
        """Have the next batch read as soon as the client is at its last but one."""
        if self._coming is not None or len(self._ahead) > READ_AHEAD_MESSAGES // 2:
            return
        numbers = self._following(max(self._ahead, default=self._last))
        if numbers:
            task = asyncio.ensure_future(self._load(numbers))
            task.add_done_callback(_looked_at)
            self._coming = numbers, task

    def _following(self, number: int) -> list[int]:
        """The messages behind `number` that are worth reading at once."""
        numbers, octets = [], 0
        for following in range(number + 1, min(len(self._uids), number + READ_AHEAD_MESSAGES) + 1):
            octets += 0 if self._ahead_headers else self.size(following)
            if octets > READ_AHEAD_BYTES:
                break
            if following not in self._deleted:
                numbers.append(following)
        return numbers

    async def _load(self, numbers: Sequence[int]) -> dict[int, Message]:
        """These messages by their numbers, without those that are gone. Raises StoreError."""
        wanted = {self._uids[number - 1]: number for number in numbers}
        headers_only = self._ahead_headers

        def read(db: Database) -> tuple[list[MessageRow], list[Message]]:
            found = list_rows(db, self._mailbox.id, min(wanted) - 1, max(wanted))
            rows = [MessageRow(*row) for row in found if row[0] in wanted]
            return rows, self._store.load_in(db, rows, headers_only=headers_only)

        try:
            rows, messages = await self._store.read(read)
        except NotFoundError:  # compaction moved a text between the look at the row and at the file
            rows, messages = await self._store.read(read)
        self._unseen.update(wanted[row.uid] for row in rows if not row.flags & SEEN)
        return {wanted[row.uid]: message for row, message in zip(rows, messages, strict=True)}

    def _forget(self, *, headers_only: bool) -> None:
        """Give up what was read ahead."""
        self._ahead = {}
        self._coming = None
        self._ahead_headers = headers_only

    def mark_fetched(self, number: int) -> None:
        """Note that the client has got a message by RETR. TOP does not count: who uses it does not want it noted."""
        self._fetched.add(number)

    # ── deleting ──────────────────────────────────────────────────────────────────────────────────────────────────

    def delete(self, number: int) -> None:
        """Mark a message; it is removed by `update` only."""
        self._deleted.add(number)
        self._octets -= self.size(number)

    def reset(self) -> None:
        """Take all marks back."""
        self._deleted.clear()
        self._octets = sum(self._sizes)

    async def update(self, *, mark_seen: bool) -> list[int]:
        """The UPDATE state: remove what is marked and return the uids that were still there. Raises StoreError."""
        deleted = [self._uids[number - 1] for number in sorted(self._deleted)]
        seen = (self._fetched & self._unseen) - self._deleted if mark_seen else ()
        unseen = [self._uids[number - 1] for number in sorted(seen)]
        mailbox_id = self._mailbox.id
        for uids in _portions(unseen):
            await self._store.write(partial(set_flags, mailbox_id=mailbox_id, uids=uids, add=SEEN))
        removed: list[int] = []
        for uids in _portions(deleted):
            removed += await self._store.write(partial(expunge, mailbox_id=mailbox_id, uids=uids, deleted_only=False))
        return removed


def _portions(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    """A transaction is shared with others, so none of ours may be long."""
    for start in range(0, len(uids), UPDATE_AT_ONCE):
        yield uids[start : start + UPDATE_AT_ONCE]


def _looked_at(task: asyncio.Task[dict[int, Message]]) -> None:
    """Whoever asks for one of the messages gets the error; if nobody does, it is of no interest."""
    if not task.cancelled():
        task.exception()
