"""Notices of what happened in mailboxes, for IDLE, NOTIFY, web push and whoever else watches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from appliance.store.model import Change, MailboxEvent, Notice

Callback = Callable[[Change], None]
K = TypeVar("K", bound=Hashable)
N = TypeVar("N", bound=Notice)
log = logging.getLogger(__name__)

_Watchers = dict[K, dict[int, Callable[[N], None]]]


class Changes:
    """Who wants to hear of changes. Lives on the event loop; callbacks run there, after the commit, in its order."""

    def __init__(self) -> None:
        self._watchers: _Watchers[int | None, Change] = {}
        self._of_accounts: _Watchers[int, Notice] = {}
        self._last = 0

    def subscribe(self, mailbox_id: int | None, callback: Callback) -> Callable[[], None]:
        """Call `callback` after each change of one mailbox (None: of any). Returns what ends that."""
        return self._add(self._watchers, mailbox_id, callback)

    def subscribe_account(self, account_id: int, callback: Callable[[Notice], None]) -> Callable[[], None]:
        """Call `callback` after each change of any mailbox of an account, and of their names. Returns what ends it."""
        return self._add(self._of_accounts, account_id, callback)

    def _add(self, among: _Watchers[K, N], whom: K, callback: Callable[[N], None]) -> Callable[[], None]:
        self._last += 1
        key = self._last
        among.setdefault(whom, {})[key] = callback

        def unsubscribe() -> None:
            watchers = among.get(whom)
            if watchers is not None and watchers.pop(key, None) is not None and not watchers:
                del among[whom]

        return unsubscribe

    def publish(self, notices: Sequence[Notice]) -> None:
        """Tell the watchers. One that raises is logged and does not keep the others from hearing."""
        for notice in notices:
            if not isinstance(notice, MailboxEvent):
                for mailbox_id in (notice.mailbox_id, None):
                    _tell(self._watchers.get(mailbox_id, {}), notice)
            _tell(self._of_accounts.get(notice.account_id, {}), notice)


def _tell(watchers: dict[int, Callable[[N], None]], notice: N) -> None:
    for callback in list(watchers.values()):
        try:
            callback(notice)
        except Exception:
            log.exception("a watcher of the mailboxes of account %d failed", notice.account_id)
