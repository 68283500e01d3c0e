"""One attempt: load the message, let plugins change it, hand it to its transport, check what comes back."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from appliance.dispatch import HookFailedError
from appliance.errors import PluginError, StoreError, StoreFullError
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.received import delivered_to
from appliance.mail.reply import Reply
from appliance.queue.answers import deferred, matched
from appliance.queue.destinations import Group
from appliance.queue.schedule import Schedule
from appliance.queue.shared import SharedMessages, mapped

if TYPE_CHECKING:
    from appliance.dispatch import Dispatch
    from appliance.hookspecs import FilingTransport, Transport
    from appliance.store import Store

log = logging.getLogger(__name__)

MAX_DELIVERY_S = 4 * 3600.0  # a transport that takes longer hangs; the largest message over a slow line does not
CACHED_OCTETS = 32 << 20  # of messages just accepted, kept until their first attempt
MAX_CACHED = 256 << 10  # octets of one such message; larger ones live in files that are about to go
MAX_OCTETS = 64 << 20  # of messages in memory at once
LARGE = 4 << 20  # octets of a message that is not held in memory while it is delivered
MAX_MAPPED = 256 << 20  # octets of those on the disk at once; a larger one goes alone


class DamagedMessageError(StoreError):
    """The text of a queued message is not there, or not whole: no later attempt will find it better."""


class MessageCache:
    """Messages that were accepted a moment ago: most are sent at once and need not be read back."""

    def __init__(self) -> None:
        self._messages: dict[int, Message] = {}
        self._uses: dict[int, int] = {}  # deliveries to come, where there are several
        self._octets = 0

    def put(self, body_id: int, message: Message, *, uses: int = 1) -> None:
        """Keep a message if it is small and held in memory, rather than the oldest ones. `uses`: deliveries to come."""
        size = message.size
        if not isinstance(message.text, bytes) or size > MAX_CACHED:
            return
        self._messages[body_id] = message
        if uses > 1:
            self._uses[body_id] = uses
        self._octets += size
        while self._octets > CACHED_OCTETS:
            self._forget(next(iter(self._messages)))

    def get(self, body_id: int) -> Message | None:
        """The message, if it is here."""
        return self._messages.get(body_id)

    def done(self, body_id: int) -> None:
        """One delivery has ended; with the last one the message goes."""
        left = self._uses.get(body_id, 1) - 1
        if left > 0:
            self._uses[body_id] = left
        else:
            self._forget(body_id)

    def _forget(self, body_id: int) -> None:
        self._uses.pop(body_id, None)
        message = self._messages.pop(body_id, None)
        if message is not None:
            self._octets -= message.size


class Attempts:
    """Delivers groups by the transports it is given, within bounds on what is in memory and mapped at once."""

    def __init__(self, *, store: Store, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._loaded = SharedMessages(self._twice(store.load), MAX_OCTETS)
        self._mapped = SharedMessages(self._twice(partial(mapped, store, store.folder / "spool")), MAX_MAPPED)
        self.transports: dict[str, Transport | FilingTransport] = {}
        self.cache = MessageCache()

    def add_transports(self, transports: Iterable[Transport | FilingTransport]) -> None:
        """Make ways out known. Raises PluginError when two have one name."""
        for transport in transports:
            if transport.name in self.transports:
                raise PluginError(f"two plugins bring a transport {transport.name!r}")
            self.transports[transport.name] = transport

    async def load(self, group: Group) -> Message:
        """The group's message as it was accepted.

        Raises DamagedMessageError, or StoreError if the store could not read it this time.
        """
        async with self._message(group) as message:
            return message

    @asynccontextmanager
    async def _message(self, group: Group) -> AsyncIterator[Message]:
        """The group's message while it is delivered: others that deliver it then use the same."""
        queued = group.queued
        message = self.cache.get(queued.body_id)
        if message is not None:
            yield message
            return
        async with (self._mapped if queued.size >= LARGE else self._loaded).use(queued.body_id, queued.size) as message:
            yield message

    @staticmethod
    def _twice(load: Callable[[int], Awaitable[Message]]) -> Callable[[int], Awaitable[Message]]:
        """Nothing is put aside for one bad moment."""

        async def loaded(body_id: int) -> Message:
            try:
                return await load(body_id)
            except StoreError as error:
                if not _is_lasting(error):
                    raise
            try:
                return await load(body_id)
            except StoreError as error:
                if _is_lasting(error):
                    raise DamagedMessageError(str(error)) from error
                raise

        return loaded

    async def deliver(self, group: Group) -> tuple[list[Outcome], Message | None]:
        """Try once. Returns one outcome per entry, in their order, and the message as it was accepted.

        Raises DamagedMessageError.
        """
        async with AsyncExitStack() as stack:
            try:
                message = await stack.enter_async_context(self._message(group))
            except DamagedMessageError:
                raise
            except StoreError as error:
                log.error("%s: the queued message cannot be read: %s", group.queued.trace_id, error)
                return self._all(group, Reply(451, "4.3.0", "the message cannot be read from the store")), None
            return await self._deliver(group, message), message

    async def _deliver(self, group: Group, message: Message) -> list[Outcome]:
        transport = self.transports.get(group.route.transport)
        if transport is None:
            name = group.route.transport
            return self._all(group, Reply(451, "4.3.5", f"no loaded plugin brings the transport {name!r}"))
        envelope = group.envelope()
        recipients = tuple(envelope.recipients)
        try:
            changed = await self._dispatch.transform_outbound(envelope=envelope, message=message, route=group.route)
            if not hasattr(transport, "deliver_queued"):
                envelope, changed = await self._sent_on(group, envelope, changed)
        except HookFailedError as error:
            return deferred(
                recipients, replace(error.reply, text=f"{error.reply.text} (a plugin refused to pass it on)")
            )
        try:
            async with asyncio.timeout(MAX_DELIVERY_S):
                answer: object
                if hasattr(transport, "deliver_queued"):
                    answer = await transport.deliver_queued(envelope, group.queued, tuple(group.entries), changed)
                else:
                    answer = await transport.deliver(envelope, recipients, changed, group.route)
            outcomes, wrong = matched(answer, recipients, transport.name)
        except BaseException as error:
            if is_ours(error):
                raise
            log.exception("%s: transport %s failed", group.queued.trace_id, transport.name)
            reply = Reply(451, "4.3.0", f"the transport {transport.name!r} failed", reason=repr(error))
            return deferred(recipients, reply)
        if wrong:
            log.error("%s: transport %s %s", group.queued.trace_id, transport.name, wrong)
        return outcomes

    async def _sent_on(self, group: Group, envelope: Envelope, message: Message) -> tuple[Envelope, Message]:
        """What becomes of sender and header as the message leaves. Raises HookFailedError.

        Where an address of ours sends it on, Delivered-To names that address, so that it does not run in circles
        (RFC 9228).
        """
        if group.via and (group.via.isascii() or envelope.smtputf8):
            message = message.prepend(delivered_to(group.via))
        if envelope.sender is not None and self._dispatch.senders_change:
            sender = await self._dispatch.outbound_sender(envelope=envelope, via=group.via, route=group.route)
            if sender is not None:
                envelope = replace(envelope, sender=sender)
        return envelope, message

    def _all(self, group: Group, reply: Reply) -> list[Outcome]:
        return deferred([entry.recipient for entry in group.entries], reply)

    # ── what transports may have besides `deliver` ────────────────────────────────────────────────────────────────

    def limit(self, route: Route, most: int) -> int:
        """Deliveries that may be under way by a route; a transport may ask for fewer by a method `deliveries`."""
        transport = self.transports.get(route.transport)
        own = getattr(transport, "deliveries", None)
        if own is None:
            return most
        try:
            return max(1, min(most, int(own(route))))
        except (Exception, SystemExit):
            log.exception("transport %s failed to say how many deliveries it takes", route.transport)
            return most

    def schedule(self, route: Route, usual: Schedule) -> Schedule:
        """When to try again and when to give up; a transport may say so by a method `schedule`, given the usual one."""
        own = getattr(self.transports.get(route.transport), "schedule", None)
        if own is None:
            return usual
        try:
            found = own(route, usual)
        except (Exception, SystemExit):
            log.exception("transport %s failed to say how long it tries", route.transport)
            return usual
        return found if isinstance(found, Schedule) else usual

    def forgive(self, routes: Collection[Route] | None) -> None:
        """Let transports, of some routes or all, forget who was out of reach; one may know by a method `forgive`."""
        names = self.transports.keys() if routes is None else {route.transport for route in routes}
        for name in names:
            if (forgive := getattr(self.transports.get(name), "forgive", None)) is None:
                continue
            try:
                forgive()
            except (Exception, SystemExit):
                log.exception("transport %s failed to forget who was out of reach", name)

    async def call_out(self, recipient: Recipient, route: Route) -> Reply:
        """What the next hop of a route says to RCPT; a transport answers by a method `call_out`. Raises DeliveryError.

        One that has none says that it cannot tell, by a 4yz.
        """
        ask = getattr(self.transports.get(route.transport), "call_out", None)
        if ask is None:
            return Reply(450, "4.3.5", f"the transport {route.transport!r} cannot ask about recipients")
        reply: Reply = await ask(recipient, route)
        return reply

    async def close(self) -> None:
        """Let transports end what they keep open."""
        for name, transport in self.transports.items():
            if (close := getattr(transport, "close", None)) is None:
                continue
            try:
                await close()
            except BaseException as error:
                if is_ours(error):
                    raise
                log.exception("transport %s could not be closed", name)


def _is_lasting(error: StoreError) -> bool:
    """Whether it is the message that is bad, not the disk or the database at the moment."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (OSError, sqlite3.Error)):
            return False
        cause = cause.__cause__
    return not isinstance(error, StoreFullError)


def is_ours(error: BaseException) -> bool:
    """Whether what came out of a plugin's coroutine is our own wish that the task ends, not the plugin's doing."""
    if isinstance(error, GeneratorExit):
        return True
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
