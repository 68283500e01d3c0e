"""The queue: what waits, and steering it. An entry is named `17.0`: recipient 0 of message 17; `17` is all of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec

from appliance.calls.transfer import encoded
from appliance.control import CallError
from appliance.core import Core
from appliance.errors import AddressError, NotFoundError, PluginError
from appliance.mail.address import normal_domain
from appliance.mail.delivery import Route
from appliance.store import queuedesk
from appliance.store.database import Database
from appliance.store.queue import ENTRY_BITS, entry_ids_of
from appliance.store.queuedesk import Selection

MAX_LISTED = 1_000_000  # entries in one answer
MAX_SHOWN = 1000  # entries that are explained at once
MAX_HEADER_SHOWN = 64 << 10  # octets
PAGE = 500  # entries in one piece of an answer

_NAME = re.compile(r"(\d{1,15})(?:\.(\d{1,5}))?")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")


class Where(msgspec.Struct, forbid_unknown_fields=True):
    """Which entries are meant: those that are named or of a named domain, as far as all the rest applies to them.

    Without anything nothing is meant, but with `everything` all. See `store.queuedesk.Selection`.
    """

    names: list[str] = []
    domains: list[str] = []
    subdomains: bool = False
    sender: str = ""
    recipient: str = ""
    reason: str = ""
    state: Literal["", "active", "held", "damaged"] = ""
    via: str = ""
    older_s: int = 0
    newer_s: int = 0
    everything: bool = False


async def list_(core: Core, *, where: Where, limit: int = 1000) -> AsyncIterator[list[dict[str, Any]]]:
    """What waits, by entry, in pieces of some rows each."""
    chosen = await _selection(core, where)
    now, after, left = int(core.now()), 0, min(limit, MAX_LISTED)
    while left > 0:
        size = min(PAGE, left)

        def read(db: Database, after: int = after, size: int = size) -> list[dict[str, Any]]:
            return queuedesk.listed(db, chosen, now, after=after, limit=size)

        rows = await core.store.read(read)
        if not rows:
            return
        yield rows
        left -= len(rows)
        number, _, place = rows[-1]["name"].partition(".")
        after = (int(number) << ENTRY_BITS) + int(place)


async def count(core: Core, *, where: Where) -> int:
    """How many entries are meant."""
    chosen, now = await _selection(core, where), int(core.now())
    return await core.store.read(lambda db: queuedesk.count(db, chosen, now))


async def summary(
    core: Core, *, where: Where, by: Literal["domain", "sender", "hop"] = "domain", limit: int = 100
) -> dict[str, Any]:
    """How much waits for whom, by age: `ages` are the upper bounds in minutes; the last number is of all beyond."""
    chosen, now = await _selection(core, where), int(core.now())
    found = await core.store.read(lambda db: queuedesk.summary(db, chosen, now, by=by))
    total = [sum(numbers) for numbers in zip(*(ages for _, _, ages in found), strict=True)]
    rows = [{"name": name, "total": number, "ages": list(ages)} for name, number, ages in found[: max(limit, 0)]]
    return {
        "ages": list(queuedesk.AGES_MIN),
        "rows": rows,
        "total": {"name": "TOTAL", "total": sum(total), "ages": total or [0] * (len(queuedesk.AGES_MIN) + 1)},
        "groups": len(found),
    }


async def explain(core: Core, *, name: str, header: bool = False) -> list[dict[str, Any]]:
    """What one name stands for: where it is to go, what was tried and said so far, and when it is tried again."""
    chosen, now = await _selection(core, Where(names=[name])), int(core.now())

    def find(db: Database) -> list[dict[str, Any]]:
        rows = queuedesk.listed(db, chosen, now, limit=MAX_SHOWN)
        for row, entry_id in zip(rows, chosen.ids or (), strict=False):
            events = queuedesk.history_of(db, entry_id)
            row["history"] = [{"at": one.at, "what": one.what, "peer": one.peer, "text": one.text} for one in events]
        return rows

    rows = await core.store.read(find)
    if not rows:
        raise _unknown(name)
    for row in rows:
        row["destination"] = core.queue.outlook(Route(row["transport"], row["next_hop"], row["policy"]))
    if header:
        text = (await core.store.load(rows[0]["body_id"])).header[:MAX_HEADER_SHOWN].decode("utf-8", "replace")
        rows = [{**row, "header": text} for row in rows]
    return rows


async def export(core: Core, *, name: str) -> AsyncIterator[Any]:
    """The message that a name belongs to: first `{"size"}`, then its octets as they were taken, in base64."""
    chosen, now = await _selection(core, Where(names=[name])), int(core.now())
    rows = await core.store.read(lambda db: queuedesk.listed(db, chosen, now, limit=1))
    if not rows:
        raise _unknown(name)
    if rows[0]["body_id"] is None:
        raise CallError(f"the message of {name} is gone; only this entry is left of it", kind="NotFoundError")
    async with core.store.reading(rows[0]["body_id"]) as stored:
        yield {"size": stored.size}
        async for piece in encoded(stored):
            yield piece


async def hold(core: Core, *, where: Where, reason: str = "") -> int:
    """Keep recipients back. Returns how many."""
    return await core.queue.desk.hold(await _selection(core, where), reason)


async def release(core: Core, *, where: Where) -> int:
    """Let held recipients go on, and try those once more that were put aside as damaged."""
    return await core.queue.desk.release(await _selection(core, where))


async def retry(core: Core, *, where: Where) -> int:
    """Try waiting recipients again now. Who asked for a later time is meant only by name."""
    return await core.queue.desk.retry(await _selection(core, where, released=not where.names))


async def reroute(core: Core, *, where: Where, to: str) -> int:
    """Send recipients by another way: `smarthost NAME`, `host HOST[:PORT]`, or `rules`: as the rules say today."""
    route = _route(to)
    try:
        return await core.queue.desk.reroute(await _selection(core, where), route)
    except PluginError as error:
        raise CallError(str(error), remedy="Load the plugin, or choose another way.") from None


async def remove(core: Core, *, where: Where, bounce: bool = False, reason: str = "") -> int:
    """Give recipients up; the senders are told only with `bounce`."""
    chosen = await _selection(core, where)
    return await (core.queue.desk.bounce(chosen, reason) if bounce else core.queue.desk.remove(chosen))


async def _selection(core: Core, where: Where, *, released: bool = False) -> Selection:
    """What is meant, names resolved. Raises CallError for a name that does not wait."""
    if where == Where():
        raise CallError("say which", kind="ArgumentError", remedy="Name entries or domains, filter, or say all.")
    ids = None
    if where.names:
        ids = await core.store.read(lambda db: tuple(one for name in where.names for one in _ids(db, name)))
    return Selection(
        ids=ids,
        domains=tuple(_domain(domain) for domain in where.domains),
        subdomains=where.subdomains,
        sender=where.sender,
        recipient=where.recipient,
        reason=where.reason,
        state=where.state or None,
        via=where.via,
        older_s=where.older_s,
        newer_s=where.newer_s,
        released=released,
    )


def _ids(db: Database, name: str) -> list[int]:
    """The entries that a name stands for. Raises CallError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise CallError(f"{name!r} names no entry", kind="ArgumentError", remedy="An entry is named like 17.0.")
    message_id, number = int(found[1]), found[2]
    try:
        ids = entry_ids_of(db, message_id)
    except NotFoundError:
        raise _unknown(name) from None
    if number is None:
        return ids
    entry_id = (message_id << ENTRY_BITS) + int(number)
    if entry_id not in ids:
        raise _unknown(name)
    return [entry_id]


def _unknown(name: str) -> CallError:
    return CallError(f"no entry {name} waits", kind="NotFoundError", remedy="`palomar queue list` shows what waits.")


def _domain(name: str) -> str:
    try:
        return normal_domain(name)
    except AddressError as error:
        raise CallError(f"{name!r} is no domain: {error}", kind="AddressError") from None


def _route(text: str) -> Route | None:
    """The way that is meant by words. Raises CallError."""
    kind, _, rest = text.partition(" ")
    if text == "rules":
        return None
    if kind == "smarthost" and rest:
        return Route("smarthost", rest)
    found = _HOST.fullmatch(rest)
    if kind == "host" and found and 0 < int(found[2] or 25) < 1 << 16:
        host = found[1].strip("[]")
        return Route("relay", f"[{host}]:{found[2]}" if found[2] else f"[{host}]")
    raise CallError(
        f"{text!r} is no way", kind="ArgumentError", remedy="Say the name of a smart host, a HOST:PORT, or the rules."
    )


CALLS = {
    "queue.list": list_,
    "queue.count": count,
    "queue.summary": summary,
    "queue.explain": explain,
    "queue.export": export,
    "queue.hold": hold,
    "queue.release": release,
    "queue.retry": retry,
    "queue.reroute": reroute,
    "queue.remove": remove,
}
