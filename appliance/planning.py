"""What one message will become: filings for local recipients, queue entries for the others, a reply for each."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from appliance.dispatch import Dispatch, HookFailedError
from appliance.judge import judge
from appliance.mail.delivery import Route
from appliance.mail.envelope import NOTIFY_NEVER, NOTIFY_SUCCESS, Envelope, Recipient
from appliance.mail.finding import Finding, Judgement
from appliance.mail.message import Message
from appliance.mail.received import was_delivered_to
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.routing import Routed
from appliance.store import Account, Filing, QueueWish, Store
from appliance.trace import Trace

log = logging.getLogger(__name__)

MAX_CRASHES = 3  # of transform_inbound on one message; then it is filed as it was received
CRASHES_REMEMBERED = 1000

_REASON_SHOWN = 240  # characters; a reply line has room for 512 octets (RFC 5321 section 4.5.3.1.5)
FILTERS = "filters"  # who has found what, in the trace

STORED = Reply(250, "2.0.0", "Stored")
OVER_QUOTA = Reply(552, "5.2.2", "The recipient's mailbox is full")
FORWARD_LOOP = Reply(554, "5.4.6", "Mail loop: the message was sent on from this address before")
_NOBODY_FILES = Reply(451, "4.3.5", "No plugin files mail for this recipient", reason="file_message: nobody answered")


@dataclass(slots=True)
class Transaction:
    """One mail transaction: what RCPT found out about each recipient is kept for the end of DATA."""

    session: Session
    envelope: Envelope
    trace_id: str
    routed: list[Sequence[Routed]] = field(default_factory=list)  # one item per recipient of the envelope


@dataclass(slots=True)
class Plan:
    """What will be stored for one message, and the reply to each recipient if that succeeds."""

    filings: dict[tuple[int, str], Filing] = field(default_factory=dict)
    wishes: dict[str, QueueWish] = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)
    filed: list[Recipient] = field(default_factory=list)  # of the envelope; filed, and nothing waits for them
    expanded: list[Recipient] = field(default_factory=list)  # of the envelope; passed on to several, and to be told so
    sent_here: bool = False  # by an account: what is held of it is no matter of its recipients
    held_for: int = 0  # the id of the account because of which everything is held


class Planner:
    """Asks the plugins where a message goes, recipient by recipient. Stores nothing."""

    def __init__(self, store: Store, dispatch: Dispatch, trace: Trace) -> None:
        self._trace = trace
        self._store = store
        self._dispatch = dispatch
        self._crashes: OrderedDict[bytes, int] = OrderedDict()

    async def plan(
        self,
        transaction: Transaction,
        message: Message,
        findings: Sequence[Finding],
        verdict: Judgement,
        *,
        defer: bool = True,
        stamp: bytes = b"",
    ) -> Plan:
        """Decide filings and queue entries for every recipient.

        With `defer`, a local recipient that cannot be filed now becomes a queue entry when other recipients can be
        served and the peer hears only one reply. `verdict` is what was concluded for all of them; whose filters have
        more to say is judged alone. `stamp` are header lines for each filing, behind those of the MDA.
        """
        plan = Plan(sent_here=transaction.session.account is not None, held_for=self._held_for(transaction))
        single_reply = defer and transaction.session.role != "lmtp"
        verdicts = await self._verdicts(transaction, message, findings, verdict, single_reply=single_reply)
        for routed, judged in zip(transaction.routed, verdicts, strict=True):
            if plan.held_for and judged.action in ("accept", "junk"):
                judged = replace(judged, action="quarantine")
            if judged.action in ("refuse", "defer"):
                plan.replies.append(refusal(judged))
                continue
            if stamp:
                judged = replace(judged, header=stamp + judged.header)
            expanded = len(routed) > 1 and _tell_of_alias(routed)
            reply = await self._recipient(transaction.envelope, message, findings, judged, routed, plan)
            plan.replies.append(reply)
            if expanded and reply.positive:
                plan.expanded.append(routed[0].given)
        if single_reply and any(reply.positive for reply in plan.replies):
            for index, reply in enumerate(plan.replies):
                if not reply.positive:
                    for one in transaction.routed[index]:
                        plan.wishes.setdefault(one.recipient.address.key, _later(one))
                    plan.replies[index] = STORED
        return plan

    async def _verdicts(
        self,
        transaction: Transaction,
        message: Message,
        findings: Sequence[Finding],
        verdict: Judgement,
        *,
        single_reply: bool,
    ) -> list[Judgement]:
        """A verdict for each recipient. With one reply for all, whoever refuses what others take gets it in Junk.

        Whoever defers it gets it later, from the queue.
        """
        if not findings:
            return [verdict] * len(transaction.routed)
        verdicts = [
            await self._verdict(transaction, message, findings, verdict, routed) for routed in transaction.routed
        ]
        if single_reply and any(one.action not in ("refuse", "defer") for one in verdicts):
            verdicts = [replace(one, action="junk") if one.action == "refuse" else one for one in verdicts]
        return verdicts

    async def _verdict(
        self,
        transaction: Transaction,
        message: Message,
        findings: Sequence[Finding],
        verdict: Judgement,
        routed: Sequence[Routed],
    ) -> Judgement:
        dispatch, recipient = self._dispatch, routed[0].given
        account = next((found for one in routed if (found := self._account(one)) is not None), None)
        own = await dispatch.score_recipient(
            session=transaction.session,
            envelope=transaction.envelope,
            recipient=recipient,
            account=account,
            message=message,
            findings=findings,
        )
        record_findings(self._trace, transaction.trace_id, own, f" for {recipient.address}")
        judged = await dispatch.judge_recipient(recipient=recipient, account=account, findings=(*findings, *own))
        if judged is None:
            judged = judge((*findings, *own)) if own else verdict
        self._trace.record(
            transaction.trace_id,
            FILTERS,
            "judged",
            f"{recipient.address}: {judged.action} at {judged.score:.1f}"
            + (f", {judged.reason}" if judged.reason else "")
            + (f" ({judged.note})" if judged.note else ""),
        )
        return judged

    def _account(self, one: Routed) -> Account | None:
        return self._store.directory.account(one.route.next_hop) if one.route.transport == "local" else None

    def _held_for(self, transaction: Transaction) -> int:
        """The id of the account that sends this, if its mail is held; else 0."""
        name = transaction.session.account
        if name is None or not self._store.directory.held(name):
            return 0
        account = self._store.directory.account(name)
        return account.id if account is not None else 0

    async def _recipient(
        self,
        envelope: Envelope,
        message: Message,
        findings: Sequence[Finding],
        verdict: Judgement,
        routed: Sequence[Routed],
        plan: Plan,
    ) -> Reply:
        """Add one envelope recipient to the plan.

        A member of an alias that cannot be filed now waits in the queue while the others are served.
        """
        filings: list[Filing] = []
        wishes: list[QueueWish] = []
        refused: list[tuple[Routed, Reply]] = []
        held = verdict.action == "quarantine"
        for one in routed:
            if one.recipient.via and was_delivered_to(message, one.recipient.via):
                refused.append((one, FORWARD_LOOP))
                continue
            account = self._account(one)
            if account is None or held or envelope.release_at:
                judged = verdict if held and not plan.sent_here else None
                reason = verdict.reason if held else ""
                wishes.append(QueueWish(one.recipient, one.route, hold=held, reason=reason, judged=judged))
                continue
            filed = await self._file(envelope, one.recipient, account, message, findings)
            if isinstance(filed, Reply):
                refused.append((one, filed))
            else:
                filings += filed
        if refused and not filings and not wishes:
            return next((reply for _, reply in refused if reply.temporary), refused[0][1])
        wishes += [_later(one) for one, _ in refused]
        for filing in filings:
            junk = verdict.action == "junk" and filing.mailbox == "INBOX"
            placed = replace(filing, mailbox="Junk") if junk else filing
            if verdict.header:
                placed = replace(placed, prefix=placed.prefix + verdict.header)
            plan.filings.setdefault((placed.account_id, placed.mailbox), placed)
        for wish in wishes:
            plan.wishes.setdefault(wish.recipient.address.key, wish)
        several = NOTIFY_SUCCESS in routed[0].given.notify and NOTIFY_SUCCESS not in routed[0].recipient.notify
        # Filings that it shares with a recipient before it count as much as new ones.
        if filings and not wishes and not several:
            plan.filed.append(routed[0].given)
        return STORED

    async def _file(
        self, envelope: Envelope, recipient: Recipient, account: Account, message: Message, findings: Sequence[Finding]
    ) -> Sequence[Filing] | Reply:
        """Ask the MDA where the message, or the account's own variant of it, goes."""
        try:
            variant = await self._variant(account, message, findings)
            filed = await self._dispatch.file_message(
                envelope=envelope, recipient=recipient, account=account, message=variant, findings=findings
            )
        except HookFailedError as error:
            return error.reply
        if filed is None:
            return _NOBODY_FILES
        if isinstance(filed, Reply):
            return filed
        if account.quota_bytes:
            octets = sum(len(filing.prefix) + variant.size for filing in filed)
            if account.used_bytes + octets > account.quota_bytes:
                return OVER_QUOTA
        return filed if variant is message else [replace(filing, variant=variant) for filing in filed]

    async def _variant(self, account: Account, message: Message, findings: Sequence[Finding]) -> Message:
        """The message as this account gets it. A plugin that crashes on it again and again is passed over."""
        try:
            return await self._dispatch.transform_inbound(message=message, account=account, findings=findings)
        except HookFailedError:
            key = hashlib.blake2b(_as_sent(message), salt=account.id.to_bytes(8, "big"), digest_size=16).digest()
            crashes = self._crashes[key] = self._crashes.pop(key, 0) + 1
            if len(self._crashes) > CRASHES_REMEMBERED:
                self._crashes.popitem(last=False)
            if crashes < MAX_CRASHES:
                raise
            log.warning("message for %s is filed as it was received, after %d crashes", account.name, crashes)
            return message


def record_findings(trace: Trace, trace_id: str, findings: Sequence[Finding], whose: str = "") -> None:
    """Note in the message trace what weighs: `palomar spam why` makes its table of these lines."""
    for one in findings:
        if one.score or one.action or one.result == "unavailable":
            evidence = f" [{one.evidence}]" if one.evidence else ""
            trace.record(
                trace_id, FILTERS, "found", f"{one.score:+.2f} {one.name} {one.result}{whose}: {one.text}{evidence}"
            )


def refusal(verdict: Judgement) -> Reply:
    """The reply to a message that is refused or deferred as a whole, with the reason that a person can read."""
    # Findings may hold what strangers wrote in their mail and their DNS.
    words = "".join(char for char in verdict.reason[:_REASON_SHOWN] if " " <= char <= "~")
    if verdict.action == "defer":
        text = f"Not now, try again later ({words})" if words else "The message cannot be checked now, try again later"
        return Reply(451, "4.7.1", text, reason=verdict.reason)
    text = f"The message was refused ({words})" if words else "The message was refused as unwanted"
    return Reply(550, "5.7.1", text, reason=verdict.reason)


def _later(one: Routed) -> QueueWish:
    """An entry for what was refused: transport `local` looks for its way again, and may then refuse it for good."""
    route = one.route if one.route.transport == "local" else Route("local", str(one.recipient.address))
    return QueueWish(one.recipient, route)


def _as_sent(message: Message) -> bytes:
    """What of a header is the same when a peer tries again: all but the Received field that we put in front."""
    first = next(iter(message.fields()), None)
    return message.header[first.end :] if first is not None and first.name == b"received" else message.header


def _tell_of_alias(routed: Sequence[Routed]) -> bool:
    """Whether the sender wants to hear of success from an address that stands for several.

    Then it is told "expanded", and the several are not asked (RFC 3461 section 5.2.7.3, the third way).
    """
    if NOTIFY_SUCCESS not in routed[0].given.notify:
        return False
    for one in routed:
        # With nothing left the default would hold, by which failures are told of.
        left = one.recipient.notify - {NOTIFY_SUCCESS} or frozenset({NOTIFY_NEVER})
        one.recipient = replace(one.recipient, notify=left)
    return True
