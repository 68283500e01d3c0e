"""Mailboxes that were looked up since the last commit: clients ask for the state of many, over and over."""

from __future__ import annotations

from collections.abc import Callable

from appliance.store.mailboxes import get_mailbox
from appliance.store.model import Mailbox
from appliance.store.shortcut import Peek

MAX_KNOWN = 1000


class KnownMailboxes:
    """Answers from memory while nothing is written. Lives on the event loop."""

    __slots__ = ("_at", "_commits", "_found", "_peek")

    def __init__(self, peek: Peek, commits: Callable[[], int]) -> None:
        """`commits` counts the transactions of all: it has grown before anybody is told of one."""
        self._peek = peek
        self._commits = commits
        self._at = -1
        self._found: dict[tuple[int, str], Mailbox] = {}

    def get(self, account_id: int, name: str) -> Mailbox | None:
        """What `get_mailbox` finds."""
        commits = self._commits()  # before the look: what is committed meanwhile makes the next one look again
        if commits != self._at:
            self._at = commits
            self._found.clear()
        found = self._found.get((account_id, name))
        if found is None:
            found = self._peek(lambda db: get_mailbox(db, account_id, name))
            if found is not None:
                if len(self._found) >= MAX_KNOWN:
                    self._found.clear()
                self._found[account_id, name] = found
        return found
