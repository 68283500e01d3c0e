"""The mailboxes of others that a session with NOTIFY can see: kept to be compared when something has changed there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from appliance.store.model import DELIMITER, EVERYBODY, Notice
from appliance.store.sharing import NAMESPACES, Access, is_foreign, list_others

if TYPE_CHECKING:
    from appliance.store import Database
    from appliance.store.changes import Changes
    from plugins.imap4.protocol_notify import EventGroup

OWN = frozenset({"INBOXES", "PERSONAL"})  # kinds of groups that mean no mailbox of others


class Others:
    """What the account may look up of others', as the client was told; who owns that is listened to."""

    __slots__ = ("_account_id", "_changes", "_ends", "_hear", "_known", "stale", "wanted")

    def __init__(
        self, changes: Changes, account_id: int, groups: Iterable[EventGroup], hear: Callable[[Notice], None]
    ) -> None:
        """`hear` is called with all notices about the owners' mailboxes. Call `refresh` next, `close` in the end."""
        self.wanted = any(map(_means_others, groups))
        self.stale = False  # something may have changed
        self._account_id = account_id
        self._changes = changes
        self._hear = hear
        self._known: dict[int, Access] = {}  # by mailbox id
        self._ends: dict[int, Callable[[], None]] = {}  # by account
        if self.wanted:
            self._listen({EVERYBODY})

    def close(self) -> None:
        """Stop listening."""
        self._listen(set())
        self._known.clear()

    def refresh(self, db: Database) -> dict[int, Access]:
        """Look again at what there is; for `take_over`."""
        return {one.mailbox.id: one for one in list_others(db, self._account_id)} if self.wanted else {}

    def take_over(self, found: dict[int, Access]) -> list[tuple[str, str]]:
        """Keep what was found; returns (name, old name) of mailboxes that have come, gone, or changed their names.

        Children of one that was renamed are not among them (RFC 5465 section 5.4).
        """
        before, self._known, self.stale = self._known, found, False
        self._listen({EVERYBODY, *(one.mailbox.account_id for one in found.values())} if self.wanted else set())
        renamed = {
            before[number].name: one.name
            for number, one in found.items()
            if number in before and before[number].name != one.name
        }
        tops = [(old, new) for old, new in renamed.items() if not _follows(old, new, renamed)]
        gone = [(one.name, "") for number, one in before.items() if number not in found]
        come = [(one.name, "") for number, one in found.items() if number not in before]
        return [*gone, *come, *((new, old) for old, new in tops)]

    def get(self, mailbox_id: int) -> Access | None:
        """One of them."""
        return self._known.get(mailbox_id)

    def name_of(self, account_id: int, name: str) -> str:
        """How the client knows a mailbox that its owner calls `name`; "" if it knows nothing of that owner's."""
        prefixes = (one.prefix for one in self._known.values() if one.mailbox.account_id == account_id)
        prefix = next(prefixes, "")
        return prefix and prefix + name

    def __iter__(self) -> Iterator[Access]:
        return iter(sorted(self._known.values(), key=lambda one: one.name))

    def _listen(self, accounts: set[int]) -> None:
        for account_id in self._ends.keys() - accounts:
            self._ends.pop(account_id)()
        for account_id in accounts - self._ends.keys():
            self._ends[account_id] = self._changes.subscribe_account(account_id, self._hear)


def _means_others(group: EventGroup) -> bool:
    source = group.source
    if source.kind == "SUBSCRIBED":
        return True
    return source.kind not in OWN and any(is_foreign(name) or name in NAMESPACES for name in source.names)


def _follows(old: str, new: str, renamed: dict[str, str]) -> bool:
    """Whether a mailbox has another name only because one above it has."""
    end = old.rfind(DELIMITER)
    while end > 0:
        above = renamed.get(old[:end])
        if above is not None and new == above + old[end:]:
            return True
        end = old.rfind(DELIMITER, 0, end)
    return False
