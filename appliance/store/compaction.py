"""Giving back room: segment files that are half dead are rewritten, free pages of the database cut off."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence

from appliance.errors import StoreFullError
from appliance.store.database import PAGE_SIZE, Database
from appliance.store.segments import Extent, Segments

LIVE_PERCENT = 50  # a file with less live octets than this is rewritten
URGENT_PERCENT = 90  # the same where all room counts
STEP_BYTES = 4 << 20  # octets that one transaction moves
SHORT_BYTES = 4 * STEP_BYTES  # free on the disk; with less, no text is moved from where its room cannot be given back
FREE_PERCENT = 50  # free pages of the database above which it is made smaller; below, they are for the next mail
FREE_BYTES = 16 << 20  # and no smaller than this is worth the writes
STEP_PAGES = 2000  # that one step cuts off
SHRINK_COST = 4 * PAGE_SIZE  # octets of log for each, at most: another page moves, and two or three must name it

Moved = tuple[int, Extent, Extent]  # body, from, to

log = logging.getLogger(__name__)


def candidates(db: sqlite3.Connection, segments: Segments, *, urgent: bool = False) -> list[int]:
    """Files worth rewriting or deleting, those with the least to move first. `urgent`: all room counts."""
    percent = URGENT_PERCENT if urgent else LIVE_PERCENT
    live = dict(db.execute("SELECT segment, sum(length) FROM extent GROUP BY segment"))
    found = []
    for number in segments.idle_numbers():
        size, lives = segments.path(number).stat().st_size, live.get(number, 0)
        if lives * 100 < size * percent or not size:
            found.append((lives, number))
    return [number for _, number in sorted(found)]


def dead(db: sqlite3.Connection, segments: Segments) -> list[int]:
    """Files in which nothing lives."""
    live = {number for (number,) in db.execute("SELECT DISTINCT segment FROM extent")}
    return [number for number in segments.idle_numbers() if number not in live]


def live_extents(db: sqlite3.Connection, number: int) -> list[tuple[int, Extent]]:
    """(body, extent) of all texts that still lie in a file."""
    rows = db.execute("SELECT body_id, position, length FROM extent WHERE segment = ? ORDER BY position", (number,))
    return [(body, Extent(number, position, length)) for body, position, length in rows]


def rewrite(
    segments: Segments, extents: Sequence[tuple[int, Extent]], commit: Callable[[Sequence[Moved]], None]
) -> None:
    """Copy texts to the current file in steps; `commit` makes each step the truth.

    The last ones go first, and what lies behind those that are left is given back after each step: so the file need
    not fit a second time beside itself. While the file is held, nothing is: where room is short, the work ends then.
    The extents ascend.
    """
    step: list[Moved] = []
    octets, left = 0, list(extents)
    if left and segments.is_held(left[0][1].segment) and _is_short(segments):
        return
    while left:
        body, extent = left.pop()
        text = segments.read(extent.segment, extent.position, extent.length)
        try:
            step.append((body, extent, segments.append([text])))
        except StoreFullError:
            if step:
                commit(step)  # as far as it came
            raise
        octets += extent.length
        if octets >= min(STEP_BYTES, segments.free_octets() // 2) or not left:
            commit(step)
            step, octets = [], 0
            if left and not segments.cut(extent.segment, extent.position) and _is_short(segments):
                return


def _is_short(segments: Segments) -> bool:
    return segments.free_octets() < SHORT_BYTES


def surplus(db: sqlite3.Connection, *, everything: bool = False) -> bool:
    """Whether so much of the database is free that it should be made smaller; with `everything`, any page."""
    (size,), (free,), (pages,) = (
        db.execute(f"PRAGMA {what}").fetchone() for what in ("page_size", "freelist_count", "page_count")
    )
    if everything:
        return bool(free)
    return bool(free * size > FREE_BYTES and free * 100 > pages * FREE_PERCENT)


def shrink(db: Database, room: int | None = None) -> bool:
    """Cut off one step of free pages. Runs outside a transaction; the next checkpoint cuts the file.

    `room` is what the log may take, in octets: it logs the pages that take the place of those cut off. False if that
    is too little.
    """
    pages = STEP_PAGES if room is None else min(STEP_PAGES, room // SHRINK_COST)
    if pages <= 0:
        return False
    db.executescript(f"PRAGMA incremental_vacuum({pages})")  # `execute` of Python 3.11 cuts off one page, not all
    return True


def record_moves(db: Database, moves: Sequence[Moved]) -> None:
    """Let the rows name the new places. What was removed meanwhile stays removed."""
    for body, old, new in moves:
        changed = db.execute(
            "UPDATE body SET segment = ?, position = ? WHERE id = ? AND segment = ? AND position = ?",
            (new.segment, new.position, body, old.segment, old.position),
        ).rowcount
        db.execute("DELETE FROM extent WHERE segment = ? AND position = ?", (old.segment, old.position))
        if changed:
            db.execute("INSERT INTO extent VALUES (?, ?, ?, ?)", (new.segment, new.position, new.length, body))
