"""Notices of what happened in mailboxes, for IDLE, web push and whoever else watches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from appliance.store.model import Change

Callback = Callable[[Change], None]
log = logging.getLogger(__name__)


class Changes:
    """Who wants to hear of changes. Lives on the event loop; callbacks run there, after the commit, in its order."""

    def __init__(self) -> None:
        self._watchers: dict[int | None, dict[int, Callback]] = {}
        self._last = 0

    def subscribe(self, mailbox_id: int | None, callback: Callback) -> Callable[[], None]:
        """Call `callback` after each change of one mailbox (None: of any). Returns what ends that."""
        self._last += 1
        key = self._last
        self._watchers.setdefault(mailbox_id, {})[key] = callback

        def unsubscribe() -> None:
            watchers = self._watchers.get(mailbox_id)
            if watchers is not None and watchers.pop(key, None) is not None and not watchers:
                del self._watchers[mailbox_id]

        return unsubscribe

    def publish(self, changes: Sequence[Change]) -> None:
        """Tell the watchers. One that raises is logged and does not keep the others from hearing."""
        for change in changes:
            for mailbox_id in (change.mailbox_id, None):
                for callback in list(self._watchers.get(mailbox_id, {}).values()):
                    try:
                        callback(change)
                    except Exception:
                        log.exception("a watcher of mailbox %d failed", change.mailbox_id)
