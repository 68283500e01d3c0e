"""APPEND (RFC 3501 section 6.3.11), of several messages too (RFC 3502), and of messages made from parts (RFC 4469)."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from appliance.config import CoreConfig
from appliance.connection import WAKE
from appliance.errors import ApplianceError, MessageError, NotFoundError, QuotaError, StoreError
from appliance.mail.message import Message, with_crlf
from appliance.spool import Spool
from appliance.store.accounts import quota_left
from appliance.store.model import FIRST_KEYWORD_BIT
from plugins.imap4.access import find_selectable, renew, require, settable
from plugins.imap4.catenate import copy_part
from plugins.imap4.numbers import uid_required
from plugins.imap4.protocol import BadCommand, MessageChunk
from plugins.imap4.protocol_append import AppendEnd, AppendHead, AppendMessage, AppendUrl, PartsEnd, Replaced
from plugins.imap4.protocol_respond import tagged, untagged
from plugins.imap4.refusal import RefusalError, refusal_line
from plugins.imap4.store_flags import flag_bits
from plugins.imap4.view import uid_set

if TYPE_CHECKING:
    from appliance.store.sharing import Access
    from plugins.imap4.session import ImapSession

MAX_MESSAGES = 500  # of one command

Item = tuple[Message, int, tuple[str, ...], int]  # as Store.append takes them


async def append(session: ImapSession, announced: AppendMessage | AppendUrl) -> None:
    """Take the messages of one command and store them in one write. The answer is complete when this returns."""
    renew(session)
    with ExitStack() as spools:
        command = _Append(session, spools)
        try:
            line = await command.run(announced)
        except ApplianceError as error:
            refusal = refusal_line(announced.tag, error)
            if refusal is None:
                raise
            line = refusal
        await session.tell_news(expunges=True)
        session.connection.write(line)


class _Append:
    """One command under way. After a failure the rest is still read, and thrown away."""

    def __init__(self, session: ImapSession, spools: ExitStack) -> None:
        self._session = session
        self._spools = spools
        self._target: Access | None = None
        self._items: list[Item] = []
        self._octets = 0
        self._joining: _Joining | None = None  # the message whose parts come
        self._failure: ApplianceError | None = None
        self._replaces: tuple[int, int] | None = None  # mailbox id and uid

    async def run(self, event: object) -> bytes:
        """Returns the tagged line. Raises what refuses the command."""
        while not isinstance(event, AppendEnd | BadCommand):
            if isinstance(event, AppendMessage):
                await self._announced(event)
            elif self._failure is None:
                try:
                    await self._step(event)
                except ApplianceError as error:
                    self._failure = error
            event = await self._event()
        if isinstance(event, BadCommand):
            return tagged(event.tag, "BAD", event.text, "TOOBIG" if event.too_big else "")
        if self._failure is not None:
            raise self._failure
        return await self._store(event.tag)

    async def _announced(self, event: AppendMessage) -> None:
        """Take a message, or a part of one. Raises what refuses it before it comes."""
        session = self._session
        try:
            if self._failure is not None:
                raise self._failure
            message = self._message(event.head)
            if event.size == 0 and not event.head.joined:
                raise RefusalError("An empty message cannot be stored", "CANNOT")
            if event.head.bracketed and not session.enabled.utf8:
                raise RefusalError("UTF8=ACCEPT must be enabled first", status="BAD")
            self._admit(event.size)
        except ApplianceError:
            # Octets that come all the same are thrown away by the machine, and so is what follows them.
            session.machine.refuse_message()
            raise
        session.connection.write(session.machine.take_message())
        try:
            await self._receive(message, event.head)
            if not event.head.joined:
                self._finish(message)
        except (MessageError, StoreError, RefusalError) as error:
            self._failure = error

    async def _step(self, event: object) -> None:
        """Copy a part from a mailbox, or end a message that was joined."""
        if isinstance(event, AppendUrl):
            await copy_part(self._session, event.url, self._admit, self._message(event.head).write)
        elif isinstance(event, PartsEnd) and self._joining is not None:
            self._finish(self._joining)

    def _message(self, head: AppendHead) -> _Joining:
        """The message that is under way, or a new one; all that can be known before it comes is checked."""
        if self._joining is not None:
            return self._joining
        session = self._session
        if self._target is None:
            self._target = find_selectable(session, head.mailbox, "i", code="TRYCREATE")
            if head.replaces is not None:
                self._replaces = _replaced(session, head.replaces)
        if len(self._items) >= MAX_MESSAGES:
            raise RefusalError(f"At most {MAX_MESSAGES} messages by one command", "LIMIT")
        flag_bits(head.flags)
        folder = session.core.settings[CoreConfig].data / "spool"
        self._joining = _Joining(head, self._spools.enter_context(closing(Spool(folder))))
        return self._joining

    def _admit(self, octets: int) -> None:
        """Check that so many more octets are within all limits, before they come."""
        session = self._session
        self._octets += octets
        if self._octets > session.config.max_append:
            raise RefusalError(f"A message has at most {session.config.max_append} octets here", "TOOBIG")
        target = self._target
        assert target is not None
        left = session.core.store.peek(lambda db: quota_left(db, target.mailbox.account_id))
        if left is not None and self._octets > left:
            raise QuotaError("The message would pass the quota")

    async def _receive(self, message: _Joining, head: AppendHead) -> None:
        """Take a literal. The wire is read to its end whatever happens."""
        failure: ApplianceError | None = None
        while True:
            chunk = await self._event()
            assert isinstance(chunk, MessageChunk)
            if failure is None:
                try:
                    if b"\0" in chunk.data:
                        code = "UNKNOWN-CTE" if head.binary else "CANNOT"  # RFC 3516 section 4.4
                        raise RefusalError("A message cannot hold NUL", code)
                    message.write(chunk.data)
                except ApplianceError as error:
                    failure = error
            if chunk.last:
                break
        if failure is not None:
            raise failure

    def _finish(self, message: _Joining) -> None:
        """A message has come to its end."""
        self._joining = None
        at = message.head.internal_at
        bits, keywords = flag_bits(message.head.flags)
        assert self._target is not None
        permitted = settable(self._target.rights)  # others are left out (RFC 4314 section 4)
        bits, keywords = bits & permitted, keywords if permitted >> FIRST_KEYWORD_BIT else ()
        self._items.append((message.made(), bits, keywords, int(self._session.core.now()) if at is None else at))

    async def _store(self, tag: bytes) -> bytes:
        assert self._target is not None
        mailbox = self._target.mailbox
        try:
            append = self._session.core.store.append
            uids = await append(mailbox.id, self._items, origin=self._session, replaces=self._replaces)
        except NotFoundError as error:
            if self._replaces is not None:
                raise RefusalError("The message or the mailbox is gone", "EXPUNGEISSUED") from error
            raise RefusalError("The mailbox was deleted", "TRYCREATE") from error
        code = f"APPENDUID {mailbox.uidvalidity} {uid_set(uids).decode()}"
        if self._replaces is None:
            return tagged(tag, "OK", "APPEND completed", code)
        self._session.connection.write(untagged("OK", "The new message is there", code))  # RFC 8508 section 3.4
        return tagged(tag, "OK", "REPLACE completed")

    async def _event(self) -> object:
        connection, timeout = self._session.connection, self._session.config.append_timeout
        event = await connection.next_event(timeout)
        while event is WAKE:
            event = await connection.next_event(timeout)
        return event


class _Joining:
    """One message while its octets come."""

    __slots__ = ("_ends", "_spool", "head")

    def __init__(self, head: AppendHead, spool: Spool) -> None:
        self.head = head
        self._spool = spool
        self._ends = LineEnds()

    def write(self, octets: bytes) -> None:
        """Add octets. Raises StoreFullError."""
        self._spool.write(self._ends.repaired(octets, last=False))

    def made(self) -> Message:
        """The whole message. Raises MessageError, RefusalError if there is nothing of it."""
        self._spool.write(self._ends.repaired(b"", last=True))
        if not self._spool.size:
            raise RefusalError("An empty message cannot be stored", "CANNOT")
        return self._spool.message()


class LineEnds:
    """Turns bare CR and LF into CRLF while a message comes in pieces: what we store can be sent by SMTP and POP3."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def repaired(self, chunk: bytes, *, last: bool) -> bytes:
        """The next piece with all line ends whole. A CR at its end waits for what follows it."""
        data = self._held + chunk
        self._held = b""
        if not last and data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        return with_crlf(data)


def _replaced(session: ImapSession, replaced: Replaced) -> tuple[int, int]:
    """The mailbox id and uid of the message that REPLACE takes away."""
    if session.selected is None:
        raise RefusalError("No mailbox is selected any more")
    selected = session.mailbox
    if session.enabled.uidonly and not replaced.uid:
        raise uid_required()
    if selected.read_only:
        raise RefusalError("The mailbox was opened by EXAMINE", "READ-ONLY")
    require(session, "te")
    indexes = selected.view.select(((replaced.number, replaced.number),), by_uid=replaced.uid)
    if not indexes:
        raise RefusalError("There is no such message", "NONEXISTENT")
    return selected.mailbox_id, selected.view.uids[indexes[0]]
