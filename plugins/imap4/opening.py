"""SELECT, EXAMINE, CLOSE and UNSELECT (RFC 3501 sections 6.3.1, 6.3.2, 6.4.2, RFC 3691)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.store.mailboxes import get_mailbox
from plugins.imap4.protocol_command import Command, OnMailbox
from plugins.imap4.refusal import RefusalError
from plugins.imap4.selected import Selected
from plugins.imap4.transfer import expunge_deleted

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession


async def select(session: ImapSession, command: OnMailbox) -> str:
    """SELECT and EXAMINE. A mailbox that was selected before is left in any case, also when this fails."""
    session.deselect()
    store = session.core.store
    mailbox = store.peek(lambda db: get_mailbox(db, session.account.id, command.mailbox))
    if mailbox is None:
        raise RefusalError("There is no such mailbox", "NONEXISTENT")
    if not mailbox.selectable:
        raise RefusalError("This is only a place for mailboxes below it", "CANNOT")
    read_only = command.verb == "EXAMINE"
    selected = Selected(store, session.shared.recent, mailbox, read_only=read_only, owner=session, wake=session.wake)
    try:
        await selected.open()
    except BaseException:
        selected.close()
        raise
    session.select(selected)
    session.connection.write(selected.greeting())
    access = "READ-ONLY" if read_only else "READ-WRITE"
    return f"[{access}] {command.verb} completed"


async def close(session: ImapSession, command: Command) -> str:
    r"""CLOSE: what is \Deleted goes without a word, unless the mailbox was opened by EXAMINE."""
    if not session.mailbox.read_only:
        await expunge_deleted(session, None)
    session.deselect()
    return "CLOSE completed"


async def unselect(session: ImapSession, command: Command) -> str:
    r"""UNSELECT: CLOSE that keeps what is \Deleted."""
    session.deselect()
    return "UNSELECT completed"
