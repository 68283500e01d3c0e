"""NOTIFY: what happens in other mailboxes than the selected one, and when it is told (RFC 5465)."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from appliance.errors import StoreError
from appliance.store.mailboxes import list_mailboxes, list_subscriptions, mailbox_by_id
from appliance.store.model import DELIMITER, SEEN, Change, Mailbox, MailboxEvent, Notice
from appliance.store.sharing import Access, is_foreign
from plugins.imap4.fetch import respond
from plugins.imap4.fetch_plan import Plan
from plugins.imap4.mailboxes import Names
from plugins.imap4.notify_others import OWN, Others
from plugins.imap4.protocol_notify import EVENTS, OF_MESSAGES, SELECTED, EventGroup
from plugins.imap4.protocol_respond import CRLF, name_line, old_name, status_line, untagged
from plugins.imap4.protocol_respond import mailbox as written
from plugins.imap4.refusal import RefusalError
from plugins.imap4.selected import MAX_ARRIVED

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.protocol_command import Notify
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

MAX_WAITING = 1_000  # mailboxes and annotations to be told of; with more, NOTIFY ends by NOTIFICATIONOVERFLOW
STATUS_AT_ONCE = 500  # mailboxes whose state is written before the client has to take it

_MESSAGES, _FLAGS = 1, 2  # what has happened in a mailbox
log = logging.getLogger(__name__)


class _Found(NamedTuple):
    """What was looked up to be told, at one moment."""

    names: Names | None
    others: dict[int, Access] | None
    states: list[tuple[Mailbox | None, int]]
    subscribed: set[str]


async def notify(session: ImapSession, command: Notify) -> str:
    """NOTIFY (section 3.1). All that waits is told before the new wishes take the place of the old."""
    wishes, before = command.wishes, session.notifier
    if wishes is not None and wishes.unknown:
        raise RefusalError("There are no such events here", f"BADEVENT ({' '.join(EVENTS)})")
    after = Notifier(session, () if wishes is None else wishes.groups)
    try:
        if wishes is not None:
            session.notifier = None  # what has accumulated is told completely
            if session.selected is not None:
                await session.selected.recall_flags()
            await session.tell_news(expunges=True)
        if before is not None:
            await before.tell()
    except BaseException:
        after.close()
        raise
    finally:
        if before is not None:
            before.close()
    session.use_notifier(after)
    await after.tell_states(status=wishes is not None and wishes.status)
    return "NOTIFY completed"


class Notifier:
    """What one session wants to hear of, and what of that it has not been told yet.

    Notices only leave the mailbox's id or name here; what is told is its state when the client can take it.
    """

    __slots__ = (
        "_changed",
        "_ends",
        "_entries",
        "_groups",
        "_messages",
        "_names",
        "_others",
        "_overflown",
        "_session",
        "selected",
    )

    def __init__(self, session: ImapSession, groups: Iterable[EventGroup]) -> None:
        """Listen from now on. Call `close` in the end."""
        all_groups = tuple(groups)
        self.selected = next((group for group in all_groups if group.source.kind in SELECTED), None)
        self._groups = tuple(group for group in all_groups if group.source.kind not in SELECTED and group.events)
        self._messages = any(group.events & OF_MESSAGES for group in self._groups)
        self._session = session
        self._changed: dict[int, int] = {}  # mailbox id → what has happened there
        self._names: dict[str, tuple[str, frozenset[str]]] = {}  # name → its old name, events that tell of it
        self._entries: dict[str, dict[str, None]] = {}  # mailbox name → annotations
        self._overflown = False
        changes, account = session.core.store.changes, session.account.id
        self._others = Others(changes, account, self._groups, self._heard_other)
        self._ends = changes.subscribe_account(account, self._heard)
        if not self._groups:
            self._ends()

    def close(self) -> None:
        """Stop listening."""
        self._ends()
        self._others.close()

    # ── the selected mailbox ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def immediate(self) -> bool:
        """Whether EXPUNGE may be told at any time: the client uses no message numbers (section 6.1.1)."""
        return self.selected is not None and self.selected.source.kind == "SELECTED"

    @property
    def wants_messages(self) -> bool:
        """Whether others' doings in the selected mailbox are told."""
        return self.selected is not None and bool(self.selected.events)

    @property
    def wants_flags(self) -> bool:
        """Whether changes of flags are."""
        return self.selected is not None and "FlagChange" in self.selected.events

    async def tell_arrived(self, selected: Selected) -> None:
        """Tell what the client wants to know of each new message, after EXISTS (section 5.2)."""
        uids = selected.take_arrived()
        if not uids or self.selected is None:
            return
        if len(uids) > MAX_ARRIVED:
            self.overflow()
            return
        session, enabled = self._session, self._session.enabled
        verb = b"UIDFETCH" if enabled.uidonly else b"FETCH"
        plan = Plan(self.selected.items, with_uid=False, with_modseq=enabled.condstore, verb=verb)
        indexes = [index for uid in uids if (index := selected.view.index(uid)) >= 0]
        try:
            await respond(session, selected, plan, indexes)
        except (RefusalError, StoreError) as error:
            log.debug("new messages could not be told of: %s", error)
        if enabled.qresync and selected.modseq != selected.settled_modseq:
            session.connection.write(selected.modseq_line())

    # ── notices ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def has_news(self) -> bool:
        """Whether `tell` has something to tell."""
        return bool(self._changed or self._names or self._entries or self._overflown or self._others.stale)

    def overflow(self) -> None:
        """Give up: the client is to be told that, and nothing more (section 5.8)."""
        self.close()
        self.selected = None
        self._groups, self._messages = (), False
        self._changed.clear()
        self._names.clear()
        self._entries.clear()
        self._others.stale = False
        self._overflown = True
        self._session.connection.wake()

    def _heard(self, notice: Notice) -> None:
        if notice.origin is self._session:
            return  # section 5: what the client did itself is no news
        if isinstance(notice, MailboxEvent):
            self._note_event(notice)
        elif not self._note_change(notice):
            return
        self._check_room()

    def _check_room(self) -> None:
        if len(self._changed) + len(self._names) + sum(map(len, self._entries.values())) > MAX_WAITING:
            self.overflow()
        elif self.has_news:
            self._session.connection.wake()

    def _heard_other(self, notice: Notice) -> None:
        """Something about mailboxes of others: of those that can be seen, or which those are."""
        if not isinstance(notice, MailboxEvent):
            known = notice.origin is not self._session and self._others.get(notice.mailbox_id) is not None
            if not known or not self._note_change(notice):
                return
        elif notice.kind != "annotations":
            self._others.stale = True
        elif notice.origin is not self._session:
            name = self._others.name_of(notice.account_id, notice.name)
            if name:
                self._note_event(replace(notice, name=name))
        self._check_room()

    def _note_change(self, change: Change) -> bool:
        selected = self._session.selected
        if not self._messages or (selected is not None and change.mailbox_id == selected.mailbox_id):
            return False
        what = _MESSAGES if change.added or change.expunged else 0
        if any((edit.add | edit.remove) & SEEN for edit in change.edits) or (change.flags and not change.added):
            what |= _FLAGS
        if not what and not self._session.enabled.condstore:
            return False  # neither the messages nor how many are unseen: without modseqs there is nothing to tell
        self._changed[change.mailbox_id] = self._changed.get(change.mailbox_id, 0) | what
        return True

    def _note_event(self, event: MailboxEvent) -> None:
        if event.kind == "annotations":
            if event.seen_by in {0, self._session.account.id}:
                kind = "MailboxMetadataChange" if event.name else "ServerMetadataChange"
                if any(kind in group.events for group in self._groups):
                    self._entries.setdefault(event.name, {}).update(dict.fromkeys(event.entries))
        elif event.kind == "subscription":
            self._note_name(event.name, "", frozenset({"SubscriptionChange"}))
        elif event.kind == "renamed":
            self._note_name(event.name, event.old_name, frozenset({"MailboxName"}))
        else:
            # The direct parent may have children now, or none any more (section 5.4).
            parent = event.name.rpartition(DELIMITER)[0]
            for name in filter(None, (parent, event.name)):
                self._note_name(name, "", frozenset({"MailboxName"}))

    def _note_name(self, name: str, old: str, kinds: frozenset[str]) -> None:
        if any(group.events & (kinds | OF_MESSAGES) for group in self._groups):
            before = self._names.pop(name, ("", frozenset()))
            self._names[name] = (old or before[0], before[1] | kinds)

    # ── telling ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def tell(self) -> None:
        """Write what has happened. Nothing of it touches message numbers, so any moment will do."""
        connection = self._session.connection
        if self._overflown:
            self._overflown = False
            connection.write(untagged("OK", "More happens than can be told; NOTIFY is off", "NOTIFICATIONOVERFLOW"))
        if not self.has_news:
            return
        changed, names, entries = self._changed, self._names, self._entries
        self._changed, self._names, self._entries = {}, {}, {}
        account, stale = self._session.account.id, self._others.stale

        def look(db: Database) -> _Found:
            return _Found(
                Names(db, account, subscriptions=True) if names or entries or stale else None,
                self._others.refresh(db) if stale else None,
                [(mailbox_by_id(db, mailbox_id), what) for mailbox_id, what in changed.items()],
                set(list_subscriptions(db, account)),
            )

        found = await self._session.core.store.read(look)
        if found.others is not None:
            for name, old in self._others.take_over(found.others):
                names.setdefault(name, (old, frozenset({"MailboxName"})))
        if found.names is not None:
            for line in (*self._name_lines(found.names, names), *self._entry_lines(found.names, entries)):
                connection.write(line)
        for mailbox, what in found.states:
            if mailbox is not None and (seen := self._as_seen(mailbox, found.subscribed)) is not None:
                connection.write(self._state_line(seen, what))

    def _as_seen(self, mailbox: Mailbox, subscribed: Container[str]) -> Mailbox | None:
        """A mailbox by the name that the client knows; None if its state may not be told."""
        if mailbox.account_id == self._session.account.id:
            return mailbox
        access = self._others.get(mailbox.id)
        if access is None or "r" not in access.rights:
            return None
        return msgspec.structs.replace(mailbox, name=access.name, subscribed=access.name in subscribed)

    async def tell_states(self, *, status: bool) -> None:
        r"""Write STATUS of all mailboxes whose messages are watched, if the client asks for that (section 3.1).

        In any case \NoAccess of those that may be looked up and not be read.
        """
        session = self._session
        account = session.account.id

        def look(db: Database) -> tuple[list[Mailbox], dict[int, Access], set[str]]:
            own = list_mailboxes(db, account) if status else []
            return own, self._others.refresh(db), set(list_subscriptions(db, account))

        own, others, subscribed = await session.core.store.read(look)
        self._others.take_over(others)
        selected = None if session.selected is None else session.selected.mailbox_id
        for place, mailbox in enumerate((*own, *(one.mailbox for one in self._others))):
            seen = self._as_seen(mailbox, subscribed)
            if seen is None:
                session.connection.write(self._no_access_line(mailbox.id, subscribed))
            elif status and mailbox.id != selected:
                session.connection.write(self._state_line(seen, _MESSAGES | _FLAGS, at_first=True))
            if place % STATUS_AT_ONCE == STATUS_AT_ONCE - 1:
                await session.connection.drain()

    def _no_access_line(self, mailbox_id: int, subscribed: Container[str]) -> bytes:
        access = self._others.get(mailbox_id)
        if access is None or not self._events(access.name, subscribed=access.name in subscribed) & OF_MESSAGES:
            return b""
        return name_line("LIST", ("\\NoAccess",), access.name, utf8=self._session.enabled.utf8)

    def _state_line(self, mailbox: Mailbox, what: int, *, at_first: bool = False) -> bytes:
        """What has happened to the messages of a mailbox; nothing if nobody asked for that (sections 5.1 to 5.3)."""
        events = self._events(mailbox.name, subscribed=mailbox.subscribed) & OF_MESSAGES
        flags = "FlagChange" in events
        if not mailbox.selectable or not events or not (what & _MESSAGES or flags):
            return b""
        items: list[tuple[str, int | str]] = [("UIDVALIDITY", mailbox.uidvalidity)]
        if what & _MESSAGES:
            items = [("MESSAGES", mailbox.messages), ("UIDNEXT", mailbox.uidnext), *items]
        if flags:
            items.append(("UNSEEN", mailbox.unseen))
        if self._session.enabled.condstore or (at_first and flags):
            items.append(("HIGHESTMODSEQ", mailbox.highestmodseq))
        return status_line(mailbox.name, items, utf8=self._session.enabled.utf8)

    def _name_lines(self, found: Names, names: dict[str, tuple[str, frozenset[str]]]) -> Iterator[bytes]:
        utf8 = self._session.enabled.utf8
        for name, (old, kinds) in names.items():
            # One that was subscribed until now counts as well.
            subscribed = found.is_subscribed(name) or "SubscriptionChange" in kinds
            events = self._events(name, subscribed=subscribed)
            if old:
                events |= self._events(old, subscribed=found.is_subscribed(old))
            hidden = is_foreign(name) and found.get(name) is None
            if events & kinds or (hidden and events & OF_MESSAGES):
                attributes = found.attributes(name)
                if hidden:
                    attributes.append("\\NoAccess")  # it is gone, or out of sight now (section 5.9)
                yield name_line("LIST", attributes, name, old_name(old, utf8=utf8) if old else b"", utf8=utf8)
            mailbox = found.get(name)
            if mailbox is not None and "MailboxName" in kinds and not old and found.is_readable(mailbox):
                yield self._state_line(mailbox, _MESSAGES)  # it may be another one than was there by that name

    def _entry_lines(self, found: Names, entries: dict[str, dict[str, None]]) -> Iterator[bytes]:
        """Which annotations have changed, without their values (RFC 5464 section 4.4.2)."""
        for name, changed in entries.items():
            mailbox = found.get(name)
            if name and (mailbox is None or "r" not in found.rights(mailbox)):
                continue
            if name and "MailboxMetadataChange" not in self._events(name, subscribed=found.is_subscribed(name)):
                continue
            place = written(name, utf8=self._session.enabled.utf8) if name else b'""'
            yield b"* METADATA %b %b" % (place, " ".join(changed).encode()) + CRLF

    def _events(self, name: str, *, subscribed: bool) -> frozenset[str]:
        """The events of a mailbox that are told; several groups can hold it (section 6)."""
        found: frozenset[str] = frozenset()
        foreign = is_foreign(name)
        for group in self._groups:
            if foreign and group.source.kind in OWN:
                continue
            if group.source.covers(name, subscribed=subscribed):
                found |= group.events
        return found
