"""SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314 section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.errors import LimitError, NotFoundError
from appliance.mail.rights import ALL_RIGHTS, OBSOLETE, shown_rights
from appliance.store.sharing import described_entries, is_owner, require_access, share
from appliance.wire.imap import astring
from plugins.imap4.access import find_mailbox
from plugins.imap4.protocol_command import OnEntry, OnMailbox, SetAcl
from plugins.imap4.protocol_respond import CRLF, mailbox
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from appliance.store import Database
    from appliance.store.sharing import Access
    from plugins.imap4.session import ImapSession

_TELLS = "lrikxa"  # whoever has one of these may ask which others (section 4)


async def set_acl(session: ImapSession, command: SetAcl) -> str:
    """SETACL (section 3.1)."""
    change = command.change
    await _share(session, command.mailbox, command.identifier, change.rights, change.mode)
    return "SETACL completed"


async def delete_acl(session: ImapSession, command: OnEntry) -> str:
    """DELETEACL (section 3.2): the identifier's entry is gone, a negative one is an entry of its own."""
    await _share(session, command.mailbox, command.identifier, "", "")
    return "DELETEACL completed"


async def get_acl(session: ImapSession, command: OnMailbox) -> str:
    """GETACL (section 3.3)."""
    access = find_mailbox(session, command.mailbox, "a")
    found = await session.core.store.read(lambda db: described_entries(db, access.mailbox))
    pairs = b"".join(b" %b %b" % (_word(identifier), shown_rights(rights).encode()) for identifier, rights in found)
    session.connection.write(b"* ACL %b%b" % (_name(session, access), pairs) + CRLF)
    return "GETACL completed"


async def list_rights(session: ImapSession, command: OnEntry) -> str:
    """LISTRIGHTS (section 3.4): the owner has all rights in any case, others may have each."""
    access = find_mailbox(session, command.mailbox, "a")
    try:
        owner = session.core.store.peek(lambda db: is_owner(db, access.mailbox, command.identifier))
    except NotFoundError as error:
        raise RefusalError(str(error)) from error
    if owner:
        always, more = shown_rights(ALL_RIGHTS), ""
    else:
        always, more = '""', " " + " ".join((*ALL_RIGHTS, *OBSOLETE))
    line = b"* LISTRIGHTS %b %b %b" % (_name(session, access), _word(command.identifier), f"{always}{more}".encode())
    session.connection.write(line + CRLF)
    return "LISTRIGHTS completed"


async def my_rights(session: ImapSession, command: OnMailbox) -> str:
    """MYRIGHTS (section 3.5)."""
    access = find_mailbox(session, command.mailbox)
    if not any(right in access.rights for right in _TELLS):
        raise RefusalError("There is no such mailbox", "NONEXISTENT")
    session.connection.write(rights_line(access.name, access.rights, utf8=session.enabled.utf8))
    return "MYRIGHTS completed"


def rights_line(name: str, rights: str, *, utf8: bool) -> bytes:
    """`* MYRIGHTS INBOX lrs`."""
    return b"* MYRIGHTS %b %b" % (mailbox(name, utf8=utf8), shown_rights(rights).encode()) + CRLF


async def _share(session: ImapSession, name: str, identifier: str, rights: str, mode: str) -> None:
    """Change an entry, in the same transaction in which the right to do so is looked at."""
    account = session.account.id
    find_mailbox(session, name, "a")  # for its words; what follows must not tell of what is hidden

    def work(db: Database) -> None:
        access = require_access(db, account, name, "a")
        try:
            share(db, access.mailbox, identifier, rights, mode=mode)
        except NotFoundError as error:  # of the identifier, not of the mailbox
            raise RefusalError(str(error)) from error

    try:
        await session.core.store.write(work, origin=session)
    except LimitError as error:
        raise RefusalError(str(error), "LIMIT") from error


def _name(session: ImapSession, access: Access) -> bytes:
    return mailbox(access.name, utf8=session.enabled.utf8)


def _word(identifier: str) -> bytes:
    return astring(identifier.encode())
