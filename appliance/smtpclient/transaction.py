"""One message on its way over one connection: MAIL, RCPT, and the text, in as few round trips as the hop allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from appliance.connection import ConnectionLostError
from appliance.errors import MessageError
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.recode import recoded
from appliance.mail.reply import Reply
from appliance.smtpclient.forward import forwarding
from appliance.smtpclient.hop import HopError
from appliance.smtpclient.limits import NEXT_CONNECTION
from appliance.smtpclient.prepare import SMALL, Prepared, conversion, conversion_note, prepare
from appliance.wire.smtp_client import TEXT

if TYPE_CHECKING:
    from appliance.smtpclient.client import SmtpClient

MAX_RECIPIENTS = 100  # of one transaction; every server must take that many (RFC 5321 section 4.5.3.1.8)

Status = Literal["delivered", "deferred", "failed"]


class Delivery:
    """The work of `SmtpClient.send`."""

    __slots__ = ("_client", "_envelope", "_message", "_note", "_outcomes", "_prepared", "_recipients", "_undecided")

    _prepared: Prepared

    def __init__(
        self, client: SmtpClient, envelope: Envelope, recipients: Sequence[Recipient], message: Message
    ) -> None:
        self._client = client
        self._envelope = envelope
        self._recipients = recipients
        self._message = message
        self._note = ""
        self._outcomes: list[Outcome | None] = [None] * len(recipients)
        self._undecided = True  # the hop has given no verdict on any recipient, and cannot have taken the message

    async def run(self) -> list[Outcome]:
        """Try every recipient once. Raises HopError when none got a verdict."""
        await self._prepare()
        for index, reply in self._prepared.refused.items():
            self._settle(index, reply)
        left = list(self._prepared.recipients)
        try:
            while left:
                batch, left = self._next_batch(left)
                if not batch:
                    break
                left = await self._transaction(batch) + left
            for index in left:
                self._settle(index, NEXT_CONNECTION)
        except HopError as error:
            if self._undecided:
                raise
            for index, outcome in enumerate(self._outcomes):
                if outcome is None:
                    self._settle(index, error.reply)
        return [outcome for outcome in self._outcomes if outcome is not None]

    async def _prepare(self) -> None:
        """Make the message what the hop can take, and the commands for it."""
        client, message, envelope = self._client, self._message, self._envelope
        extensions, trouble = client.machine.extensions, ""
        target = conversion(extensions, envelope, message)
        if target is not None:
            try:
                large = message.size > SMALL
                message = await asyncio.to_thread(recoded, message, target) if large else recoded(message, target)
            except MessageError as error:
                trouble = str(error)
            else:
                envelope = replace(envelope, body="8BITMIME" if target == "8bit" else "7BIT")
                self._note = conversion_note(target, message)
        if envelope.priority and "MT-PRIORITY" not in extensions:
            # Hosts that do not know the parameter carry it in the header (RFC 6758 section 3.3).
            message = message.without({b"mt-priority"}).prepend(b"MT-Priority: %d\r\n" % envelope.priority)
        self._message = message
        self._prepared = prepare(
            extensions,
            envelope,
            self._recipients,
            message,
            now=time.time() if envelope.deliver_by else 0.0,
            authenticated=client.hop.login is not None,
            trouble=trouble,
        )

    def _next_batch(self, left: list[int]) -> tuple[list[int], list[int]]:
        """The recipients of the next transaction, and those that have to wait."""
        allowance = self._client.allowance
        if allowance is None:
            return left[:MAX_RECIPIENTS], left[MAX_RECIPIENTS:]
        batch = allowance.choose(left, self._recipients, MAX_RECIPIENTS)
        return batch, [index for index in left if index not in batch]

    async def _transaction(self, batch: list[int]) -> list[int]:
        """MAIL to the end of the text for some recipients. Returns those that another transaction should try."""
        client, timeouts = self._client, self._client.hop.timeouts
        resetting = client.begin()
        if resetting and not client.pipelining:
            await client.answer("RSET", timeouts.reset)
        forwards = await self._forward() if client.hop.xforward else 0
        client.write(client.machine.command("MAIL", self._prepared.mail))
        if client.pipelining:
            self._write_recipients(batch)
            text_sent = self._write_along()
            # It may be taken though none of the answers come: then not over another connection at once.
            self._undecided = self._undecided and not text_sent
            if resetting:
                await client.answer("RSET", timeouts.reset)
            for _ in range(forwards):
                await client.answer("XFORWARD", timeouts.reset)
        else:
            text_sent = False
        mail = await client.answer("MAIL", timeouts.mail)
        accepted, again = self._judge(batch, mail, await self._replies(batch, mail))
        if text_sent or await self._may_send(accepted):
            await self._text(accepted, sent=text_sent)
        return again

    async def _forward(self) -> int:
        """Tell of the message's client, for the log of the server; returns how many answers are still to come.

        What the server says to that is no verdict on the message.
        """
        client = self._client
        commands = forwarding(client.machine.extensions.get("XFORWARD", ""), self._message)
        for argument in commands:
            client.write(client.machine.command("XFORWARD", argument))
            if not client.pipelining:
                await client.answer("XFORWARD", client.hop.timeouts.reset)
        return len(commands) if client.pipelining else 0

    async def _replies(self, batch: list[int], mail: Reply) -> list[Reply]:
        """The replies to RCPT. Where the line breaks between them, refusals that came before stay verdicts."""
        client, replies = self._client, list[Reply]()
        try:
            for index in batch if mail.positive or client.pipelining else ():
                if not client.pipelining:
                    self._write_recipients([index])
                replies.append(await client.answer("RCPT", client.hop.timeouts.rcpt))
        except HopError:
            for index, reply in zip(batch, replies, strict=False):
                if mail.positive and not reply.positive:
                    self._decide(index, reply)
            raise
        return replies

    def _write_recipients(self, batch: list[int]) -> None:
        client = self._client
        for index in batch:
            client.write(client.machine.command("RCPT", self._prepared.recipients[index]))

    def _write_along(self) -> bool:
        """Close the group of pipelined commands: with the text itself where that is allowed, else with DATA.

        Returns whether the text is on its way. A small BDAT spares a round trip; if no recipient is accepted, the
        server refuses it (RFC 3030 section 2). LMTP answers per accepted recipient, so there it has to wait.
        """
        client, prepared = self._client, self._prepared
        if not prepared.chunking:
            client.write(client.machine.command("DATA"))
        elif prepared.whole and not client.machine.lmtp:
            client.write(client.machine.chunk(len(prepared.whole)))
            client.write(prepared.whole)
            return True
        return False

    def _judge(self, batch: list[int], mail: Reply, replies: list[Reply]) -> tuple[list[int], list[int]]:
        """Sort the recipients into accepted and to be tried again at once; the others get their verdict."""
        if not mail.positive:
            for index in batch:
                self._decide(index, mail)
            return [], []
        answered = list(zip(batch, replies, strict=True))
        accepted = [index for index, reply in answered if reply.positive]
        again = [index for index, reply in answered if not reply.positive and accepted and _too_many(reply)]
        for index, reply in answered:
            if not reply.positive and index not in again:
                self._decide(index, reply)
        if not accepted:
            self._client.reset_needed()
        return accepted, again

    async def _may_send(self, accepted: list[int]) -> bool:
        """Get the server's leave to send the text. False when there is none to send; all verdicts are given then."""
        client = self._client
        if self._prepared.chunking or (not accepted and not client.pipelining):
            return bool(accepted)
        if not client.pipelining:
            client.write(client.machine.command("DATA"))
        reply = await client.answer("DATA", client.hop.timeouts.data)
        if reply.code != 354:
            for index in accepted:
                self._decide(index, _unexpected(reply) if reply.positive else reply)
            client.reset_needed()
            return False
        if not accepted:
            # RFC 2920 section 3.1: the server waits for a text although there is nobody to get it.
            client.write(client.machine.end_of_text())
            await self._refused_text()
        return bool(accepted)

    async def _text(self, accepted: list[int], *, sent: bool) -> None:
        """Send the text unless it is sent, and give every accepted recipient its verdict."""
        client = self._client
        # From here on the server may have the message even if no answer comes: not over another connection at once,
        # but later, by the queue's schedule.
        self._undecided = False
        if not sent:
            try:
                await self._write_text()
            except MessageError as error:
                client.abort()
                for index in accepted:
                    self._settle(index, Reply(554, "5.6.0", f"the message cannot be sent: {error}"))
                raise HopError(Reply(451, "4.5.0", "the transaction was given up"), peer=client.peer) from error
        if client.machine.lmtp:
            for index in accepted:
                self._decide(index, await client.answer(TEXT, client.hop.timeouts.text))
            return
        reply = await client.answer(TEXT, client.hop.timeouts.text)
        for index in accepted:
            self._decide(index, reply)
        if not reply.positive:
            client.reset_needed()

    async def _refused_text(self) -> None:
        """Take the answer to a text for nobody. A server that speaks LMTP has none to give, so we part here."""
        client = self._client
        if client.machine.lmtp:
            client.abort()
        else:
            await client.answer(TEXT, client.hop.timeouts.text)

    async def _write_text(self) -> None:
        client, prepared = self._client, self._prepared
        if prepared.chunking:
            client.write(client.machine.chunk(self._message.size))
        if prepared.whole:
            client.write(prepared.whole)
        else:
            for piece in prepared.pieces(self._message):
                client.write(piece)
                await self._drain()
        if not prepared.chunking:
            end = client.machine.end_of_text()  # an answer is expected from here on
            if not prepared.whole:  # which has it already
                client.write(end)

    async def _drain(self) -> None:
        client = self._client
        try:
            await client.connection.drain()
        except ConnectionLostError as error:
            raise HopError(Reply(451, "4.4.2", "connection lost while sending the text"), peer=client.peer) from error

    def _decide(self, index: int, reply: Reply) -> None:
        """The hop's verdict on one recipient."""
        self._undecided = False
        self._settle(index, reply)

    def _settle(self, index: int, reply: Reply) -> None:
        extensions = self._client.machine.extensions
        if 300 <= reply.code < 400:
            reply = _unexpected(reply)
        status: Status = "delivered" if reply.positive else "failed" if reply.permanent else "deferred"
        self._outcomes[index] = Outcome(
            self._recipients[index],
            status,
            reply,
            self._client.peer,
            relayed_dsn="DSN" in extensions,
            relayed_by="DELIVERBY" in extensions,
            final=self._client.machine.lmtp,
            note=self._note,
            security=self._client.security,
        )


def _too_many(reply: Reply) -> bool:
    """Whether a server takes no more recipients in this transaction (RFC 5321 section 4.5.3.1.10)."""
    return reply.code in {452, 552} and reply.enhanced in {"", "4.5.3", "5.5.3"}


def _unexpected(reply: Reply) -> Reply:
    """What stands for a reply that makes no sense where it came: try again later."""
    return Reply(451, "4.5.0", f"unexpected reply: {reply}")
