"""The queue at work: what is due goes to its transport, what comes of it is written down and told to the sender."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from appliance.errors import StoreError
from appliance.mail.delivery import Outcome, Route
from appliance.mail.dsn import Action, Notice
from appliance.mail.envelope import NOTIFY_SUCCESS, Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.queue.attempt import Attempts, DamagedMessageError
from appliance.queue.bounces import Bounces, Submit
from appliance.queue.config import QueueConfig
from appliance.queue.deadline import deadline_of
from appliance.queue.desk import QueueDesk
from appliance.queue.destinations import WINDOW, Destination, Group, InHand, envelope_of
from appliance.queue.schedule import LONGEST_PAUSE_S, Schedule
from appliance.queue.settlement import Item, Settlement
from appliance.queue.verdicts import Verdict, judge
from appliance.store import queue as rows
from appliance.store.queuedesk import name_of
from appliance.timestate import TimeState

if TYPE_CHECKING:
    from appliance.dispatch import Dispatch
    from appliance.hookspecs import FilingTransport, Transport
    from appliance.mail.address import Address
    from appliance.mail.delivery import Route
    from appliance.mail.language import Language
    from appliance.store import Accepted, Database, QueuedMessage, QueueEntry, QueueWish, Store
    from appliance.trace import Trace

log = logging.getLogger(__name__)

Look: TypeAlias = Literal["", "new", "all"]
Pairs: TypeAlias = "list[tuple[QueuedMessage, QueueEntry]]"

LOOKS = 200  # notified messages taken in hand in one turn of the loop
PAGE = 500  # entries read from the store at once
LONGEST_SLEEP_S = 60.0  # then the store is looked at in any case: the clock may have been set
TURN = 20  # deliveries of one destination in a row while others wait for a place
SLOW_S = 2.0  # of a delivery; from then on it does not count against `deliveries`
MAX_SLOW = 400  # deliveries that do not count; each is a connection and little more
SPREAD_S = 30.0  # within which messages for a destination that is to be tried again come back


class QueueRunner:
    """The service "queue", and the door through which commands reach the queue.

    `now` gives epoch seconds, `time_state` how far they can be trusted, `clock` seconds that only grow; tests hand in
    their own, and their own `random`.
    """

    name = "queue"
    after: Sequence[str] = ("store",)

    def __init__(
        self,
        *,
        store: Store,
        dispatch: Dispatch,
        trace: Trace,
        config: Callable[[], QueueConfig],
        hostname: Callable[[], str],
        submit: Submit,
        postmaster: Callable[[], str] = lambda: "",
        language: Callable[[Address], Language] = lambda _: "en",
        now: Callable[[], float] = time.time,
        time_state: Callable[[], TimeState] = lambda: "synced",
        clock: Callable[[], float] = time.monotonic,
        random: random.Random = random.Random(),  # noqa: B008, S311 - spreads retries, guards nothing
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._trace = trace
        self._config = config
        self._now = now
        self._time_state = time_state
        self._clock = clock
        self._random = random
        self._attempts = Attempts(store=store, dispatch=dispatch)
        self._bounces = Bounces(
            submit=submit, trace=trace, hostname=hostname, postmaster=postmaster, language=language, now=now
        )
        self._settlement = Settlement(store, self._settled)
        self._hand = InHand()
        self._line: deque[Destination] = deque()  # destinations with work, waiting for a place
        self._workers: set[asyncio.Task[None]] = set()
        self._under_way: dict[Group, float] = {}  # what is tried, and since when by the loop's time, oldest first
        self._slow: set[Group] = set()  # those of them that take long
        self._patrol: asyncio.TimerHandle | None = None
        self._notified: list[Pairs] = []
        self._wake = asyncio.Event()
        self._look: Look = "all"  # whether the store is to be read
        self._looked_at = 0.0  # by the clock, when everything due was looked at
        self._seen_until = 0  # epoch seconds; what fell due before is in hand, or known to be left
        self._changes = 0  # how often commands have changed the queue under us
        self._timer: asyncio.TimerHandle | None = None
        self._put_off_until = 0  # epoch seconds; what was put off first since the last reading began, 0: nothing
        self._stopping = False
        self.desk = QueueDesk(
            store,
            attempts=self._attempts,
            bounces=self._bounces,
            hand=lambda: self._hand,
            changed=self._changed,
            now=now,
        )

    def add_transports(self, transports: Iterable[Transport | FilingTransport]) -> None:
        """Make ways out known. Raises PluginError when two have one name."""
        self._attempts.add_transports(transports)

    def notify(self) -> None:
        """Say that there may be new work anywhere. Cheap; to be called on the loop."""
        self._look = "all"
        self._wake.set()

    def take(
        self,
        accepted: Accepted,
        message: Message,
        envelope: Envelope,
        wishes: Sequence[QueueWish],
        *,
        trace_id: str,
    ) -> None:
        """Take over what has just been stored, so that neither its rows nor its text need be read back."""
        now = int(self._now())
        if len(self._notified) + len(self._hand.entries) >= WINDOW and envelope.priority <= 0:
            self._hand.full = True
            return
        pairs = rows.fresh(accepted, envelope, wishes, size=message.size, trace_id=trace_id, now=now)
        if envelope.release_at > now:
            self._expect(envelope.release_at)
        if pairs:
            ways = {(entry.route, entry.recipient.via) for _, entry in pairs}
            self._attempts.cache.put(accepted.body_id, message, uses=len(ways))
            self._notified.append(pairs)
            self._wake.set()

    def outlook(self, route: Route) -> dict[str, Any]:
        """What is known of a destination at this moment, for people: `resume_at` in epoch seconds, 0 for at once."""
        known = self._hand.destinations.get(route)
        if known is None:
            return {"failures": 0, "resume_at": 0, "reason": "", "under_way": 0}
        pause = known.resume_at - self._clock()
        return {
            "failures": known.failures,
            "resume_at": round(self._now() + pause) if pause > 0 else 0,
            "reason": str(known.reason) if known.reason is not None and known.failures else "",
            "under_way": known.active,
        }

    async def call_out(self, recipient: Recipient, route: Route) -> Reply:
        """Ask the next hop of a route whether it takes mail for a recipient. Raises DeliveryError when it gives no
        verdict: a permanent one if it does not let us ask.
        """
        return await self._attempts.call_out(recipient, route)

    async def tell_delivered(
        self,
        envelope: Envelope,
        recipients: Sequence[Recipient],
        message: Message,
        *,
        trace_id: str,
        action: Action = "delivered",
    ) -> None:
        """Send the notice "delivered", or "expanded", for recipients that did not pass through the queue, as far as
        they asked for it (RFC 3461 section 4.1, NOTIFY=SUCCESS).

        Raises StoreError when it could not be stored.
        """
        words = "filed in the mailbox" if action == "delivered" else "passed on to the members of this address"
        reply, now = Reply(250, "2.0.0", words), self._now()
        notices = [
            Notice(recipient, action, reply, attempted_at=now)
            for recipient in recipients
            if recipient.wants(NOTIFY_SUCCESS)
        ]
        if notices:
            await self._bounces.tell(envelope, message, notices, trace_id=trace_id, arrived_at=now)

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until cancelled; then give deliveries under way their grace, and write down what came of them."""
        self._hand = InHand()
        self._line.clear()
        self._stopping = False
        self._look = "all"
        writer = asyncio.create_task(self._settlement.run())
        ready()
        try:
            while True:
                self._wake.clear()
                self._take_notified()
                if self._look:
                    await self._refill(everything=self._look == "all")
                self._start_workers()
                await self._wake.wait()
        finally:
            await self._stop(writer)

    async def reload(self) -> None:
        """Settings are looked up when they are needed."""
        self._wake.set()

    async def _stop(self, writer: asyncio.Task[None]) -> None:
        self._stopping = True
        for handle in (self._timer, self._patrol):
            if handle is not None:
                handle.cancel()
        self._timer = self._patrol = None
        if self._workers:
            await asyncio.wait(self._workers, timeout=self._config().grace)
        for task in (*self._workers, writer):
            task.cancel()
        await asyncio.wait([*self._workers, writer])
        try:
            await self._settlement.flush()
        except StoreError as error:
            log.error("what became of the last deliveries could not be written; they will be repeated: %s", error)
        await self._attempts.close()

    # ── from the store into the hand ──────────────────────────────────────────────────────────────────────────────

    def _take_notified(self) -> None:
        notified, self._notified = self._notified[:LOOKS], self._notified[LOOKS:]
        for pairs in notified:
            self._take(pairs)
        if self._notified:
            self._wake.set()  # the rest in another turn of the loop

    async def _refill(self, *, everything: bool) -> None:
        """Read due entries until the window is full, and find out when to look again.

        Without `everything`, only those that fell due since the last look.
        """
        self._look = ""
        hand = self._hand
        hand.prune()
        now = int(self._now())
        if everything:
            await self._bring_forward(now)
        first = (-1, -1) if everything or now < self._seen_until else (self._seen_until - 1, -1)
        after, changes = first, self._changes
        hand.begin_reading(everything=everything)
        self._put_off_until = 0
        try:
            while len(hand.entries) < WINDOW:
                without = hand.unwanted()

                def read(db: Database, after: tuple[int, int] = after, without: Sequence[Route] = without) -> rows.Page:
                    return rows.due(db, now, PAGE, after=after, without=without)

                page = await self._store.read(read)
                if self._changes != changes:
                    # A command held or removed entries meanwhile: this page may still show them as due.
                    after, changes = first, self._changes
                    continue
                for route in without:
                    hand.destination(route).more = True
                if page.damaged:
                    await self.put_aside(page.damaged)
                self._take(page.pairs)
                if not page.full:
                    break
                after = page.last
            else:
                hand.full = True
            next_at = await self._store.read(lambda db: rows.next_due_at(db, now))
        finally:
            hand.end_reading()
        self._seen_until = now
        if everything:
            self._looked_at = self._clock()
        self._set_timer(min(next_at or math.inf, self._put_off_until or math.inf) - self._now())

    async def _bring_forward(self, now: int) -> None:
        """Make due what no pause explains any more: it was put off while the clock was ahead, perhaps by years."""
        latest = now + 2 * max(self._config().longest_retry, LONGEST_PAUSE_S)
        if await self._store.read(lambda db: rows.put_off_beyond(db, latest)):
            count = await self._store.write(lambda db: rows.bring_forward(db, now, latest))
            log.warning(
                "the clock was set back: %d recipient(s) would have waited for that long, and are due now", count
            )

    async def put_aside(self, damaged: dict[int, str]) -> None:
        """Take entries out of everybody's way whose row or message is damaged; they are kept, and people are told.

        One that has been settled or removed meanwhile is none of them.
        """
        there = await self._store.read(lambda db: rows.is_there(db, list(damaged)))
        for entry_id, why in damaged.items():
            if entry_id not in there:
                continue
            name = name_of(entry_id)
            log.error("queue entry %s is damaged and was put aside (`palomar queue explain %s`): %s", name, name, why)
        await self._store.write(lambda db: rows.put_aside(db, damaged))

    def _take(self, pairs: Iterable[tuple[QueuedMessage, QueueEntry]]) -> None:
        for destination in self._hand.add(pairs):
            self._line_up(destination)

    def _expect(self, next_at: int) -> None:
        """See to it that the store is looked at when something that was put off falls due."""
        if not self._put_off_until or next_at < self._put_off_until:
            self._put_off_until = next_at
            delay = next_at - self._now()
            if self._timer is None or self._timer.when() > asyncio.get_running_loop().time() + delay:
                self._set_timer(delay)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = min(max(seconds, 0.0), LONGEST_SLEEP_S)
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        everything = self._clock() - self._looked_at >= LONGEST_SLEEP_S
        self._look = "all" if everything or self._look == "all" else "new"
        self._wake.set()

    # ── deliveries ────────────────────────────────────────────────────────────────────────────────────────────────

    def _line_up(self, destination: Destination) -> None:
        if destination.groups and not destination.in_line and destination.active < self._limit(destination):
            destination.in_line = True
            self._line.append(destination)

    def _limit(self, destination: Destination) -> int:
        """Deliveries that may be under way to a destination."""
        return destination.limit(self._attempts.limit(destination.route, self._config().deliveries_per_destination))

    def _start_workers(self) -> None:
        """Give destinations in line a place each, in turn, as long as there are places."""
        total = self._config().deliveries
        while self._line and len(self._workers) - len(self._slow) < total and not self._stopping:
            destination = self._line.popleft()
            destination.in_line = False
            if not destination.groups or destination.active >= self._limit(destination):
                continue  # less is known to be good for it than when it lined up
            destination.active += 1
            task = asyncio.get_running_loop().create_task(self._work(destination, destination.pop()))
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)
            self._line_up(destination)

    async def _work(self, destination: Destination, group: Group) -> None:
        """Serve one destination until it has nothing left, or others want the place."""
        turns = 0
        try:
            while True:
                if destination.resume_at > self._clock():
                    await self._suspend(destination, group)
                elif group.queued.deliver_by and self._is_overdue(group):
                    await self._give_back(destination, group)
                else:
                    await self._attempt(destination, group)
                if not destination.groups or self._stopping or destination.active > self._limit(destination):
                    break
                turns += 1
                if turns >= TURN and self._line:
                    break
                group = destination.pop()
        except BaseException as error:
            if isinstance(error, GeneratorExit) or (isinstance(error, asyncio.CancelledError) and self._stopping):
                raise  # the entries stay as they were, for the next start
            task = asyncio.current_task()
            while task is not None and task.cancelling():
                task.uncancel()  # by a plugin: only the end of the queue cancels its workers
            log.exception("%s: delivery by %s broke off", group.queued.trace_id, group.route)
            await self._break_off(destination, group)
        finally:
            destination.active -= 1
            self._line_up(destination)
            if destination.has_room:
                self._look = "all"
            self._wake.set()

    async def _attempt(self, destination: Destination, group: Group) -> None:
        started_at = self._clock()
        self._begin(group)
        try:
            outcomes, message = await self._attempts.deliver(group)
        except DamagedMessageError as error:
            await self.put_aside({entry.id: str(error) for entry in group.entries})
            self._hand.leave(entry.id for entry in group.entries)
            return
        finally:
            self._end(destination, group)
        if all(outcome.unreachable for outcome in outcomes):
            destination.failed(started_at, self._clock(), outcomes[0].reply)
        else:
            destination.reached()
        await self._conclude(destination, group, outcomes, message, (self._clock() - started_at) * 1000, tried=True)

    # ── slow ones ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, group: Group) -> None:
        loop = asyncio.get_running_loop()
        self._under_way[group] = loop.time()
        if self._patrol is None:
            self._patrol = loop.call_later(SLOW_S, self._look_round)

    def _end(self, destination: Destination, group: Group) -> None:
        del self._under_way[group]
        if group in self._slow:
            self._slow.discard(group)
            destination.slow -= 1

    def _look_round(self) -> None:
        """Let deliveries that take long give their places to others, so that slow hosts do not stop all mail."""
        loop = asyncio.get_running_loop()
        horizon = loop.time() - SLOW_S
        self._patrol = None
        for group, since in self._under_way.items():
            if since > horizon:
                self._patrol = loop.call_at(since + SLOW_S, self._look_round)
                break
            if group in self._slow or len(self._slow) >= MAX_SLOW:
                continue
            self._slow.add(group)
            destination = self._hand.destination(group.route)
            destination.slow += 1
            if destination.shut and self._hand.put_back(destination):
                destination.more = True  # its mail need not fill the window while nobody knows whether it answers
            self._wake.set()

    def _is_overdue(self, group: Group) -> bool:
        """Whether the sender wants the message back by now instead of a further attempt (RFC 2852 section 4.1.3)."""
        deadline = deadline_of(group.queued)
        return deadline is not None and self._time_state() != "unset" and deadline.ends(int(self._now()))

    async def _give_back(self, destination: Destination, group: Group) -> None:
        """Conclude without trying what has passed its time."""
        outcomes = [
            Outcome(entry.recipient, "deferred", Reply(451, "4.4.7", entry.last_reply or "no attempt was made"))
            for entry in group.entries
        ]
        await self._conclude(destination, group, outcomes, None, 0.0, tried=False)

    async def _suspend(self, destination: Destination, group: Group) -> None:
        """Put off a delivery without trying: its destination has just been out of reach."""
        words = f": {destination.reason.text}" if destination.reason else ""
        reply = Reply(451, "4.4.1", f"put off, {destination.route.next_hop} could not be reached a moment ago{words}")
        outcomes = [Outcome(entry.recipient, "deferred", reply, unreachable=True) for entry in group.entries]
        await self._conclude(destination, group, outcomes, None, 0.0)

    async def _break_off(self, destination: Destination, group: Group) -> None:
        """Put entries off after an error of which it is not known how far the delivery had come."""
        reply = Reply(451, "4.3.0", "the delivery broke off by an internal error, which is in the log")
        outcomes = [Outcome(entry.recipient, "deferred", reply) for entry in group.entries]
        try:
            await self._conclude(destination, group, outcomes, None, 0.0)
        except Exception:
            # The entries stay as they were; the next reading finds them again.
            log.exception("%s: the delivery could not even be put off", group.queued.trace_id)
            self._hand.leave(entry.id for entry in group.entries)

    async def _conclude(
        self,
        destination: Destination,
        group: Group,
        outcomes: Sequence[Outcome],
        message: Message | None,
        ms: float,
        *,
        tried: bool = False,
    ) -> None:
        """Decide about every entry, tell the sender, and have it written down: in this order, so that a crash
        repeats a notice rather than loses it.
        """
        now = int(self._now())
        resume_at = 0
        if (pause := destination.resume_at - self._clock()) > 0:
            resume_at = now + 1 + round(pause + SPREAD_S * self._random.random())
        schedule, chance = self._schedule(group.route), self._random.random()
        verdicts: Sequence[Verdict] = [
            judge(
                entry,
                outcome,
                now=now,
                schedule=schedule,
                chance=chance,
                resume_at=resume_at,
                time_state=self._time_state(),
                tried=tried,
                deadline=deadline_of(group.queued),
            )
            for entry, outcome in zip(group.entries, outcomes, strict=True)
        ]
        for verdict in verdicts:
            self._record(group, verdict, ms)
        if notices := [verdict.notice for verdict in verdicts if verdict.notice is not None]:
            verdicts = await self._tell(group, notices, verdicts, message)
        self._attempts.cache.done(group.queued.body_id)
        await self._settlement.add(group.queued, verdicts)

    async def _tell(
        self, group: Group, notices: Sequence[Notice], verdicts: Sequence[Verdict], message: Message | None
    ) -> Sequence[Verdict]:
        """Send the notices. If they cannot be stored, failures stay in the queue until they can."""
        queued = group.queued
        original = message or await self._original(group)
        try:
            await self._bounces.tell(
                group.envelope(), original, notices, trace_id=queued.trace_id, arrived_at=queued.created_at
            )
        except StoreError as error:
            log.error("%s: a notice to the sender could not be stored: %s", queued.trace_id, error)
        except Exception:  # what is delivered must be settled in any case, or it goes out again
            log.exception("%s: a notice to the sender could not be made", queued.trace_id)
        else:
            return verdicts
        return [self._without_notice(verdict) for verdict in verdicts]

    async def _original(self, group: Group) -> Message:
        """What a notice returns; nothing, if that is all there is."""
        try:
            return await self._attempts.load(group)
        except StoreError as error:
            log.error("%s: the queued message cannot be returned: %s", group.queued.trace_id, error)
            return Message(b"", b"")

    def _without_notice(self, verdict: Verdict) -> Verdict:
        """The verdict without its notice: a failure is tried again, a warning given another time."""
        if verdict.notice is None or verdict.outcome.status == "delivered":
            return verdict
        entry = verdict.entry
        now = int(self._now())
        next_at = self._schedule(entry.route).next_at(entry.attempts + 1, now, self._random.random())
        return Verdict(
            entry,
            verdict.outcome,
            next_at=next_at,
            tried_at=now if self._time_state() == "synced" else 0,
            waited_s=verdict.waited_s,
            delay_warned=entry.delay_warned,
        )

    def _schedule(self, route: Route) -> Schedule:
        return self._attempts.schedule(route, self._config().schedule)

    def _record(self, group: Group, verdict: Verdict, ms: float) -> None:
        outcome = verdict.outcome
        via = f" by {outcome.peer}" if outcome.peer else ""
        secured = f" ({outcome.security})" if outcome.security else ""
        noted = f"; {outcome.note}" if outcome.note else ""
        again = f"; next attempt in {verdict.next_at - verdict.tried_at} s" if verdict.next_at else ""
        self._trace.record(
            group.queued.trace_id,
            group.route.transport,
            outcome.status,
            f"{outcome.recipient.address}{via}{secured}: {outcome.reply}{noted}{again}",
            ms,
        )

    def _settled(self, items: Sequence[Item]) -> None:
        """What is on the disk leaves the hand; plugins hear of what is final."""
        missed = self._hand.leave(verdict.entry.id for _, verdict in items)
        if missed or self._hand.has_room:
            self._look = "all"
            self._wake.set()
        put_off = [verdict.next_at for _, verdict in items if verdict.next_at]
        if put_off and not self._stopping:
            self._expect(min(put_off))
        for queued, verdict in items:
            if not verdict.next_at:
                envelope = envelope_of(queued, [verdict.entry])
                self._dispatch.delivery_settled(envelope=envelope, outcome=verdict.outcome)

    def _changed(self) -> None:
        """Rows were changed under us by a command: read the queue anew."""
        self._changes += 1
        self._hand.drop_waiting()
        self._look = "all"
        self._wake.set()
