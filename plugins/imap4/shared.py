"""What all IMAP sessions of the appliance share."""

from __future__ import annotations

from collections import Counter

from appliance.core import Core
from appliance.store.index import SearchIndex
from plugins.imap4.answer_cache import AnswerCache
from plugins.imap4.column_cache import ColumnCache
from plugins.imap4.recent import Recent
from plugins.imap4.recent_changes import RecentChanges
from plugins.imap4.search_fields import FieldBlock
from plugins.imap4.sort_block import SortBlock
from plugins.imap4.view_cache import ViewCache


class Shared:
    """The core, claims of recent messages, what was searched and sorted by, the last answers, and sessions."""

    __slots__ = ("answers", "changes", "core", "fields", "index", "recent", "sessions", "sorts", "views")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.recent = Recent(core.store)
        self.changes = RecentChanges()
        core.store.changes.subscribe(None, self.changes.note)
        self.fields: ColumnCache[FieldBlock] = ColumnCache()
        self.sorts: ColumnCache[SortBlock] = ColumnCache()
        self.answers = AnswerCache()
        self.index: SearchIndex | None = None
        self.views = ViewCache()
        self.sessions: Counter[int] = Counter()  # account id → sessions logged in

    def admit(self, account_id: int, most: int) -> bool:
        """Count one more session of an account; False, and not counted, if it has `most` already."""
        if self.sessions[account_id] >= most:
            return False
        self.sessions[account_id] += 1
        return True

    def leave(self, account_id: int) -> None:
        """One session of an account has ended."""
        self.sessions[account_id] -= 1
        if self.sessions[account_id] <= 0:
            del self.sessions[account_id]
