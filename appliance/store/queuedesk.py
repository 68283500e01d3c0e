"""The queue as people see and steer it: choosing entries, listing them, holding and rerouting. Functions of (db, …).

What is shown is read as octets: it must come out whatever a damaged row holds.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appliance.mail.delivery import Route
from appliance.store.database import Database, json_list
from appliance.store.queue import ACTIVE, DAMAGED, ENTRY_BITS, HELD, STATES, Event, State, note

AGES_MIN = (5, 10, 20, 40, 80, 160, 320, 640, 1280)  # the columns of a summary, in minutes; what is older comes last

_AGES_S = [60 * age for age in AGES_MIN]
# Verified waiting, and what has gone by since the last attempt; before the first one, since the message came.
_AGE = (
    "max(CASE WHEN e.attempts = 0 OR e.tried_at = 0 THEN ifnull(:now - q.created_at, 0)"
    " ELSE e.waited_s + max(0, :now - e.tried_at) END, 0)"
)
_FROM = f"queue_entry e LEFT JOIN queued q ON q.id = e.id >> {ENTRY_BITS}"
_SHOWN = (
    "id", "held", "attempts", "waited_s", "tried_at", "next_at", "address", "transport", "next_hop", "policy",
    "last_reply", "body_id", "sender", "size", "created_at", "trace_id", "age_s", "priority", "release_at",
    "deliver_by",
)  # fmt: skip
_TERMS = f"LEFT JOIN queue_terms t ON t.id = e.id >> {ENTRY_BITS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which entries are meant: those among `ids` or `domains`, if any are given, that all the rest is true of.

    `sender` and `recipient` are an address, a domain, or a pattern with `*`; the sender `<>` is the null sender.
    """

    ids: tuple[int, ...] | None = None
    domains: tuple[str, ...] = ()  # recipient domains in lower case
    subdomains: bool = False  # those below them, too
    sender: str = ""
    recipient: str = ""
    reason: str = ""  # stands in the last reply
    state: State | None = None
    via: str = ""  # transport or next hop
    older_s: int = 0
    newer_s: int = 0
    released: bool = False  # not those whose sender wants them to leave later

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection() or self == Selection(released=True)


def _condition(chosen: Selection, now: int) -> tuple[str, dict[str, object]]:
    conditions, values = ["1"], dict[str, object](now=now)
    either = []
    if chosen.ids is not None:
        either.append("e.id IN (SELECT value FROM json_each(:ids))")
        values["ids"] = json_list(chosen.ids)
    for number, domain in enumerate(chosen.domains):
        values[f"domain{number}"] = f"@{domain}"
        either.append(f"substr(e.address, -length(:domain{number})) = :domain{number}")
        if chosen.subdomains:
            values[f"below{number}"] = f".{domain}"
            either.append(f"substr(e.address, -length(:below{number})) = :below{number}")
    if either:
        conditions.append(f"({' OR '.join(either)})")
    for name, column in (("sender", "q.sender"), ("recipient", "e.address")):
        wanted = getattr(chosen, name)
        if wanted == "<>":
            conditions.append(f"({column} IS NULL AND q.id IS NOT NULL)")
        elif wanted:
            conditions.append(f"{column} LIKE :{name} ESCAPE '\\'")
            values[name] = _like(wanted if "@" in wanted or "*" in wanted else f"*@{wanted}")
    if chosen.reason:
        conditions.append("e.last_reply LIKE :reason ESCAPE '\\'")
        values["reason"] = f"%{_like(chosen.reason)}%"
    if chosen.state is not None:
        conditions.append(
            f"e.held NOT IN ({ACTIVE}, {HELD})" if chosen.state == "damaged" else f"e.held = {_HELD[chosen.state]}"
        )
    if chosen.via:
        conditions.append("(e.transport = :via OR e.next_hop = :via)")
        values["via"] = chosen.via
    if chosen.older_s:
        conditions.append(f"{_AGE} >= :older")
        values["older"] = chosen.older_s
    if chosen.newer_s:
        conditions.append(f"{_AGE} < :newer")
        values["newer"] = chosen.newer_s
    if chosen.released:
        conditions.append(
            f"NOT EXISTS (SELECT 1 FROM queue_terms t WHERE t.id = e.id >> {ENTRY_BITS} AND t.release_at > :now)"
        )
    return " AND ".join(conditions), values


_HELD = {state: held for held, state in STATES.items()}


def _like(pattern: str) -> str:
    for special in ("\\", "%", "_"):
        pattern = pattern.replace(special, f"\\{special}")
    return pattern.replace("*", "%")


def chosen_ids(db: sqlite3.Connection, chosen: Selection, now: int) -> list[int]:
    """The ids of all entries that are meant."""
    condition, values = _condition(chosen, now)
    return [row[0] for row in db.execute(f"SELECT e.id FROM {_FROM} WHERE {condition} ORDER BY e.id", values)]


def count(db: sqlite3.Connection, chosen: Selection, now: int) -> int:
    """How many entries are meant."""
    if chosen == Selection():
        return int(db.execute("SELECT count(*) FROM queue_entry").fetchone()[0])
    condition, values = _condition(chosen, now)
    return int(db.execute(f"SELECT count(*) FROM {_FROM} WHERE {condition}", values).fetchone()[0])


def listed(
    db: sqlite3.Connection, chosen: Selection, now: int, *, after: int = 0, limit: int = 1000
) -> list[dict[str, Any]]:
    """Entries by id, each with all that people want to know. `after` is an entry's id."""
    condition, values = _condition(chosen, now)
    rows = db.execute(
        "SELECT e.id, e.held, e.attempts, e.waited_s, e.tried_at, e.next_at, CAST(e.address AS BLOB),"
        " CAST(e.transport AS BLOB), CAST(e.next_hop AS BLOB), CAST(e.policy AS BLOB), CAST(e.last_reply AS BLOB),"
        f" q.body_id, CAST(q.sender AS BLOB), q.size, q.created_at, CAST(q.trace_id AS BLOB), {_AGE}, t.priority,"
        f" t.release_at, t.deliver_by FROM {_FROM} {_TERMS} WHERE e.id > :after AND {condition} ORDER BY e.id"
        " LIMIT :limit",
        {**values, "after": after, "limit": limit},
    )
    return [_described(row) for row in rows]


def _described(row: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in zip(_SHOWN, row, strict=True)
    }
    entry_id, held = found.pop("id"), found.pop("held")
    numbers = ("size", "created_at", "priority", "release_at", "deliver_by")
    return {
        "name": name_of(entry_id),
        "recipient": found.pop("address"),
        "sender": found.pop("sender") or "",
        "state": STATES.get(held, "damaged"),
        **found,
        **{name: found[name] or 0 for name in numbers},
        "trace_id": found["trace_id"] or "",
    }


def name_of(entry_id: int) -> str:
    """How an entry is called: `17.0` is recipient 0 of message 17."""
    return f"{entry_id >> ENTRY_BITS}.{entry_id & (1 << ENTRY_BITS) - 1}"


def summary(
    db: sqlite3.Connection, chosen: Selection, now: int, *, by: str = "domain"
) -> list[tuple[str, int, tuple[int, ...]]]:
    """How many entries wait for each recipient domain (`by` domain), sender's domain or next hop, most first.

    Each with the numbers by age: below each of AGES_MIN, then above the last. The ages are those of the whole group.
    """
    condition, values = _condition(chosen, now)
    # From the first @ on, which is a hundred times fewer groups than addresses; a quoted local part may have another.
    column = {
        "domain": "substr(e.address, instr(e.address, '@'))",
        "sender": "ifnull(substr(q.sender, instr(q.sender, '@')), '')",
        "hop": "e.transport || ' ' || e.next_hop",
    }[by]
    key = f"CAST({column} AS BLOB)"
    # Counted here: to sort so many rows into groups takes SQLite four times as long.
    numbers = Counter(
        (text, bisect_right(_AGES_S, age))
        for text, age in db.execute(f"SELECT {key}, {_AGE} FROM {_FROM} WHERE {condition}", values)
    )
    groups: dict[bytes, list[int]] = {}
    for (text, place), number in numbers.items():
        name = text if by == "hop" else text.rpartition(b"@")[2]
        groups.setdefault(name, [0] * (len(AGES_MIN) + 1))[place] += number
    found = [(name.decode("utf-8", "replace"), sum(ages), tuple(ages)) for name, ages in groups.items()]
    return sorted(found, key=lambda group: (-group[1], group[0]))


def history_of(db: sqlite3.Connection, entry_id: int) -> list[Event]:
    """What happened to an entry, the oldest first."""
    rows = db.execute(
        "SELECT at, CAST(what AS BLOB), CAST(text AS BLOB), CAST(peer AS BLOB) FROM queue_history WHERE entry_id = ?"
        " ORDER BY number",
        (entry_id,),
    )
    return [Event(row[0], *(text.decode("utf-8", "replace") for text in row[1:])) for row in rows]


def routes_of(db: sqlite3.Connection, entry_ids: Sequence[int]) -> set[tuple[str, str, str]]:
    """The ways (transport, next hop, policy) that entries go."""
    rows = db.execute(
        "SELECT DISTINCT transport, next_hop, policy FROM queue_entry WHERE held = 0 AND id IN"
        " (SELECT value FROM json_each(?))",
        (json_list(entry_ids),),
    )
    return {(transport, next_hop, policy) for transport, next_hop, policy in rows}


# ── steering ──────────────────────────────────────────────────────────────────────────────────────────────────────


def hold(db: Database, entry_ids: Sequence[int], reason: str = "") -> int:
    """Keep recipients back until they are released. Returns how many."""
    return _steer(db, f"held = {HELD}", (), entry_ids, f"held = {ACTIVE}", "held", reason)


def release(db: Database, entry_ids: Sequence[int]) -> int:
    """Let held recipients go on, due now, and those that were put aside as damaged. Returns how many."""
    return _steer(db, f"held = {ACTIVE}, next_at = ?", (db.now,), entry_ids, f"held <> {ACTIVE}", "released", "")


def retry(db: Database, entry_ids: Sequence[int]) -> int:
    """Make waiting recipients due now; held ones stay held. Returns how many."""
    return _steer(db, "next_at = ?", (db.now,), entry_ids, f"held = {ACTIVE}", "", "")


def reroute(db: Database, entry_ids: Sequence[int], route: Route, reason: str = "") -> int:
    """Send recipients by another way, due now; held ones stay held. Returns how many."""
    change = "transport = ?, next_hop = ?, policy = ?, next_at = ?"
    values = (route.transport, route.next_hop, route.policy, db.now)
    return _steer(db, change, values, entry_ids, f"held < {DAMAGED}", "rerouted", reason)


def _steer(
    db: Database,
    change: str,
    values: tuple[object, ...],
    entry_ids: Sequence[int],
    condition: str,
    what: str,
    reason: str,
) -> int:
    found = db.execute(
        f"UPDATE queue_entry SET {change} WHERE id IN (SELECT value FROM json_each(?)) AND {condition} RETURNING id",
        [*values, json_list(entry_ids)],
    ).fetchall()
    if what:
        note(db, [(entry_id, Event(db.now, what, reason)) for (entry_id,) in found])
    return len(found)
