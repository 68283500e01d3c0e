"""The mailboxes of an account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from appliance.calls.accounts import find_account
from appliance.control import CallError
from appliance.core import Core
from appliance.errors import NotFoundError
from appliance.store import Account, Mailbox
from appliance.store.database import Database
from appliance.store.mailboxes import create_mailbox, delete_mailbox, list_mailboxes, rename_mailbox, set_subscribed

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
}
