"""The maildrop of one session: INBOX as it was at the login, with what is marked for deletion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from appliance.errors import NotFoundError
from appliance.mail.message import Message
from appliance.store import Store
from appliance.store.database import Database
from appliance.store.mailboxes import get_mailbox
from appliance.store.messages import expunge, list_rows, set_flags
from appliance.store.model import SEEN, Account, Mailbox, MessageRow

# Clients fetch in order. Reading some messages ahead saves a trip to a reader thread for each.
READ_AHEAD_BYTES = 256 * 1024
READ_AHEAD_MESSAGES = 64
UPDATE_AT_ONCE = 500  # messages in one transaction at QUIT

Row = tuple[int, int, int, int, int, int, int]  # in the order of MessageRow's fields
_UID, _FLAGS, _SIZE = 0, 1, 3


class Maildrop:
    """Messages are numbered from 1 in the order of their uids; numbers stay while the session lasts."""

    def __init__(self, store: Store, account: Account, mailbox: Mailbox, rows: Sequence[Row]) -> None:
        self.account = account
        self._store = store
        self._mailbox = mailbox
        self._rows = rows
        self._deleted: set[int] = set()
        self._fetched: set[int] = set()
        self._ahead: dict[int, Message] = {}
        self._ahead_headers = False  # whether what was read ahead are headers only
        self._last = 0  # the number that was read last
        self._octets = sum(row[_SIZE] for row in rows)

    @classmethod
    async def open(cls, store: Store, account: Account) -> Maildrop:
        """Read the account's INBOX. Raises NotFoundError if it has none, StoreError."""

        def read(db: Database) -> tuple[Mailbox, list[Row]] | None:
            mailbox = get_mailbox(db, account.id, "INBOX")
            return None if mailbox is None else (mailbox, list_rows(db, mailbox.id))

        found = await store.read(read)
        if found is None:
            raise NotFoundError(f"{account.name} has no INBOX")
        return cls(store, account, *found)

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def messages(self) -> int:
        """How many are not marked as deleted."""
        return len(self._rows) - len(self._deleted)

    @property
    def octets(self) -> int:
        """The size of those together."""
        return self._octets

    @property
    def highest(self) -> int:
        """The highest message number, marked ones included."""
        return len(self._rows)

    def has(self, number: int) -> bool:
        """Whether that message is there and not marked as deleted."""
        return 0 < number <= len(self._rows) and number not in self._deleted

    def size(self, number: int) -> int:
        """Octets of one message as RETR sends it, before dots are doubled."""
        return self._rows[number - 1][_SIZE]

    def uidl(self, number: int) -> str:
        """The unique id of one message, the same for ever (RFC 1939 section 7)."""
        return f"{self._mailbox.uidvalidity}.{self._rows[number - 1][_UID]}"

    def numbers(self) -> Iterator[int]:
        """All messages that are not marked as deleted."""
        return (number for number in range(1, len(self._rows) + 1) if number not in self._deleted)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def fetch(self, number: int) -> Message:
        """One whole message. Raises NotFoundError when it was removed by another client meanwhile, StoreError."""
        return await self._read(number, headers_only=False)

    async def fetch_header(self, number: int) -> Message:
        """One message with an empty text. Raises as `fetch` does."""
        return await self._read(number, headers_only=True)

    async def _read(self, number: int, *, headers_only: bool) -> Message:
        if headers_only is not self._ahead_headers:
            self._ahead.clear()
            self._ahead_headers = headers_only
        follows, self._last = number == self._last + 1, number
        message = self._ahead.pop(number, None)
        if message is not None:
            return message
        self._ahead.clear()
        numbers = self._following(number, headers_only=headers_only) if follows else [number]
        try:
            found = await self._load(numbers, headers_only=headers_only)
        except NotFoundError:  # somebody removed one of them: it may not be the one that is wanted now
            found = await self._load([number], headers_only=headers_only)
            numbers = [number]
        self._ahead.update(zip(numbers[1:], found[1:], strict=True))
        return found[0]

    def _following(self, number: int, *, headers_only: bool) -> list[int]:
        """`number` and those behind it that are worth reading at once."""
        numbers, octets = [number], self.size(number)
        for following in range(number + 1, min(len(self._rows), number + READ_AHEAD_MESSAGES - 1) + 1):
            octets += 0 if headers_only else self.size(following)
            if octets > READ_AHEAD_BYTES:
                break
            if following not in self._deleted:
                numbers.append(following)
        return numbers

    async def _load(self, numbers: Sequence[int], *, headers_only: bool) -> list[Message]:
        rows = [MessageRow(*self._rows[number - 1]) for number in numbers]
        return await self._store.load_many(rows, headers_only=headers_only)

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
        self._octets = sum(row[_SIZE] for row in self._rows)

    async def update(self, *, mark_seen: bool) -> list[int]:
        """The UPDATE state: remove what is marked and return the uids that were still there. Raises StoreError."""
        deleted = [self._rows[number - 1][_UID] for number in sorted(self._deleted)]
        seen = [self._rows[number - 1] for number in sorted(self._fetched - self._deleted)] if mark_seen else []
        unseen = [row[_UID] for row in seen if not row[_FLAGS] & SEEN]
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
