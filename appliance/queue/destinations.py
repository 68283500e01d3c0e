"""What the queue has in hand: due entries, grouped by message and destination, and which destination may work.

Only a window of the queue is in memory. A destination that has its share waits for the rest to be read later, so that
ten thousand messages for one slow host do not keep the others from leaving.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope
from appliance.mail.reply import Reply
from appliance.queue.schedule import host_pause_s
from appliance.store.model import QueuedMessage, QueueEntry

WINDOW = 2000  # recipients in hand
MOST = 1000.0  # deliveries at once, whatever the settings
SHARE = 1000  # of them, at most so many for one destination
MAX_GROUP = 100  # recipients of one delivery
MAX_REMEMBERED = 5000  # destinations without work whose failures are remembered
FIRST_LIMIT = 5  # deliveries at once to a destination before it is known what it bears


def envelope_of(queued: QueuedMessage, entries: Sequence[QueueEntry]) -> Envelope:
    """The envelope of a queued message for some of its recipients."""
    return Envelope(
        queued.sender,
        [entry.recipient for entry in entries],
        ret=queued.ret,
        envid=queued.envid,
        body=queued.body,
        smtputf8=queued.smtputf8,
        size=queued.size,
        auth=queued.auth,
        require_tls=queued.require_tls,
        tls_optional=queued.tls_optional,
        priority=queued.priority,
        release_at=queued.release_at,
        deliver_by=queued.deliver_by,
        by_mode=queued.by_mode,
    )


@dataclass(slots=True, eq=False)
class Group:
    """Recipients of one message that go the same way: one delivery. `via` is that of all of them."""

    queued: QueuedMessage
    route: Route
    entries: list[QueueEntry] = field(default_factory=list)
    via: str = ""

    def envelope(self) -> Envelope:
        """The envelope for the transport."""
        return envelope_of(self.queued, self.entries)


@dataclass(slots=True, eq=False)
class Destination:
    """One way out: a transport, its next hop and policy. Times are those of a clock that only grows, in seconds."""

    route: Route
    groups: deque[Group] = field(default_factory=deque)
    waiting: int = 0  # recipients in `groups`
    active: int = 0  # deliveries under way
    failures: int = 0  # attempts in a row at which it could not be reached
    failed_at: float = 0.0
    reason: Reply | None = None  # the last failure
    resume_at: float = 0.0
    in_line: bool = False
    more: bool = False  # due entries for it were left in the store
    bears: float = FIRST_LIMIT  # deliveries at once, as far as is known: one more for each round that goes well
    proven: bool = False  # it has answered since it was first met
    slow: int = 0  # deliveries under way that take long

    def push(self, group: Group) -> None:
        """Add a delivery, behind those of the same priority or a higher one."""
        self.waiting += len(group.entries)
        priority, place = group.queued.priority, len(self.groups)
        while place and self.groups[place - 1].queued.priority < priority:
            place -= 1
        if place == len(self.groups):
            self.groups.append(group)
        else:
            self.groups.insert(place, group)

    def pop(self) -> Group:
        """Take the next delivery."""
        group = self.groups.popleft()
        self.waiting -= len(group.entries)
        return group

    @property
    def has_room(self) -> bool:
        """Whether it should get what was left in the store for it."""
        return self.more and self.waiting <= SHARE // 2 and not self.shut

    @property
    def shut(self) -> bool:
        """Whether nothing more is begun: those that knocked first wait long already, and it has never answered."""
        return self.slow > 0 and not self.proven

    def limit(self, most: int) -> int:
        """How many deliveries may be under way: one feeler while it is not known to be back."""
        if self.failures or self.shut:
            return 1
        return min(most, int(self.bears))

    def failed(self, started_at: float, now: float, reason: Reply) -> None:
        """Note that an attempt did not reach it. Attempts that ran side by side count once."""
        self.reason = reason
        if started_at <= self.failed_at:
            return
        self.failures += 1
        self.failed_at = now
        self.proven = False
        self.bears = max(1.0, self.bears / 2)
        self.resume_at = now + host_pause_s(self.failures)

    def reached(self) -> None:
        """Note that it answers: it bears one delivery more at once for each round of them that it answered."""
        self.bears = min(self.bears + 1 / self.bears, MOST)
        self.proven = True
        self.forgive()

    def forgive(self) -> None:
        """Let it be tried at once."""
        self.failures = 0
        self.resume_at = 0.0


class InHand:
    """The window: which entries are in memory, and in which destination.

    An entry stays in hand until what became of it is in the store, and is never taken twice. A row is recognised by
    its number of attempts: one that shows more of them than were known has been put off and has fallen due again.
    """

    def __init__(self) -> None:
        self.entries: dict[int, int] = {}  # id to attempts
        self.destinations: dict[Route, Destination] = {}
        self.full = False  # due entries were left in the store for want of room
        self._left_meanwhile: dict[int, int] | None = None
        self._missed: set[int] = set()

    def destination(self, route: Route) -> Destination:
        """The destination of a route."""
        found = self.destinations.get(route)
        if found is None:
            found = self.destinations[route] = Destination(route)
        return found

    def add(self, pairs: Iterable[tuple[QueuedMessage, QueueEntry]]) -> list[Destination]:
        """Take entries in hand, as far as window and shares allow. Returns the destinations that got some."""
        groups: dict[tuple[int, Route, str], Group] = {}
        touched: dict[Route, Destination] = {}
        for queued, entry in pairs:
            if self._is_known(entry):
                continue
            destination = self.destination(entry.route)
            if len(self.entries) >= WINDOW and queued.priority <= 0:
                self.full = True
                break
            if destination.waiting >= SHARE or destination.shut:
                destination.more = True
                continue
            self.entries[entry.id] = entry.attempts
            touched[entry.route] = destination
            key = queued.id, entry.route, entry.recipient.via
            group = groups.get(key)
            if group is None or len(group.entries) >= MAX_GROUP:
                group = groups[key] = Group(queued, entry.route, via=entry.recipient.via)
                destination.push(group)
            group.entries.append(entry)
            destination.waiting += 1
        return list(touched.values())

    def _is_known(self, entry: QueueEntry) -> bool:
        known = self.entries.get(entry.id)
        if known is not None:
            if known != entry.attempts:
                self._missed.add(entry.id)
            return True
        return self._left_meanwhile is not None and self._left_meanwhile.get(entry.id) == entry.attempts

    def leave(self, entry_ids: Iterable[int]) -> bool:
        """Forget entries whose settlement is in the store. Says whether one of them was due again before that."""
        missed = False
        for entry_id in entry_ids:
            attempts = self.entries.pop(entry_id, None)
            if attempts is not None and self._left_meanwhile is not None:
                self._left_meanwhile[entry_id] = attempts
            if entry_id in self._missed:
                self._missed.discard(entry_id)
                missed = True
        return missed

    def begin_reading(self, *, everything: bool) -> None:
        """From here on, what leaves is remembered: a view of the store taken before still shows it as due.

        With `everything`, it will be found out anew for whom entries are left in the store.
        """
        self._left_meanwhile = {}
        if everything:
            self.full = False
            for destination in self.destinations.values():
                destination.more = False

    @property
    def has_room(self) -> bool:
        """Whether the window has room again for what was left in the store."""
        return self.full and len(self.entries) <= WINDOW // 2

    def end_reading(self) -> None:
        """The reading is over."""
        self._left_meanwhile = None

    def drop_waiting(self) -> None:
        """Put everything back that is not under way: the store has changed and is to be read again."""
        for destination in self.destinations.values():
            self.put_back(destination)

    def put_back(self, destination: Destination) -> bool:
        """Leave in the store what waits for a destination and is not under way. Says whether there was any."""
        found = bool(destination.groups)
        for group in destination.groups:
            for entry in group.entries:
                self.entries.pop(entry.id, None)
        destination.groups.clear()
        destination.waiting = 0
        return found

    def unwanted(self) -> list[Route]:
        """The ways for which nothing more is to be read at present."""
        return [one.route for one in self.destinations.values() if one.waiting >= SHARE or one.shut]

    def forgive(self, routes: Collection[Route] | None = None) -> None:
        """Let destinations be tried at once: those of some routes, or all."""
        for destination in self.destinations.values():
            if routes is None or destination.route in routes:
                destination.forgive()

    def prune(self) -> None:
        """Drop destinations without work; those that failed are kept longer, up to MAX_REMEMBERED."""
        idle = list(self._idle())
        for destination in idle:
            if not destination.failures or len(idle) > MAX_REMEMBERED:
                del self.destinations[destination.route]

    def _idle(self) -> Iterator[Destination]:
        for destination in self.destinations.values():
            if not destination.groups and not destination.active and not destination.in_line:
                yield destination
