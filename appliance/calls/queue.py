"""The queue: what waits, and steering it. An entry is named `17.0`: recipient 0 of message 17; `17` is all of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from appliance.control import CallError
from appliance.core import Core
from appliance.errors import AddressError, NotFoundError
from appliance.mail.address import normal_domain
from appliance.store import QueuedMessage, QueueEntry
from appliance.store.database import Database
from appliance.store.queue import (
    ENTRY_BITS,
    entries_of,
    entry,
    entry_ids_of,
    list_queue,
    queued_message,
)

MAX_LISTED = 10_000  # entries in one answer
MAX_HEADER_SHOWN = 64 << 10  # octets

_NAME = re.compile(r"(\d{1,15})(?:\.(\d{1,5}))?")


async def list_(core: Core, *, domain: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
    """Waiting recipients, all or those of one domain."""
    wanted = _domain(domain) if domain is not None else None
    rows = await core.store.read(lambda db: list_queue(db, domain=wanted, limit=min(limit, MAX_LISTED)))
    return [_described(message, one) for message, one in rows]


async def show(core: Core, *, name: str) -> list[dict[str, Any]]:
    """What one name stands for, each with the header of the message."""

    def find(db: Database) -> list[tuple[QueuedMessage, QueueEntry]]:
        found = []
        for entry_id in _ids(db, name):
            one = entry(db, entry_id)
            message = queued_message(db, entry_id >> ENTRY_BITS)
            if one is not None and message is not None:
                found.append((message, one))
        return found

    rows = await core.store.read(find)
    if not rows:
        raise _unknown(name)
    header = (await core.store.load(rows[0][0].body_id)).header[:MAX_HEADER_SHOWN].decode("utf-8", "replace")
    return [{**_described(message, one), "header": header} for message, one in rows]


async def hold(core: Core, *, names: list[str], domains: list[str]) -> int:
    """Keep recipients back. Without names and domains: all. Returns how many."""
    return await _steer(core, core.queue.hold, names, domains)


async def release(core: Core, *, names: list[str], domains: list[str]) -> int:
    """Let held recipients go on."""
    return await _steer(core, core.queue.release, names, domains)


async def retry(core: Core, *, names: list[str], domains: list[str]) -> int:
    """Try waiting recipients again now."""
    return await _steer(core, core.queue.retry, names, domains)


async def remove(core: Core, *, names: list[str], domains: list[str]) -> int:
    """Give recipients up without telling anybody."""
    return await _steer(core, core.queue.remove, names, domains)


async def _steer(core: Core, steer: Callable[..., Awaitable[int]], names: list[str], domains: list[str]) -> int:
    wanted = [_domain(domain) for domain in domains]
    if not names and not wanted:
        return await steer()
    found = await core.store.read(lambda db: [entry_id for name in names for entry_id in _ids(db, name)])
    count = await steer(found) if found else 0
    return count + sum([await steer(domain=domain) for domain in wanted])


def _ids(db: Database, name: str) -> list[int]:
    """The entries that a name stands for. Raises CallError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise CallError(f"{name!r} names no entry", kind="ArgumentError", remedy="An entry is named like 17.0.")
    message_id, number = int(found[1]), found[2]
    try:
        if number is None:
            return entry_ids_of(db, message_id)
        _, known = entries_of(db, message_id)
    except NotFoundError:
        raise _unknown(name) from None
    entry_id = (message_id << ENTRY_BITS) + int(number)
    if all(one.id != entry_id for one in known):
        raise _unknown(name)
    return [entry_id]


def _unknown(name: str) -> CallError:
    return CallError(f"no entry {name} waits", kind="NotFoundError", remedy="`palomar queue list` shows what waits.")


def _domain(name: str) -> str:
    try:
        return normal_domain(name)
    except AddressError as error:
        raise CallError(f"{name!r} is no domain: {error}", kind="AddressError") from None


def _described(message: QueuedMessage, one: QueueEntry) -> dict[str, Any]:
    return {
        "name": f"{message.id}.{one.id & (1 << ENTRY_BITS) - 1}",
        "recipient": str(one.recipient.address),
        "sender": str(message.sender or ""),
        "size": message.size,
        "state": one.state,
        "attempts": one.attempts,
        "waited_s": one.waited_s,
        "next_at": one.next_at,
        "tried_at": one.tried_at,
        "last_reply": one.last_reply,
        "created_at": message.created_at,
        "transport": one.route.transport,
        "next_hop": one.route.next_hop,
        "trace_id": message.trace_id,
    }


CALLS = {
    "queue.list": list_,
    "queue.show": show,
    "queue.hold": hold,
    "queue.release": release,
    "queue.retry": retry,
    "queue.remove": remove,
}
