"""COPY, MOVE and EXPUNGE (RFC 3501 sections 6.4.3 and 6.4.7, RFC 4315, RFC 6851)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.errors import NotFoundError
from appliance.store import messages
from appliance.store.mailboxes import mailbox_by_id
from appliance.store.model import DELETED
from plugins.imap4.access import find_selectable, require, settable
from plugins.imap4.progress import Progress
from plugins.imap4.protocol_command import Command, Copy, UidExpunge
from plugins.imap4.protocol_parse import SequenceSet
from plugins.imap4.protocol_respond import untagged
from plugins.imap4.refusal import RefusalError
from plugins.imap4.view import uid_set

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appliance.store import Database
    from appliance.store.sharing import Access
    from plugins.imap4.session import ImapSession

MANY = 2_000  # messages of one COPY or MOVE from which on signs of life are sent meanwhile
EXPUNGE_AT_ONCE = 5_000  # messages removed by one write, so that nobody waits long for the writer


async def copy(session: ImapSession, command: Copy) -> str:
    """COPY: all of them or none, in one write."""
    source, uids, target = _parties(session, command)
    kept, target_id = settable(target.rights), target.mailbox.id
    pairs = await _write(session, command, len(uids), lambda db: messages.copy(db, source, uids, target_id, flags=kept))
    if not pairs:
        return "COPY completed, no messages found"
    _notify_moved(session, target, pairs)
    return f"[{_copyuid(target, pairs)}] COPY completed"


async def move(session: ImapSession, command: Copy) -> str:
    """MOVE. COPYUID comes before the EXPUNGE responses, which the news bring (RFC 6851 section 4.3)."""
    if session.mailbox.read_only:
        raise RefusalError("The mailbox was opened read-only", "READ-ONLY")
    require(session, "te")
    source, uids, target = _parties(session, command)
    kept, target_id = settable(target.rights), target.mailbox.id
    pairs = await _write(session, command, len(uids), lambda db: messages.move(db, source, uids, target_id, flags=kept))
    if not pairs:
        return "MOVE completed, no messages found"
    session.connection.write(untagged("OK", "Moved", _copyuid(target, pairs)))
    _notify_moved(session, target, pairs)
    return f"{await _highest(session)}MOVE completed"


async def expunge(session: ImapSession, command: Command) -> str:
    """EXPUNGE and UID EXPUNGE."""
    if session.mailbox.read_only:
        raise RefusalError("The mailbox was opened read-only", "READ-ONLY")
    require(session, "e")
    members = command.members if isinstance(command, UidExpunge) else None
    await session.tell_news(expunges=True)  # a message that the client does not know has no number to be told by
    gone = await expunge_deleted(session, members)
    return f"{await _highest(session) if gone else ''}{command.verb} completed"


async def _highest(session: ImapSession) -> str:
    """The code for a client with CONDSTORE whose messages are gone, after it was told (RFC 7162 section 3.2.7)."""
    if not session.enabled.condstore:
        return ""
    await session.tell_news(expunges=True)
    return f"[HIGHESTMODSEQ {session.mailbox.settled_modseq}] "


async def expunge_deleted(session: ImapSession, members: SequenceSet | None) -> list[int]:
    r"""Remove the messages that are \Deleted, of some UIDs or of all; returns their UIDs."""
    selected = session.mailbox
    await selected.absorb()
    view = selected.view
    indexes = range(len(view)) if members is None else view.select(members, by_uid=True)
    uids = view.uids_at(view.with_flags(indexes, DELETED, present=True))
    gone: list[int] = []
    for start in range(0, len(uids), EXPUNGE_AT_ONCE):
        chosen = uids[start : start + EXPUNGE_AT_ONCE]
        gone += await session.core.store.write(
            lambda db, chosen=chosen: messages.expunge(db, selected.mailbox_id, chosen),  # type: ignore[misc]
            origin=session,
        )
    if gone:
        session.core.dispatch.message_expunged(account=session.account.name, mailbox=_present_name(session), uids=gone)
    return gone


def _parties(session: ImapSession, command: Copy) -> tuple[int, Sequence[int], Access]:
    """The source's id, the UIDs, and the target. Raises RefusalError with TRYCREATE."""
    selected = session.mailbox
    indexes = selected.view.select(command.members, by_uid=command.uid)
    target = find_selectable(session, command.mailbox, "i", code="TRYCREATE")
    return selected.mailbox_id, list(selected.view.uids_at(indexes)), target


async def _write(
    session: ImapSession, command: Copy, count: int, work: Callable[[Database], list[tuple[int, int]]]
) -> list[tuple[int, int]]:
    """Copy or move so many messages in one write: (old uid, new uid) of those that were there."""
    if not count:
        return []
    writing = session.core.store.write(work, origin=session)
    try:
        if count < MANY:
            return await writing
        return await Progress(session, command.tag).during(writing, count)
    except NotFoundError as error:
        raise RefusalError("The mailbox was deleted", "TRYCREATE") from error


def _notify_moved(session: ImapSession, target: Access, pairs: Sequence[tuple[int, int]]) -> None:
    session.core.dispatch.message_moved(
        account=session.account.name,
        source=_present_name(session),
        target=target.name,
        uids=[new for _, new in pairs],
    )


def _present_name(session: ImapSession) -> str:
    """The selected mailbox may have been renamed by another session."""
    selected = session.mailbox
    mailbox = session.core.store.peek(lambda db: mailbox_by_id(db, selected.mailbox_id))
    return selected.name if mailbox is None else selected.prefix + mailbox.name


def _copyuid(target: Access, pairs: Sequence[tuple[int, int]]) -> str:
    old, new = uid_set([old for old, _ in pairs]), uid_set([new for _, new in pairs])
    return f"COPYUID {target.mailbox.uidvalidity} {old.decode()} {new.decode()}"
