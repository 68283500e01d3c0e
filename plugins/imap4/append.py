"""APPEND (RFC 3501 section 6.3.11), of several messages too (RFC 3502)."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from appliance.config import CoreConfig
from appliance.connection import WAKE
from appliance.errors import ApplianceError, MessageError, NotFoundError, QuotaError, StoreError
from appliance.mail.message import Message, with_crlf
from appliance.spool import Spool
from appliance.store.accounts import quota_left
from appliance.store.mailboxes import get_mailbox
from plugins.imap4.numbers import uid_required
from plugins.imap4.protocol import AppendEnd, AppendMessage, BadCommand, MessageChunk
from plugins.imap4.protocol_command import Replaced
from plugins.imap4.protocol_respond import tagged, untagged
from plugins.imap4.refusal import RefusalError, refusal_line
from plugins.imap4.store_flags import flag_bits
from plugins.imap4.view import uid_set

if TYPE_CHECKING:
    from appliance.store import Mailbox
    from plugins.imap4.session import ImapSession

MAX_MESSAGES = 500  # of one command

Item = tuple[Message, int, tuple[str, ...], int]  # as Store.append takes them


async def append(session: ImapSession, announced: AppendMessage) -> None:
    """Take the messages of one command and store them in one write. The answer is complete when this returns."""
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
        self._mailbox: Mailbox | None = None
        self._items: list[Item] = []
        self._octets = 0
        self._failure: ApplianceError | None = None
        self._replaces: tuple[int, int] | None = None  # mailbox id and uid

    async def run(self, event: object) -> bytes:
        """Returns the tagged line. Raises what refuses the command."""
        while isinstance(event, AppendMessage):
            try:
                if self._failure is not None:
                    raise self._failure
                self._admit(event)
            except ApplianceError:
                # Octets that come all the same are thrown away by the machine, and so is what follows them.
                self._session.machine.refuse_message()
                raise
            self._session.connection.write(self._session.machine.take_message())
            try:
                await self._receive(event)
            except (MessageError, StoreError, RefusalError) as error:
                self._failure = error
            event = await self._event()
        if isinstance(event, BadCommand):
            return tagged(event.tag, "BAD", event.text)
        assert isinstance(event, AppendEnd)
        if self._failure is not None:
            raise self._failure
        return await self._store(event.tag)

    def _admit(self, event: AppendMessage) -> None:
        """Check all that can be known before the message comes."""
        session = self._session
        self._octets += event.size
        if self._mailbox is None:
            self._mailbox = _target(session, event.head.mailbox)
            if event.head.replaces is not None:
                self._replaces = _replaced(session, event.head.replaces)
        if event.size == 0:
            raise RefusalError("An empty message cannot be stored", "CANNOT")
        if self._octets > session.config.max_append:
            raise RefusalError(f"A message has at most {session.config.max_append} octets here", "TOOBIG")
        if len(self._items) >= MAX_MESSAGES:
            raise RefusalError(f"At most {MAX_MESSAGES} messages by one command", "LIMIT")
        left = session.core.store.peek(lambda db: quota_left(db, session.account.id))
        if left is not None and self._octets > left:
            raise QuotaError("The message would pass the quota")
        if event.head.bracketed and not session.enabled.utf8:
            raise RefusalError("UTF8=ACCEPT must be enabled first", status="BAD")
        flag_bits(event.head.flags)

    async def _receive(self, event: AppendMessage) -> None:
        """Take one message into a spool. The wire is read to its end whatever happens."""
        session = self._session
        spool = self._spools.enter_context(closing(Spool(session.core.settings[CoreConfig].data / "spool")))
        ends = LineEnds()
        failure: ApplianceError | None = None
        while True:
            chunk = await self._event()
            assert isinstance(chunk, MessageChunk)
            if failure is None:
                try:
                    if b"\0" in chunk.data:
                        code = "UNKNOWN-CTE" if event.head.binary else "CANNOT"  # RFC 3516 section 4.4
                        raise RefusalError("A message cannot hold NUL", code)
                    spool.write(ends.repaired(chunk.data, last=chunk.last))
                except ApplianceError as error:
                    failure = error
            if chunk.last:
                break
        if failure is not None:
            raise failure
        bits, keywords = flag_bits(event.head.flags)
        at = event.head.internal_at
        self._items.append((spool.message(), bits, keywords, int(session.core.now()) if at is None else at))

    async def _store(self, tag: bytes) -> bytes:
        mailbox = self._mailbox
        assert mailbox is not None
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
    selected = session.mailbox
    if session.enabled.uidonly and not replaced.uid:
        raise uid_required()
    if selected.read_only:
        raise RefusalError("The mailbox was opened by EXAMINE", "READ-ONLY")
    indexes = selected.view.select(((replaced.number, replaced.number),), by_uid=replaced.uid)
    if not indexes:
        raise RefusalError("There is no such message", "NONEXISTENT")
    return selected.mailbox_id, selected.view.uids[indexes[0]]


def _target(session: ImapSession, name: str) -> Mailbox:
    mailbox = session.core.store.peek(lambda db: get_mailbox(db, session.account.id, name))
    if mailbox is None or not mailbox.selectable:
        raise RefusalError("There is no such mailbox", "TRYCREATE")
    return mailbox
