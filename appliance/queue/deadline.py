"""The time by which a sender wants a message delivered (DELIVERBY, RFC 2852 section 4.1). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.mail.delivery import Outcome
from appliance.mail.envelope import NOTIFY_NEVER
from appliance.mail.reply import Reply

if TYPE_CHECKING:
    from appliance.store.model import QueuedMessage, QueueEntry

ENDING_HERE = frozenset({"local", "list"})  # transports; what a list sends on is its own (RFC 3461 section 5.2.7.3)
_PASSED = "not delivered by the time that the sender set; the last answer was: "


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` in epoch seconds. Mode R gives the message back then, mode N tells the sender and goes on; T tells of every
    step. `since`: when the message came.
    """

    at: int
    mode: str
    since: int

    def ends(self, now: int) -> bool:
        """Whether no attempt may be made any more (section 4.1.3)."""
        return "R" in self.mode and now >= self.at

    def failed(self, outcome: Outcome) -> Outcome:
        """What becomes of a recipient then."""
        return Outcome(outcome.recipient, "failed", Reply(550, "5.4.7", f"{_PASSED}{outcome.reply}"), outcome.peer)

    def late(self, entry: QueueEntry, outcome: Outcome, now: int) -> Outcome | None:
        """What the sender is to be told at the first attempt after the time, in mode N; else None.

        A time that had passed when the message came was told of by whoever had it then.
        """
        if "N" not in self.mode or not max(entry.tried_at, self.since) < self.at <= now:
            return None
        return Outcome(outcome.recipient, "deferred", Reply(451, "4.4.7", f"{_PASSED}{outcome.reply}"), outcome.peer)

    def next_at(self, planned: int, now: int) -> int:
        """When to try again instead of at `planned`: no later than the time itself, so that it is not missed."""
        return min(planned, max(self.at, now + 1)) if now < self.at else planned

    def tells_of_relay(self, entry: QueueEntry, outcome: Outcome, now: int) -> bool:
        """Whether a "relayed" notice is due though nobody asked for one (section 4.1.4): always in mode T, and where
        the next hop does not know the time and it has not passed.
        """
        if outcome.final or NOTIFY_NEVER in entry.recipient.notify or entry.route.transport in ENDING_HERE:
            return False
        return "T" in self.mode or ("N" in self.mode and not outcome.relayed_by and now < self.at)


def deadline_of(queued: QueuedMessage) -> Deadline | None:
    """The time that a queued message has; None for nearly all."""
    return Deadline(queued.deliver_by, queued.by_mode, queued.created_at) if queued.deliver_by else None
