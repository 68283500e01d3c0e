"""A queue with a real store, a clock that tests turn, and a transport that does what it is told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import loading
from appliance.dispatch import Dispatch
from appliance.hookspecs import Transport
from appliance.intake import Submitted
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.language import Language
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.queue.config import QueueConfig
from appliance.queue.runner import QueueRunner
from appliance.store import Accepted, QueueEntry, QueueWish, Store
from appliance.store.queue import list_queue
from appliance.timestate import TimeState
from appliance.trace import Trace

OK = Reply(250, "2.0.0", "stored")
LATER = Reply(451, "4.2.0", "later")
NEVER = Reply(550, "5.1.1", "unknown")
DOWN = Reply(451, "4.4.1", "connection refused")
ANA = "ana@palomar.test"
RAW = b"From: ana@palomar.test\r\nSubject: hello\r\n\r\nbody\r\n"

Verdicts = Callable[[Recipient], "Outcome | Exception"]


def outcome(recipient: Recipient, reply: Reply, **facts: bool) -> Outcome:
    status = "delivered" if reply.positive else "failed" if reply.permanent else "deferred"
    return Outcome(recipient, status, reply, "mx.b.test[192.0.2.1]:25", **facts)  # type: ignore[arg-type]


@dataclass
class FakeTransport:
    """Answers every recipient by `verdict`; while `gate` is not set, deliveries hang."""

    name: str = "fake"
    verdict: Verdicts = lambda recipient: outcome(recipient, OK)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    delivered: list[tuple[list[str], bytes]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    running_per_hop: Counter[str] = field(default_factory=Counter)
    most_per_hop: dict[str, int] = field(default_factory=dict)
    closed: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        self.delivered.append(([str(one.address) for one in recipients], bytes(message)))
        self.running += 1
        self.most = max(self.most, self.running)
        hop = route.next_hop
        self.running_per_hop[hop] += 1
        self.most_per_hop[hop] = max(self.most_per_hop.get(hop, 0), self.running_per_hop[hop])
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            found = [self.verdict(one) for one in recipients]
            for one in found:
                if isinstance(one, Exception):
                    raise one
            return [one for one in found if isinstance(one, Outcome)]
        finally:
            self.running -= 1
            self.running_per_hop[hop] -= 1

    async def close(self) -> None:
        self.closed = True

    @property
    def recipients(self) -> list[str]:
        return [address for addresses, _ in self.delivered for address in addresses]


@dataclass
class Office:
    """The parts of one test."""

    store: Store
    dispatch: Dispatch
    trace: Trace
    transport: FakeTransport
    notices: list[tuple[str, str]] = field(default_factory=list)  # (to, text)
    told: list[Recipient] = field(default_factory=list)  # the same recipients with what is asked for them
    now: float = 1_000_000.0
    time_state: TimeState = "synced"
    submit_error: Exception | None = None
    config: QueueConfig = field(default_factory=QueueConfig)
    postmaster: str = ""
    languages: dict[str, Language] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    def runner_for(self, *transports: Transport) -> QueueRunner:
        runner = QueueRunner(
            store=self.store,
            dispatch=self.dispatch,
            trace=self.trace,
            config=lambda: self.config,
            hostname=lambda: "mail.palomar.test",
            submit=self.submit,
            postmaster=lambda: self.postmaster,
            language=lambda address: self.languages.get(address.key, "en"),
            now=lambda: self.now,
            time_state=lambda: self.time_state,
            clock=lambda: self.now,
            random=random.Random(1),
        )
        runner.add_transports(transports)
        return runner

    async def submit(
        self,
        message: Message,
        sender: Address | None,
        recipients: Sequence[Recipient],
        *,
        origin: str,
        envelope: Envelope,
        written: bool,
    ) -> Submitted:
        assert (sender, origin, written) == (None, "bounce", True)
        if self.submit_error is not None:
            raise self.submit_error
        self.told += recipients
        self.notices.append((str(recipients[0].address), bytes(message).decode()))
        return Submitted(Accepted(1), "notice")

    async def queue(
        self,
        *addresses: str | Recipient,
        sender: str | None = ANA,
        raw: bytes = RAW,
        transport: str = "fake",
        hold: bool = False,
        notify: QueueRunner | None = None,
        **terms: Any,
    ) -> Accepted:
        """Put a message into the queue; each recipient goes by `transport` to its domain."""
        recipients = [Recipient(Address.parse(one)) if isinstance(one, str) else one for one in addresses]
        envelope = Envelope(Address.parse(sender) if sender else None, recipients, **terms)
        wishes = [QueueWish(one, Route(transport, one.address.domain), hold) for one in recipients]
        message = Message.parse(raw)
        accepted = await self.store.accept(message, [], wishes, envelope, trace_id="trace")
        if notify is not None:
            notify.take(accepted, message, envelope, wishes, trace_id="trace")
        return accepted

    async def entries(self) -> list[QueueEntry]:
        pairs = await self.store.read(list_queue)
        return [entry for _, entry in pairs]


@asynccontextmanager
async def office(folder: Path, *plugins: object) -> AsyncIterator[Office]:
    """An office without a running queue."""
    manager, _ = loading.load([])
    for number, plugin in enumerate(plugins):
        loading.register(manager, f"test{number}", plugin)
    made: list[Office] = []
    store = Store.open(folder, now=lambda: made[0].now if made else 0.0)
    made.append(Office(store, Dispatch(manager), Trace(store), FakeTransport()))
    await store.start()
    try:
        yield made[0]
    finally:
        await store.close()


@asynccontextmanager
async def working(office: Office, *transports: Transport) -> AsyncIterator[QueueRunner]:
    """A queue that runs until the end of the block."""
    runner = office.runner_for(*(transports or (office.transport,)))
    started = asyncio.Event()
    office.task = asyncio.create_task(runner.run(started.set))
    await started.wait()
    try:
        yield runner
    finally:
        office.task.cancel()
        await asyncio.wait([office.task])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)
