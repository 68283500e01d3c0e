"""The maildrop of one session: INBOX (and Junk) as it was at the login, with what is marked for deletion."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from appliance.errors import NotFoundError
from appliance.mail.message import Message
from appliance.store import Store
from appliance.store.bodies import Found
from appliance.store.database import Database
from appliance.store.mailboxes import INBOX, get_mailbox, list_mailboxes
from appliance.store.messages import expunge, headers, list_rows, list_sizes, set_flags
from appliance.store.model import SEEN, Account, Mailbox, MessageRow
from appliance.store.stored import StoredMessage
from plugins.pop3.ahead import Ahead
from plugins.pop3.protocol_text import retrieved
from plugins.pop3.schema import note_taken, seen_and_not_noted

T = TypeVar("T")

READ_AHEAD_BYTES = 512 * 1024  # of one batch; a larger message is not held in memory
READ_AHEAD_MESSAGES = 64
FEW = READ_AHEAD_MESSAGES // 2  # messages that are left of a batch when the next one is read
UPDATE_AT_ONCE = 500  # messages in one transaction at QUIT


class Contents(msgspec.Struct, frozen=True):
    """What is in a maildrop, message by message: the uid, the size, and which of the mailboxes it is in."""

    mailboxes: Sequence[Mailbox]
    uids: array[int]
    sizes: array[int]
    places: bytes


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What QUIT does beside removing what is marked."""

    mark_seen: bool = False  # what was fetched is read
    remove_fetched: bool = False  # what was fetched is removed
    note_at: int | None = None  # count the days of what was fetched or read from this time on (epoch seconds)


def mailboxes_of(db: sqlite3.Connection, account_id: int, *, junk: bool) -> list[Mailbox]:
    """The mailboxes that make an account's maildrop: INBOX, and the one for junk if that is wanted and there."""
    if not junk:
        inbox = get_mailbox(db, account_id, INBOX)
        return [] if inbox is None else [inbox]
    found = list_mailboxes(db, account_id)
    return [one for one in found if one.name == INBOX] + [one for one in found if one.special_use == "\\Junk"]


def _contents(db: sqlite3.Connection, mailboxes: Sequence[Mailbox]) -> Contents:
    """INBOX alone in the order of its uids; several mailboxes in the order of arrival."""
    if len(mailboxes) == 1:
        uids, sizes = list_sizes(db, mailboxes[0].id)
        return Contents(mailboxes, uids, sizes, bytes(len(uids)))
    arrived = sorted(
        (row[4], place, row[0], row[3]) for place, one in enumerate(mailboxes) for row in list_rows(db, one.id)
    )
    return Contents(
        mailboxes,
        array("Q", (uid for _, _, uid, _ in arrived)),
        array("Q", (size for _, _, _, size in arrived)),
        bytes(place for _, place, _, _ in arrived),
    )


class Maildrop:
    """Messages are numbered from 1 in the order of their arrival; numbers stay while the session lasts."""

    def __init__(self, store: Store, account: Account, contents: Contents) -> None:
        self.account = account
        self._store = store
        self._mailboxes = contents.mailboxes
        self._uids = contents.uids
        self._sizes = contents.sizes
        self._places = contents.places
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
        self._octets = sum(contents.sizes)

    @classmethod
    async def open(cls, store: Store, account: Account, *, junk: bool = False) -> Maildrop:
        """Read the account's INBOX, and its Junk if wanted. Raises NotFoundError if it has no INBOX, StoreError."""

        def read(db: Database) -> Contents | None:
            mailboxes = mailboxes_of(db, account.id, junk=junk)
            return _contents(db, mailboxes) if mailboxes and mailboxes[0].name == INBOX else None

        found = await store.read(read)
        if found is None:
            raise NotFoundError(f"{account.name} has no INBOX")
        return cls(store, account, found)

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
        """The unique id of one message, the same for ever (RFC 1939 section 7).

        No two mailboxes have one UIDVALIDITY, so it is unique in INBOX and Junk together.
        """
        return f"{self._mailbox(number).uidvalidity}.{self._uids[number - 1]}"

    def _mailbox(self, number: int) -> Mailbox:
        return self._mailboxes[self._places[number - 1]]

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
        uid, mailbox_id = self._uids[number - 1], self._mailbox(number).id
        rows = self._store.peek(lambda db: list_rows(db, mailbox_id, uid - 1, uid))
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
        wanted = self._by_mailbox(numbers)

        def read(db: Database) -> list[tuple[int, int, T]]:
            return [
                (those[one.uid], one.row.flags, make(one))
                for mailbox_id, those in wanted
                for one in self._store.found_in(db, mailbox_id, min(those), max(those))
                if one.uid in those
            ]

        try:
            found = await self._store.read(read)
        except NotFoundError:  # compaction moved a text between the look at the row and at the file
            found = await self._store.read(read)
        self._unseen.update(number for number, flags, _ in found if not flags & SEEN)
        return {number: made for number, _, made in found}

    async def _load_headers(self, numbers: Sequence[int]) -> dict[int, Message]:
        wanted = self._by_mailbox(numbers)

        def read(db: Database) -> dict[int, Message]:
            return {
                those[uid]: Message(header, b"")
                for mailbox_id, those in wanted
                for uid, header in headers(db, mailbox_id, min(those), max(those))
                if uid in those
            }

        return await self._store.read(read)

    def _by_mailbox(self, numbers: Iterable[int]) -> list[tuple[int, dict[int, int]]]:
        """The message numbers by their uids, by the id of their mailbox."""
        found: dict[int, dict[int, int]] = {}
        for number in numbers:
            found.setdefault(self._mailbox(number).id, {})[self._uids[number - 1]] = number
        return list(found.items())

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

    async def update(self, update: Update) -> list[tuple[str, list[int]]]:
        """The UPDATE state: remove what is marked, and return the uids that were still there by the mailbox's name.

        Raises StoreError.
        """
        deleted = self._deleted | self._fetched if update.remove_fetched else self._deleted
        if update.mark_seen:
            for mailbox_id, uids in self._uids_of((self._fetched & self._unseen) - deleted):
                await self._store.write(partial(set_flags, mailbox_id=mailbox_id, uids=uids, add=SEEN))
        removed: dict[str, list[int]] = {}
        names = {one.id: one.name for one in self._mailboxes}
        for mailbox_id, uids in self._uids_of(deleted):
            gone = await self._store.write(partial(expunge, mailbox_id=mailbox_id, uids=uids, deleted_only=False))
            removed.setdefault(names[mailbox_id], []).extend(gone)
        if update.note_at is not None:
            await self._note(self._fetched - deleted, update.note_at)
        return [(name, uids) for name, uids in removed.items() if uids]

    async def _note(self, fetched: Iterable[int], at: int) -> None:
        """Count the days of what was fetched, and of what was listed and is read, by whatever client."""
        for mailbox_id, uids in self._uids_of(fetched):
            await self._store.write(partial(note_taken, mailbox_id=mailbox_id, uids=uids, at=at))
        for place, mailbox in enumerate(self._mailboxes):
            last = max((uid for uid, its in zip(self._uids, self._places, strict=True) if its == place), default=0)
            seen = await self._store.read(partial(seen_and_not_noted, mailbox_id=mailbox.id, last_uid=last))
            for uids in _portions(seen):
                await self._store.write(partial(note_taken, mailbox_id=mailbox.id, uids=uids, at=at))

    def _uids_of(self, numbers: Iterable[int]) -> Iterator[tuple[int, Sequence[int]]]:
        """The uids of messages, ascending, with their mailbox's id, in portions for a transaction each."""
        for mailbox_id, those in self._by_mailbox(sorted(numbers)):
            for uids in _portions(sorted(those)):
                yield mailbox_id, uids


def _portions(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    """A transaction is shared with others, so none of ours may be long."""
    for start in range(0, len(uids), UPDATE_AT_ONCE):
        yield uids[start : start + UPDATE_AT_ONCE]
