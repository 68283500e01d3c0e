"""The maildrop of one session: INBOX as it was at the login, with what is marked for deletion."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from appliance.errors import NotFoundError
from appliance.mail.message import Message
from appliance.store import Store
from appliance.store.bodies import Found
from appliance.store.database import Database
from appliance.store.mailboxes import get_mailbox
from appliance.store.messages import expunge, headers, list_rows, list_sizes, set_flags
from appliance.store.model import SEEN, Account, Mailbox, MessageRow
from appliance.store.stored import StoredMessage
from plugins.pop3.ahead import Ahead
from plugins.pop3.protocol_text import retrieved

T = TypeVar("T")

READ_AHEAD_BYTES = 512 * 1024  # of one batch; a larger message is not held in memory
READ_AHEAD_MESSAGES = 64
FEW = READ_AHEAD_MESSAGES // 2  # messages that are left of a batch when the next one is read
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
        self._responses = Ahead(
            partial(self._load, lambda found: retrieved(found.header, self._text(found))), self._following, FEW
        )
        self._messages = Ahead(
            partial(self._load, lambda found: Message(found.header, b"".join(self._text(found)))), self._following, FEW
        )
        self._headers = Ahead(self._load_headers, partial(self._following, whole=False), FEW)
        self._in_use: Ahead[Any] | None = None  # the one of these three that has something
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

    async def response(self, number: int) -> bytes:
        """All that RETR answers. Raises NotFoundError when it was removed by another client meanwhile, StoreError."""
        return await self._take(self._responses, number)

    async def fetch(self, number: int) -> Message:
        """One whole message. Raises as `response` does."""
        return await self._take(self._messages, number)

    async def fetch_header(self, number: int) -> Message:
        """One message with an empty text. Raises as `response` does."""
        return await self._take(self._headers, number)

    @asynccontextmanager
    async def reading(self, number: int) -> AsyncIterator[StoredMessage]:
        """One message to be sent piece by piece, see `Store.reading`: for those that are `large`."""
        self._use(None)
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

    async def _take(self, ahead: Ahead[T], number: int) -> T:
        follows = number == self._last + 1
        self._use(ahead, keep=follows or number in ahead)
        self._last = number
        found = await ahead.take(number, follows=follows)
        if found is None:
            raise NotFoundError(f"no message {self._uids[number - 1]}")
        return found

    def _use(self, ahead: Ahead[Any] | None, *, keep: bool = False) -> None:
        """Read ahead in one way only: give up what was read in another, or (not `keep`) in this one."""
        if self._in_use is not None and not (keep and self._in_use is ahead):
            self._in_use.forget()
        self._in_use = ahead

    def _following(self, number: int, *, whole: bool = True) -> list[int]:
        """The messages behind `number` that are worth reading at once."""
        numbers, octets = [], 0
        for following in range(number + 1, min(len(self._uids), number + READ_AHEAD_MESSAGES) + 1):
            octets += self.size(following) if whole else 0
            if octets > READ_AHEAD_BYTES:
                break
            if following not in self._deleted:
                numbers.append(following)
        return numbers

    async def _load(self, make: Callable[[Found], T], numbers: Sequence[int]) -> dict[int, T]:
        """What `make` makes of these messages on a reader thread, without those that are gone. Raises StoreError."""
        wanted = {self._uids[number - 1]: number for number in numbers}

        def read(db: Database) -> list[tuple[int, int, T]]:
            rows = self._store.found_in(db, self._mailbox.id, min(wanted), max(wanted))
            return [(wanted[one.uid], one.row.flags, make(one)) for one in rows if one.uid in wanted]

        try:
            found = await self._store.read(read)
        except NotFoundError:  # compaction moved a text between the look at the row and at the file
            found = await self._store.read(read)
        self._unseen.update(number for number, flags, _ in found if not flags & SEEN)
        return {number: made for number, _, made in found}

    async def _load_headers(self, numbers: Sequence[int]) -> dict[int, Message]:
        wanted = {self._uids[number - 1]: number for number in numbers}
        found = await self._store.read(
            lambda db: [row for row in headers(db, self._mailbox.id, min(wanted), max(wanted)) if row[0] in wanted]
        )
        return {wanted[uid]: Message(header, b"") for uid, header in found}

    def _text(self, found: Found) -> list[bytes | memoryview]:
        return self._store.stretch_in(found, 0, found.text_size)

    def forget(self) -> None:
        """Give up what was read ahead: nobody asks for it any more."""
        self._use(None)

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
