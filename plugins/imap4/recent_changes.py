"""What has changed lately in mailboxes: who was away for a short time is told without a look at all messages.

It is what the store has published, so it begins with the first change that it sees of a mailbox, and it knows nothing
of what is committed but not published yet: whoever asks says up to which modseq the answer must reach.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.store import Change

MAX_UIDS = 500  # of one mailbox
MAX_MAILBOXES = 32  # those that have changed last

Rows = list[tuple[int, int]]  # (uid, modseq)


class _Log:
    """The changes of one mailbox after the modseq `since`, up to `upto`, without a gap."""

    __slots__ = ("changes", "count", "since", "upto")

    def __init__(self, since: int) -> None:
        self.begin(since)

    def begin(self, since: int) -> None:
        """Know nothing of what came up to there."""
        self.since = self.upto = since
        self.changes: deque[tuple[int, Sequence[int]]] = deque()
        self.count = 0

    def add(self, modseq: int, uids: Sequence[int]) -> None:
        self.changes.append((modseq, uids))
        self.count += len(uids)
        self.upto = modseq
        while self.count > MAX_UIDS:
            self.since, dropped = self.changes.popleft()
            self.count -= len(dropped)


class RecentChanges:
    """The logs of some mailboxes. Lives on the event loop."""

    __slots__ = ("_logs",)

    def __init__(self) -> None:
        self._logs: OrderedDict[int, _Log] = OrderedDict()

    def note(self, change: Change) -> None:
        """Remember a change: the callback for all that the store publishes."""
        log = self._logs.get(change.mailbox_id)
        if log is None:
            log = self._logs[change.mailbox_id] = _Log(change.modseq - 1)
            if len(self._logs) > MAX_MAILBOXES:
                self._logs.popitem(last=False)
        else:
            self._logs.move_to_end(change.mailbox_id)
            if change.modseq != log.upto + 1:
                log.begin(change.modseq - 1)
        if change.expunged or any(edit.first_uid != edit.last_uid for edit in change.edits):
            log.begin(change.modseq)  # the store knows what is gone, and which of a range had other flags before
            return
        edited = (edit.first_uid for edit in change.edits)
        log.add(change.modseq, tuple(dict.fromkeys(chain(change.added, (uid for uid, _ in change.flags), edited))))

    def changed_since(self, mailbox_id: int, modseq: int, upto: int) -> Rows | None:
        """(uid, modseq) of the messages that have changed, or come, after `modseq`, ascending; none has gone since.

        None if that is not known for all up to the modseq `upto`. Later changes may be in it.
        """
        log = self._logs.get(mailbox_id)
        if log is None or modseq < log.since or log.upto < upto:
            return None
        found: dict[int, int] = {}
        for at, uids in reversed(log.changes):
            if at <= modseq:
                break
            for uid in uids:
                found.setdefault(uid, at)
        return sorted(found.items())
