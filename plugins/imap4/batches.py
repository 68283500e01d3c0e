"""How many messages are read at once: ranges of UIDs to ask the store for, and groups by size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from appliance.store.model import MessageRow

MAX_GAP = 8  # uids between two wanted ones that are read and dropped rather than asked around


def spans(uids: Sequence[int], gap: int = MAX_GAP) -> list[tuple[int, int]]:
    """Ranges that hold all of these ascending UIDs, and few others: steps of up to `gap` do not part them."""
    if not uids:
        return []
    if uids[-1] - uids[0] + 1 - len(uids) < gap:
        return [(uids[0], uids[-1])]
    found = []
    first = uids[0]
    for uid, following in pairwise(uids):
        if following - uid > gap:
            found.append((first, uid))
            first = following
    found.append((first, uids[-1]))
    return found


def groups(rows: Sequence[MessageRow], octets: int, count: int) -> Iterator[list[MessageRow]]:
    """Messages to be loaded one after the other: at most `octets` and `count` together, a larger message alone."""
    group: list[MessageRow] = []
    total = 0
    for row in rows:
        if group and (total + row.size > octets or len(group) >= count):
            yield group
            group, total = [], 0
        group.append(row)
        total += row.size
    if group:
        yield group
