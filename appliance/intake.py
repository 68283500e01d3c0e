"""The one door: every message enters here, from the network, from our own bounces, from the command line.

RCPT is decided by `recipient`, the message by `accept`: authenticate, score, route, judge, file, and then one
transaction of the store. Nobody is told 250 before that transaction is on the disk.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from appliance.companions import Companions, Planned, ask_anew
from appliance.config import CoreConfig
from appliance.dispatch import Dispatch, HookFailedError
from appliance.errors import ApplianceError, MessageError, NotFoundError, QuotaError, StoreError, StoreFullError
from appliance.judge import judge
from appliance.mail.address import Address
from appliance.mail.authres import authentication_results, without_forged
from appliance.mail.delivery import Outcome
from appliance.mail.dsn import Action
from appliance.mail.edited import Edited
from appliance.mail.envelope import NOTIFY_SUCCESS, Envelope, Recipient
from appliance.mail.finding import Finding, Judgement
from appliance.mail.message import Message
from appliance.mail.received import MAX_HOPS, count_received, is_tls_optional
from appliance.mail.recode import recoded
from appliance.mail.reply import Reply, most_severe
from appliance.mail.session import Session
from appliance.planning import OVER_QUOTA, STORED, Plan, Planner, Transaction, record_findings, refusal
from appliance.routing import Router
from appliance.store import Accepted, QueueWish, Store
from appliance.store.holds import note_held
from appliance.store.quarantine import judged_header
from appliance.trace import Trace

log = logging.getLogger(__name__)


class QueueTake(Protocol):
    """`QueueRunner.take`."""

    def __call__(
        self, accepted: Accepted, message: Message, envelope: Envelope, wishes: Sequence[QueueWish], *, trace_id: str
    ) -> None: ...


class TellDelivered(Protocol):
    """`QueueRunner.tell_delivered`."""

    async def __call__(
        self,
        envelope: Envelope,
        recipients: Sequence[Recipient],
        message: Message,
        *,
        trace_id: str,
        action: Action = "delivered",
    ) -> None: ...


_MESSAGE_ID_SHOWN = 200  # octets
_RECODED_AT_ONCE = 1 << 16  # octets; more than that is converted in a thread
SPARE_IDS = 100  # drawn at once
RECIPIENTS_IN_A_ROW = 100  # of a message of our own, a list's perhaps; then others have their turn

FULL = Reply(452, "4.3.1", "No room for mail at present, try again later")
FILLED_UP = Reply(452, "4.2.2", "A recipient's mailbox has just filled up, try again later")
LOOP = Reply(554, "5.4.6", f"Mail loop: more than {MAX_HOPS} Received fields")
DISCARDED = Reply(250, "2.0.0", "Taken")
NO_BINARY = Reply(554, "5.6.3", "The message cannot be kept without its binary parts being converted")
STORE_FAILED = Reply(451, "4.3.0", "The message could not be stored, try again later")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a message from our own process. `accepted` is None when every recipient was refused for good."""

    accepted: Accepted | None
    trace_id: str
    refused: tuple[tuple[Recipient, Reply], ...] = ()


class Intake:
    """The accept path.

    `queue_take` is called when new entries wait in the queue, with all that is known of them; `tell_delivered` when
    recipients were filed that asked to be told of it (RFC 3461, NOTIFY=SUCCESS).
    """

    def __init__(
        self,
        *,
        config: CoreConfig,
        store: Store,
        dispatch: Dispatch,
        trace: Trace,
        queue_take: QueueTake,
        tell_delivered: TellDelivered,
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._trace = trace
        self._queue_take = queue_take
        self._tell_delivered = tell_delivered
        self._planner = Planner(store, dispatch, trace)
        self._companions = Companions(dispatch, self._planner)
        self._hostname = config.hostname
        self.router = Router(dispatch, config)

    def reload(self, config: CoreConfig) -> None:
        """Take over changed core settings."""
        self._hostname = config.hostname
        self.router = Router(self._dispatch, config)

    def begin(self, session: Session, envelope: Envelope) -> Transaction:
        """Open a transaction at MAIL."""
        return Transaction(session, envelope, new_trace_id())

    async def recipient(self, transaction: Transaction, recipient: Recipient) -> Reply:
        """Decide one RCPT TO. A 2yz reply has added it to the envelope."""
        session, envelope = transaction.session, transaction.envelope
        reply: Reply | None
        try:
            routed = await self.router.resolve(session, envelope, recipient)
        except HookFailedError as error:
            reply = error.reply
        else:
            if not isinstance(routed, Reply):
                reply = await self._dispatch.smtp_recipient(session=session, envelope=envelope, recipient=recipient)
                if reply is None:
                    envelope.recipients.append(recipient)
                    transaction.routed.append(routed)
                    return _RECIPIENT_OK
            else:
                reply = routed
        self._trace.record(transaction.trace_id, "rcpt", str(recipient.address), f"{reply} {reply.reason}".strip())
        return reply

    async def accept(self, transaction: Transaction, message: Message) -> list[Reply]:
        """Take the message. One reply per recipient of the envelope, in its order; LMTP sends them all.

        For SMTP, which has one reply, all are equal: a recipient that could not be filed while others were is
        kept in the queue with transport `local` instead.
        """
        session, envelope = transaction.session, transaction.envelope
        if not envelope.recipients:
            return [NO_RECIPIENTS]
        if count_received(message) > MAX_HOPS:
            return self._refused(transaction, LOOP)
        envelope.tls_optional = not envelope.require_tls and is_tls_optional(message)
        received = await self._dispatch.message_received(session=session, envelope=envelope, message=message)
        if isinstance(received, Reply):
            return self._refused(transaction, received)
        if isinstance(received, Edited):
            return await self._accept_edited(transaction, received)
        return await self._judge_and_store(transaction, received, ())

    async def submit(
        self,
        message: Message,
        sender: Address | None,
        recipients: Sequence[Recipient],
        *,
        origin: str,
        envelope: Envelope | None = None,
        arrived: bool = False,
        written: bool = False,
        insist: bool = False,
        settles: Sequence[int] = (),
    ) -> Submitted:
        """Take a message of our own: a bounce, a redirect, `palomar send`. Recipients may be anywhere.

        `origin` is a word for the trace; `envelope` carries parameters (RET, ENVID, SMTPUTF8) besides the
        recipients. One that has just `arrived` from a program here is shown to plugins, as mail from the network is
        (`message_received`); one that was `written` by the appliance itself is signed, if any plugin signs
        (`message_written`). With `insist`, recipients that are refused for good become entries of the queue too,
        which reports them to the sender. `settles` are entries that end by this, in the same transaction. Raises
        StoreFullError or StoreError when it could not be stored.
        """
        session = Session(id=new_trace_id(), role="local", helo="localhost")
        transaction = self.begin(
            session, replace(envelope, sender=sender, recipients=[]) if envelope else Envelope(sender)
        )
        self._trace.record(transaction.trace_id, origin, "submit", f"from {sender or '<>'}")
        if arrived:
            shown = await self._shown(transaction, message, recipients)
            if isinstance(shown, Reply):
                return Submitted(None, transaction.trace_id, tuple((one, shown) for one in recipients))
            message, recipients = shown
        if written:
            shown_as = replace(transaction.envelope, recipients=list(recipients))
            message = await self._dispatch.message_written(envelope=shown_as, message=message)
        plan, later, refused = await self._plan_own(transaction, message, recipients)
        if insist:
            later += [recipient for recipient, _ in refused]
        for recipient in later:  # nobody is there to try again but us
            plan.wishes.setdefault(recipient.address.key, ask_anew(recipient))
        accepted = None
        if plan.filings or plan.wishes:
            also = await self._copies(transaction, message)
            accepted = await self._commit(transaction, message, plan, settles=settles, also=also)
        return Submitted(accepted, transaction.trace_id, tuple(refused))

    async def _shown(
        self, transaction: Transaction, message: Message, recipients: Sequence[Recipient]
    ) -> tuple[Message, Sequence[Recipient]] | Reply:
        """What plugins make of a message of our own, which has the sender that they give it then."""
        envelope = replace(transaction.envelope, recipients=list(recipients))
        answer = await self._dispatch.message_received(session=transaction.session, envelope=envelope, message=message)
        if isinstance(answer, Edited):
            transaction.envelope.sender = answer.sender
            return answer.message, answer.recipients
        return answer if isinstance(answer, Reply) else (answer, recipients)

    async def _plan_own(
        self, transaction: Transaction, message: Message, recipients: Sequence[Recipient]
    ) -> tuple[Plan, list[Recipient], list[tuple[Recipient, Reply]]]:
        """Where a message of our own goes; who is to be tried again later, and who is refused for good."""
        refused: list[tuple[Recipient, Reply]] = []
        later: list[Recipient] = []
        for number, recipient in enumerate(recipients, 1):
            if number % RECIPIENTS_IN_A_ROW == 0:
                await asyncio.sleep(0)
            reply = await self.recipient(transaction, recipient)
            if reply.temporary:
                later.append(recipient)
            elif not reply.positive:
                refused.append((recipient, reply))
        plan = await self._planner.plan(transaction, message, (), Judgement("accept", 0.0), defer=False)
        for recipient, reply in zip(list(transaction.envelope.recipients), plan.replies, strict=True):
            if reply.temporary:
                later.append(recipient)
            elif not reply.positive:
                refused.append((recipient, reply))
        return plan, later, refused

    async def deliver_locally(
        self, envelope: Envelope, recipient: Recipient, message: Message, *, trace_id: str, entry_id: int
    ) -> Outcome:
        """File a queued message for one recipient of ours: the way of transport `local`.

        One transaction files it and settles its queue entry, so that no crash files it twice. A recipient that now
        goes elsewhere (a redirect) becomes a new entry, which takes over what the sender wants to be told.
        """
        transaction = Transaction(
            Session(id=trace_id, role="local"), replace(envelope, recipients=[], release_at=0), trace_id
        )
        try:
            routed = await self.router.resolve(transaction.session, transaction.envelope, recipient)
            if isinstance(routed, Reply):
                return _outcome(recipient, routed)
            transaction.envelope.recipients.append(recipient)
            transaction.routed.append(routed)
            message = await _as_lines(transaction.envelope, message)
            header = self._store.peek(lambda db: judged_header(db, entry_id))
            plan = await self._planner.plan(
                transaction, message, (), Judgement("accept", 0.0, header=header), defer=False
            )
            if plan.filings or plan.wishes:
                await self._commit(transaction, message, plan, settles=[entry_id])
            if plan.expanded:
                await self._tell(transaction, message, plan.expanded, "expanded")
            # Of what went on or was thrown away nobody is told here that it was delivered.
            return replace(_outcome(recipient, plan.replies[0]), relayed_dsn=not plan.filed)
        except HookFailedError as error:
            return _outcome(recipient, error.reply)
        except MessageError as error:
            return _outcome(recipient, replace(NO_BINARY, text=f"{NO_BINARY.text}: {error}"))
        except QuotaError:
            return _outcome(recipient, OVER_QUOTA)
        except StoreError as error:
            return _outcome(recipient, replace(STORE_FAILED, reason=str(error)))

    # ── an edited envelope ────────────────────────────────────────────────────────────────────────────────────────

    async def _accept_edited(self, transaction: Transaction, edited: Edited) -> list[Reply]:
        """Go on with the sender and recipients that a plugin chose; the peer hears of those that it named."""
        given = list(transaction.envelope.recipients)
        try:
            refusal = await self._readdress(transaction, edited)
        except HookFailedError as error:  # the envelope is half made: nobody may be left out by a 250
            return [error.reply] * len(given)
        kept = transaction.envelope.recipients
        if refusal is not None and (refusal.temporary or not kept):
            return [refusal] * len(given)
        if not kept:
            self._trace.record(transaction.trace_id, "intake", "discarded", "a plugin took all recipients away")
            return [DISCARDED] * len(given)
        held: Sequence[Finding] = ()
        if edited.quarantine:
            held = (Finding("message_received", "quarantine", text=edited.quarantine, action="quarantine"),)
        replies = await self._judge_and_store(transaction, edited.message, held)
        by_key = {recipient.address.key: reply for recipient, reply in zip(kept, replies, strict=True)}
        one_for_all = combine(replies)
        return [by_key.get(recipient.address.key, one_for_all) for recipient in given]

    async def _readdress(self, transaction: Transaction, edited: Edited) -> Reply | None:
        """Take the new envelope over. What is added goes anywhere, as our own mail does; what cannot is traced.

        Returns a refusal of a recipient that was added, a temporary one before others. Raises HookFailedError.
        """
        envelope = transaction.envelope
        known = {
            recipient.address.key: (recipient, routed)
            for recipient, routed in zip(envelope.recipients, transaction.routed, strict=True)
        }
        moved = edited.sender != envelope.sender  # ways may depend on the sender: a smart host of its own
        envelope.sender, envelope.recipients, transaction.routed = edited.sender, [], []
        envelope.release_at = max(envelope.release_at, edited.release_at)
        refusal: Reply | None = None
        own = Session(id=transaction.session.id, role="local", helo="localhost")
        for recipient in edited.recipients:
            found = known.get(recipient.address.key)
            if found is None:
                routed = await self.router.resolve(own, envelope, recipient)
                if isinstance(routed, Reply):
                    refusal = refusal if refusal is not None and refusal.temporary else routed
                    text = f"{recipient.address}, added by a plugin: {routed}"
                    self._trace.record(transaction.trace_id, "intake", "refused", text)
                    continue
                found = recipient, routed
            elif moved and not isinstance(
                again := await self.router.resolve(transaction.session, envelope, found[0]), Reply
            ):
                found = found[0], again
            envelope.recipients.append(found[0])
            transaction.routed.append(found[1])
        return refusal

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _judge_and_store(
        self, transaction: Transaction, message: Message, held: Sequence[Finding]
    ) -> list[Reply]:
        """The filters' findings, those in `held` before them, and what follows."""
        findings = [*held, *await self._findings(transaction.session, transaction.envelope, message)]
        record_findings(self._trace, transaction.trace_id, findings)
        verdict = judge(findings)
        if verdict.action in {"refuse", "defer"}:
            return self._refused(transaction, refusal(verdict))
        stays = self._dispatch.copies_wanted or not _goes_on_as_it_is(transaction)
        if transaction.envelope.body == "BINARYMIME" and stays:
            try:
                message = await _as_lines(transaction.envelope, message)
            except MessageError as error:
                return self._refused(transaction, replace(NO_BINARY, text=f"{NO_BINARY.text}: {error}"))
        stamp = b""
        if findings and self.router.from_outside(transaction.session):
            message = without_forged(message, self._hostname)
            stamp = authentication_results(self._hostname, [finding.header for finding in findings])
        plan = await self._planner.plan(transaction, message, findings, verdict, stamp=stamp)
        return await self._store_plan(transaction, message, plan)

    async def _findings(self, session: Session, envelope: Envelope, message: Message) -> Sequence[Finding]:
        findings: list[Finding] = []
        if not self._dispatch.filters:
            return findings
        for phase in ("mechanisms", "policy") if self.router.from_outside(session) else ():
            findings += await self._dispatch.authenticate_message(
                session=session, envelope=envelope, message=message, phase=phase, findings=tuple(findings)
            )
        if judge(findings).action in {"refuse", "defer"}:
            return findings  # what is sent away in any case need not be read
        texts = await self._dispatch.message_texts(session=session, envelope=envelope, message=message)
        findings += await self._dispatch.score_message(
            session=session, envelope=envelope, message=message, findings=tuple(findings), texts=texts
        )
        return findings

    async def _store_plan(self, transaction: Transaction, message: Message, plan: Plan) -> list[Reply]:
        if not any(reply.positive for reply in plan.replies):
            worst = most_severe(plan.replies)
            assert worst is not None
            self._refused(transaction, worst)
            return plan.replies
        also = await self._copies(transaction, message)
        try:
            await self._commit(transaction, message, plan, also=also)
        except StoreFullError as error:
            return self._refused(transaction, replace(FULL, reason=str(error)))
        except QuotaError as error:  # filled up since the plan was made; the next try will tell whose mailbox it is
            return self._refused(transaction, replace(FILLED_UP, reason=str(error)))
        except ApplianceError as error:
            log.exception("message from %s could not be stored", transaction.envelope.sender)
            return self._refused(transaction, replace(STORE_FAILED, reason=str(error)))
        await self._confirm(transaction, message, plan)
        stored = Reply(250, "2.0.0", f"Stored as {transaction.trace_id}")
        return [stored if reply is STORED else reply for reply in plan.replies]

    async def _copies(self, transaction: Transaction, message: Message) -> Sequence[Planned]:
        """What plugins want stored together with the message."""
        if not self._dispatch.copies_wanted:
            return ()
        return await self._companions.of(transaction, message, self.router, new_trace_id)

    async def _commit(
        self,
        transaction: Transaction,
        message: Message,
        plan: Plan,
        *,
        settles: Sequence[int] = (),
        also: Sequence[Planned] = (),
    ) -> Accepted:
        """The promise: this returns after the fsync."""
        envelope = transaction.envelope
        if plan.held_for:
            await self._store.write(lambda db: note_held(db, transaction.trace_id, plan.held_for))

        async def store() -> Accepted:
            return await self._store.accept(
                message,
                list(plan.filings.values()),
                list(plan.wishes.values()),
                envelope,
                trace_id=transaction.trace_id,
                settles=settles,
                also=[item for one in also for item in one.alongside()],
            )

        try:
            accepted = await store()
        except (QuotaError, NotFoundError):
            if not any(one.plan.filings for one in also):
                raise
            for one in also:  # its mailbox may just have filled up, or gone: the message itself is not to suffer
                one.postpone()
            accepted = await store()
        self._trace.record(
            transaction.trace_id,
            "intake",
            "accepted",
            f"{message.size} octets from {envelope.sender or '<>'} to "
            f"{', '.join([str(r.address) for r in envelope.recipients[:20]])}: "
            f"{len(accepted.filed)} filed, {len(plan.wishes)} queued, {_message_id(message)}",
        )
        if accepted.queue_id is not None:
            self._queue_take(accepted, message, envelope, list(plan.wishes.values()), trace_id=transaction.trace_id)
        self._take_copies(transaction, also, accepted)
        self._dispatch.message_accepted(session=transaction.session, envelope=envelope, accepted=accepted)
        return accepted

    def _take_copies(self, transaction: Transaction, also: Sequence[Planned], accepted: Accepted) -> None:
        """Tell of the copies that were stored, and let those leave that are queued."""
        for one in also:
            to = ", ".join(str(recipient.address) for recipient in one.transaction.envelope.recipients)
            self._trace.record(transaction.trace_id, "intake", "copied", f"for {to} as {one.transaction.trace_id}")
        items = [(one, item) for one in also for item in one.alongside()]
        for (one, item), made in zip(items, accepted.also, strict=True):
            if made.queue_id is not None:
                wishes = list(item.wishes)
                self._queue_take(made, item.message, item.envelope, wishes, trace_id=one.transaction.trace_id)

    async def _confirm(self, transaction: Transaction, message: Message, plan: Plan) -> None:
        """Tell the sender of what was filed, if it asked. The mail itself is safe, so a failure is only logged."""
        asked = [recipient for recipient in plan.filed if NOTIFY_SUCCESS in recipient.notify]
        if asked:
            await self._tell(transaction, message, asked, "delivered")
        if plan.expanded:
            await self._tell(transaction, message, plan.expanded, "expanded")

    async def _tell(
        self, transaction: Transaction, message: Message, recipients: Sequence[Recipient], action: Action
    ) -> None:
        envelope = transaction.envelope
        try:
            await self._tell_delivered(envelope, recipients, message, trace_id=transaction.trace_id, action=action)
        except StoreError as error:
            log.error("the delivery notice for %s could not be stored: %s", envelope.sender, error)

    def _refused(self, transaction: Transaction, reply: Reply) -> list[Reply]:
        envelope = transaction.envelope
        recipients = ", ".join(str(recipient.address) for recipient in envelope.recipients[:20])
        why = f"{reply} ({reply.reason})" if reply.reason else str(reply)
        self._trace.record(
            transaction.trace_id, "intake", "refused", f"{why}, from {envelope.sender or '<>'} to {recipients}"
        )
        return [reply] * len(transaction.envelope.recipients)


_RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")


def _goes_on_as_it_is(transaction: Transaction) -> bool:
    """Whether nobody here gets a binary message to see, nor signs it: then it goes on to hosts that may take it so."""
    if transaction.session.account is not None or transaction.session.role == "local":
        return False
    return all(one.route.transport != "local" for routed in transaction.routed for one in routed)


async def _as_lines(envelope: Envelope, message: Message) -> Message:
    """The message for mailboxes, whose programs read lines: its binary parts in base64 (RFC 3030 section 3).

    Raises MessageError when that cannot be.
    """
    if envelope.body != "BINARYMIME":
        return message
    large = message.size > _RECODED_AT_ONCE
    changed = await asyncio.to_thread(recoded, message, "8bit") if large else recoded(message, "8bit")
    envelope.body = "8BITMIME"
    return changed if changed.ends_line else Message(changed.header, bytes(changed.text) + b"\r\n")


def combine(replies: Sequence[Reply]) -> Reply:
    """The one reply to DATA: 250 if any recipient was served, else the mildest refusal, so that nothing is lost."""
    for reply in replies:
        if reply.positive:
            return reply
    return next((reply for reply in replies if reply.temporary), replies[0])


def new_trace_id() -> str:
    """A short name for one message's way, unguessable and fit for a queue id in Received."""
    if not _spare_ids:  # many at once: asking the system takes longer than the rest
        digits = base64.b32encode(secrets.token_bytes(10 * SPARE_IDS)).decode().lower()
        _spare_ids.extend(digits[start : start + 16] for start in range(0, len(digits), 16))
    return _spare_ids.pop()


_spare_ids: list[str] = []


def _message_id(message: Message) -> str:
    """The Message-ID for the trace, by which people ask what became of a message."""
    value = message.get(b"message-id")
    return value.strip()[:_MESSAGE_ID_SHOWN].decode("ascii", "replace") if value else "no Message-ID"


def _outcome(recipient: Recipient, reply: Reply) -> Outcome:
    status: Literal["delivered", "deferred", "failed"]
    status = "delivered" if reply.positive else "deferred" if reply.temporary else "failed"
    return Outcome(recipient, status, reply, peer="local")
