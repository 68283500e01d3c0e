"""One filter's part in one SMTP session: what it is told, what it answers, and what follows from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from appliance.connection import ConnectError, Connection, ConnectionLostError, IdleTimeoutError, connect
from appliance.errors import AddressError, ProtocolError
from appliance.mail.address import Address
from appliance.mail.edited import Edited
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from plugins.milter import protocol
from plugins.milter.config import MilterFilter
from plugins.milter.macros import chosen
from plugins.milter.protocol import (
    Answer,
    ChangeHeader,
    DropRecipient,
    Event,
    MilterMachine,
    NewBody,
    NewSender,
    Options,
    PutHeader,
    PutRecipient,
    Quarantine,
    Refuse,
    Skip,
    Stage,
)
from plugins.milter.protocol_draft import Draft

log = logging.getLogger(__name__)

MAX_EDITS = 100_000  # of one message by one filter, pieces of its text among them

REJECTED = Reply(550, "5.7.1", "Refused by a filter")
TRY_LATER = Reply(451, "4.7.1", "A filter asks to try again later")
CLOSING = Reply(421, "4.7.0", "A filter wants no more of this connection")
UNAVAILABLE = Reply(451, "4.7.1", "A filter cannot be asked now, try again later")
UNAVAILABLE_FOR_GOOD = Reply(550, "5.7.1", "A filter cannot be asked, so the message is refused")

_NO_COMMAND: Mapping[Stage, Skip] = {
    Stage.CONNECT: Skip.CONNECT,
    Stage.HELO: Skip.HELO,
    Stage.MAIL: Skip.MAIL,
    Stage.RCPT: Skip.RCPT,
    Stage.DATA: Skip.DATA,
    Stage.END_OF_HEADER: Skip.END_OF_HEADER,
    Stage.END_OF_MESSAGE: Skip(0),
}
_NO_REPLY: Mapping[Stage, Skip] = {
    Stage.CONNECT: Skip.NO_REPLY_CONNECT,
    Stage.HELO: Skip.NO_REPLY_HELO,
    Stage.MAIL: Skip.NO_REPLY_MAIL,
    Stage.RCPT: Skip.NO_REPLY_RCPT,
    Stage.DATA: Skip.NO_REPLY_DATA,
    Stage.END_OF_HEADER: Skip.NO_REPLY_END_OF_HEADER,
    Stage.END_OF_MESSAGE: Skip(0),
}


@dataclass(slots=True)
class _Result:
    """What a filter makes of one message."""

    draft: Draft
    sender: Address | None
    recipients: dict[str, Recipient]
    quarantine: str = ""
    changed: bool = False
    edits: int = 0


class Conversation:
    """One connection to a filter. After a failure every message meets the filter's `on_failure`."""

    def __init__(self, settings: MilterFilter) -> None:
        self._settings = settings
        self._machine = MilterMachine()
        self._connection: Connection | None = None
        self._done = False  # the filter wants nothing more of this session
        self._message_done = False  # nor of this message
        self._in_message = False
        self._discard = False
        self._failed = False

    # ── the stages ────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self, packet: bytes, known: Mapping[str, str]) -> Reply | None:
        """Connect, agree upon options, and tell who the peer is."""
        async with self._guarded(self._settings.timeout):
            await self._connect()
            return await self._stage(Stage.CONNECT, packet, known)
        return None  # what a failure means is said at MAIL

    async def helo(self, name: str, known: Mapping[str, str]) -> Reply | None:
        """Tell EHLO or HELO."""
        async with self._guarded(self._settings.timeout):
            self._abort()
            return await self._stage(Stage.HELO, protocol.words(b"H", [name.encode()]), known)
        return None  # as with `open`

    async def sender(self, path: Sequence[bytes], known: Mapping[str, str]) -> Reply | None:
        """Tell MAIL: a message begins."""
        if not self._failed:
            async with self._guarded(self._settings.timeout):
                self._abort()
                self._discard = False
                self._in_message = not self._done
                return await self._stage(Stage.MAIL, protocol.words(b"M", path), known)
        return self._failure()

    async def recipient(self, path: Sequence[bytes], known: Mapping[str, str]) -> Reply | None:
        """Tell RCPT."""
        if not self._failed:
            async with self._guarded(self._settings.timeout):
                return await self._stage(Stage.RCPT, protocol.words(b"R", path), known)
        return self._failure()

    async def content(self, envelope: Envelope, message: Message, known: Mapping[str, str]) -> Edited | Reply | None:
        """Show the message and take the filter's edits; None leaves it as it is."""
        if not self._failed:
            async with self._guarded(self._settings.content_timeout):
                return await self._content(envelope, message, known)
        return self._failure()

    async def close(self) -> None:
        """Take leave."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.write(protocol.packet(b"Q"))
            await connection.close()

    # ── the message ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _content(self, envelope: Envelope, message: Message, known: Mapping[str, str]) -> Edited | Reply | None:
        draft = Draft(message, leading_space=bool(self._options.skips & Skip.LEADING_SPACE))
        refusal = await self._show(draft, message, known)
        if refusal is not None:
            return refusal
        recipients = {recipient.address.key: recipient for recipient in envelope.recipients}
        result = _Result(draft, envelope.sender, recipients)
        if not self._over:
            self._write([self._macros(Stage.END_OF_MESSAGE, known), protocol.packet(b"E")])
            refusal = await self._verdict(result)
            self._in_message = False
        if self._discard:
            return Edited(message, envelope.sender, ())
        if refusal is not None or not result.changed:
            return refusal
        return Edited(draft.message(), result.sender, tuple(result.recipients.values()), result.quarantine)

    async def _show(self, draft: Draft, message: Message, known: Mapping[str, str]) -> Reply | None:
        """DATA, the header, its end, and the text, as far as the filter wants them."""
        refusal = await self._stage(Stage.DATA, protocol.packet(b"T"), known)
        if refusal is None and not self._options.skips & Skip.HEADERS:
            fields = (protocol.words(b"L", field) for field in draft.shown())
            refusal = await self._each(fields, answered=not self._options.skips & Skip.NO_REPLY_HEADER)
        if refusal is None:
            refusal = await self._stage(Stage.END_OF_HEADER, protocol.packet(b"N"), known)
        if refusal is None and not self._options.skips & Skip.BODY:
            answered = not self._options.skips & Skip.NO_REPLY_BODY
            refusal = await self._each(protocol.body(message.text), answered=answered)
        return refusal

    async def _each(self, packets: Iterable[bytes], *, answered: bool) -> Reply | None:
        """Send packets until the filter has heard enough of them."""
        for packet in packets:
            if self._over:
                return None
            self._write([packet])
            if not answered:
                await self._drained()
                continue
            event = await self._event()
            if event is Answer.SKIP:
                return None
            refusal = self._heard(Stage.DATA, event)
            if refusal is not None:
                return refusal
        return None

    async def _verdict(self, result: _Result) -> Reply | None:
        """Take edits until the word that ends them."""
        while True:
            event = await self._event()
            if isinstance(event, (Answer, Refuse)):
                if event is Answer.PROGRESS:
                    continue
                return self._heard(Stage.END_OF_MESSAGE, event)
            result.edits += 1
            if result.edits > MAX_EDITS:
                raise ProtocolError(f"more than {MAX_EDITS} edits of one message")
            result.changed = True
            self._apply(event, result)

    def _apply(self, event: Event, result: _Result) -> None:
        if isinstance(event, (PutHeader, ChangeHeader, NewBody)):
            result.draft.apply(event)
        elif isinstance(event, NewSender):
            result.sender = _address(event.path)
        elif isinstance(event, PutRecipient):
            address = _address(event.path)
            if address is not None:
                result.recipients.setdefault(address.key, Recipient(address))
        elif isinstance(event, DropRecipient):
            address = _address(event.path)
            if address is not None:
                result.recipients.pop(address.key, None)
        elif isinstance(event, Quarantine):
            result.quarantine = event.reason or "a filter asks for it"
        else:
            raise ProtocolError("options in the middle of a message")

    # ── one stage ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _stage(self, stage: Stage, packet: bytes, known: Mapping[str, str]) -> Reply | None:
        if self._over or self._options.skips & _NO_COMMAND[stage]:
            return None
        self._write([self._macros(stage, known), packet])
        if self._options.skips & _NO_REPLY[stage]:
            return None
        return self._heard(stage, await self._event())

    def _macros(self, stage: Stage, known: Mapping[str, str]) -> bytes:
        return protocol.macros(stage, chosen(stage, self._options, known))

    def _heard(self, stage: Stage, event: Event) -> Reply | None:
        """What follows from an answer. Raises ProtocolError if it does not belong there."""
        if event is Answer.CONTINUE:
            return None
        if isinstance(event, Refuse):
            refusal = replace(event.reply, reason=f"milter {self._settings.key}")
        elif event is Answer.REJECT:
            refusal = replace(REJECTED, reason=f"milter {self._settings.key}")
        elif event is Answer.TEMPFAIL:
            refusal = replace(TRY_LATER, reason=f"milter {self._settings.key}")
        elif event is Answer.SHUTDOWN:
            refusal = replace(CLOSING, reason=f"milter {self._settings.key}")
        elif event is Answer.ACCEPT or (event is Answer.DISCARD and self._in_message):
            self._discard = event is Answer.DISCARD
            self._message_done = True
            self._done = self._done or stage in (Stage.CONNECT, Stage.HELO)
            return None
        else:
            raise ProtocolError(f"the answer {event!r} to {stage.name}")
        if stage is not Stage.RCPT:  # there it is about one recipient
            self._message_done = True
        return refusal

    @property
    def _options(self) -> Options:
        return self._machine.options

    @property
    def _over(self) -> bool:
        return self._done or self._failed or self._connection is None or (self._in_message and self._message_done)

    def _abort(self) -> None:
        """A message that came to no end is over (SMFIC_ABORT)."""
        if self._in_message and self._connection is not None and not self._failed:
            self._write([protocol.packet(b"A")])
        self._in_message = False
        self._message_done = False

    # ── the connection ────────────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self) -> None:
        where = self._settings.where
        assert where is not None  # checked with the settings
        self._connection = await connect(*where, self._machine, timeout=self._settings.timeout)
        self._write([protocol.offer()])
        if not isinstance(await self._event(), Options):
            raise ProtocolError("it did not agree upon options")

    def _write(self, packets: Sequence[bytes]) -> None:
        assert self._connection is not None
        self._connection.write(b"".join(packets))

    async def _drained(self) -> None:
        assert self._connection is not None
        await self._connection.drain()

    async def _event(self) -> Event:
        assert self._connection is not None
        event: Event = await self._connection.next_event(self._settings.content_timeout)
        return event

    @contextlib.asynccontextmanager
    async def _guarded(self, seconds: float) -> AsyncIterator[None]:
        """A stage with its deadline. What the filter does wrong ends its part in the session, and nothing else."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            self._fail(f"gave no answer within {seconds:g} s")
        except (ConnectError, ConnectionLostError, IdleTimeoutError, ProtocolError) as error:
            self._fail(str(error) or "closed the connection")

    def _fail(self, why: str) -> None:
        log.error("milter %s: %s; its mail meets on_failure = %r", self._settings.key, why, self._settings.on_failure)
        self._failed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _failure(self) -> Reply | None:
        """What a message meets when the filter cannot be asked."""
        if self._settings.on_failure == "accept":
            return None
        reply = UNAVAILABLE if self._settings.on_failure == "defer" else UNAVAILABLE_FOR_GOOD
        return replace(reply, reason=f"milter {self._settings.key}")


def _address(path: bytes) -> Address | None:
    """The address in a path; None is the null sender. Raises ProtocolError."""
    text = path.decode("utf-8", "replace").strip().removeprefix("<").removesuffix(">")
    try:
        return Address.parse(text) if text else None
    except AddressError as error:
        raise ProtocolError(f"an address that is none: {error}") from error
