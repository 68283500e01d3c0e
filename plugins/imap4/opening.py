"""SELECT, EXAMINE, CLOSE and UNSELECT (RFC 3501 sections 6.3.1, 6.3.2, 6.4.2, RFC 3691, RFC 7162)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugins.imap4.access import find_mailbox, is_read_only
from plugins.imap4.numbers import uid_required
from plugins.imap4.protocol_command import Command, Select
from plugins.imap4.protocol_respond import untagged
from plugins.imap4.refusal import RefusalError
from plugins.imap4.resync import catch_up
from plugins.imap4.selected import Selected
from plugins.imap4.transfer import expunge_deleted

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession


async def select(session: ImapSession, command: Select) -> str:
    """SELECT and EXAMINE. A mailbox that was selected before is left in any case, also when this fails."""
    known = command.known
    if known is not None and not session.enabled.qresync:
        raise RefusalError("QRESYNC must be enabled first", status="BAD")
    if known is not None and known.matches is not None and session.enabled.uidonly:
        raise uid_required()
    if session.selected is not None:
        session.deselect()
        # What comes before is about that mailbox, what follows is not (RFC 7162 section 3.2.11).
        session.connection.write(untagged("OK", "The mailbox before is left", "CLOSED"))
    if command.condstore:
        session.enable_condstore()
    store = session.core.store
    access = find_mailbox(session, command.mailbox, "r")
    if not access.mailbox.selectable:
        raise RefusalError("This is only a place for mailboxes below it", "CANNOT")
    read_only = command.verb == "EXAMINE" or is_read_only(access.rights)
    selected = Selected(
        store, session.shared.recent, session.shared.views, access.mailbox, session.enabled,
        read_only=read_only, access=access, owner=session, wake=session.wake,
    )  # fmt: skip
    try:
        await selected.open()
    except BaseException:
        selected.close()
        raise
    session.select(selected)
    session.connection.write(selected.greeting())
    if known is not None:
        await catch_up(session, known)
    return f"[{'READ-ONLY' if read_only else 'READ-WRITE'}] {command.verb} completed"


async def close(session: ImapSession, command: Command) -> str:
    r"""CLOSE: what is \Deleted goes without a word, unless the mailbox is read-only or the right to expunge lacks."""
    selected = session.mailbox
    code = ""
    if not selected.read_only and "e" in selected.rights:
        if session.enabled.condstore:
            await session.tell_news(expunges=True)
        if (gone := await expunge_deleted(session, None)) and session.enabled.condstore:
            await selected.absorb()
            code = f"[HIGHESTMODSEQ {selected.modseq_without(gone)}] "
    session.deselect()
    return f"{code}CLOSE completed"


async def unselect(session: ImapSession, command: Command) -> str:
    r"""UNSELECT: CLOSE that keeps what is \Deleted."""
    session.deselect()
    return "UNSELECT completed"
