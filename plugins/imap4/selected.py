"""The mailbox that a session has selected: its view, the changes still to be told, and when (RFC 3501 section 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from appliance.errors import NotFoundError
from appliance.mail.rights import ALL_RIGHTS
from appliance.store.database import ranges
from appliance.store.history import changed_since
from appliance.store.mailboxes import keyword_names, mailbox_by_id
from appliance.store.messages import flag_columns, list_flags, list_modseqs
from appliance.store.model import FIRST_KEYWORD_BIT, MAX_KEYWORDS, SEEN, FlagEdit, Mailbox
from plugins.imap4 import object_id
from plugins.imap4.access import settable
from plugins.imap4.batches import spans
from plugins.imap4.protocol_respond import flags_line, name_line, permanent_flags_line, untagged
from plugins.imap4.uid_spans import vanished_lines
from plugins.imap4.unasked import flag_lines
from plugins.imap4.view import View
from plugins.imap4.view_cache import Kept, brought_up

if TYPE_CHECKING:
    from appliance.store import Change, Store
    from appliance.store.database import Database
    from appliance.store.sharing import Access
    from plugins.imap4.enabled import Enabled
    from plugins.imap4.recent import Recent
    from plugins.imap4.view_cache import ViewCache

MAX_ARRIVED = 1_000  # messages whose arrival waits to be told in detail
AT_ONCE = 5_000  # messages that are told of, or looked at, until others have their turn
MAX_PENDING = 5_000  # uids and flags in notices that wait; above it the mailbox is read again instead


class Selected:
    """One selected mailbox of one session.

    Notices of the store are kept until the session comes to `news`; a client that stays silent for long costs no
    more than MAX_PENDING of them.
    """

    __slots__ = (
        "_arrived",
        "_changed",
        "_enabled",
        "_gone",
        "_new_keywords",
        "_own",
        "_owner",
        "_pending",
        "_pending_size",
        "_recent",
        "_stale",
        "_store",
        "_told",
        "_unsubscribe",
        "_untold",
        "_views",
        "_wake",
        "_wanted",
        "mailbox_id",
        "modseq",
        "name",
        "prefix",
        "read_only",
        "rights",
        "settled_modseq",
        "uidnext",
        "uidvalidity",
        "view",
    )

    def __init__(
        self,
        store: Store,
        recent: Recent,
        views: ViewCache,
        mailbox: Mailbox,
        enabled: Enabled,
        *,
        read_only: bool,
        access: Access | None = None,
        owner: object,
        wake: Callable[[], None],
    ) -> None:
        """Watch the mailbox; `wake` is called when there is something to tell. Call `open` next.

        `access` tells under which name and with which rights, if it is not one's own. `owner` is what the session
        gives as origin of its own writes.
        """
        self.mailbox_id = mailbox.id
        self.name = mailbox.name if access is None else access.name
        self.prefix = "" if access is None else access.prefix  # before the name that it has for its owner
        self.rights = ALL_RIGHTS if access is None else access.rights
        self.read_only = read_only
        self.uidvalidity = mailbox.uidvalidity
        self.uidnext = mailbox.uidnext
        self.modseq = 0  # of the state that the view shows
        self.settled_modseq = 0  # of the last state that the client was told of completely
        self.view = View((), (), mailbox.keywords)
        self._enabled = enabled
        self._store = store
        self._recent = recent
        self._views = views
        self._owner = owner
        self._wake = wake
        self._pending: list[Change] = []
        self._pending_size = 0
        self._stale = False  # notices were thrown away
        self._gone: set[int] = set()  # uids whose EXPUNGE waits
        self._changed: dict[int, int] = {}  # uids whose flags others have changed, with their modseqs (0: unknown)
        self._own: dict[int, int] = {}  # uids that this session has changed, if it hears of their modseqs
        self._wanted: set[int] = set()  # uids whose flags are to be told in any case
        self._untold = False  # flags have changed that the client does not want to hear of
        self._arrived: list[int] | None = None  # uids that others have added, if they are to be told in detail
        self._new_keywords = False
        self._told = (0, 0)  # EXISTS and RECENT as the client knows them
        self._unsubscribe = store.changes.subscribe(mailbox.id, self._notice)

    async def open(self) -> None:
        """Read the mailbox. Raises NotFoundError if it was deleted meanwhile."""
        kept = self._views.get(self.mailbox_id)
        mailbox = self._store.peek(self._found)
        if kept is not None and (kept.uidvalidity, kept.modseq) == (mailbox.uidvalidity, mailbox.highestmodseq):
            self.view = kept.view.copy(mailbox.keywords)
        else:
            mailbox, self.view = await self._store.read(lambda db: self._look(db, kept))
        self.uidvalidity, self.uidnext = mailbox.uidvalidity, mailbox.uidnext
        self.modseq = self.settled_modseq = mailbox.highestmodseq
        self._claim(mailbox.uidnext)
        self._told = (len(self.view), self.view.count_recent())

    def close(self) -> None:
        """Stop watching."""
        self._unsubscribe()
        self._pending.clear()
        if self.modseq:
            self.view.remove(self._places(self._gone))
            self._views.keep(self.mailbox_id, Kept(self.uidvalidity, self.modseq, self.view))
        if not self.read_only:
            self._recent.release(self.mailbox_id)

    def greeting(self) -> bytes:
        """What SELECT and EXAMINE answer before their completion.

        RFC 3501 section 6.3.1, RFC 9051 section 6.3.2, RFC 7162 section 3.1.2.1, RFC 8474 section 4.2.
        """
        exists, recent = self._told
        lines = [self._flags_lines(), b"* %d EXISTS\r\n" % exists]
        if not self._enabled.rev2:
            lines.append(b"* %d RECENT\r\n" % recent)
            unseen = self.view.first_without(SEEN)
            if unseen >= 0 and not self._enabled.uidonly:
                lines.append(untagged("OK", "First unseen", f"UNSEEN {unseen + 1}"))
        lines.append(untagged("OK", "UIDs valid", f"UIDVALIDITY {self.uidvalidity}"))
        lines.append(untagged("OK", "Predicted next UID", f"UIDNEXT {self.uidnext}"))
        lines.append(self.modseq_line())
        lines.append(untagged("OK", "Stays with the mailbox", f"MAILBOXID ({object_id.mailbox_id(self.mailbox_id)})"))
        if self._enabled.rev2:
            lines.append(name_line("LIST", (), self.name, utf8=self._enabled.utf8))
        return b"".join(lines)

    def modseq_line(self) -> bytes:
        """`* OK [HIGHESTMODSEQ 5]`: up to where the client knows everything."""
        return untagged("OK", "Highest", f"HIGHESTMODSEQ {self.settled_modseq}")

    def modseq_without(self, gone: Collection[int]) -> int:
        """The modseq up to which the client knows everything when it has been told that `gone` are gone."""
        untold = self._untold or self._changed or len(self.view) != self._told[0] or not self._gone.issubset(gone)
        return self.settled_modseq if untold else self.modseq

    @property
    def uidonly(self) -> bool:
        """Whether UIDs take the place of message numbers."""
        return self._enabled.uidonly

    def take_rights(self, rights: str, *, read_only: bool) -> None:
        """The account's rights here have changed; the flags that it can set are told with the next `news`.

        A mailbox that was opened read-only stays that (RFC 4314 section 5).
        """
        self.rights = rights
        if read_only and not self.read_only:
            self.read_only = True
            self._recent.release(self.mailbox_id)
        self._new_keywords = True

    @property
    def settable(self) -> int:
        """The flags that can be changed here, as bits."""
        return 0 if self.read_only else settable(self.rights)

    def stop_recent(self) -> None:
        """Let nothing be recent here any more: the client has switched to IMAP4rev2."""
        self.view.forget_recent()
        self._told = (self._told[0], 0)

    # ── notices ───────────────────────────────────────────────────────────────────────────────────────────────────

    def tell_flags_of(self, uids: Iterable[int]) -> None:
        """Tell the flags of these messages with the next `news`, whether they have changed or not.

        The session's own changes of flags are not told by themselves: it may have asked for silence. Their modseqs
        are, once it knows of CONDSTORE (RFC 7162 section 3.1.3).
        """
        self._wanted.update(uids)

    def own_changes_told(self) -> None:
        """The modseqs of the session's own changes are in the answers that follow."""
        self._own.clear()

    @property
    def has_news(self) -> bool:
        """Whether `news` may have something to tell."""
        waiting = self._pending or self._stale or self._gone or self._changed or self._wanted or self._own
        return bool(waiting) or self._new_keywords or self.modseq != self.settled_modseq

    @property
    def holds_expunges(self) -> bool:
        """Whether messages are gone of which the client was not told yet."""
        return bool(self._gone)

    @property
    def is_untouched(self) -> bool:
        """Whether all that waits was done by others, and the view shows nothing of it yet."""
        waiting = self._gone or self._changed or self._wanted or self._own or len(self.view) != self._told[0]
        added = any(one.origin is self._owner and (one.added or one.expunged) for one in self._pending)
        return not waiting and not added

    def watch_new(self, *, wanted: bool) -> None:
        """Note from now on which messages others add, for `take_arrived`."""
        self._arrived = [] if wanted else None

    def take_arrived(self) -> list[int]:
        """The UIDs of the messages that others have added since the last time; not all if over MAX_ARRIVED."""
        if not self._arrived:
            return []
        arrived, self._arrived = self._arrived, []
        return arrived

    async def recall_flags(self) -> None:
        """Find the changes of flags that the client did not want to hear of: now it does."""
        if self._untold:
            self._untold = False
            since = self.settled_modseq
            rows = await self._store.read(lambda db: changed_since(db, self.mailbox_id, since))
            self._changed.update((uid, modseq) for uid, modseq in rows if self.view.index(uid) >= 0)

    def _notice(self, change: Change) -> None:
        if not self._stale:
            self._pending.append(change)
            if change.origin is not self._owner:
                self._pending_size += len(change.added) + len(change.expunged) + len(change.flags) + len(change.edits)
            if self._pending_size > MAX_PENDING:
                self._pending.clear()
                self._stale = True
        self._wake()

    async def news(self, *, expunges: bool, flags: bool = True) -> bytes:
        """Bring the view up to date and return the untagged responses that tell the client.

        Without `flags`, others' changes of flags are left out. EXPUNGE waits unless `expunges`: message numbers must
        not move under a command that uses them (RFC 3501 sections 5.5 and 7.4.1). Raises NotFoundError when the
        mailbox is gone.
        """
        await self.absorb()
        lines: list[bytes] = []
        if self._new_keywords:
            lines.append(self._flags_lines())
            self._new_keywords = False
        if self._gone and expunges:
            lines.append(await self._tell_expunged())
        told = (len(self.view), self.view.count_recent())
        if told[0] != self._told[0]:
            lines.append(b"* %d EXISTS\r\n" % told[0])
        if told[1] != self._told[1]:
            lines.append(b"* %d RECENT\r\n" % told[1])
        self._told = told
        if not flags and self._changed:
            self._untold = True
            self._changed.clear()
        if self._changed or self._wanted or self._own:
            lines.append(await self._tell_flags())
        if not self._gone and not self._changed and not self._untold:
            self.settled_modseq = self.modseq
        elif self._enabled.qresync and (lines or self._gone or self._untold):
            lines.append(self.modseq_line())  # a modseq told above may lie past the EXPUNGE that waits
        return b"".join(lines)

    async def absorb(self) -> None:
        """Bring the view up to date without telling yet; message numbers stay as they are."""
        if self._stale:
            await self._resync()
        elif self._pending:
            await self._take_in()

    async def _take_in(self) -> None:
        """Apply the notices that wait, in their order. What is already in the view is passed over."""
        pending = [change for change in self._pending if change.modseq > self.modseq]
        self._pending, self._pending_size = [], 0
        if not pending:
            return
        last = self.view.uids[-1] if len(self.view) else 0
        expunged = {uid for change in pending for uid in change.expunged}
        added = [uid for change in pending for uid in change.added if uid > last and uid not in expunged]
        self._gone.update(self.view.present(expunged))
        self.modseq = pending[-1].modseq
        if added:
            flags = {uid: flags for change in pending for uid, flags in change.flags}
            if not all(uid in flags for uid in added):
                flags = dict(await self._store.read(lambda db: list_flags(db, self.mailbox_id, last)))
            self._add([(uid, flags[uid]) for uid in added if uid in flags])
            if self._arrived is not None:
                others = {uid for change in pending if change.origin is not self._owner for uid in change.added}
                self._note_arrived(uid for uid in added if uid in others)
        for change in pending:
            own = change.origin is self._owner
            self._update(change.flags, change.modseq, own=own)
            self._edit(change.edits, change.modseq, own=own)
            if change.edits and len(self.view) > AT_ONCE:
                await asyncio.sleep(0)

    async def _resync(self) -> None:
        """Compare with what the store has now."""
        self._pending, self._pending_size, self._stale = [], 0, False
        mailbox, rows, gone = await self._store.read(self._read)
        self._take_keywords(mailbox.keywords)
        last = self.view.uids[-1] if len(self.view) else 0
        self._gone = gone
        self.modseq = mailbox.highestmodseq
        for start in range(0, len(rows), AT_ONCE):
            self._update(rows[start : start + AT_ONCE], 0, own=False)
            await asyncio.sleep(0)
        self._add([row for row in rows if row[0] > last])
        self._note_arrived(uid for uid, _ in rows if uid > last)

    def _note_arrived(self, uids: Iterable[int]) -> None:
        if self._arrived is not None:
            self._arrived.extend(islice(uids, MAX_ARRIVED + 1 - len(self._arrived)))

    def _add(self, rows: Sequence[tuple[int, int]]) -> None:
        if not rows:
            return
        self._check_keywords(rows)
        self.view.append([row[0] for row in rows], [row[1] for row in rows])
        self._claim(rows[-1][0] + 1)

    def _update(self, rows: Sequence[tuple[int, int]], modseq: int, *, own: bool) -> None:
        if rows:
            self._check_keywords(rows)
            self._note(self.view.update(rows), modseq, own=own)

    def _edit(self, edits: Sequence[FlagEdit], modseq: int, *, own: bool) -> None:
        for edit in edits:
            self._check_keywords([(0, edit.add)])
            quietly = own and not self._enabled.condstore
            self._note(self.view.edit(edit, quietly=quietly), modseq, own=own)

    def _note(self, uids: Sequence[int], modseq: int, *, own: bool) -> None:
        """Remember what is to be told of messages whose flags have changed."""
        if not own:
            self._changed.update(dict.fromkeys(uids, modseq))
        elif self._enabled.condstore:
            self._own.update(dict.fromkeys(uids, modseq))

    def _claim(self, uidnext: int) -> None:
        self.uidnext = max(self.uidnext, uidnext)
        if self._enabled.rev2:
            return
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
        return flags_line(names) + permanent_flags_line(names, settable=self.settable, more=more)

    # ── telling ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _tell_expunged(self) -> bytes:
        """EXPUNGE from the last to the first, so that no number changes while they are read; or VANISHED."""
        indexes = self._places(self._gone)
        if len(self.view) > AT_ONCE:
            await asyncio.sleep(0)
        uids = self.view.uids_at(indexes)
        if self._enabled.vanished:
            gone = vanished_lines(ranges(uids), earlier=False)
        else:
            gone = b"".join([b"* %d EXPUNGE\r\n" % (index + 1) for index in reversed(indexes)])
        if len(self.view) > AT_ONCE:
            await asyncio.sleep(0)
        # From here on without a pause: a session may end at any, and what it knows is kept for the next one.
        for waiting in (self._changed, self._own):
            for uid in waiting.keys() & self._gone:
                del waiting[uid]
        self._wanted -= self._gone
        self._gone.clear()
        exists = b""
        if indexes and indexes[-1] >= self._told[0]:
            # One that came and went between two answers: the client must know of it to be told that it is gone.
            exists = b"* %d EXISTS\r\n" % len(self.view)
            self._told = (len(self.view), self._told[1])
        self.view.remove(indexes)
        self._told = (self._told[0] - len(indexes), self._told[1])
        return exists + gone

    async def _tell_flags(self) -> bytes:
        """The flags that have changed or are wanted, and the modseqs of the session's own changes.

        While an EXPUNGE waits, a client with QRESYNC does not hear of what others did: it would take the modseq for
        the state of the whole mailbox, and never learn of the message that is gone if it came back with that.
        """
        hold = bool(self._gone) and self._enabled.qresync
        others = {} if hold else self._changed
        modseqs = dict(self._own) if self._own else others
        if others and self._own:
            modseqs.update((uid, modseq) for uid, modseq in others.items() if modseq > modseqs.get(uid, -1))
        await asyncio.sleep(0)
        loud = self._wanted.union(others, self._own.keys() & self._changed.keys())
        silent = self._own.keys() - loud
        self._wanted, self._own = set(), {}
        self._changed = {uid: modseq for uid, modseq in self._changed.items() if uid not in loud} if hold else {}
        lines = await self._lines_of(loud, modseqs, flags=True) if loud else b""
        return lines + (await self._lines_of(silent, modseqs, flags=False) if silent else b"")

    async def _lines_of(self, uids: Collection[int], modseqs: Mapping[int, int], *, flags: bool) -> bytes:
        view = self.view
        indexes = self._places(uids)
        lines = []
        for start in range(0, len(indexes), AT_ONCE):
            await asyncio.sleep(0)
            some = indexes[start : start + AT_ONCE]
            column = await self._modseqs(view.uids_at(some), modseqs) if self._enabled.condstore else ()
            lines.append(flag_lines(self._enabled, view, some, column, flags=flags))
        return b"".join(lines)

    async def _modseqs(self, uids: Sequence[int], known: Mapping[int, int]) -> list[int]:
        """The modseqs of messages; those that are not known, or only by a change that is still to be told, are read."""
        missing = [uid for uid in uids if not known.get(uid)]
        found: dict[int, int] = {}
        if missing:
            wanted, number = spans(missing), self.mailbox_id
            found = await self._store.read(
                lambda db: {row[0]: row[1] for span in wanted for row in list_modseqs(db, number, *span)}
            )
        return [known.get(uid) or min(found.get(uid, self.modseq), self.modseq) for uid in uids]

    def _places(self, uids: Collection[int]) -> Sequence[int]:
        """The indexes of messages, ascending."""
        view = self.view
        if len(uids) >= len(view) and all(map(uids.__contains__, view.uids)):
            return range(len(view))
        if len(uids) * 8 > len(view):
            return [index for index, uid in enumerate(view.uids) if uid in uids]
        return sorted(index for uid in uids if (index := view.index(uid)) >= 0)

    def _look(self, db: Database, kept: Kept | None) -> tuple[Mailbox, View]:
        """The mailbox and a view of it; made on a reader thread, since a large one takes its time."""
        mailbox = self._found(db)
        view = None if kept is None else brought_up(db, kept, mailbox)
        return mailbox, view if view is not None else View(*flag_columns(db, self.mailbox_id), mailbox.keywords)

    def _read(self, db: Database) -> tuple[Mailbox, list[tuple[int, int]], set[int]]:
        """The mailbox, all (uid, flags), and the uids of the view that are gone."""
        mailbox, rows = self._found(db), list_flags(db, self.mailbox_id)
        return mailbox, rows, set(self.view.uids).difference(row[0] for row in rows)

    def _found(self, db: Database) -> Mailbox:
        mailbox = mailbox_by_id(db, self.mailbox_id)
        if mailbox is None:
            raise NotFoundError("the mailbox was deleted")
        return mailbox
