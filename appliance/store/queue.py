"""The durable queue: one row per message with its envelope, one per recipient. Functions of (db, …).

A row that cannot be understood (a damaged disk, a hand in the database) is not read again and again, and does not
stand in the way of others: whoever meets it puts it aside with `put_aside`. What people see of the queue, such rows
included, and how they steer it is in `queuedesk`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Literal

from appliance.errors import AddressError, NotFoundError, StoreError
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import (
    NOTIFY_DELAY,
    NOTIFY_FAILURE,
    NOTIFY_NEVER,
    NOTIFY_SUCCESS,
    Envelope,
    Recipient,
)
from appliance.store.database import Database, json_list
from appliance.store.messages import release_bodies
from appliance.store.model import Accepted, QueuedMessage, QueueEntry, QueueWish

ENTRY_BITS = 16  # an entry's id is its message's id, shifted, plus a number: no index is needed to find them
MAX_ENTRIES = 1 << ENTRY_BITS  # recipients of one queued message
MAX_REPLY = 1000  # characters of a reply that are kept
HISTORY = 20  # events of one entry that are kept, the oldest go
MAX_PRIORITY = 9  # either way from 0 (RFC 6710 section 3.1)

State = Literal["active", "held", "damaged"]
ACTIVE, HELD, DAMAGED = 0, 1, 2  # queue_entry.held; the index of what is due holds the first only
STATES: dict[int, State] = {ACTIVE: "active", HELD: "held", DAMAGED: "damaged"}

Pair = tuple[QueuedMessage, QueueEntry]

_ENTRY = (
    "e.id, e.held, e.attempts, e.waited_s, e.tried_at, e.next_at, e.delay_warned, e.address, e.notify, e.orcpt,"
    " e.transport, e.next_hop, e.policy, e.last_reply, (SELECT via FROM queue_via v WHERE v.id = e.id)"
)
_QUEUED = (
    "q.id, q.body_id, q.sender, q.ret, q.envid, q.body, q.smtputf8, q.require_tls, q.size, q.created_at, q.trace_id,"
    " t.priority, t.release_at, t.deliver_by, t.by_mode, t.auth"
)
_QUEUED_COLUMNS = 16
# A message without its row of `queued` must be seen as well: its entries would be due for ever.
_PAIRS = (
    f"SELECT e.id, e.next_at, {_QUEUED}, {_ENTRY} FROM queue_entry e LEFT JOIN queued q ON q.id = e.id >> {ENTRY_BITS}"
    f" LEFT JOIN queue_terms t ON t.id = e.id >> {ENTRY_BITS}"
)
_TLS_OPTIONAL = 2  # queued.require_tls of a message that must not fail for want of TLS
_MOST_ATTEMPTS = 1_000_000
_LATEST = 1 << 35  # epoch seconds: the year 3058
_LONGEST_WAIT_S = 10 * 366 * 86400


@dataclass(slots=True)
class Page:
    """Entries read at once. `damaged` are those that cannot be understood, by id, with the reason.

    `last` is the (next_at, id) of the last row, whichever it was, `full` whether there may be more behind it.
    """

    pairs: list[Pair] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)
    last: tuple[int, int] = (-1, -1)
    full: bool = False


def due(
    db: sqlite3.Connection,
    now: int,
    limit: int = 1000,
    *,
    after: tuple[int, int] = (-1, -1),
    without: Collection[Route] = (),
) -> Page:
    """Entries whose time has come, not those held, by (next_at, id), and not those of the ways `without`.

    `after` is that pair of the last one seen.
    """
    ways, parameters = "", list[object]((now, *after))
    if without:
        ways = "AND json_array(e.transport, e.next_hop, e.policy) NOT IN (SELECT value FROM json_each(?)) "
        parameters.append(json.dumps([json.dumps(astuple(way), separators=(",", ":")) for way in without]))
    where = f"WHERE e.held = 0 AND e.next_at <= ? AND (e.next_at, e.id) > (?, ?) {ways}"
    return _page(db, f"{where} ORDER BY e.next_at, e.id LIMIT ?", (*parameters, limit), limit)


def is_there(db: sqlite3.Connection, entry_ids: Sequence[int]) -> set[int]:
    """Those of some entries that are not settled, by their ids."""
    rows = db.execute(
        "SELECT id FROM queue_entry WHERE id IN (SELECT value FROM json_each(?))", (json_list(entry_ids),)
    )
    return {row[0] for row in rows}


def due_of(db: sqlite3.Connection, message_ids: Iterable[int], now: int) -> Page:
    """Entries of some messages whose time has come, not those held."""
    page = Page()
    for message_id in message_ids:
        found = _page(db, "WHERE e.id BETWEEN ? AND ? AND e.held = 0 AND e.next_at <= ?", (*_span(message_id), now))
        page.pairs += found.pairs
        page.damaged |= found.damaged
    return page


def _page(db: sqlite3.Connection, where: str, parameters: Sequence[object], limit: int = 0) -> Page:
    page = Page()
    try:
        rows = db.execute(f"{_PAIRS} {where}", parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        return _page_by_rows(db, where, parameters, limit)  # a text of one row is no UTF-8
    for row in rows:
        try:
            page.pairs.append(_pair(row[2:]))
        except (StoreError, AddressError, ValueError, TypeError, AttributeError) as error:
            page.damaged[row[0]] = _why(error)
    return _ended(page, [row[:2] for row in rows], limit)


def _page_by_rows(db: sqlite3.Connection, where: str, parameters: Sequence[object], limit: int) -> Page:
    """The same row by row, so that one that cannot be read costs no other."""
    page = Page()
    keys = db.execute(f"SELECT e.id, e.next_at FROM queue_entry e {where}", parameters).fetchall()
    for entry_id, _ in keys:
        try:
            page.pairs.append(_pair(db.execute(f"{_PAIRS} WHERE e.id = ?", (entry_id,)).fetchone()[2:]))
        except (StoreError, AddressError, ValueError, TypeError, AttributeError) as error:
            page.damaged[entry_id] = _why(error)
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            page.damaged[entry_id] = _why(error)
    return _ended(page, keys, limit)


def _ended(page: Page, keys: Sequence[tuple[int, int]], limit: int) -> Page:
    if keys:
        page.last = keys[-1][1], keys[-1][0]
        page.full = len(keys) >= limit > 0
    return page


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_REPLY].encode("utf-8", "replace").decode()


def next_due_at(db: sqlite3.Connection, after: int = -1) -> int | None:
    """When the next entry falls due after that time, in epoch seconds; None if nothing waits."""
    row = db.execute("SELECT min(next_at) FROM queue_entry WHERE held = 0 AND next_at > ?", (after,)).fetchone()
    return None if row[0] is None else int(row[0])


def put_off_beyond(db: sqlite3.Connection, latest: int) -> bool:
    """Whether an entry waits for a time after `latest` (epoch seconds) that its sender has not asked for."""
    return db.execute(f"SELECT 1 FROM queue_entry WHERE {_BEYOND} LIMIT 1", {"latest": latest}).fetchone() is not None


_BEYOND = (
    f"held = 0 AND next_at > :latest AND next_at > ifnull((SELECT release_at FROM queue_terms t"
    f" WHERE t.id = queue_entry.id >> {ENTRY_BITS}), 0)"
)


def queued_message(db: sqlite3.Connection, message_id: int) -> QueuedMessage | None:
    """One queued message, or None if it is settled."""
    row = db.execute(
        f"SELECT {_QUEUED} FROM queued q LEFT JOIN queue_terms t ON t.id = q.id WHERE q.id = ?", (message_id,)
    ).fetchone()
    return None if row is None else _queued(row)


def entry(db: sqlite3.Connection, entry_id: int) -> QueueEntry | None:
    """One recipient's entry, or None if it is settled."""
    row = db.execute(f"SELECT {_ENTRY} FROM queue_entry e WHERE e.id = ?", (entry_id,)).fetchone()
    return None if row is None else _entry(row)


def entries_of(db: sqlite3.Connection, message_id: int) -> tuple[QueuedMessage, list[QueueEntry]]:
    """One message with its unsettled recipients. Raises NotFoundError if all are settled."""
    message = queued_message(db, message_id)
    if message is None:
        raise NotFoundError(f"message {message_id} is not in the queue")
    rows = db.execute(f"SELECT {_ENTRY} FROM queue_entry e WHERE e.id BETWEEN ? AND ? ORDER BY e.id", _span(message_id))
    return message, [_entry(row) for row in rows]


def list_queue(
    db: sqlite3.Connection, *, entry_ids: Sequence[int] | None = None, after: int = 0, limit: int = 1000
) -> list[Pair]:
    """Queued recipients with their messages, by id, as far as their rows can be read. `after` is an entry's id."""
    condition, parameters = "", list[object]()
    if entry_ids is not None:
        condition, parameters = "AND e.id IN (SELECT value FROM json_each(?))", [json_list(entry_ids)]
    where = f"WHERE e.id > ? {condition} ORDER BY e.id LIMIT ?"
    return _page(db, where, (after, *parameters, limit), limit).pairs


def queue_counts(db: sqlite3.Connection) -> tuple[int, int, int, int]:
    """(messages, active recipients, held recipients, damaged ones)."""
    (messages,) = db.execute("SELECT count(*) FROM queued").fetchone()
    held = dict(db.execute("SELECT held, count(*) FROM queue_entry GROUP BY held"))
    active, waiting = held.pop(ACTIVE, 0), held.pop(HELD, 0)
    return messages, active, waiting, sum(held.values())


def settle(db: Database, entry_ids: int | Iterable[int]) -> int:
    """Remove recipients that are delivered or have failed for good; with its last one the message goes too.

    Returns how many were there. Settling one twice is harmless.
    """
    ids = [entry_ids] if isinstance(entry_ids, int) else list(entry_ids)
    count = db.execute(
        "DELETE FROM queue_entry WHERE id IN (SELECT value FROM json_each(?))", (json_list(ids),)
    ).rowcount
    done: Counter[int] = Counter()
    messages = sorted({entry_id >> ENTRY_BITS for entry_id in ids})
    for (body_id,) in db.execute(_DELETE_SETTLED, (json_list(messages),)).fetchall():
        done[body_id] += 1
    if done:
        release_bodies(db, done)
    return count


_DELETE_SETTLED = (
    "DELETE FROM queued WHERE id IN (SELECT value FROM json_each(?)) AND NOT EXISTS (SELECT 1 FROM queue_entry e"
    f" WHERE e.id BETWEEN queued.id << {ENTRY_BITS} AND (queued.id + 1 << {ENTRY_BITS}) - 1) RETURNING body_id"
)


@dataclass(frozen=True, slots=True)
class Deferral:
    """What one attempt without a result changes. `event` is what the history keeps of it, if anything."""

    entry_id: int
    next_at: int
    attempts: int
    waited_s: int
    tried_at: int
    last_reply: str
    delay_warned: bool
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an entry, for people: `what` is a word, `peer` whose words the text is."""

    at: int
    what: str
    text: str
    peer: str = ""


def defer(db: Database, deferrals: Iterable[Deferral]) -> None:
    """Note failed attempts. Entries that are settled or removed meanwhile are left alone."""
    deferrals = list(deferrals)
    db.executemany(
        "UPDATE queue_entry SET next_at = ?, attempts = ?, waited_s = ?, tried_at = ?, last_reply = ?,"
        " delay_warned = ? WHERE id = ?",
        [
            (d.next_at, d.attempts, d.waited_s, d.tried_at, d.last_reply[:MAX_REPLY], d.delay_warned, d.entry_id)
            for d in deferrals
        ],
    )
    note(db, [(one.entry_id, one.event) for one in deferrals if one.event is not None])


def note(db: Database, events: Iterable[tuple[int, Event]]) -> None:
    """Add to the histories of entries that are there, and drop what is too old in them."""
    events = list(events)
    db.executemany(
        "INSERT INTO queue_history (entry_id, number, at, what, peer, text) SELECT id,"
        " (SELECT ifnull(max(number), 0) + 1 FROM queue_history h WHERE h.entry_id = queue_entry.id), ?, ?, ?, ?"
        " FROM queue_entry WHERE id = ?",
        [(event.at, event.what, event.peer, event.text[:MAX_REPLY], entry_id) for entry_id, event in events],
    )
    db.executemany(
        "DELETE FROM queue_history WHERE entry_id = ?1 AND number <="
        f" (SELECT max(number) - {HISTORY} FROM queue_history WHERE entry_id = ?1)",
        [(entry_id,) for entry_id, _ in events],
    )


def bring_forward(db: Database, now: int, latest: int) -> int:
    """Make recipients due now that would wait beyond `latest`, both in epoch seconds, as `put_off_beyond` finds them.

    Returns how many.
    """
    return db.execute(f"UPDATE queue_entry SET next_at = :now WHERE {_BEYOND}", {"now": now, "latest": latest}).rowcount


def put_aside(db: Database, damaged: dict[int, str]) -> int:
    """Take entries out of everybody's way whose row or message is damaged. Returns how many; nothing else is changed.

    `damaged` tells the reason of each, by id.
    """
    count = db.execute(
        f"UPDATE queue_entry SET held = {DAMAGED} WHERE held <> {DAMAGED} AND id IN (SELECT value FROM json_each(?))",
        (json_list(damaged),),
    ).rowcount
    note(db, [(entry_id, Event(db.now, "damaged", why)) for entry_id, why in damaged.items()])
    return count


def entry_ids_of(db: sqlite3.Connection, message_id: int) -> list[int]:
    """The ids of one message's entries. Raises NotFoundError if it is not queued."""
    found = [row[0] for row in db.execute("SELECT id FROM queue_entry WHERE id BETWEEN ? AND ?", _span(message_id))]
    if not found:
        raise NotFoundError(f"message {message_id} is not in the queue")
    return found


def queued_row(message_id: int, envelope: Envelope, size: int, now: int, trace_id: str) -> tuple[object, ...]:
    """A row of `queued`. The message's id is its body's: one accept makes at most one of each."""
    sender = str(envelope.sender) if envelope.sender is not None else None
    tls = _TLS_OPTIONAL if envelope.tls_optional else int(envelope.require_tls)
    asked = (envelope.ret, envelope.envid, envelope.body, envelope.smtputf8, tls)
    return (message_id, message_id, sender, *asked, size, now, trace_id)


def terms_row(message_id: int, envelope: Envelope) -> tuple[object, ...] | None:
    """A row of `queue_terms`: what few messages ask for. None for all others."""
    auth = envelope.auth if envelope.auth != "<>" else ""
    terms = (envelope.priority, envelope.release_at, envelope.deliver_by, envelope.by_mode, auth)
    return (message_id, *terms) if any(terms) else None


def entry_rows(message_id: int, wishes: Sequence[QueueWish], now: int) -> Iterator[tuple[object, ...]]:
    """Rows of `queue_entry`, due at `now`. Raises StoreError above MAX_ENTRIES."""
    if len(wishes) > MAX_ENTRIES:
        raise StoreError(f"a message is queued for at most {MAX_ENTRIES} recipients")
    for number, wish in enumerate(wishes):
        recipient, route = wish.recipient, wish.route
        to = (str(recipient.address), ",".join(sorted(recipient.notify)), recipient.orcpt)
        way = (route.transport, route.next_hop, route.policy)
        yield ((message_id << ENTRY_BITS) + number, wish.hold, 0, 0, 0, now, 0, *to, *way, wish.reason[:MAX_REPLY])


def via_rows(message_id: int, wishes: Sequence[QueueWish]) -> Iterator[tuple[object, ...]]:
    """Rows of `queue_via`: which address of ours sent the message on. None for recipients that the sender named."""
    for number, wish in enumerate(wishes):
        if wish.recipient.via:
            yield (message_id << ENTRY_BITS) + number, wish.recipient.via


def fresh(
    accepted: Accepted, envelope: Envelope, wishes: Sequence[QueueWish], *, size: int, trace_id: str, now: int
) -> list[Pair]:
    """What `due` would read of a message that has just been stored for these wishes, without those that are to wait."""
    message_id = accepted.queue_id
    if message_id is None or envelope.release_at > now:
        return []
    queued = QueuedMessage(
        message_id,
        accepted.body_id,
        envelope.sender,
        envelope.ret,
        envelope.envid,
        envelope.body,
        envelope.smtputf8,
        size,
        now,
        trace_id,
        envelope.require_tls,
        envelope.tls_optional,
        envelope.priority,
        envelope.release_at,
        envelope.deliver_by,
        envelope.by_mode,
        envelope.auth,
    )
    first = message_id << ENTRY_BITS
    return [
        (queued, QueueEntry(first + n, message_id, wish.recipient, wish.route, "active", 0, 0, now, False, ""))
        for n, wish in enumerate(wishes)
        if not wish.hold
    ]


def _span(message_id: int) -> tuple[int, int]:
    return message_id << ENTRY_BITS, (message_id + 1 << ENTRY_BITS) - 1


def _pair(row: Sequence[Any]) -> Pair:
    if row[0] is None:
        raise StoreError("its message is gone")
    return _queued(row[:_QUEUED_COLUMNS]), _entry(row[_QUEUED_COLUMNS:])


def _queued(row: Sequence[Any]) -> QueuedMessage:
    (number, body_id, sender, ret, envid, body, smtputf8, require_tls, size, created_at, trace_id, *terms) = row
    priority, release_at, deliver_by, by_mode, auth = terms
    _check(ret in _RETS, "ret", ret)
    _check(body in _BODIES, "body", body)
    _check(size >= 0, "size", size)
    _check(body_id == number, "body_id", body_id)  # else somebody would get what is another's
    _check(0 <= created_at <= _LATEST, "created_at", created_at)
    _check(-MAX_PRIORITY <= (priority or 0) <= MAX_PRIORITY, "priority", priority)
    return QueuedMessage(
        id=number,
        body_id=body_id,
        sender=Address.parse(sender) if sender is not None else None,
        ret=ret,
        envid=envid,
        body=body,
        smtputf8=bool(smtputf8),
        size=size,
        created_at=created_at,
        trace_id=trace_id,
        require_tls=require_tls == 1,
        tls_optional=require_tls == _TLS_OPTIONAL,
        priority=priority or 0,
        release_at=release_at or 0,
        deliver_by=deliver_by or 0,
        by_mode=by_mode or "",
        auth=auth or "",
    )


def _entry(row: Sequence[Any]) -> QueueEntry:
    number, held, attempts, waited, tried_at, next_at, warned, address, notify, orcpt, *way, reply, via = row
    _check(0 <= attempts <= _MOST_ATTEMPTS, "attempts", attempts)
    _check(0 <= waited <= _LONGEST_WAIT_S, "waited_s", waited)
    _check(0 <= tried_at <= _LATEST, "tried_at", tried_at)
    _check(way[0] != "", "transport", way[0])
    wanted = frozenset(notify.split(",")) if notify else frozenset[str]()
    _check(wanted <= _NOTIFY, "notify", notify)
    return QueueEntry(
        id=number,
        message_id=number >> ENTRY_BITS,
        recipient=Recipient(Address.parse(address), wanted, orcpt, via or ""),
        route=Route(*way),
        state=STATES.get(held, "damaged"),
        attempts=attempts,
        waited_s=waited,
        next_at=next_at,
        delay_warned=bool(warned),
        last_reply=reply,
        tried_at=tried_at,
    )


_RETS = frozenset({"", "FULL", "HDRS"})
_BODIES = frozenset({"7BIT", "8BITMIME", "BINARYMIME"})
_NOTIFY = frozenset({NOTIFY_NEVER, NOTIFY_SUCCESS, NOTIFY_FAILURE, NOTIFY_DELAY})


def _check(sound: bool, column: str, value: object) -> None:
    if not sound:
        raise StoreError(f"{column} is {value!r:.100}")
