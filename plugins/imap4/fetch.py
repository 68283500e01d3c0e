"""FETCH and UID FETCH (RFC 3501 section 6.4.5).

Answers go out in batches, and the next one is made when the client has taken most of the last: what a slow client
costs is bounded, however much it asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.store.model import SEEN
from plugins.imap4.fetch_batch import batch_of, send
from plugins.imap4.fetch_plan import Plan
from plugins.imap4.fetch_texts import send_texts
from plugins.imap4.protocol_command import Fetch
from plugins.imap4.refusal import RefusalError
from plugins.imap4.resync import changed_of, tell_vanished
from plugins.imap4.store_flags import set_flags_of

if TYPE_CHECKING:
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

VIEW_BATCH = 5_000  # messages of one answer made from the view
STORE_BATCH = 1_000  # messages of one answer made from rows


async def fetch(session: ImapSession, command: Fetch) -> str:
    r"""Send data items. Those that set \Seen do so in one write before, and the answers tell the new flags."""
    selected = session.mailbox
    indexes = selected.view.select(command.members, by_uid=command.uid)
    enabled, since, partial = session.enabled, command.modifiers.since, command.modifiers.partial
    if since is not None:
        if since.vanished and not enabled.qresync:
            raise RefusalError("VANISHED needs QRESYNC enabled", status="BAD")
        session.enable_condstore()
        if since.vanished:
            await tell_vanished(session, selected.view.members(command.members), since)
        indexes = await changed_of(session, indexes, since)
    if partial is not None:
        places = partial.of(len(indexes))
        indexes = indexes[places.start : places.stop]
    plan = Plan(
        command.items,
        with_uid=command.uid and not enabled.uidonly,
        with_modseq=since is not None,
        verb=b"UIDFETCH" if enabled.uidonly else b"FETCH",
    )
    if plan.tells_modseq:
        session.enable_condstore()
    if plan.sets_seen and selected.settable & SEEN and await _mark_seen(session, selected, indexes):
        plan = plan.with_flags(with_modseq=enabled.condstore)
        selected.own_changes_told()
    if await respond(session, selected, plan, indexes):
        if not command.uid:
            raise RefusalError("Some of the messages were expunged", "EXPUNGEISSUED")
        return "[EXPUNGEISSUED] Some of the messages were expunged"  # a uid that is gone is no error (RFC 9051 6.4.9)
    return f"{command.verb} completed"


async def respond(session: ImapSession, selected: Selected, plan: Plan, indexes: Sequence[int]) -> int:
    """Write the responses for the messages at `indexes`; returns how many of them are gone."""
    if plan.needs_texts:
        return await send_texts(session, selected, plan, indexes)
    if plan.needs_store:
        return await _send_rows(session, selected, plan, indexes)
    return await _send_view(session, selected, plan, indexes)


async def _mark_seen(session: ImapSession, selected: Selected, indexes: Sequence[int]) -> bool:
    unseen = selected.view.with_flags(indexes, SEEN, present=False)
    await set_flags_of(session, unseen, "+", SEEN)
    if unseen:
        await selected.absorb()
    return bool(unseen)


async def _send_view(session: ImapSession, selected: Selected, plan: Plan, indexes: Sequence[int]) -> int:
    for start in range(0, len(indexes), VIEW_BATCH):
        session.connection.write(plan.render_view(batch_of(selected, indexes[start : start + VIEW_BATCH])))
        await session.connection.drain()
    return 0


async def _send_rows(session: ImapSession, selected: Selected, plan: Plan, indexes: Sequence[int]) -> int:
    gone = start = 0
    while start < len(indexes):
        batch = batch_of(selected, indexes[start : start + STORE_BATCH])
        data, missing, count = await session.core.store.read(
            lambda db, batch=batch: plan.render(db, selected.mailbox_id, batch)  # type: ignore[misc]
        )
        gone += missing
        start += count
        await send(session, data)
    return gone
