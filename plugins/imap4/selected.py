"""The mailbox that a session has selected: its view, the changes still to be told, and when (RFC 3501 section 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from appliance.errors import NotFoundError
from appliance.store.mailboxes import keyword_names, mailbox_by_id
from appliance.store.messages import list_flags
from appliance.store.model import FIRST_KEYWORD_BIT, MAX_KEYWORDS, SEEN, FlagEdit, Mailbox
from plugins.imap4.protocol_respond import flags_line, permanent_flags_line, untagged
from plugins.imap4.view import View

if TYPE_CHECKING:
    from appliance.store import Change, Store
    from appliance.store.database import Database
    from plugins.imap4.recent import Recent

MAX_PENDING = 5_000  # uids and flags in notices that wait; above it the mailbox is read again instead


class Selected:
    """One selected mailbox of one session.

    Notices of the store are kept until the session comes to `news`; a client that stays silent for long costs no
    more than MAX_PENDING of them.
    """

    __slots__ = (
        "_changed",
        "_gone",
        "_new_keywords",
        "_owner",
        "_pending",
        "_pending_size",
        "_recent",
        "_stale",
        "_store",
        "_told",
        "_unsubscribe",
        "_wake",
        "mailbox_id",
        "name",
        "read_only",
        "uidnext",
        "uidvalidity",
        "view",
    )

    def __init__(
        self,
        store: Store,
        recent: Recent,
        mailbox: Mailbox,
        *,
        read_only: bool,
        owner: object,
        wake: Callable[[], None],
    ) -> None:
        """Watch the mailbox; `wake` is called when there is something to tell. Call `open` next.

        `owner` is what the session gives as origin of its own writes.
        """
        self.mailbox_id = mailbox.id
        self.name = mailbox.name
        self.read_only = read_only
        self.uidvalidity = mailbox.uidvalidity
        self.uidnext = mailbox.uidnext
        self.view = View((), (), mailbox.keywords)
        self._store = store
        self._recent = recent
        self._owner = owner
        self._wake = wake
        self._pending: list[Change] = []
        self._pending_size = 0
        self._stale = False  # notices were thrown away
        self._gone: set[int] = set()  # uids whose EXPUNGE waits
        self._changed: set[int] = set()  # uids whose flags are to be told
        self._new_keywords = False
        self._told = (0, 0)  # EXISTS and RECENT as the client knows them
        self._unsubscribe = store.changes.subscribe(mailbox.id, self._notice)

    async def open(self) -> None:
        """Read the mailbox. Raises NotFoundError if it was deleted meanwhile."""
        mailbox, self.view = await self._store.read(self._look)
        self.uidvalidity, self.uidnext = mailbox.uidvalidity, mailbox.uidnext
        self._claim(mailbox.uidnext)
        self._told = (len(self.view), self.view.count_recent())

    def close(self) -> None:
        """Stop watching."""
        self._unsubscribe()
        self._pending.clear()
        if not self.read_only:
            self._recent.release(self.mailbox_id)

    def greeting(self) -> bytes:
        """What SELECT and EXAMINE answer before their completion (RFC 3501 section 6.3.1)."""
        exists, recent = self._told
        unseen = next(iter(self.view.with_flags(range(exists), SEEN, present=False)), None)
        lines = [self._flags_lines(), b"* %d EXISTS\r\n* %d RECENT\r\n" % (exists, recent)]
        if unseen is not None:
            lines.append(untagged("OK", "First unseen", f"UNSEEN {unseen + 1}"))
        lines.append(untagged("OK", "UIDs valid", f"UIDVALIDITY {self.uidvalidity}"))
        lines.append(untagged("OK", "Predicted next UID", f"UIDNEXT {self.uidnext}"))
        return b"".join(lines)

    # ── notices ───────────────────────────────────────────────────────────────────────────────────────────────────

    def tell_flags_of(self, uids: Iterable[int]) -> None:
        """Tell the flags of these messages with the next `news`, whether they have changed or not.

        The session's own changes of flags are not told by themselves: it may have asked for silence.
        """
        self._changed.update(uids)

    @property
    def has_news(self) -> bool:
        """Whether `news` may have something to tell."""
        return bool(self._pending or self._stale or self._gone or self._changed)

    def _notice(self, change: Change) -> None:
        if not self._stale:
            self._pending.append(change)
            if change.origin is not self._owner:
                self._pending_size += len(change.added) + len(change.expunged) + len(change.flags) + len(change.edits)
            if self._pending_size > MAX_PENDING:
                self._pending.clear()
                self._stale = True
        self._wake()

    async def news(self, *, expunges: bool) -> bytes:
        """Bring the view up to date and return the untagged responses that tell the client.

        EXPUNGE waits unless `expunges`: message numbers must not move under a command that uses them (RFC 3501
        sections 5.5 and 7.4.1). Raises NotFoundError when the mailbox is gone.
        """
        await self.absorb()
        lines: list[bytes] = []
        if self._new_keywords:
            lines.append(self._flags_lines())
            self._new_keywords = False
        if self._gone and expunges:
            lines.append(self._tell_expunged())
        told = (len(self.view), self.view.count_recent())
        if told[0] != self._told[0]:
            lines.append(b"* %d EXISTS\r\n" % told[0])
        if told[1] != self._told[1]:
            lines.append(b"* %d RECENT\r\n" % told[1])
        self._told = told
        if self._changed:
            lines.append(self._tell_flags())
        return b"".join(lines)

    async def absorb(self) -> None:
        """Bring the view up to date without telling yet; message numbers stay as they are."""
        if self._stale:
            await self._resync()
        elif self._pending:
            await self._take_in()

    async def _take_in(self) -> None:
        """Apply the notices that wait, in their order. What is already in the view is passed over."""
        pending, self._pending, self._pending_size = self._pending, [], 0
        last = self.view.uids[-1] if len(self.view) else 0
        expunged = {uid for change in pending for uid in change.expunged}
        added = [uid for change in pending for uid in change.added if uid > last and uid not in expunged]
        self._gone.update(uid for uid in expunged if self.view.index(uid) >= 0)
        if added:
            flags = {uid: flags for change in pending for uid, flags in change.flags}
            if not all(uid in flags for uid in added):
                flags = dict(await self._store.read(lambda db: list_flags(db, self.mailbox_id, last)))
            self._add([(uid, flags[uid]) for uid in added if uid in flags])
        for change in pending:
            self._update(change.flags, quietly=change.origin is self._owner)
            self._edit(change.edits, quietly=change.origin is self._owner)

    async def _resync(self) -> None:
        """Compare with what the store has now."""
        self._pending, self._pending_size, self._stale = [], 0, False
        mailbox, rows = await self._store.read(self._read)
        self._take_keywords(mailbox.keywords)
        last = self.view.uids[-1] if len(self.view) else 0
        self._gone = set(self.view.uids).difference(row[0] for row in rows)
        self._update(rows, quietly=False)
        self._add([row for row in rows if row[0] > last])

    def _add(self, rows: Sequence[tuple[int, int]]) -> None:
        if not rows:
            return
        self._check_keywords(rows)
        self.view.append([row[0] for row in rows], [row[1] for row in rows])
        self._claim(rows[-1][0] + 1)

    def _update(self, rows: Sequence[tuple[int, int]], *, quietly: bool) -> None:
        if rows:
            self._check_keywords(rows)
            changed = self.view.update(rows)
            if not quietly:
                self._changed.update(changed)

    def _edit(self, edits: Sequence[FlagEdit], *, quietly: bool) -> None:
        for edit in edits:
            self._check_keywords([(0, edit.add)])
            self._changed.update(self.view.edit(edit, quietly=quietly))

    def _claim(self, uidnext: int) -> None:
        self.uidnext = max(self.uidnext, uidnext)
        if self.read_only:
            first = self._recent.first(self.mailbox_id)
        else:
            first = self._recent.claim(self.mailbox_id, uidnext)
        self.view.add_recent(first, uidnext - 1)

    # ── keywords ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_keywords(self, rows: Sequence[tuple[int, int]]) -> None:
        """Read the names of keywords that are new."""
        known = self.view.keyword_mask | (1 << FIRST_KEYWORD_BIT) - 1
        if any(flags & ~known for flags in {flags for _, flags in rows}):
            self._take_keywords(self._store.peek(lambda db: keyword_names(db, self.mailbox_id)))

    def _take_keywords(self, names: tuple[str, ...]) -> None:
        if names != self.view.keywords:
            self.view.set_keywords(names)
            self._new_keywords = True

    def _flags_lines(self) -> bytes:
        names = self.view.keywords
        more = len(names) < MAX_KEYWORDS
        return flags_line(names) + permanent_flags_line(names, read_only=self.read_only, more=more)

    # ── telling ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell_expunged(self) -> bytes:
        """EXPUNGE from the last to the first, so that no number changes while they are read."""
        indexes = self._places(self._gone)
        self._changed -= self._gone
        self._gone.clear()
        self.view.remove(indexes)
        self._told = (self._told[0] - len(indexes), self._told[1])
        return b"".join([b"* %d EXPUNGE\r\n" % (index + 1) for index in reversed(indexes)])

    def _tell_flags(self) -> bytes:
        view = self.view
        indexes = self._places(self._changed)
        self._changed.clear()
        columns = zip(indexes, view.uids_at(indexes), view.flag_texts(indexes), strict=True)
        return b"".join(
            [b"* %d FETCH (UID %d FLAGS (%b))\r\n" % (index + 1, uid, text) for index, uid, text in columns]
        )

    def _places(self, uids: set[int]) -> Sequence[int]:
        """The indexes of messages, ascending."""
        view = self.view
        if len(uids) >= len(view) and uids.issuperset(view.uids):
            return range(len(view))
        if len(uids) * 8 > len(view):
            return [index for index, uid in enumerate(view.uids) if uid in uids]
        return sorted(index for uid in uids if (index := view.index(uid)) >= 0)

    def _look(self, db: Database) -> tuple[Mailbox, View]:
        """The mailbox and a view of it; made on a reader thread, since a large one takes its time."""
        mailbox, rows = self._read(db)
        return mailbox, View([row[0] for row in rows], [row[1] for row in rows], mailbox.keywords)

    def _read(self, db: Database) -> tuple[Mailbox, list[tuple[int, int]]]:
        mailbox = mailbox_by_id(db, self.mailbox_id)
        if mailbox is None:
            raise NotFoundError("the mailbox was deleted")
        return mailbox, list_flags(db, self.mailbox_id)
