"""Lists of members: addresses whose mail goes to many. Functions of (db, …); addresses as `Address.key` gives them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from appliance.errors import ExistsError, NotFoundError, StoreError
from appliance.mail.address import Address
from appliance.store.accounts import address_key, get_account, get_alias
from appliance.store.database import Database
from appliance.store.model import MailingList, PostingRule

MAX_MEMBERS = 10_000  # of one list, those of lists within it included
MAX_DEPTH = 10  # lists in lists
MAX_TITLE = 200  # characters

OWNER_SUFFIXES = ("-owner", "-request", "-bounces")  # of the list's local part; their mail goes to the owner

_LIST = "SELECT address, title, owner, post, reply_to_list FROM list"


def create_list(
    db: Database,
    address: str,
    *,
    owner: str,
    title: str = "",
    post: PostingRule = "members",
    reply_to_list: bool = False,
) -> MailingList:
    """Make a list. Raises ExistsError if the address is in use, StoreError for bad addresses."""
    key = address_key(address)
    if get_list(db, key) is not None:
        raise ExistsError(f"list {key} exists already")
    if get_account(db, key) is not None:
        raise ExistsError(f"{key} is an account")
    if get_alias(db, key):
        raise ExistsError(f"{key} is an alias")
    made = MailingList(key, title[:MAX_TITLE], _written(owner), post, reply_to_list)
    db.execute("INSERT INTO list VALUES (?, ?, ?, ?, ?)", (key, made.title, made.owner, post, reply_to_list))
    db.touch_directory()
    return made


def change_list(
    db: Database,
    address: str,
    *,
    owner: str | None = None,
    title: str | None = None,
    post: PostingRule | None = None,
    reply_to_list: bool | None = None,
) -> None:
    """Change what is given. Raises NotFoundError, and StoreError for a bad owner."""
    found = require_list(db, address)
    db.execute(
        "UPDATE list SET owner = ifnull(?, owner), title = ifnull(?, title), post = ifnull(?, post),"
        " reply_to_list = ifnull(?, reply_to_list) WHERE address = ?",
        (
            _written(owner) if owner is not None else None,
            title[:MAX_TITLE] if title is not None else None,
            post,
            reply_to_list,
            found.address,
        ),
    )
    db.touch_directory()


def delete_list(db: Database, address: str) -> None:
    """Remove a list with its members. Raises NotFoundError."""
    found = require_list(db, address)
    db.execute("DELETE FROM list_member WHERE list = ?", (found.address,))
    db.execute("DELETE FROM list WHERE address = ?", (found.address,))
    db.touch_directory()


def get_list(db: sqlite3.Connection, address: str) -> MailingList | None:
    """One list by its address, or None."""
    row = db.execute(f"{_LIST} WHERE address = ?", (address,)).fetchone()
    return None if row is None else _list(row)


def require_list(db: sqlite3.Connection, address: str) -> MailingList:
    """One list by its address. Raises NotFoundError."""
    if (found := get_list(db, address_key(address))) is None:
        raise NotFoundError(f"no list {address}")
    return found


def list_lists(db: sqlite3.Connection) -> list[MailingList]:
    """All lists in the order of their addresses."""
    return [_list(row) for row in db.execute(f"{_LIST} ORDER BY address")]


def add_members(db: Database, address: str, members: Iterable[str]) -> int:
    """Add members, those that are there already left as they are. Returns how many the list has then.

    Raises NotFoundError, and StoreError for bad addresses or more than MAX_MEMBERS.
    """
    found = require_list(db, address)
    db.executemany(
        "INSERT OR IGNORE INTO list_member VALUES (?, ?, ?)",
        [(found.address, address_key(member), _written(member)) for member in members],
    )
    count = count_members(db, found.address)
    if count > MAX_MEMBERS:
        raise StoreError(f"a list has at most {MAX_MEMBERS} members")
    return count


def remove_members(db: Database, address: str, members: Iterable[str]) -> int:
    """Remove members; returns how many were there. Raises NotFoundError."""
    found = require_list(db, address)
    keys = [(found.address, address_key(member)) for member in members]
    return db.executemany("DELETE FROM list_member WHERE list = ? AND key = ?", keys).rowcount


def count_members(db: sqlite3.Connection, address: str) -> int:
    """How many members a list has itself."""
    (count,) = db.execute("SELECT count(*) FROM list_member WHERE list = ?", (address,)).fetchone()
    return int(count)


def members_of(db: sqlite3.Connection, address: str) -> list[str]:
    """The members of a list as they were written, in the order of their keys."""
    return [row[0] for row in db.execute("SELECT address FROM list_member WHERE list = ? ORDER BY key", (address,))]


def everyone_on(db: sqlite3.Connection, address: str) -> list[str]:
    """The members of a list and of the lists among them, each once, lists left out.

    Raises StoreError if they are too many, or lists stand in lists too deep.
    """
    found: dict[str, str] = {}
    seen = {address}
    level = [address]
    for _ in range(MAX_DEPTH):
        following = []
        for one in level:
            for key, written in db.execute("SELECT key, address FROM list_member WHERE list = ? ORDER BY key", (one,)):
                if key in seen or key in found:
                    continue
                if get_list(db, key) is not None:
                    seen.add(key)
                    following.append(key)
                else:
                    found[key] = written
        if len(found) > MAX_MEMBERS:
            raise StoreError(f"{address} has more than {MAX_MEMBERS} members, with those of lists within it")
        if not following:
            return list(found.values())
        level = following
    raise StoreError(f"{address} has lists in lists more than {MAX_DEPTH} deep")


def is_on(db: sqlite3.Connection, address: str, keys: Sequence[str]) -> bool:
    """Whether any of the addresses is a member of a list, or of a list on it."""
    seen = {address}
    level = [address]
    for _ in range(MAX_DEPTH):
        following = []
        for one in level:
            for key in keys:
                if db.execute("SELECT 1 FROM list_member WHERE list = ? AND key = ?", (one, key)).fetchone():
                    return True
            rows = db.execute(
                "SELECT m.key FROM list_member m JOIN list l ON l.address = m.key WHERE m.list = ?", (one,)
            )
            following += [key for (key,) in rows if key not in seen]
        seen.update(following)
        level = following
    return False


def owner_addresses(address: str) -> list[str]:
    """The addresses of a list whose mail goes to its owner."""
    local, _, domain = address.rpartition("@")
    return [f"{local}{suffix}@{domain}" for suffix in OWNER_SUFFIXES]


def _written(address: str) -> str:
    address_key(address)  # raises in our words
    return str(Address.parse(address))


def _list(row: tuple[str, str, str, PostingRule, int]) -> MailingList:
    address, title, owner, post, reply_to_list = row
    return MailingList(address, title, owner, post, bool(reply_to_list))
