"""The hooks: where a mask address leads, who is told that it is over, and how often it is used."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from appliance.core import Core
from appliance.errors import ApplianceError, NotFoundError
from appliance.flusher import Flusher
from appliance.hookspecs import Service, hookimpl
from appliance.mail.address import Address, normal_domain
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.known import KnownRecipient
from appliance.mail.reply import Reply
from appliance.store import Account
from plugins.masks.config import MasksConfig
from plugins.masks.schema import (
    SOFT_MIGRATIONS,
    Mask,
    Use,
    list_masks,
    put_mask,
    read_uses,
    remove_mask,
    write_uses,
)

DAY_S = 86_400
ALPHABET = "bcdfghjkmnpqrstvwxz23456789"  # no vowels: no words; nothing that looks like something else
MAX_NOTE = 200  # characters

REVOKED = Reply(550, "5.2.1", "This address was made for one purpose, and its owner has withdrawn it")
EXPIRED = Reply(550, "5.2.1", "This address was good for some time only, and that is over")


class MaskError(ApplianceError):
    """A mask address that cannot be made."""


class Masks:
    """Addresses that lead to accounts for as long as these want."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._masks: dict[str, Mask] | None = None
        self._uses: dict[str, tuple[int, int]] = {}
        self._touched: set[str] = set()
        core.store.soft.add(SOFT_MIGRATIONS)

    # ── the way of mail ───────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl(tryfirst=True)
    async def expand_recipient(self, recipient: Recipient) -> Sequence[Recipient] | None:
        """The account; one that is over stays as it is, so that no catch-all gets its mail."""
        mask = self._all().get(recipient.address.key)
        if mask is None:
            return None
        account = self._core.store.directory.account_by_id(mask.account_id)
        if account is None or self._over(mask) is not None:
            return [recipient]  # `route_recipient` says why
        return [Recipient(Address.parse(account.name))]

    @hookimpl(tryfirst=True)
    async def route_recipient(self, recipient: Recipient) -> Reply | None:
        """Refuse an address that is over."""
        mask = self._all().get(recipient.address.key)
        return None if mask is None else self._over(mask) or REVOKED

    @hookimpl
    async def known_recipients(self) -> Sequence[KnownRecipient]:
        """Those that are good: servers before us refuse all others themselves."""
        return [KnownRecipient(mask.address) for mask in self._all().values() if self._over(mask) is None]

    @hookimpl
    async def message_accepted(self, envelope: Envelope) -> None:
        """Count what came to a mask."""
        masks = self._all()
        for recipient in envelope.recipients:
            if (key := recipient.address.key) in masks:
                self._uses[key] = self._uses.get(key, (0, 0))[0] + 1, int(self._core.now())
                self._touched.add(key)

    def _over(self, mask: Mask) -> Reply | None:
        if mask.revoked_at:
            return REVOKED
        dated = mask.expires_at and self._core.time_state != "unset"
        return EXPIRED if dated and mask.expires_at <= self._core.now() else None

    def _all(self) -> dict[str, Mask]:
        if self._masks is None:
            self._masks = {mask.address: mask for mask in self._core.store.peek(list_masks)}
        return self._masks

    # ── what commands ask ─────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """What `palomar mask` asks."""
        return [
            ("masks.add", self._add),
            ("masks.list", self._list),
            ("masks.revoke", self._revoke),
            ("masks.renew", self._renew),
            ("masks.remove", self._remove),
        ]

    async def _add(
        self, core: Core, *, account: str, note: str = "", days: float | None = None, domain: str = ""
    ) -> dict[str, Any]:
        """Make a mask of a random name. Raises MaskError."""
        owner, config = core.store.directory.require_account(account), core.settings[MasksConfig]
        if len(note) > MAX_NOTE or not note.isprintable():
            raise MaskError(f"a note has at most {MAX_NOTE} characters, in one line")
        if sum(mask.account_id == owner.id for mask in self._all().values()) >= config.max_per_account:
            raise MaskError(
                f"{owner.name} has {config.max_per_account} masks already; remove some, or raise the setting"
            )
        address = await self._new_address(owner, domain)
        now = int(core.now())
        mask = Mask(address.key, owner.id, note, now, _expiry(now, config.days if days is None else days))
        await core.store.write(lambda db: put_mask(db, mask))
        self._masks = None
        return self._described(mask)

    async def _new_address(self, owner: Account, domain: str) -> Address:
        core = self._core
        domain = normal_domain(domain) if domain else owner.name.rpartition("@")[2]
        if await core.dispatch.own_recipient(recipient=Recipient(Address("postmaster", domain))) != "local":
            raise MaskError(f"{domain} is no domain whose mail is kept here; name one of yours")
        directory, length = core.store.directory, core.settings[MasksConfig].length
        while True:
            address = Address("".join(secrets.choice(ALPHABET) for _ in range(length)), domain)
            taken = (
                directory.account(address.key) or directory.alias(address.key) or directory.mailing_list(address.key)
            )
            if not taken and address.key not in self._all():
                return address

    async def _list(self, core: Core, *, account: str = "") -> list[dict[str, Any]]:
        owner = core.store.directory.require_account(account).id if account else 0
        return [self._described(mask) for mask in self._all().values() if not owner or mask.account_id == owner]

    async def _revoke(self, core: Core, *, address: str) -> None:
        await self._change(address, lambda mask, now: replace(mask, revoked_at=mask.revoked_at or now))

    async def _renew(self, core: Core, *, address: str, days: float = 0.0) -> None:
        """Make it good again, for so many days from now, or for good."""
        await self._change(address, lambda mask, now: replace(mask, revoked_at=0, expires_at=_expiry(now, days)))

    async def _remove(self, core: Core, *, address: str) -> None:
        mask = self._named(address)
        await core.store.write(lambda db: remove_mask(db, mask.address))
        self._masks = None
        self._uses.pop(mask.address, None)
        self._touched.add(mask.address)

    async def _change(self, address: str, change: Callable[[Mask, int], Mask]) -> None:
        changed = change(self._named(address), int(self._core.now()))
        await self._core.store.write(lambda db: put_mask(db, changed))
        self._masks = None

    def _named(self, address: str) -> Mask:
        mask = self._all().get(Address.parse(address).key)
        if mask is None:
            raise NotFoundError(f"there is no mask {address}; `palomar mask list` shows all")
        return mask

    def _described(self, mask: Mask) -> dict[str, Any]:
        account = self._core.store.directory.account_by_id(mask.account_id)
        over = self._over(mask)
        uses, used_at = self._uses.get(mask.address, (0, 0))
        return {
            "address": mask.address,
            "account": account.name if account is not None else "",
            "note": mask.note,
            "state": "good" if over is None else "revoked" if over is REVOKED else "expired",
            "made_at": mask.made_at,
            "expires_at": mask.expires_at,
            "uses": uses,
            "used_at": used_at,
        }

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def services(self, core: Core) -> Sequence[Service]:
        """What writes down how often masks are used."""
        return [Flusher("masks", self.load, self.flush)]

    async def load(self) -> None:
        """Read the counts of before this run."""
        rows = await self._core.store.soft.read(read_uses) or ()
        self._uses = {address: (uses, used_at) for address, uses, used_at in rows}

    async def flush(self) -> None:
        """Write down what has changed."""
        touched, self._touched = self._touched, set()
        if not touched:
            return
        rows: list[Use] = [(key, *self._uses[key]) for key in touched if key in self._uses]
        gone = [key for key in touched if key not in self._uses]
        if not await self._core.store.soft.write(lambda db: write_uses(db, rows, gone)):
            self._touched |= touched


def _expiry(now: int, days: float) -> int:
    """Raises MaskError."""
    if not 0 <= days <= 36_500:
        raise MaskError("an address is good for 0 (for good) to 36500 days")
    return now + int(days * DAY_S) if days else 0
