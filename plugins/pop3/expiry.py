"""The service that removes what POP3 clients have fetched and left for `expire` days (RFC 2449 section 6.7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from appliance.core import Core
from appliance.errors import StoreError
from appliance.store.accounts import list_accounts
from appliance.store.model import Account, Mailbox
from plugins.pop3.config import Pop3Config
from plugins.pop3.lock import Locks
from plugins.pop3.maildrop import mailboxes_of
from plugins.pop3.policy import policy_of
from plugins.pop3.schema import due, forget, gone, remove_due

log = logging.getLogger(__name__)

LOOK_S = 3600.0  # between looks: days are counted, not minutes
AT_ONCE = 200  # messages in one transaction, which is shared with others
DAY_S = 86_400


class Expiry:
    """Removes nothing unless it is configured, the time is known, and nobody has the maildrop open."""

    name = "pop3-expiry"
    after: Sequence[str] = ()

    def __init__(self, core: Core, locks: Locks) -> None:
        self._core = core
        self._locks = locks

    async def run(self, ready: Callable[[], None]) -> None:
        """Look once an hour until cancelled."""
        ready()
        while True:
            try:
                await self.step()
            except StoreError as error:
                log.warning("mail that has expired for POP3 is not removed now: %s", error)
            await asyncio.sleep(LOOK_S)

    async def reload(self) -> None:
        """Each look reads the configuration."""

    async def step(self) -> int:
        """Look through all accounts, and return how many messages were removed. Raises StoreError."""
        if self._core.time_state != "synced":
            return 0  # a clock that is wrong by a month would remove a month's mail
        config, store = self._core.settings[Pop3Config], self._core.store
        removed = 0
        for account in await store.read(list_accounts):
            policy = policy_of(config, account.name)
            if policy.expire <= 0 or self._locks.held(account.name):
                continue  # with 0 it is the end of the session that removes
            before = int(self._core.now()) - policy.expire * DAY_S
            for mailbox in await store.read(partial(mailboxes_of, account_id=account.id, junk=policy.junk)):
                removed += await self._remove(account, mailbox, before)
        while messages := await store.read(partial(gone, limit=AT_ONCE)):
            await store.write(partial(forget, messages=messages))
        return removed

    async def _remove(self, account: Account, mailbox: Mailbox, before: int) -> int:
        store, removed = self._core.store, 0
        # A look by a reader first: most find nothing, and then nothing is written.
        while await store.read(partial(due, mailbox_id=mailbox.id, before=before, limit=1)):
            uids = await store.write(partial(remove_due, mailbox_id=mailbox.id, before=before, limit=AT_ONCE))
            if not uids:
                break
            removed += len(uids)
            self._core.dispatch.message_expunged(account=account.name, mailbox=mailbox.name, uids=uids)
        if removed:
            log.info("%d messages of %s in %s have expired for POP3", removed, account.name, mailbox.name)
        return removed
