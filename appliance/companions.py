"""What is stored together with a message: copies that plugins want of it, each with an envelope of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from appliance.dispatch import Dispatch, HookFailedError
from appliance.mail.companion import Companion
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from appliance.mail.finding import Judgement
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.planning import Plan, Planner, Transaction
from appliance.routing import Router
from appliance.store import Alongside, QueueWish


@dataclass(slots=True)
class Planned:
    """One copy and where it goes."""

    transaction: Transaction
    message: Message
    plan: Plan

    def alongside(self) -> list[Alongside]:
        """What the store is to do: one item for the copy itself, and one for each filing with a variant of its own."""
        filings = list(self.plan.filings.values())
        envelope, trace_id = self.transaction.envelope, self.transaction.trace_id
        shared = [filing for filing in filings if filing.variant is None]
        found = [Alongside(self.message, shared, list(self.plan.wishes.values()), envelope, trace_id)]
        found += [
            Alongside(filing.variant, [replace(filing, variant=None)], [], envelope, trace_id)
            for filing in filings
            if filing.variant is not None
        ]
        return [one for one in found if one.filings or one.wishes]

    def postpone(self) -> None:
        """File nothing now: it waits in the queue."""
        self.plan.filings.clear()
        for recipient in self.transaction.envelope.recipients:
            self.plan.wishes.setdefault(recipient.address.key, ask_anew(recipient))


class Companions:
    """Asks plugins for copies, and plans where those go. Whatever is refused to them waits in the queue."""

    def __init__(self, dispatch: Dispatch, planner: Planner) -> None:
        self._dispatch = dispatch
        self._planner = planner

    async def of(
        self, transaction: Transaction, message: Message, router: Router, new_id: Callable[[], str]
    ) -> list[Planned]:
        """The copies of a message that is about to be stored; `new_id` gives a name for the way of each.

        Never raises for what a plugin does.
        """
        reached = [one for routed in transaction.routed for one in routed]
        found = await self._dispatch.copies(
            session=transaction.session,
            envelope=transaction.envelope,
            message=message,
            recipients=[one.recipient for one in reached],
            accounts=sorted({one.route.next_hop for one in reached if one.route.transport == "local"}),
        )
        return [await self._planned(one, router, new_id()) for one in found]

    async def _planned(self, copy: Companion, router: Router, trace_id: str) -> Planned:
        session = Session(id=trace_id, role="local", helo="localhost")
        own = Transaction(session, replace(copy.envelope, recipients=[]), trace_id)
        later: list[Recipient] = []
        for recipient in copy.envelope.recipients:
            try:
                routed = await router.resolve(session, own.envelope, recipient)
            except HookFailedError:
                later.append(recipient)
                continue
            if isinstance(routed, Reply):
                later.append(recipient)
            else:
                own.envelope.recipients.append(recipient)
                own.routed.append(routed)
        plan = await self._planner.plan(own, copy.message, (), Judgement("accept", 0.0), defer=False)
        for recipient, reply in zip(own.envelope.recipients, plan.replies, strict=True):
            if not reply.positive:
                later.append(recipient)
        for recipient in later:
            plan.wishes.setdefault(recipient.address.key, ask_anew(recipient))
        return Planned(own, copy.message, plan)


def ask_anew(recipient: Recipient) -> QueueWish:
    """An entry whose way is looked for again when its turn comes: transport `local` does that."""
    return QueueWish(recipient, Route("local", str(recipient.address)))
