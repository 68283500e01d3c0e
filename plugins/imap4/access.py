"""What a session may do with mailboxes, its account's own and those of others (RFC 4314 section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.errors import NotFoundError
from appliance.store.model import ALL_FLAGS, DELETED, SEEN
from appliance.store.rights import rights_on
from appliance.store.sharing import Access, check_rights, is_foreign, require_access
from plugins.imap4.protocol_command import State
from plugins.imap4.protocol_grammar import COMMANDS
from plugins.imap4.protocol_respond import untagged
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession

CHANGES = "swtei"  # without any of these rights a mailbox is read-only


def find_mailbox(session: ImapSession, name: str, needed: str = "", *, code: str = "NONEXISTENT") -> Access:
    """The mailbox that a name means here, on which the account has all rights that are needed.

    Raises RefusalError with `code` if there is none, in the same words if it is only hidden; ForbiddenError if the
    account knows of it and lacks a right.
    """
    store, account = session.core.store, session.account.id
    own = store.mailbox(account, name)
    if own is not None:
        return Access(own, own.name)
    try:
        if not is_foreign(name):
            raise NotFoundError(name)
        return store.peek(lambda db: require_access(db, account, name, needed))
    except NotFoundError as error:
        raise RefusalError("There is no such mailbox", code) from error


def find_selectable(session: ImapSession, name: str, needed: str = "", *, code: str = "NONEXISTENT") -> Access:
    """`find_mailbox` for what can hold messages."""
    access = find_mailbox(session, name, needed, code=code)
    if not access.mailbox.selectable:
        raise RefusalError("There is no such mailbox", code)
    return access


def require(session: ImapSession, needed: str) -> None:
    """Raises what refuses a command that needs rights on the selected mailbox which are not there."""
    check_rights(session.mailbox.rights, needed)


def settable(rights: str) -> int:
    r"""The flags that one may set and take away, as bits: \Seen by `s`, \Deleted by `t`, all others by `w`."""
    return (
        (SEEN if "s" in rights else 0)
        | (DELETED if "t" in rights else 0)
        | (ALL_FLAGS & ~(SEEN | DELETED) if "w" in rights else 0)
    )


def is_read_only(rights: str) -> bool:
    """Whether nothing in a mailbox can be changed with these rights."""
    return not any(right in rights for right in CHANGES)


def renew(session: ImapSession) -> bool:
    """Look at what the account may do with the selected mailbox now; leave it, with a word, if not even reading.

    Returns whether it was left.
    """
    selected = session.selected
    if selected is None or not selected.prefix:
        return False
    account = session.account.id
    rights = session.core.store.peek(lambda db: rights_on(db, account, selected.mailbox_id))
    if "r" in rights:
        if rights != selected.rights:
            selected.take_rights(rights, read_only=is_read_only(rights))
        return False
    session.deselect()
    session.connection.write(untagged("OK", "The right to read this mailbox is gone, and so is the mailbox", "CLOSED"))
    return True


def admit(session: ImapSession, verb: str) -> None:
    """Check before a command that the mailbox it is about may still be read. Raises RefusalError."""
    if renew(session) and verb in COMMANDS and State.AUTHENTICATED not in COMMANDS[verb][0]:
        raise RefusalError("No mailbox is selected any more")
