"""A mail transaction: MAIL, RCPT, then DATA or BDAT, and the answer that is a promise (RFC 5321 section 3.3)."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.config import CoreConfig
from appliance.connection import IdleTimeoutError
from appliance.dispatch import HookFailedError
from appliance.errors import MessageError, StoreFullError
from appliance.intake import FULL, combine
from appliance.log import trace_id
from appliance.mail.message import Message
from appliance.mail.received import protocol_name, received_field
from appliance.mail.reply import Reply
from appliance.planning import Transaction
from appliance.spool import IN_MEMORY, Spool
from appliance.store.terms import waiting_for_release
from plugins.smtp.dialogue import HELLO_FIRST, NO_ARGUMENT
from plugins.smtp.envelope import parse_mail, parse_rcpt
from plugins.smtp.forwarders import origin
from plugins.smtp.protocol import NUL_IN_MESSAGE, STRAY_LINE_END, BodyChunk, BodyEnd, Chunk
from plugins.smtp.refusal import RefusedError
from plugins.smtp.submission import NOT_YOURS, believed_author, may_send_as, missing_fields
from plugins.smtp.terms import header_priority
from plugins.smtp.trust import may_hurry

if TYPE_CHECKING:
    from appliance.mail.envelope import Envelope
    from plugins.smtp.session import SmtpSession

log = logging.getLogger(__name__)

RECIPIENT_OVERSHOOT = 1000  # refused with 452 beyond the limit before each counts as an error

MAIL_OK = b"250 2.1.0 Sender ok\r\n"
SEND_TEXT = b"354 Send the message, end it with a line of a single dot\r\n"
NESTED_MAIL = Reply(503, "5.5.1", "A mail transaction is open already")
LOG_IN_FIRST = Reply(530, "5.7.0", "Authentication is required")
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Enough messages for one connection, come back on another")
MAIL_FIRST = Reply(503, "5.5.1", "Say MAIL first")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients, send the rest in another transaction")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
NO_RECIPIENTS_LMTP = Reply(503, "5.5.1", "No valid recipients")  # RFC 2033 section 4.2 knows no other code here
BINARY_BY_BDAT = Reply(503, "5.5.1", "A binary message comes by BDAT")  # RFC 3030 section 3
PRIORITY_LOWERED = b"250 2.3.6 0 is the priority of this message: a higher one is not yours to ask for\r\n"
TOO_MANY_WAIT = Reply(552, "5.7.16", "Too many messages of yours wait for their time already")  # RFC 4865 section 6
BDAT_HAS_BEGUN = Reply(503, "5.5.1", "The message has begun with BDAT")
TEXT_TOO_EARLY = Reply(503, "5.5.0", "The message came before the answer to DATA, closing")
NO_HEADER = Reply(554, "5.6.0", "The message does not begin with a header field")

_STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_FIELD_START = re.compile(rb"[!-9;-~]+[ \t]*:")


@dataclass(slots=True)
class Mail:
    """The transaction in progress. Times are loop time."""

    transaction: Transaction
    spool: Spool | None = None
    began_at: float = 0.0  # when the message began to come
    deadline: float = 0.0
    overshoot: int = 0  # recipients refused since there were too many
    chunked: bool = False  # BDAT has begun

    def close(self) -> None:
        """Give back what it holds."""
        if self.spool is not None:
            self.spool.close()
            self.spool = None


# ── MAIL and RCPT ────────────────────────────────────────────────────────────────────────────────────────────────


async def mail(session: SmtpSession, argument: str) -> None:
    """MAIL FROM: open a transaction."""
    refusal = _mail_refusal(session)
    if refusal is not None:
        session.say(refusal)
        return
    if session.transactions >= session.config.max_transactions:
        session.hang_up(TOO_MANY_MESSAGES)
        return
    core, facts = session.core, session.session
    try:
        envelope = parse_mail(argument, max_size=session.machine.max_size, terms=session.terms)
        refusal = await core.dispatch.smtp_sender(session=facts, envelope=envelope)
        if (
            refusal is None
            and facts.account is not None
            and envelope.sender is not None
            and not await may_send_as(core, facts.account, envelope.sender, session.config.sender_check)
        ):
            refusal = NOT_YOURS
        if refusal is None and envelope.release_at and await _waits_too_much(session, envelope):
            refusal = TOO_MANY_WAIT
        if refusal is None and envelope.auth:
            envelope.auth = await believed_author(core, facts, envelope.auth, session.config.sender_check)
    except (RefusedError, HookFailedError) as error:
        refusal = error.reply
    if refusal is not None:
        session.record_refusal(f"MAIL {argument[:200]}", refusal)
        session.say(refusal)
        return
    session.mail = Mail(core.intake.begin(facts, envelope))
    trace_id.set(session.mail.transaction.trace_id)
    session.machine.begin_message(binary=envelope.body == "BINARYMIME")
    if envelope.priority > 0 and not may_hurry(facts, session.config.priority_from):
        envelope.priority = 0
        session.connection.write(PRIORITY_LOWERED)
        return
    session.connection.write(MAIL_OK)


async def _waits_too_much(session: SmtpSession, envelope: Envelope) -> bool:
    core = session.core
    now = int(core.now())
    waiting = await core.store.read(lambda db: waiting_for_release(db, envelope.sender, now))
    return waiting >= session.config.hold_messages


def _mail_refusal(session: SmtpSession) -> Reply | None:
    if session.mail is not None:
        return NESTED_MAIL
    if not session.session.helo and session.config.require_hello:
        return HELLO_FIRST
    if session.session.role == "submission" and session.session.account is None:
        return LOG_IN_FIRST
    return None


async def rcpt(session: SmtpSession, argument: str) -> None:
    """RCPT TO: the intake decides, for it knows who is here and who may relay."""
    mail = session.mail
    if mail is None or mail.chunked:
        session.say(MAIL_FIRST if mail is None else BDAT_HAS_BEGUN)
        return
    envelope = mail.transaction.envelope
    if len(envelope.recipients) >= session.config.max_recipients:
        mail.overshoot += 1
        session.errors += mail.overshoot > RECIPIENT_OVERSHOOT
        session.say(TOO_MANY_RECIPIENTS)
        return
    try:
        recipient = parse_rcpt(
            argument,
            smtputf8=envelope.smtputf8,
            postmaster_domain=session.core.settings[CoreConfig].hostname,
        )
    except RefusedError as error:
        session.record_refusal(f"RCPT {argument[:200]}", error.reply, mail.transaction.trace_id)
        session.say(error.reply)
        return
    session.say(await session.core.intake.recipient(mail.transaction, recipient))


# ── DATA and BDAT ────────────────────────────────────────────────────────────────────────────────────────────────


async def data(session: SmtpSession, argument: str) -> None:
    """DATA: take the message and answer for it."""
    mail = session.mail
    early = session.machine.pending
    refusal = NO_ARGUMENT if argument else _body_refusal(mail)
    if refusal is None and mail is not None and mail.chunked:
        refusal = BDAT_HAS_BEGUN  # RFC 3030 section 2: the two do not mix
    if refusal is None and mail is not None and mail.transaction.envelope.body == "BINARYMIME":
        refusal = BINARY_BY_BDAT
    if early and (refusal is not None or session.config.strict_pipelining):
        # RFC 2920 section 3.1 lets nothing follow DATA in one go. If this is the message of a DATA that was refused,
        # then its lines would now be taken for commands.
        session.hang_up(TEXT_TOO_EARLY)
        return
    if refusal is not None or mail is None:
        session.say(refusal or MAIL_FIRST)
        return
    session.machine.expect_text()
    session.connection.write(SEND_TEXT)
    _open_spool(session, mail)
    end, refusal = await _receive(session, mail)
    await _finish(session, mail, refusal or end.fault)


async def bdat(session: SmtpSession, chunk: Chunk) -> None:
    """BDAT (RFC 3030): its octets are on their way whatever the answer is, so they are read first."""
    mail = session.mail
    refusal = _body_refusal(mail)
    if refusal is not None:
        session.machine.discard()
    elif mail is not None and not mail.chunked:
        mail.chunked = True
        _open_spool(session, mail)
    end, failure = await _receive(session, mail)
    refusal = refusal or failure or end.fault
    if refusal is None and not end.last:
        session.say(Reply(250, "2.0.0", f"{chunk.size} octets received"))
    elif mail is None or not end.last or not mail.transaction.envelope.recipients:
        # After a failure the client should say RSET; chunks that it has sent already are refused one by one.
        session.drop_mail()
        session.say(refusal or MAIL_FIRST)
    else:
        await _finish(session, mail, refusal)


def _body_refusal(mail: Mail | None) -> Reply | None:
    if mail is None:
        return MAIL_FIRST
    if mail.transaction.envelope.recipients:
        return None
    return NO_RECIPIENTS_LMTP if mail.transaction.session.role == "lmtp" else NO_RECIPIENTS


def _open_spool(session: SmtpSession, mail: Mail) -> None:
    mail.spool = Spool(session.spool_folder)
    mail.began_at = session.connection.loop.time()
    mail.deadline = mail.began_at + session.config.data_deadline


async def _receive(session: SmtpSession, mail: Mail | None) -> tuple[BodyEnd, Reply | None]:
    """Read the text or chunk to its end. Also returns the refusal if it could not be kept.

    Raises IdleTimeoutError when it does not come in time. A shutdown lets it finish, for as long as the listener
    gives us.
    """
    connection, config = session.connection, session.config
    now = connection.loop.time
    spool = mail.spool if mail is not None else None
    deadline = mail.deadline if spool is not None and mail is not None else now() + config.data_deadline
    failure: Reply | None = None
    while True:
        left = deadline - now()
        if left <= 0:
            raise IdleTimeoutError("the message took too long")
        event = await connection.next_event(min(left, session.within(config.data_timeout)))
        kind = type(event)
        if kind is BodyChunk and spool is not None:
            try:
                spool.write(event.data)
            except StoreFullError as error:
                failure = Reply(FULL.code, FULL.enhanced, FULL.text, reason=str(error))
                session.machine.discard()
        elif kind is BodyEnd:
            return event, failure


async def _finish(session: SmtpSession, mail: Mail, refusal: Reply | None) -> None:
    """Hand the message over, or refuse it, and answer: LMTP once per recipient, SMTP once (RFC 2033 section 4.2)."""
    session.mail = None
    session.forwarded, forwarded = {}, session.forwarded
    session.transactions += 1
    recipients = len(mail.transaction.envelope.recipients)
    try:
        replies = await _accept(session, mail, forwarded) if refusal is None else [refusal] * recipients
    finally:
        mail.close()
    if refusal is not None:
        session.record_refusal("message", refusal, mail.transaction.trace_id)
    answer = combine(replies)
    if answer.positive:
        session.errors = session.idle_commands = 0
    if session.session.role != "lmtp":
        session.say(answer)
        return
    for reply in replies:
        session.connection.write(bytes(reply))


# ── the message ──────────────────────────────────────────────────────────────────────────────────────────────────


async def _accept(session: SmtpSession, mail: Mail, forwarded: dict[str, str]) -> list[Reply]:
    transaction = mail.transaction
    assert mail.spool is not None
    took = session.connection.loop.time() - mail.began_at
    behind = f", for {origin(forwarded)}" if forwarded else ""
    session.core.trace.record(
        transaction.trace_id, session.session.role, "received", f"from {session.peer}{behind}", ms=took * 1000
    )
    try:
        message = mail.spool.message()
        _check_terms(session, transaction.envelope, message)
        message = _with_our_lines(session, transaction, message)
    except MessageError as error:
        reply = Reply(554, "5.6.0", f"The message cannot be taken: {error}")
        session.record_refusal("message", reply, transaction.trace_id)
        return [reply] * len(transaction.envelope.recipients)
    return await session.core.intake.accept(transaction, message)


def _check_terms(session: SmtpSession, envelope: Envelope, message: Message) -> None:
    """What the header has to do with what was asked for. Raises MessageError."""
    if envelope.body == "BINARYMIME" and (fault := _header_fault(message.header)) is not None:
        raise MessageError(fault.text)  # RFC 3030 section 3: only what is encoded as binary may be that
    allowed = session.config.priority_from
    if allowed and not envelope.priority and may_hurry(session.session, allowed):
        envelope.priority = header_priority(message)


def _header_fault(header: bytes) -> Reply | None:
    if b"\0" in header:
        return NUL_IN_MESSAGE
    return STRAY_LINE_END if not header.endswith(b"\r\n") or _STRAY.search(header) else None


def _with_our_lines(session: SmtpSession, transaction: Transaction, message: Message) -> Message:
    """Put Received in front, and what submission adds. Raises MessageError."""
    facts, envelope = session.session, transaction.envelope
    at = session.core.now()
    lines = received_field(
        helo=facts.helo,
        peer_ip=facts.peer_ip,
        by=session.hostname,
        protocol=protocol_name(
            esmtp=facts.esmtp,
            tls=facts.tls is not None,
            authenticated=facts.account is not None,
            smtputf8=envelope.smtputf8,
            lmtp=facts.role == "lmtp",
        ),
        trace_id=transaction.trace_id,
        at=at,
        recipient=envelope.recipients[0].address if len(envelope.recipients) == 1 else None,
        priority=envelope.priority,
        tls=facts.tls,
        doubt="" if session.core.time_state == "synced" else session.core.time_state,
    )
    if facts.account is not None:
        lines += missing_fields(message, token=transaction.trace_id, hostname=session.hostname, at=at)
    if message.header.startswith(b"\r\n") or _FIELD_START.match(message.header):
        return message.prepend(lines)
    # The text begins without a header. Put in front as it is, our line would take it for its continuation, or it
    # would hide in the header: what the peer sent becomes the text of a message whose header is ours.
    if message.size > IN_MEMORY:
        raise MessageError(NO_HEADER.text)
    return Message(lines + b"\r\n", bytes(message))
