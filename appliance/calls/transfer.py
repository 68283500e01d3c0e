"""Mail in and out of mailboxes in bulk. Messages travel in pieces, so that nothing large is ever held whole in JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from appliance.calls.accounts import find_account
from appliance.config import CoreConfig
from appliance.control import CallError, Items
from appliance.core import Core
from appliance.errors import NotFoundError
from appliance.mail.message import Message
from appliance.spool import Spool
from appliance.store.database import Database
from appliance.store.mailboxes import get_mailbox, keyword_names, mailbox_id_for, normal_name, require_mailbox
from appliance.store.messages import list_rows
from appliance.store.model import FIRST_KEYWORD_BIT, SYSTEM_FLAGS
from appliance.store.stored import StoredMessage

BATCH_MESSAGES = 64  # written in one transaction
BATCH_OCTETS = 4 << 20
PIECE = 192 << 10  # octets in one line of the control socket, before base64

Item = tuple[Message, int, tuple[str, ...], int]


class Letter(msgspec.Struct, forbid_unknown_fields=True):
    """What goes ahead of a message's pieces. `at` is its arrival in epoch seconds, 0 for now; `size` in octets."""

    size: int
    at: int = 0
    flags: list[str] = []
    keywords: list[str] = []


async def import_(core: Core, items: Items, *, account: str, mailbox: str) -> dict[str, int]:
    """Append messages to a mailbox, which is made if it is not there. Items: a Letter, then its pieces in base64."""
    mailbox_id = await core.store.write(lambda db: _target(db, account, mailbox))
    batch = _Batch(core, mailbox_id)
    try:
        async for item in items:
            letter = _letter(item)
            batch.add(letter, await spooled(core, items, letter.size))
            if batch.full:
                await batch.write()
        await batch.write()
    finally:
        batch.close()
    return {"messages": batch.messages, "bytes": batch.octets}


async def export(core: Core, *, account: str, mailbox: str) -> AsyncIterator[Any]:
    """First `{"messages", "bytes"}`, then for each message a Letter (with its uid) and its pieces in base64."""

    def survey(db: Database) -> tuple[list[Any], Sequence[str]]:
        owner = find_account(db, account)
        try:
            found = require_mailbox(db, owner.id, normal_name(mailbox))
        except NotFoundError:
            remedy = f"`palomar mailbox list {account}` shows all."
            raise CallError(f"there is no mailbox {mailbox}", kind="NotFoundError", remedy=remedy) from None
        return list_rows(db, found.id), keyword_names(db, found.id)

    rows, keywords = await core.store.read(survey)
    yield {"messages": len(rows), "bytes": sum(row[3] for row in rows)}
    for uid, flags, _, size, internal_at, body_id, filing_id in rows:
        async with AsyncExitStack() as stack:
            try:
                if size <= PIECE:
                    message: Message | StoredMessage = await core.store.load(body_id, filing_id)
                else:
                    message = await stack.enter_async_context(core.store.reading(body_id, filing_id))
            except NotFoundError:
                continue  # expunged meanwhile
            yield {
                "uid": uid,
                "size": size,
                "at": internal_at,
                "flags": [name for bit, name in enumerate(SYSTEM_FLAGS) if flags & 1 << bit],
                "keywords": [name for n, name in enumerate(keywords) if flags & 1 << FIRST_KEYWORD_BIT + n],
            }
            if isinstance(message, Message):
                yield base64.b64encode(bytes(message)).decode()
                continue
            async for piece in encoded(message):
                yield piece


async def encoded(message: StoredMessage) -> AsyncIterator[str]:
    """The octets of a stored message, in base64, as pieces that each are one line of the control socket."""
    async for piece in message.pieces():
        for start in range(0, len(piece), PIECE):
            yield base64.b64encode(piece[start : start + PIECE]).decode()


def _target(db: Database, account: str, mailbox: str) -> int:
    owner = find_account(db, account)
    name = normal_name(mailbox)
    found = get_mailbox(db, owner.id, name)
    return found.id if found is not None and found.selectable else mailbox_id_for(db, owner.id, name)


class _Batch:
    """Messages to be written together; their spools are given back afterwards."""

    def __init__(self, core: Core, mailbox_id: int) -> None:
        self.messages = 0  # written so far
        self.octets = 0
        self._core = core
        self._mailbox_id = mailbox_id
        self._items: list[Item] = []
        self._spools: list[Spool] = []

    @property
    def full(self) -> bool:
        return len(self._items) >= BATCH_MESSAGES or sum(spool.size for spool in self._spools) >= BATCH_OCTETS

    def add(self, letter: Letter, spool: Spool) -> None:
        self._spools.append(spool)
        flags = sum(1 << SYSTEM_FLAGS.index(name) for name in set(letter.flags) if name in SYSTEM_FLAGS)
        self._items.append((spool.message(), flags, tuple(letter.keywords), letter.at or int(self._core.now())))

    async def write(self) -> None:
        if self._items:
            await self._core.store.append(self._mailbox_id, self._items)
        self.messages += len(self._items)
        self.octets += sum(spool.size for spool in self._spools)
        self.close()

    def close(self) -> None:
        self._items = []  # the messages end before the memory under them does
        spools, self._spools = self._spools, []
        for spool in spools:
            spool.close()


async def spooled(core: Core, items: Items, size: int | None = None) -> Spool:
    """Take the pieces of one message: `size` octets, or all that comes. The caller closes the spool.

    Raises CallError for anything that is no piece, StoreFullError when there is no room.
    """
    spool = Spool(core.settings[CoreConfig].data / "spool")
    try:
        while size is None or spool.size < size:
            piece = await anext(items, None)
            if piece is None and size is None:
                break
            spool.write(_octets(piece))
        if size is not None and spool.size != size:
            raise CallError(f"a message of {size} octets came with {spool.size}", kind="ArgumentError")
    except BaseException:
        spool.close()
        raise
    return spool


def _octets(piece: object) -> bytes:
    if not isinstance(piece, str):
        raise CallError("a piece of a message was expected", kind="ArgumentError")
    try:
        return base64.b64decode(piece, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CallError(f"a piece is no base64: {error}", kind="ArgumentError") from None


def _letter(item: object) -> Letter:
    try:
        return msgspec.convert(item, Letter)
    except msgspec.ValidationError as error:
        raise CallError(f"no message begins so: {error}", kind="ArgumentError") from None


CALLS = {"mailbox.import": import_, "mailbox.export": export}
