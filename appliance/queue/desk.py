"""Steering the queue by commands and by plugins: hold, release, retry, another way, remove.

Everything is chosen by a `Selection`. Large choices are worked off in pieces, so that mail is written between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from appliance.errors import PluginError, StoreError
from appliance.mail.delivery import Route
from appliance.mail.dsn import Notice
from appliance.mail.envelope import NOTIFY_FAILURE
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.queue.destinations import Group, InHand
from appliance.store import queue as rows
from appliance.store import queuedesk
from appliance.store.holds import hold_account, hold_waiting, waiting_of
from appliance.store.queuedesk import Selection

if TYPE_CHECKING:
    from appliance.queue.attempt import Attempts
    from appliance.queue.bounces import Bounces
    from appliance.store import Database, Store

PIECE = 500  # entries changed in one transaction
REMOVED = Reply(554, "5.0.0", "the administrator has taken the message out of the queue")


class QueueDesk:
    """Changes entries and has the queue read anew. What is under way just now is not stopped."""

    def __init__(
        self,
        store: Store,
        *,
        attempts: Attempts,
        bounces: Bounces,
        hand: Callable[[], InHand],
        changed: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        """`changed` is called after rows were changed."""
        self._store = store
        self._attempts = attempts
        self._bounces = bounces
        self._hand = hand
        self._changed = changed
        self._now = now

    async def chosen(self, selection: Selection) -> list[int]:
        """The ids of the entries that are meant."""
        now = int(self._now())
        return await self._store.read(lambda db: queuedesk.chosen_ids(db, selection, now))

    async def hold(self, selection: Selection, reason: str = "") -> int:
        """Keep recipients back until they are released. Returns how many."""
        return await self._change(await self.chosen(selection), lambda db, ids: queuedesk.hold(db, ids, reason))

    async def hold_account(self, name: str, why: str) -> int:
        """Hold what an account sends from now on, and what waits of it. Returns for how many recipients that is.

        Raises NotFoundError when there is no such account.
        """
        account_id = await self._store.write(lambda db: hold_account(db, name, why))
        found = await self._store.read(lambda db: waiting_of(db, account_id))
        return await self._change(found, lambda db, ids: hold_waiting(db, account_id, ids, why))

    async def release(self, selection: Selection) -> int:
        """Let held recipients go on, now, and try those once more that were put aside as damaged. Returns how many."""
        return await self._change(await self.chosen(selection), queuedesk.release)

    async def retry(self, selection: Selection) -> int:
        """Try waiting recipients now, destinations that were out of reach included. Returns how many.

        For ETRN and the like: `Selection(domains=(name,), released=True)`. Whoever asked for a later time by
        FUTURERELEASE is meant only without `released`.
        """
        found = await self.chosen(selection)
        routes: set[Route] | None = None
        if not selection.everything:
            pieces = [
                await self._store.read(lambda db, piece=piece: queuedesk.routes_of(db, piece))  # type: ignore[misc]
                for piece in _pieces(found)
            ]
            routes = {Route(*way) for way in itertools.chain.from_iterable(pieces)}
        self._hand().forgive(routes)
        self._attempts.forgive(routes)
        return await self._change(found, queuedesk.retry)

    async def reroute(self, selection: Selection, route: Route | None) -> int:
        """Send recipients by another way, now; None: by the one that the rules for their address give today.

        Returns how many. Raises PluginError when no plugin brings the transport.
        """
        if route is not None and route.transport not in self._attempts.transports:
            raise PluginError(f"no loaded plugin brings the transport {route.transport!r}")
        found = await self.chosen(selection)
        if route is not None:
            words = f"{route.transport} {route.next_hop}".strip()
            return await self._change(found, lambda db, ids: queuedesk.reroute(db, ids, route, words))

        # Transport `local` asks for the way of the address that it is given.
        def ask_anew(db: Database, ids: Sequence[int]) -> int:
            pairs = rows.list_queue(db, entry_ids=ids, limit=len(ids))
            ways = [(entry.id, Route("local", str(entry.recipient.address))) for _, entry in pairs]
            return sum(queuedesk.reroute(db, [one], way, "asked anew") for one, way in ways)

        return await self._change(found, ask_anew)

    async def remove(self, selection: Selection) -> int:
        """Remove recipients without telling the sender. Returns how many."""
        return await self._change(await self.chosen(selection), rows.settle)

    async def bounce(self, selection: Selection, reason: str = "") -> int:
        """Give recipients up and tell their senders, with a reason in words. Returns how many.

        Those that are being delivered at this moment are left out: nobody is told that a message failed that arrives.
        Raises StoreError when a notice cannot be stored; what was done before stays done.
        """
        count = 0
        for ids in _pieces(await self.chosen(selection)):
            self._hand().drop_waiting()
            here = [one for one in ids if one not in self._hand().entries]
            # Held first: nothing of it may begin to leave while the notice is made.
            await self._change(here, queuedesk.hold)
            page = await self._store.read(lambda db, here=here: rows.list_queue(db, entry_ids=here, limit=len(here)))  # type: ignore[misc]
            for _, pairs in itertools.groupby(page, key=lambda pair: pair[0].id):
                group = _group(list(pairs))
                await self._tell(group, reason)
                count += await self._change([entry.id for entry in group.entries], rows.settle)
        return count

    async def _tell(self, group: Group, reason: str) -> None:
        reply = Reply(REMOVED.code, REMOVED.enhanced, f"{REMOVED.text}: {reason}") if reason else REMOVED
        notices = [
            Notice(entry.recipient, "failed", reply, attempted_at=entry.tried_at)
            for entry in group.entries
            if entry.recipient.wants(NOTIFY_FAILURE)
        ]
        try:
            original = await self._attempts.load(group)
        except StoreError:
            original = Message(b"", b"")  # the notice says what it can
        queued = group.queued
        await self._bounces.tell(
            group.envelope(), original, notices, trace_id=queued.trace_id, arrived_at=queued.created_at
        )

    async def _change(self, entry_ids: Sequence[int], fn: Callable[[Database, Sequence[int]], int]) -> int:
        """Change rows piece by piece, and have the queue read anew."""
        count = 0
        for piece in _pieces(entry_ids):
            count += await self._store.write(lambda db, piece=piece: fn(db, piece))  # type: ignore[misc]
        self._changed()
        return count


def _group(pairs: Sequence[rows.Pair]) -> Group:
    queued, first = pairs[0]
    return Group(queued, first.route, [entry for _, entry in pairs])


def _pieces(entry_ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (entry_ids[start : start + PIECE] for start in range(0, len(entry_ids), PIECE))
