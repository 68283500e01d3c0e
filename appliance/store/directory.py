"""Domains, accounts, aliases and lists in memory, for the questions that every RCPT asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace

from appliance.errors import NotFoundError
from appliance.mail.language import LANGUAGES, Language
from appliance.store.accounts import list_accounts, list_aliases, list_domains, quota_left
from appliance.store.holds import held_accounts
from appliance.store.lists import list_lists, owner_addresses
from appliance.store.model import Account, Domain, MailingList

T = TypeVar("T")


class Peek(Protocol):
    """`Store.peek`."""

    def __call__(self, fn: Callable[[Any], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class _Copy:
    domains: dict[str, Domain]
    accounts: dict[str, Account]
    aliases: dict[str, tuple[str, ...]]
    lists: dict[str, MailingList]
    first_account: str | None
    weak_in_use: bool
    held: dict[str, str]
    languages: dict[str, Language]


class Directory:
    """A copy of what the store knows about addresses. Read anew after any write that touches it; event loop only."""

    def __init__(self, peek: Peek) -> None:
        self._peek = peek
        self._copy: _Copy | None = None
        self._watched: dict[int, list[Callable[[], None]]] = {}  # account id → whom to tell that it is gone

    def invalidate(self) -> None:
        """Forget the copy; the next question reads it anew. Tell whoever watches an account that is gone now."""
        self._copy = None
        if not self._watched:
            return
        usable = {account.id for account in self._current().accounts.values() if account.enabled}
        for account_id in self._watched.keys() - usable:
            for gone in self._watched.pop(account_id):
                gone()

    def watch(self, account: str, gone: Callable[[], None]) -> Callable[[], None]:
        """Call `gone` once when the account is disabled or deleted: its sessions must not go on.

        Returns a function that ends the watch. An account that is not here (another back end's) is not watched.
        """
        known = self._current().accounts.get(account)
        if known is None:
            return lambda: None
        watchers = self._watched.setdefault(known.id, [])
        watchers.append(gone)

        def end() -> None:
            if gone in watchers:
                watchers.remove(gone)
            if not watchers and self._watched.get(known.id) is watchers:
                del self._watched[known.id]

        return end

    def domain(self, name: str) -> Domain | None:
        """A domain of ours by its lower-case name, or None."""
        return self._current().domains.get(name)

    def domains(self) -> dict[str, Domain]:
        """All domains by their names."""
        return self._current().domains

    def account(self, address_key: str) -> Account | None:
        """The account of that name, or None. `used_bytes` is that of this moment where there is a quota."""
        account = self._current().accounts.get(address_key)
        if account is not None and account.quota_bytes:
            left = self._peek(lambda db: quota_left(db, account.id))
            return replace(account, used_bytes=account.quota_bytes - (left or 0))
        return account

    def usable(self, name: str) -> bool:
        """Whether there is an account of that name, and it is enabled."""
        account = self._current().accounts.get(name)
        return account is not None and account.enabled

    def require_account(self, name: str) -> Account:
        """The account of that name as a person types it. Raises NotFoundError."""
        found = self.account(name.lower())
        if found is None:
            raise NotFoundError(f"there is no account {name}")
        return found

    def account_by_id(self, account_id: int) -> Account | None:
        """The account of that id, or None."""
        return next((one for one in self._current().accounts.values() if one.id == account_id), None)

    def language(self, address_key: str) -> Language | None:
        """The language in which whoever has the address wants to be written to; None if that is nobody's choice.

        An alias is its first target's, and ana+lists@ is ana's.
        """
        copy = self._current()
        if not copy.languages:
            return None
        local, _, domain = address_key.rpartition("@")
        plain = f"{local.partition('+')[0]}@{domain}"
        for key in (address_key, plain):
            found = copy.languages.get(key) or copy.languages.get(copy.aliases.get(key, ("",))[0])
            if found is not None:
                return found
        return None

    def alias(self, address_key: str) -> tuple[str, ...] | None:
        """The addresses that an alias stands for, or None."""
        return self._current().aliases.get(address_key)

    def mailing_list(self, address_key: str) -> MailingList | None:
        """The list of that address, or None."""
        return self._current().lists.get(address_key)

    def recipients(self) -> list[str]:
        """The names of all aliases, of all accounts that are enabled, and of lists with their owners' addresses."""
        copy = self._current()
        accounts = (name for name, account in copy.accounts.items() if account.enabled)
        lists = (name for one in copy.lists for name in (one, *owner_addresses(one)))
        return [*copy.aliases, *accounts, *lists]

    def first_account(self) -> str | None:
        """The name of the oldest account that is enabled, or None."""
        return self._current().first_account

    def held(self, account: str) -> str:
        """Why the outgoing mail of an account is held; empty if it is not."""
        return self._current().held.get(account, "")

    def weak_in_use(self) -> bool:
        """Whether any account has opted in to SCRAM-SHA-1, CRAM-MD5 and APOP."""
        return self._current().weak_in_use

    def _current(self) -> _Copy:
        if self._copy is None:
            self._copy = self._peek(_read)
        return self._copy


def _read(db: sqlite3.Connection) -> _Copy:
    accounts = list_accounts(db)
    enabled = [account for account in accounts if account.enabled]
    return _Copy(
        domains={domain.name: domain for domain in list_domains(db)},
        accounts={account.name: account for account in accounts},
        aliases=dict(list_aliases(db)),
        lists={one.address: one for one in list_lists(db)},
        first_account=min(enabled, key=lambda account: account.id).name if enabled else None,
        weak_in_use=any(account.weak_mechanisms for account in enabled),
        held=held_accounts(db),
        languages={one.name: tag for one in accounts for tag in LANGUAGES if tag == one.language},
    )
