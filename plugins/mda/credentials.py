"""The verifiers of the store's own accounts."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.auth import Credential
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.store.accounts import credentials_of

WEAK_KINDS = frozenset({"scram-sha-1", "plain"})  # kept, but of no use, after an account has opted out again


class StoredCredentials:
    """Finds credentials by login name; disabled accounts have none."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def find_credentials(self, login: str) -> Sequence[Credential] | None:
        """The account's own password and its application passwords, each under its own login name."""
        stored = self._core.store.peek(lambda db: credentials_of(db, login))
        if not stored:
            return None
        account = self._core.store.directory.account(stored[0].account)
        if account is None or not account.enabled:
            return None
        return [
            Credential(one.kind, one.account, one.login, one.data, one.label)
            for one in stored
            if account.weak_mechanisms or one.kind not in WEAK_KINDS
        ]
