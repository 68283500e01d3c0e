"""Views of mailboxes that were left lately: programs that come back find them, and only what has changed is read."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from appliance.store.history import expunged_since
from appliance.store.messages import flags_since
from plugins.imap4.uid_spans import merged
from plugins.imap4.view import View

if TYPE_CHECKING:
    from appliance.store import Database, Mailbox

MAX_MESSAGES = 400_000  # of all views that are kept; each takes one to five octets


class Kept(NamedTuple):
    """A view as it was at a state of its mailbox. It is never changed, only copied."""

    uidvalidity: int
    modseq: int
    view: View


class ViewCache:
    """One view for a mailbox, the newest; those left longest ago make room."""

    __slots__ = ("_kept", "_messages")

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._messages = 0

    def keep(self, mailbox_id: int, kept: Kept) -> None:
        """Keep a view that nobody else holds, unless it is too large or an older one."""
        before = self._kept.get(mailbox_id)
        if len(kept.view) > MAX_MESSAGES or (before is not None and before.modseq > kept.modseq):
            return
        self._messages += len(kept.view) - (0 if before is None else len(before.view))
        self._kept[mailbox_id] = kept
        self._kept.move_to_end(mailbox_id)
        while self._messages > MAX_MESSAGES:
            _, oldest = self._kept.popitem(last=False)
            self._messages -= len(oldest.view)

    def get(self, mailbox_id: int) -> Kept | None:
        """What is kept of a mailbox."""
        return self._kept.get(mailbox_id)


def brought_up(db: Database, kept: Kept, mailbox: Mailbox) -> View | None:
    """A copy of the view with all that has happened since; None if the mailbox has to be read anew."""
    if kept.uidvalidity != mailbox.uidvalidity or kept.modseq > mailbox.highestmodseq:
        return None
    view = kept.view.copy(mailbox.keywords)
    if kept.modseq < mailbox.highestmodseq:
        gone = expunged_since(db, mailbox.id, kept.modseq, mailbox.highestmodseq)
        if gone is None:
            return None
        view.remove(view.select(tuple(merged(gone)), by_uid=True) if gone else ())
        last = view.uids[-1] if len(view) else 0
        rows = flags_since(db, mailbox.id, kept.modseq)
        view.update([row for row in rows if row[0] <= last])
        new = [row for row in rows if row[0] > last]
        view.append([row[0] for row in new], [row[1] for row in new])
    return view if len(view) == mailbox.messages else None
