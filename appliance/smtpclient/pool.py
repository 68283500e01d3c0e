"""Connections kept open for the next message to the same destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from contextlib import aclosing

from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.smtpclient.client import SmtpClient
from appliance.smtpclient.hop import HopError
from appliance.smtpclient.limits import NEXT_CONNECTION

IDLE_S = 10.0  # a connection unused for that long is ended; servers close after 30 s and more
MAX_MESSAGES = 100  # over one connection
MAX_AGE_S = 300.0  # of one connection, so that changes in DNS are seen
MAX_IDLE = 100  # connections kept idle in all; beyond it the oldest goes
ASK_AFTER_S = 1.0  # of idleness: then RSET finds out whether the server is still there, before a message depends on it

Source = Callable[[], AsyncGenerator[SmtpClient, None]]
"""Gives clients for one destination, ready for MAIL, best first. Raises HopError when there is no more to try."""


class SmtpPool:
    """Idle connections by destination. A destination's key must tell apart whatever differs on the wire."""

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        max_messages: int = MAX_MESSAGES,
        max_age_s: float = MAX_AGE_S,
        max_idle: int = MAX_IDLE,
        ask_after_s: float = ASK_AFTER_S,
    ) -> None:
        self._idle_s = idle_s
        self._max_messages = max_messages
        self._max_age_s = max_age_s
        self._max_idle = max_idle
        self._ask_after_s = ask_after_s
        self._idle: dict[Hashable, list[SmtpClient]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._quitting: set[asyncio.Task[None]] = set()

    async def deliver(
        self, key: Hashable, source: Source, envelope: Envelope, recipients: Sequence[Recipient], message: Message
    ) -> list[Outcome]:
        """Send over an idle connection if there is one, else over the first new one that gives a verdict.

        Recipients for whom the limits of that connection leave no room go over further ones. Raises HopError when no
        recipient could be given a verdict.
        """
        outcomes = await self._deliver(key, source, envelope, recipients, message)
        left = [index for index, outcome in enumerate(outcomes) if outcome.reply is NEXT_CONNECTION]
        while left:
            try:
                further = await self._deliver(key, source, envelope, [recipients[index] for index in left], message)
            except HopError:
                break  # they are tried again by the schedule
            for index, outcome in zip(left, further, strict=True):
                outcomes[index] = outcome
            still = [index for index in left if outcomes[index].reply is NEXT_CONNECTION]
            if len(still) == len(left):
                break  # a host that takes nobody at all
            left = still
        return outcomes

    async def _deliver(
        self, key: Hashable, source: Source, envelope: Envelope, recipients: Sequence[Recipient], message: Message
    ) -> list[Outcome]:
        while (client := self._take(key)) is not None:
            if client.allowance is not None and not client.allowance.room_for(recipients):
                self._quit(client)
                continue
            if not await self._is_there(key, client):
                continue
            try:
                outcomes = await client.send(envelope, recipients, message)
            except HopError:
                continue  # the server had closed it while it was idle, which says nothing about the server
            self._keep(key, client)
            return outcomes
        failure: HopError | None = None
        async with aclosing(source()) as clients:
            async for client in clients:
                try:
                    outcomes = await client.send(envelope, recipients, message)
                except HopError as error:
                    failure = error
                    continue
                self._keep(key, client)
                return outcomes
        assert failure is not None
        raise failure

    async def _is_there(self, key: Hashable, client: SmtpClient) -> bool:
        """Whether the server still answers after a while. If it was cut off, so are the connections older than this.

        A command of a message would have to be waited for by minutes (RFC 5321 section 4.5.3.2.2), RSET has not.
        """
        if asyncio.get_running_loop().time() - client.used_at < self._ask_after_s:
            return True
        try:
            await client.reset()
        except HopError:
            if key in self._idle:
                self._drop(key, sum(one.used_at <= client.used_at for one in self._idle[key]))
            return False
        return True

    async def close(self) -> None:
        """End all idle connections politely, within the time that QUIT is given."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for clients in self._idle.values():
            for client in clients:
                self._quit(client)
        self._idle.clear()
        self._count = 0
        if self._quitting:
            await asyncio.wait(self._quitting)

    @property
    def idle(self) -> int:
        """How many connections are kept for the next message."""
        return self._count

    def _take(self, key: Hashable) -> SmtpClient | None:
        clients = self._idle.get(key)
        if not clients:
            return None
        client = clients.pop()  # the one used last is the least likely to have been closed by its server
        self._count -= 1
        if not clients:
            del self._idle[key]
        return client

    def _keep(self, key: Hashable, client: SmtpClient) -> None:
        now = asyncio.get_running_loop().time()
        if not client.usable:
            client.abort()
            return
        spent = client.allowance is not None and client.allowance.spent
        if spent or client.sent >= self._max_messages or now - client.opened_at >= self._max_age_s:
            self._quit(client)
            return
        client.used_at = now
        self._idle.setdefault(key, []).append(client)
        self._count += 1
        if self._count > self._max_idle:
            self._drop_oldest()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._sweep)

    def _drop_oldest(self) -> None:
        key = min(self._idle, key=lambda key: self._idle[key][0].used_at)
        self._drop(key, 1)

    def _sweep(self) -> None:
        """End the connections that were idle for too long, and look again when the next one will be."""
        loop = asyncio.get_running_loop()
        self._timer = None
        horizon = loop.time() - self._idle_s
        for key, clients in list(self._idle.items()):
            self._drop(key, sum(client.used_at <= horizon for client in clients))
        if self._idle:
            oldest = min(clients[0].used_at for clients in self._idle.values())
            self._timer = loop.call_at(oldest + self._idle_s, self._sweep)

    def _drop(self, key: Hashable, count: int) -> None:
        """End the `count` connections of a destination that were idle longest."""
        clients = self._idle[key]
        for client in clients[:count]:
            self._quit(client)
        del clients[:count]
        self._count -= count
        if not clients:
            del self._idle[key]

    def _quit(self, client: SmtpClient) -> None:
        task = asyncio.get_running_loop().create_task(client.quit())
        self._quitting.add(task)
        task.add_done_callback(self._quitting.discard)
