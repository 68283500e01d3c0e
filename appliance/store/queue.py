"""The durable queue: one row per message with its envelope, one per recipient. Functions of (db, …)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from appliance.errors import NotFoundError, StoreError
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.store.database import Database, json_list
from appliance.store.messages import release_bodies
from appliance.store.model import QueuedMessage, QueueEntry, QueueWish

ENTRY_BITS = 16  # an entry's id is its message's id, shifted, plus a number: no index is needed to find them
MAX_ENTRIES = 1 << ENTRY_BITS  # recipients of one queued message
MAX_REPLY = 1000  # characters of a reply that are kept

_ENTRY = (
    "e.id, e.held, e.attempts, e.waited_s, e.tried_at, e.next_at, e.delay_warned, e.address, e.notify, e.orcpt,"
    " e.transport, e.next_hop, e.policy, e.last_reply"
)
_QUEUED = (
    "q.id, q.body_id, q.sender, q.ret, q.envid, q.body, q.smtputf8, q.require_tls, q.size, q.created_at, q.trace_id"
)


def due(
    db: sqlite3.Connection, now: int, limit: int = 1000, *, after: tuple[int, int] = (-1, -1)
) -> list[tuple[QueuedMessage, QueueEntry]]:
    """Entries whose time has come, not those held, by (next_at, id). `after` is that pair of the last one seen."""
    rows = db.execute(
        f"SELECT {_QUEUED}, {_ENTRY} FROM queue_entry e JOIN queued q ON q.id = e.id >> {ENTRY_BITS}"
        " WHERE e.held = 0 AND e.next_at <= ? AND (e.next_at, e.id) > (?, ?) ORDER BY e.next_at, e.id LIMIT ?",
        (now, *after, limit),
    )
    return [_pair(row) for row in rows]


def next_due_at(db: sqlite3.Connection, after: int = -1) -> int | None:
    """When the next entry falls due after that time, in epoch seconds; None if nothing waits."""
    row = db.execute("SELECT min(next_at) FROM queue_entry WHERE held = 0 AND next_at > ?", (after,)).fetchone()
    return None if row[0] is None else int(row[0])


def queued_message(db: sqlite3.Connection, message_id: int) -> QueuedMessage | None:
    """One queued message, or None if it is settled."""
    row = db.execute(f"SELECT {_QUEUED} FROM queued q WHERE q.id = ?", (message_id,)).fetchone()
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
    db: sqlite3.Connection, *, domain: str | None = None, after: int = 0, limit: int = 1000
) -> list[tuple[QueuedMessage, QueueEntry]]:
    """Queued recipients with their messages, by id; of one recipient domain if given. `after` is an entry's id."""
    rows = db.execute(
        f"SELECT {_QUEUED}, {_ENTRY} FROM queue_entry e JOIN queued q ON q.id = e.id >> {ENTRY_BITS}"
        " WHERE e.id > ?1 AND (?2 IS NULL OR substr(e.address, -length(?2) - 1) = '@' || ?2) ORDER BY e.id LIMIT ?3",
        (after, domain.lower() if domain else None, limit),
    )
    return [_pair(row) for row in rows]


def queue_counts(db: sqlite3.Connection) -> tuple[int, int, int]:
    """(messages, active recipients, held recipients)."""
    (messages,) = db.execute("SELECT count(*) FROM queued").fetchone()
    held = dict(db.execute("SELECT held, count(*) FROM queue_entry GROUP BY held"))
    return messages, held.get(0, 0), held.get(1, 0)


def settle(db: Database, entry_ids: int | Iterable[int]) -> int:
    """Remove recipients that are delivered or have failed for good; with its last one the message goes too.

    Returns how many were there. Settling one twice is harmless.
    """
    ids = [entry_ids] if isinstance(entry_ids, int) else list(entry_ids)
    count = db.execute(
        "DELETE FROM queue_entry WHERE id IN (SELECT value FROM json_each(?))", (json_list(ids),)
    ).rowcount
    done: Counter[int] = Counter()
    for message_id in sorted({entry_id >> ENTRY_BITS for entry_id in ids}):
        row = db.execute(
            "DELETE FROM queued WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM queue_entry WHERE id BETWEEN ?2 AND ?3)"
            " RETURNING body_id",
            (message_id, *_span(message_id)),
        ).fetchone()
        if row is not None:
            done[row[0]] += 1
    if done:
        release_bodies(db, done)
    return count


def defer(
    db: Database,
    entry_id: int,
    *,
    next_at: int,
    attempts: int,
    waited_s: int,
    tried_at: int,
    last_reply: str,
    delay_warned: bool | None = None,
    route: Route | None = None,
) -> None:
    """Note a failed attempt: when to try next, the age so far, the last reply; perhaps a warning sent, or a new route.

    An entry that is settled or removed meanwhile is left alone.
    """
    changed = (route.transport, route.next_hop, route.policy) if route else (None, None, None)
    db.execute(
        "UPDATE queue_entry SET next_at = ?, attempts = ?, waited_s = ?, tried_at = ?, last_reply = ?,"
        " delay_warned = ifnull(?, delay_warned), transport = ifnull(?, transport), next_hop = ifnull(?, next_hop),"
        " policy = ifnull(?, policy) WHERE id = ?",
        (next_at, attempts, waited_s, tried_at, last_reply[:MAX_REPLY], delay_warned, *changed, entry_id),
    )


def bring_forward(db: Database, now: int, latest: int) -> int:
    """Make waiting recipients due now that would fall due after `latest`, both in epoch seconds. Returns how many."""
    return db.execute("UPDATE queue_entry SET next_at = ? WHERE held = 0 AND next_at > ?", (now, latest)).rowcount


def hold(db: Database, entry_ids: Sequence[int] | None = None, *, domain: str | None = None) -> int:
    """Keep recipients back until they are released: by id, by recipient domain, or all. Returns how many."""
    return _update(db, "held = 1", (), entry_ids, domain, "held = 0")


def release(db: Database, entry_ids: Sequence[int] | None = None, *, domain: str | None = None) -> int:
    """Let held recipients go on, due now. Returns how many."""
    return _update(db, "held = 0, next_at = ?", (db.now,), entry_ids, domain, "held = 1")


def retry(db: Database, entry_ids: Sequence[int] | None = None, *, domain: str | None = None) -> int:
    """Make waiting recipients due now; held ones stay held. Returns how many."""
    return _update(db, "next_at = ?", (db.now,), entry_ids, domain, "held = 0")


def remove(db: Database, entry_ids: Sequence[int] | None = None, *, domain: str | None = None) -> list[QueueEntry]:
    """Remove recipients without a notification, and return what they were."""
    condition, parameters = _chosen(entry_ids, domain)
    found = [_entry(row) for row in db.execute(f"SELECT {_ENTRY} FROM queue_entry e WHERE {condition}", parameters)]
    settle(db, [one.id for one in found])
    return found


def entry_ids_of(db: sqlite3.Connection, message_id: int) -> list[int]:
    """The ids of one message's entries. Raises NotFoundError if it is not queued."""
    found = [row[0] for row in db.execute("SELECT id FROM queue_entry WHERE id BETWEEN ? AND ?", _span(message_id))]
    if not found:
        raise NotFoundError(f"message {message_id} is not in the queue")
    return found


def queued_row(message_id: int, envelope: Envelope, size: int, now: int, trace_id: str) -> tuple[object, ...]:
    """A row of `queued`. The message's id is its body's: one accept makes at most one of each."""
    sender = str(envelope.sender) if envelope.sender is not None else None
    asked = (envelope.ret, envelope.envid, envelope.body, envelope.smtputf8, 0)
    return (message_id, message_id, sender, *asked, size, now, trace_id)


def entry_rows(message_id: int, wishes: Sequence[QueueWish], now: int) -> Iterator[tuple[object, ...]]:
    """Rows of `queue_entry`, due now. Raises StoreError above MAX_ENTRIES."""
    if len(wishes) > MAX_ENTRIES:
        raise StoreError(f"a message is queued for at most {MAX_ENTRIES} recipients")
    for number, wish in enumerate(wishes):
        recipient, route = wish.recipient, wish.route
        to = (str(recipient.address), ",".join(sorted(recipient.notify)), recipient.orcpt)
        way = (route.transport, route.next_hop, route.policy)
        yield ((message_id << ENTRY_BITS) + number, wish.hold, 0, 0, 0, now, 0, *to, *way, "")


def _span(message_id: int) -> tuple[int, int]:
    return message_id << ENTRY_BITS, (message_id + 1 << ENTRY_BITS) - 1


def _chosen(entry_ids: Sequence[int] | None, domain: str | None) -> tuple[str, list[str]]:
    condition, parameters = "1", []
    if entry_ids is not None:
        condition += " AND id IN (SELECT value FROM json_each(?))"
        parameters.append(json_list(entry_ids))
    if domain is not None:
        condition += " AND substr(address, -length(?) - 1) = '@' || ?"
        parameters += [domain.lower()] * 2
    return condition, parameters


def _update(
    db: Database,
    change: str,
    values: tuple[int, ...],
    entry_ids: Sequence[int] | None,
    domain: str | None,
    extra: str,
) -> int:
    condition, parameters = _chosen(entry_ids, domain)
    return db.execute(f"UPDATE queue_entry SET {change} WHERE {condition} AND {extra}", [*values, *parameters]).rowcount


def _pair(row: Sequence[Any]) -> tuple[QueuedMessage, QueueEntry]:
    return _queued(row[:11]), _entry(row[11:])


def _queued(row: Sequence[Any]) -> QueuedMessage:
    number, body_id, sender, ret, envid, body, smtputf8, require_tls, size, created_at, trace_id = row
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
        require_tls=bool(require_tls),
    )


def _entry(row: Sequence[Any]) -> QueueEntry:
    (
        number,
        held,
        attempts,
        waited,
        tried_at,
        next_at,
        warned,
        address,
        notify,
        orcpt,
        transport,
        next_hop,
        policy,
        reply,
    ) = row
    return QueueEntry(
        id=number,
        message_id=number >> ENTRY_BITS,
        recipient=Recipient(
            Address.parse(address),
            frozenset(notify.split(",")) if notify else frozenset(),
            orcpt,
        ),
        route=Route(transport, next_hop, policy),
        state="held" if held else "active",
        attempts=attempts,
        waited_s=waited,
        next_at=next_at,
        delay_warned=bool(warned),
        last_reply=reply,
        tried_at=tried_at,
    )
