"""One value of each message, for all messages of a mailbox: read once, and kept for a while in a `ColumnCache`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from plugins.imap4.column_cache import ColumnCache, K

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

BATCH = 2_000  # messages that are read by one hop to a thread

Make = Callable[["Database", int, int, Sequence[bytes]], list[K]]
"""Reads columns of the messages from one uid to another: one block for each name."""


async def columns(
    session: ImapSession, selected: Selected, cache: ColumnCache[K], names: Sequence[bytes], make: Make[K]
) -> dict[bytes, tuple[K, ...]] | None:
    """The columns of all messages in the view; what is not kept is read. None if there is no room for them."""
    mailbox_id, uids = selected.mailbox_id, selected.view.uids
    found = {name: cache.column(mailbox_id, name) for name in names}
    while (after := min(column.covered for column in found.values())) < uids[-1]:
        lagging = [name for name, column in found.items() if column.covered == after]
        end = uids[min(bisect_right(uids, after) + BATCH, len(uids)) - 1]
        end = min([end, *(column.covered for column in found.values() if column.covered > after)])

        def read(db: Database, after: int = after, end: int = end, lagging: Sequence[bytes] = lagging) -> list[K]:
            return make(db, after + 1, end, lagging)

        for name, block in zip(lagging, await session.core.store.read(read), strict=True):
            cache.extend(found[name], after, block, end)
        if any(column.too_large for column in found.values()):
            return None
    return {name: column.blocks for name, column in found.items()}
