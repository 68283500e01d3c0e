"""From the outcome of one attempt to what becomes of the queue entry, and who is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.mail.delivery import Outcome
from appliance.mail.dsn import Action, Notice
from appliance.mail.envelope import NOTIFY_DELAY, NOTIFY_FAILURE, NOTIFY_SUCCESS
from appliance.mail.reply import Reply
from appliance.queue.deadline import ENDING_HERE, Deadline
from appliance.queue.schedule import Schedule
from appliance.store.model import QueueEntry
from appliance.timestate import TimeState


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one entry. `next_at` 0 settles it; then `outcome` is delivered or failed."""

    entry: QueueEntry
    outcome: Outcome
    notice: Notice | None = None  # what the sender is to be told
    next_at: int = 0
    tried_at: int = 0
    waited_s: int = 0
    delay_warned: bool = False
    at: int | None = None  # when it was tried, if it was: then the history keeps the answer


def judge(
    entry: QueueEntry,
    outcome: Outcome,
    *,
    now: int,
    schedule: Schedule,
    chance: float,
    resume_at: int = 0,
    time_state: TimeState = "synced",
    tried: bool = True,
    deadline: Deadline | None = None,
) -> Verdict:
    """Decide about one entry after an attempt at `now`. `chance` (0..1) spreads retries.

    `resume_at`: the destination as a whole is left alone until then (epoch seconds). Age grows from one attempt at
    a synced clock to the next such; nothing expires, and nobody is warned, while the clock is unset.
    """
    synced, unset = time_state == "synced", time_state == "unset"
    if unset:
        deadline = None
    if outcome.status == "delivered":
        return Verdict(entry, outcome, _success(entry, outcome, now, deadline))
    waited_s = schedule.waited_s(entry.waited_s, entry.attempts, entry.tried_at, now) if synced else entry.waited_s
    if outcome.status == "deferred" and schedule.expired(waited_s) and not unset:
        outcome = _expired(outcome, waited_s)
    elif outcome.status == "deferred" and deadline is not None and deadline.ends(now):
        outcome = deadline.failed(outcome)
    if outcome.status == "failed":
        return Verdict(entry, outcome, _notice(entry, outcome, "failed", now), waited_s=waited_s)
    warning = schedule.warns(waited_s, entry.delay_warned) and not unset
    notice = None
    if warning:
        notice = _notice(entry, outcome, "delayed", now, retry_until=now + schedule.max_age_s - waited_s)
    next_at = schedule.next_at(entry.attempts + 1, now, chance)
    if resume_at and entry.attempts == 0:
        next_at = resume_at  # never tried itself: as soon as the destination is
    next_at = max(next_at, resume_at)
    if deadline is not None:
        next_at = deadline.next_at(next_at, now)
        if (late := deadline.late(entry, outcome, now)) is not None:
            notice = _notice(entry, late, "delayed", now, retry_until=now + schedule.max_age_s - waited_s)
    return Verdict(
        entry,
        outcome,
        notice,
        next_at=next_at,
        tried_at=now if synced else 0,
        waited_s=waited_s,
        delay_warned=entry.delay_warned or warning,
        at=now if tried else None,
    )


def _success(entry: QueueEntry, outcome: Outcome, now: int, deadline: Deadline | None) -> Notice | None:
    """RFC 3461 section 5.2: "relayed" where the next hop does not take over, "delivered" where we are the last."""
    if deadline is not None and deadline.tells_of_relay(entry, outcome, now):
        return Notice(entry.recipient, "relayed", outcome.reply, outcome.peer, attempted_at=now)
    if outcome.relayed_dsn:
        return None
    action: Action = "delivered" if outcome.final or entry.route.transport in ENDING_HERE else "relayed"
    return _notice(entry, outcome, action, now)


def _notice(entry: QueueEntry, outcome: Outcome, action: Action, now: int, *, retry_until: int = 0) -> Notice | None:
    event = {"failed": NOTIFY_FAILURE, "delayed": NOTIFY_DELAY}.get(action, NOTIFY_SUCCESS)
    if not entry.recipient.wants(event):
        return None
    return Notice(entry.recipient, action, outcome.reply, outcome.peer, attempted_at=now, retry_until=retry_until)


def _expired(outcome: Outcome, waited_s: int) -> Outcome:
    days = waited_s / 86400
    text = f"not delivered within {days:.1f} days; the last answer was: {outcome.reply}"
    return Outcome(outcome.recipient, "failed", Reply(550, "5.4.7", text), outcome.peer)
