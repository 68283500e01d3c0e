"""Lists of members."""

from __future__ import annotations

import re
from typing import Any

from appliance.calls.addresses import address_of, is_ours, not_ours
from appliance.control import CallError
from appliance.core import Core
from appliance.errors import ExistsError, NotFoundError, StoreError
from appliance.mail.address import Address
from appliance.store import MailingList, PostingRule
from appliance.store.database import Database
from appliance.store.lists import (
    MAX_TITLE,
    add_members,
    change_list,
    count_members,
    create_list,
    delete_list,
    list_lists,
    members_of,
    remove_members,
    require_list,
)

_PLAIN = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")  # it becomes part of the list's identifier (RFC 2919)


async def add(
    core: Core,
    *,
    address: str,
    owner: str,
    title: str = "",
    post: PostingRule = "members",
    reply_to_list: bool = False,
) -> None:
    """Make a list without members."""
    known = address_of(address)
    if not await is_ours(core, known.domain):
        raise not_ours(known.domain)
    if not _PLAIN.fullmatch(known.local):
        raise CallError(
            f"{address} cannot be a list",
            remedy="Use letters, digits, dots, hyphens and + in front of the @.",
            kind="AddressError",
        )
    _check(known, owner, title)

    def change(db: Database) -> None:
        create_list(db, known.key, owner=owner, title=title, post=post, reply_to_list=reply_to_list)

    try:
        await core.store.write(change)
    except ExistsError as error:
        raise CallError(str(error), kind="ExistsError", remedy="Choose another address.") from None


async def set_(
    core: Core,
    *,
    address: str,
    owner: str | None = None,
    title: str | None = None,
    post: PostingRule | None = None,
    reply_to_list: bool | None = None,
) -> None:
    """Change what is given."""
    _check(address_of(address), owner, title)

    def change(db: Database) -> None:
        found = _found(db, address)
        change_list(db, found.address, owner=owner, title=title, post=post, reply_to_list=reply_to_list)

    await core.store.write(change)


async def list_(core: Core) -> list[dict[str, Any]]:
    """All lists, with how many members each has."""
    return await core.store.read(lambda db: [_described(db, one) for one in list_lists(db)])


async def members(core: Core, *, address: str) -> list[dict[str, str]]:
    """The members of one list."""
    found = await core.store.read(lambda db: members_of(db, _found(db, address).address))
    return [{"address": member} for member in found]


async def join(core: Core, *, address: str, members: list[str]) -> int:
    """Add members. Returns how many the list has then."""
    own = address_of(address)
    for member in members:
        if address_of(member).key == own.key:
            raise CallError(f"{address} cannot be its own member", kind="AddressError")

    def change(db: Database) -> int:
        return add_members(db, _found(db, address).address, members)

    try:
        return await core.store.write(change)
    except StoreError as error:
        raise CallError(str(error), remedy="Put some of them on a list of their own, and that on this one.") from None


async def leave(core: Core, *, address: str, members: list[str]) -> None:
    """Take members away, all or none."""
    for member in members:
        address_of(member)

    def change(db: Database) -> None:
        found = _found(db, address)
        for member in members:
            if not remove_members(db, found.address, [member]):
                raise CallError(
                    f"{member} is not on {found.address}",
                    kind="NotFoundError",
                    remedy=f"`palomar list members {found.address}` shows all.",
                )

    await core.store.write(change)


async def remove(core: Core, *, address: str) -> None:
    """Remove a list with its members."""
    await core.store.write(lambda db: delete_list(db, _found(db, address).address))


def _check(address: Address, owner: str | None, title: str | None) -> None:
    if owner is not None and address_of(owner).key == address.key:
        raise CallError("a list cannot be its own owner", remedy="Name somebody who reads the mail.", kind="Owner")
    if title is not None and (len(title) > MAX_TITLE or not title.isprintable()):
        raise CallError(f"a title has at most {MAX_TITLE} characters, in one line", kind="ArgumentError")


def _found(db: Database, address: str) -> MailingList:
    try:
        return require_list(db, address_of(address).key)
    except NotFoundError:
        raise CallError(
            f"there is no list {address}", kind="NotFoundError", remedy="`palomar list list` shows all."
        ) from None


def _described(db: Database, one: MailingList) -> dict[str, Any]:
    return {
        "address": one.address,
        "title": one.title,
        "owner": one.owner,
        "post": one.post,
        "reply_to_list": one.reply_to_list,
        "members": count_members(db, one.address),
    }


CALLS = {
    "list.add": add,
    "list.set": set_,
    "list.list": list_,
    "list.members": members,
    "list.join": join,
    "list.leave": leave,
    "list.remove": remove,
}
