"""The mailboxes of an account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from appliance.calls.accounts import find_account
from appliance.control import CallError
from appliance.core import Core
from appliance.errors import NotFoundError
from appliance.mail.rights import normal_rights
from appliance.store import Account, Mailbox
from appliance.store.accounts import get_account
from appliance.store.database import Database
from appliance.store.mailboxes import (
    create_mailbox,
    delete_mailbox,
    list_mailboxes,
    rename_mailbox,
    require_mailbox,
    set_subscribed,
)
from appliance.store.rights import list_entries
from appliance.store.sharing import described_entries, foreign_prefix, set_role
from appliance.store.sharing import share as set_share

T = TypeVar("T")


async def list_(core: Core, *, account: str) -> list[dict[str, Any]]:
    """The mailboxes of an account."""
    found: list[Mailbox] = await core.store.read(lambda db: list_mailboxes(db, find_account(db, account).id))
    return [
        {
            "name": mailbox.name,
            "messages": mailbox.messages,
            "unseen": mailbox.unseen,
            "bytes": mailbox.bytes,
            "subscribed": mailbox.subscribed,
            "special_use": mailbox.special_use,
            "selectable": mailbox.selectable,
            "uidvalidity": mailbox.uidvalidity,
            "uidnext": mailbox.uidnext,
            "highestmodseq": mailbox.highestmodseq,
        }
        for mailbox in found
    ]


async def create(core: Core, *, account: str, name: str) -> None:
    """Create a mailbox and subscribe to it."""
    await _change(core, account, lambda db, found: create_mailbox(db, found.id, name, subscribe=True))


async def rename(core: Core, *, account: str, name: str, new_name: str) -> None:
    """Rename a mailbox and those below it."""
    await _change(core, account, lambda db, found: rename_mailbox(db, found.id, name, new_name))


async def delete(core: Core, *, account: str, name: str) -> None:
    """Delete a mailbox with its mail."""
    await _change(core, account, lambda db, found: delete_mailbox(db, found.id, name))


async def subscribe(core: Core, *, account: str, name: str, subscribed: bool) -> None:
    """Subscribe to a mailbox, or end that."""
    await _change(core, account, lambda db, found: set_subscribed(db, found.id, name, subscribed=subscribed))


async def share(
    core: Core, *, account: str, name: str, whom: str, rights: str, subscribe: bool = True
) -> dict[str, Any]:
    """Give an account, or `anyone`, rights on a mailbox in place of those it had; without any it is not shared."""
    try:
        wanted = normal_rights(rights)
    except ValueError as error:
        raise CallError(str(error), kind="ValueError", remedy="`palomar mailbox share --help` names them.") from None

    def change(db: Database, owner: Account) -> dict[str, Any]:
        mailbox = require_mailbox(db, owner.id, name)
        set_share(db, mailbox, whom, wanted)
        shown = foreign_prefix(db, owner) + mailbox.name
        reader = get_account(db, whom)
        if reader is not None and reader.id != owner.id and (not wanted or subscribe):
            set_subscribed(db, reader.id, shown, subscribed=bool(wanted))
        return {"account": owner.name, "name": mailbox.name, "whom": whom, "rights": wanted, "shown_as": shown}

    return await _change(core, account, change)


async def shares(core: Core, *, account: str) -> list[dict[str, Any]]:
    """Who may do what with the mailboxes of an account; those that are shared with nobody are left out."""

    def look(db: Database) -> list[dict[str, Any]]:
        owner = find_account(db, account)
        return [
            {"name": mailbox.name, "whom": whom, "rights": rights}
            for mailbox in list_mailboxes(db, owner.id)
            if list_entries(db, mailbox.id)
            for whom, rights in described_entries(db, mailbox)[1:]
        ]

    return await core.store.read(look)


async def role(core: Core, *, account: str, is_role: bool) -> None:
    """Show an account's mailboxes to others under `Shared Folders`, or under `Other Users` again."""
    await _change(core, account, lambda db, found: set_role(db, found.name, role=is_role))


async def _change(core: Core, account: str, change: Callable[[Database, Account], T]) -> T:
    """Do one thing to the mailboxes of an account in one transaction."""
    try:
        return await core.store.write(lambda db: change(db, find_account(db, account)))
    except NotFoundError as error:
        remedy = f"`palomar mailbox list {account}` shows all."
        raise CallError(str(error), kind="NotFoundError", remedy=remedy) from None


CALLS = {
    "mailbox.list": list_,
    "mailbox.create": create,
    "mailbox.rename": rename,
    "mailbox.delete": delete,
    "mailbox.subscribe": subscribe,
    "mailbox.share": share,
    "mailbox.shares": shares,
    "mailbox.role": role,
}
