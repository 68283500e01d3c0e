"""Whose mail is whose: which domains are ours, what an address stands for, and who has no mailbox here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address, domain_key
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.known import KnownRecipient
from appliance.mail.reply import Reply
from appliance.mail.selector import selects
from appliance.mail.session import Session
from plugins.mda.config import MdaConfig
from plugins.mda.lists import TRANSPORT, list_of_owner_address, may_post

if TYPE_CHECKING:
    from appliance.store import Account

UNKNOWN_USER = Reply(550, "5.1.1", "There is no such mailbox here")
DISABLED = Reply(550, "5.2.1", "This mailbox does not take mail at present")
MAILBOX_FULL = Reply(452, "4.2.2", "This mailbox is full")
POSTMASTER = "postmaster"  # every domain must have it (RFC 5321 section 4.5.1)


class Recipients:
    """The routing hooks of local delivery."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def own_recipient(self, recipient: Recipient) -> Literal["local", "backup", "relay"] | None:
        """Our domains are those of the configuration and those of the store."""
        return self._kind(recipient.address)

    @hookimpl
    async def expand_recipient(self, recipient: Recipient) -> Sequence[Recipient] | None:
        """Follow an alias, an account's redirect, a list's owner, or the domain's catch-all, in this order."""
        address = recipient.address
        if self._kind(address) != "local":
            return None
        directory = self._core.store.directory
        for key in self._keys(address):
            if targets := directory.alias(key):
                return [Recipient(Address.parse(target)) for target in targets]
            if account := directory.account(key):
                # A disabled account takes no mail, not even to pass it on.
                if not account.redirect or not account.enabled:
                    return None
                redirected = Recipient(Address.parse(account.redirect))
                return [redirected, recipient] if account.redirect_keep else [redirected]
            if directory.mailing_list(key):
                return None
        if owner := self._list_owner(address):
            return [Recipient(Address.parse(owner))]
        if target := self._fallback(address):
            return [Recipient(Address.parse(target))]
        return None

    @hookimpl(tryfirst=True)
    async def route_recipient(self, session: Session, envelope: Envelope, recipient: Recipient) -> Route | Reply | None:
        """Local accounts and lists, or the words that refuse an unknown, disabled or full one, or the sender."""
        if self._kind(recipient.address) != "local":
            return None
        account = self._account(recipient.address)
        if account is None:
            answer = self._list_route(session, envelope, recipient)
            shared = self._core.settings[MdaConfig].shared_domains
            return None if answer is UNKNOWN_USER and _among(recipient.address, shared) else answer
        if not account.enabled:
            return DISABLED
        if account.quota_bytes and account.used_bytes + envelope.size > account.quota_bytes:
            return MAILBOX_FULL
        return Route("local", account.name)

    @hookimpl
    async def known_recipients(self) -> Sequence[KnownRecipient]:
        """Accounts that take mail, aliases, catch-alls, and the postmaster of every domain that is served here."""
        config, directory = self._core.settings[CoreConfig], self._core.store.directory
        separator = self._core.settings[MdaConfig].separator
        domains = {name for name, domain in directory.domains().items() if domain.kind == "local"}
        domains |= set(config.domains)
        names = {*directory.recipients(), *(f"{POSTMASTER}@{name}" for name in domains)}
        found = [KnownRecipient(name, separator) for name in names if name.rpartition("@")[2] in domains]
        caught = (domain for domain in directory.domains().values() if domain.catch_all and domain.name in domains)
        return found + [KnownRecipient(f"@{domain.name}") for domain in caught]

    def _kind(self, address: Address) -> Literal["local", "backup", "relay"] | None:
        config = self._core.settings[CoreConfig]
        name = domain_key(address.domain)
        if name in config.domains:
            return "local"
        if (domain := self._core.store.directory.domain(name)) is not None:
            return domain.kind
        # Mail to postmaster@<this machine> must work even where the machine's name is no mail domain.
        return "local" if name == config.hostname and address.local.lower() == POSTMASTER else None

    def _keys(self, address: Address) -> list[str]:
        """The address as given, then without its detail: an alias or account `ana+lists@` wins over `ana@`."""
        separator = self._core.settings[MdaConfig].separator
        keys = [address.key]
        base, found, _ = address.local.partition(separator) if separator else ("", "", "")
        if found and base:
            keys.append(Address(base, address.domain).key)
        return keys

    def _account(self, address: Address) -> Account | None:
        directory = self._core.store.directory
        return next((account for key in self._keys(address) if (account := directory.account(key))), None)

    def _list_route(self, session: Session, envelope: Envelope, recipient: Recipient) -> Route | Reply:
        directory = self._core.store.directory
        found = next((one for key in self._keys(recipient.address) if (one := directory.mailing_list(key))), None)
        if found is None:
            return UNKNOWN_USER
        return may_post(self._core, found, session, envelope, recipient) or Route(TRANSPORT, found.address)

    def _list_owner(self, address: Address) -> str:
        """The owner of a list, if the address is one of those that lead there."""
        base = list_of_owner_address(address)
        found = self._core.store.directory.mailing_list(base.key) if base is not None else None
        return found.owner if found is not None else ""

    def _fallback(self, address: Address) -> str:
        """Where mail for an unknown local part goes: the postmaster's account, then the domain's catch-all."""
        directory = self._core.store.directory
        if address.local.lower() == POSTMASTER:
            postmaster = self._core.settings[CoreConfig].postmaster or directory.first_account()
            if postmaster and postmaster != address.key:
                return postmaster
        domain = directory.domain(domain_key(address.domain))
        return domain.catch_all if domain is not None and domain.catch_all != address.key else ""


def _among(address: Address, domains: Sequence[str]) -> bool:
    return any(selects(domain, address) for domain in domains)
