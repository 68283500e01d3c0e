"""Call-out: ask the host behind a relay domain whether a recipient exists, and remember what it said.

Only its answer to RCPT is an answer about the recipient, and is kept. That it cannot be reached, or does not let us
ask, is not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.dispatch import HookFailedError
from appliance.hookspecs import hookimpl
from appliance.mail.delivery import DeliveryError, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from plugins.door.config import DoorConfig
from plugins.door.door import STASH
from plugins.door.networks import Recent

if TYPE_CHECKING:
    from appliance.core import Core

log = logging.getLogger(__name__)

MAX_KNOWN = 10_000  # recipients whose answer is remembered
MAX_WAITING = 100  # questions that run or wait for their turn
PROBE_S = 60.0  # after which a question is given up, though nobody waits for its answer any more

UNSURE = Reply(450, "4.4.1", "The recipient's server cannot be asked now, try again later")
UNKNOWN = Reply(550, "5.1.1", "The recipient's server does not know this address")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said about a recipient, and when, on the clock that never jumps."""

    known: bool
    at: float


class Callout:
    """The hook, and the answers of before."""

    def __init__(self, core: Core, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._core = core
        self._clock = clock
        self._answers: Recent[str, Answer] = Recent(MAX_KNOWN)
        self._running: dict[str, asyncio.Task[Answer | None]] = {}
        self._at_once = 0
        self._turn: asyncio.Semaphore | None = None

    @hookimpl(trylast=True)
    async def smtp_recipient(self, session: Session, recipient: Recipient) -> Reply | None:
        """Refuse what the next host does not know. Recipients of our own are never asked about."""
        config = self._core.settings[DoorConfig]
        if STASH not in session.stash or session.account is not None or not config.callout:
            return None
        kind = await self._core.dispatch.own_recipient(recipient=recipient)
        if kind not in config.callout:
            return None
        answer = await self._answer(recipient, config)
        if answer is not None:
            return None if answer.known else UNKNOWN
        return UNSURE if kind == "relay" and config.callout_unsure == "defer" else None

    async def _answer(self, recipient: Recipient, config: DoorConfig) -> Answer | None:
        """What is known of the recipient, asked for if it must be; None if that cannot be found out now."""
        key, now = str(recipient.address), self._clock()
        known = self._answers.get(key)
        if known is not None and now - known.at < (config.callout_refresh if known.known else config.callout_negative):
            return known
        task = self._running.get(key)
        if task is None and len(self._running) < MAX_WAITING:
            task = self._running[key] = asyncio.create_task(self._ask(key, recipient, config))
            task.add_done_callback(lambda _: self._running.pop(key, None))
        answer = None
        if task is not None:
            done, _ = await asyncio.wait([task], timeout=config.callout_timeout)
            answer = task.result() if done else None
        if answer is None and known is not None and known.known and now - known.at < config.callout_expire:
            return known
        return answer

    async def _ask(self, key: str, recipient: Recipient, config: DoorConfig) -> Answer | None:
        if self._turn is None or self._at_once != config.callout_at_once:
            self._at_once = config.callout_at_once
            self._turn = asyncio.Semaphore(self._at_once)
        try:
            async with asyncio.timeout(PROBE_S), self._turn:
                reply = await self._probe(recipient)
        except TimeoutError:
            reply = UNSURE
        except (DeliveryError, HookFailedError) as error:
            reply = error.reply
            if isinstance(error, DeliveryError) and reply.permanent:
                # A host that takes no null sender, or no mail at all, tells nothing about anybody.
                log.info("call-out for %s: the host does not let us ask: %s", recipient.address, reply)
                return Answer(True, self._clock())
        if reply.temporary:
            return None
        answer = Answer(reply.positive, self._clock())
        self._answers.put(key, answer)
        return answer

    async def _probe(self, recipient: Recipient) -> Reply:
        """The host's reply to RCPT. Raises DeliveryError, HookFailedError."""
        own = Session(id="", role="local")
        routed = await self._core.intake.router.resolve(own, Envelope(None), recipient)
        if isinstance(routed, Reply):
            return routed
        route: Route = routed[0].route
        return await self._core.queue.call_out(recipient, route)

    async def settle(self) -> None:
        """Wait for the questions under way; for tests and an orderly end."""
        while self._running:
            await asyncio.wait(list(self._running.values()))
