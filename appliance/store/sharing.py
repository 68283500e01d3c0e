"""Mailboxes of others under the names that an account knows them by (RFC 2342, RFC 4314). Functions of (db, …).

`Other Users/ana@office.example/INBOX` is Ana's INBOX as her colleagues see it; those of a role, such as office@, stand
under `Shared Folders`. A mailbox on which an account has no right is, for that account, one that is not there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from appliance.errors import ForbiddenError, NotFoundError, StoreError
from appliance.mail.rights import ALL_RIGHTS, covers
from appliance.store import mailboxes
from appliance.store.accounts import account_by_id, get_account, require_account
from appliance.store.database import Database
from appliance.store.mailboxes import INBOX, get_mailbox
from appliance.store.model import DELIMITER, EVERYBODY, Account, Mailbox
from appliance.store.rights import copy_entries, list_entries, rights_on, rights_on_others, set_entry

OTHERS = "Other Users"
SHARED = "Shared Folders"
NAMESPACES = (OTHERS, SHARED)
ANYONE = "anyone"

_NO_CREATE = "You have no right to create this mailbox"


@dataclass(frozen=True, slots=True)
class Access:
    """A mailbox as an account meets it: under which name, and with which rights."""

    mailbox: Mailbox  # its own `name` is the one that it has for its owner
    name: str
    rights: str = ALL_RIGHTS

    @property
    def prefix(self) -> str:
        """What stands before the owner's names; "" for one's own."""
        return self.name.removesuffix(self.mailbox.name)


def find_access(db: sqlite3.Connection, account_id: int, name: str) -> Access | None:
    """The mailbox that a name means for an account, with the rights on it; None if it is not there, or hidden.

    One's own go first, also those that an older release let have a name below a namespace.
    """
    own = get_mailbox(db, account_id, name)
    if own is not None:
        return Access(own, own.name)
    found = _owner(db, account_id, name)
    if found is None:
        return None
    owner, rest = found
    mailbox = get_mailbox(db, owner.id, rest)
    if mailbox is None:
        return None
    rights = rights_on(db, account_id, mailbox.id)
    return _foreign(mailbox, foreign_prefix(db, owner), rights) if rights else None


def require_access(db: sqlite3.Connection, account_id: int, name: str, needed: str = "") -> Access:
    """The mailbox that a name means, on which the account has all rights that are needed.

    Raises NotFoundError, also if they are lacking and the account may not even look it up; else ForbiddenError.
    """
    access = find_access(db, account_id, name)
    if access is None or ("l" not in access.rights and not covers(access.rights, needed)):
        raise NotFoundError(f"no mailbox {name}")
    check_rights(access.rights, needed)
    return access


def check_rights(rights: str, needed: str) -> None:
    """Raises ForbiddenError if any of the rights is lacking that are needed on a mailbox which the account knows of."""
    if not covers(rights, needed):
        raise ForbiddenError("You have no right to do this")


def list_others(db: sqlite3.Connection, account_id: int) -> list[Access]:
    """The mailboxes of others that an account may look up, in no order."""
    rights = rights_on_others(db, account_id)
    prefixes: dict[int, str] = {}
    found = []
    for mailbox in mailboxes.mailboxes_by_id(db, [number for number, held in rights.items() if "l" in held]):
        if mailbox.account_id not in prefixes:
            owner = get_account_of(db, mailbox)
            prefixes[mailbox.account_id] = foreign_prefix(db, owner)
        found.append(_foreign(mailbox, prefixes[mailbox.account_id], rights[mailbox.id]))
    return found


def get_account_of(db: sqlite3.Connection, mailbox: Mailbox) -> Account:
    """The owner of a mailbox."""
    owner = account_by_id(db, mailbox.account_id)
    if owner is None:
        raise NotFoundError(f"no account {mailbox.account_id}")
    return owner


# ── changes by others ─────────────────────────────────────────────────────────────────────────────────────────────────


def create_named(db: Database, account_id: int, name: str, *, special_use: str = "") -> Access:
    """Create a mailbox, among others' with the right `k` on what it comes under; at the top that is their INBOX.

    Raises ForbiddenError for one that may not, whether or not the owner is there; else like `create_mailbox`.
    """
    name = name.rstrip(DELIMITER)
    if not is_foreign(name):
        _refuse_reserved(name)
        made = mailboxes.create_mailbox(db, account_id, name, special_use=special_use)
        return Access(made, made.name)
    owner, rest = _creatable(db, account_id, name)
    if special_use:
        raise StoreError("a special use is given by the owner of a mailbox")
    found = get_mailbox(db, owner.id, rest)
    if found is not None and "l" not in rights_on(db, account_id, found.id):
        raise ForbiddenError(_NO_CREATE)
    levels = list(_levels(rest))
    fresh = levels if get_mailbox(db, owner.id, levels[0]) is None else []
    made = mailboxes.create_mailbox(db, owner.id, rest)
    inbox = mailboxes.require_mailbox(db, owner.id, INBOX)
    for level in fresh:
        copy_entries(db, inbox.id, mailboxes.require_mailbox(db, owner.id, level).id)
    return _foreign(made, foreign_prefix(db, owner), rights_on(db, account_id, made.id))


def delete_named(db: Database, account_id: int, name: str) -> None:
    """Delete a mailbox, of others with the right `x`. Raises like `require_access` and `delete_mailbox`."""
    access = require_access(db, account_id, name, "x")
    mailboxes.delete_mailbox(db, access.mailbox.account_id, access.mailbox.name)


def rename_named(db: Database, account_id: int, name: str, new_name: str) -> Access:
    """Rename a mailbox and those below it, which stay with their owner.

    Among others' that needs `x` on each of them and `k` on what they come under. Raises like `rename_mailbox`,
    `require_access` and `create_named`.
    """
    access = require_access(db, account_id, name, "x")
    mailbox, new_name = access.mailbox, new_name.rstrip(DELIMITER)
    if mailbox.account_id == account_id:
        if is_foreign(new_name):
            raise StoreError("a mailbox stays with its owner; create one there and move the mail")
        _refuse_reserved(new_name)
        made = mailboxes.rename_mailbox(db, account_id, mailbox.name, new_name)
        return Access(made, made.name)
    if mailbox.name == INBOX:
        raise ForbiddenError("The INBOX of another is not renamed")
    if not is_foreign(new_name):
        raise StoreError("a mailbox stays with its owner; create one here and move the mail")
    owner, rest = _creatable(db, account_id, new_name)
    if owner.id != mailbox.account_id:
        raise StoreError("a mailbox stays with its owner; create one there and move the mail")
    there = get_mailbox(db, owner.id, rest)
    if there is not None and "l" not in rights_on(db, account_id, there.id):
        raise ForbiddenError(_NO_CREATE)
    for child in mailboxes.ids_below(db, owner.id, mailbox.name):
        if "x" not in rights_on(db, account_id, child):
            raise ForbiddenError("You have no right to rename what lies below it")
    made = mailboxes.rename_mailbox(db, owner.id, mailbox.name, rest)
    return _foreign(made, foreign_prefix(db, owner), rights_on(db, account_id, made.id))


def is_foreign(name: str) -> bool:
    """Whether a name lies below a namespace of others' mailboxes."""
    return name.partition(DELIMITER)[0] in NAMESPACES and DELIMITER in name


# ── entries by names ──────────────────────────────────────────────────────────────────────────────────────────────────


def share(db: Database, mailbox: Mailbox, identifier: str, rights: str, *, mode: str = "") -> None:
    """Change the entry of an identifier: an account's name or `anyone`; `-` before it makes the entry a negative one.

    What is said about the owner changes nothing. Raises NotFoundError, LimitError, StoreError.
    """
    negative = identifier.startswith("-")
    account_id = _identified(db, identifier[negative:])
    if account_id == mailbox.account_id:
        if negative:
            raise StoreError("the owner has all rights")
        return
    if DELIMITER in get_account_of(db, mailbox).name:
        raise StoreError("an account with a slash in its name cannot share mailboxes")
    set_entry(db, mailbox.id, account_id, rights, mode=mode, negative=negative)


def described_entries(db: sqlite3.Connection, mailbox: Mailbox) -> list[tuple[str, str]]:
    """(identifier, rights) of a mailbox, its owner first."""
    found = [(get_account_of(db, mailbox).name, ALL_RIGHTS)]
    for entry in list_entries(db, mailbox.id):
        account = account_by_id(db, entry.account_id)
        name = ANYONE if entry.account_id == EVERYBODY else account.name if account else ""
        if name:
            found.append((("-" if entry.negative else "") + name, entry.rights))
    return found


def is_owner(db: sqlite3.Connection, mailbox: Mailbox, identifier: str) -> bool:
    """Whether an identifier means the owner of the mailbox. Raises NotFoundError if it means nobody."""
    return _identified(db, identifier.removeprefix("-")) == mailbox.account_id


def set_role(db: Database, name: str, *, role: bool) -> None:
    """Show an account's mailboxes under SHARED, or under OTHERS again. Raises NotFoundError."""
    account = require_account(db, name)
    db.happened(EVERYBODY, "rights", "")
    if role:
        db.execute("INSERT OR IGNORE INTO role_account VALUES (?)", (account.id,))
    else:
        db.execute("DELETE FROM role_account WHERE account_id = ?", (account.id,))


def is_role(db: sqlite3.Connection, account_id: int) -> bool:
    """Whether an account's mailboxes stand under SHARED."""
    return db.execute("SELECT 1 FROM role_account WHERE account_id = ?", (account_id,)).fetchone() is not None


def foreign_prefix(db: sqlite3.Connection, owner: Account) -> str:
    """What stands before the names of an account's mailboxes for others: `Other Users/ana@office.example/`."""
    return DELIMITER.join((SHARED if is_role(db, owner.id) else OTHERS, owner.name, ""))


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _foreign(mailbox: Mailbox, prefix: str, rights: str) -> Access:
    """Its special use is the owner's: a client must not file its own sent mail there."""
    return Access(replace(mailbox, special_use="", subscribed=False), prefix + mailbox.name, rights)


def _owner(db: sqlite3.Connection, account_id: int, name: str) -> tuple[Account, str] | None:
    """The other account that a name is about, and the rest of the name."""
    levels = name.split(DELIMITER, 2)
    if len(levels) < 3 or levels[0] not in NAMESPACES:
        return None
    owner = get_account(db, levels[1])
    if owner is None or owner.id == account_id or (levels[0] == SHARED) != is_role(db, owner.id):
        return None
    return owner, levels[2]


def _creatable(db: sqlite3.Connection, account_id: int, name: str) -> tuple[Account, str]:
    """Whose mailbox of which name the account may create. Raises ForbiddenError."""
    found = _owner(db, account_id, name)
    if found is None:
        raise ForbiddenError(_NO_CREATE)
    owner, rest = found
    try:
        rest = mailboxes.normal_name(rest)
    except StoreError:
        raise ForbiddenError(_NO_CREATE) from None
    above = (get_mailbox(db, owner.id, level) for level in reversed(list(_levels(rest))[:-1]))
    parent = next(filter(None, above), None) or get_mailbox(db, owner.id, INBOX)
    if parent is None or "k" not in rights_on(db, account_id, parent.id):
        raise ForbiddenError(_NO_CREATE)
    return owner, rest


def _levels(name: str) -> Iterator[str]:
    """`A`, `A/B`, `A/B/C` of the last."""
    parts = name.split(DELIMITER)
    return (DELIMITER.join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _refuse_reserved(name: str) -> None:
    if name.partition(DELIMITER)[0] in NAMESPACES:
        raise StoreError("this name stands for mailboxes of others")


def _identified(db: sqlite3.Connection, identifier: str) -> int:
    if identifier == ANYONE:
        return EVERYBODY
    account = get_account(db, identifier)
    if account is None:
        raise NotFoundError(f"no account {identifier}")
    return account.id
