"""The hooks: what leaves by a redirect gets a return address of ours, and what comes back to one is led on."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Literal

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.address import MAX_LOCAL, Address, domain_key, normal_domain
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.known import KnownRecipient
from appliance.mail.reply import Reply
from plugins.srs.config import SrsConfig
from plugins.srs.protocol import SrsError, Token, forward, forward_token, is_srs, reverse, token_of
from plugins.srs.schema import Key, add_key, forget_older_keys, keep_sender, kept_sender, list_keys

DAY_S = 86_400
KEY_OCTETS = 32
FORGET_S = DAY_S  # how late a kept sender's last use is noted, at most


class Rewriting:
    """Makes return addresses, and leads bounces back."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._noted: dict[str, int] = {}  # kept senders by token, and when their use was noted

    # ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def outbound_sender(self, envelope: Envelope, via: str) -> Address | None:
        """A return address of ours for a stranger's message that one of our addresses sends on to another system."""
        sender, core = envelope.sender, self._core
        if not via or sender is None or self._config.excludes(sender):
            return None
        if await core.dispatch.own_recipient(recipient=Recipient(sender)) == "local":
            return None
        if await self._stays_with_us(envelope.recipients):
            return None
        key = await self._current_key()
        made = forward(sender, self._domain, key, day=self._day, hash_length=self._config.hash_length)
        if len(made.local.encode()) <= MAX_LOCAL:
            return made
        token = token_of(sender)
        await self._keep(token, sender)
        return forward_token(token, self._domain, key, day=self._day, hash_length=self._config.hash_length)

    async def _stays_with_us(self, recipients: Sequence[Recipient]) -> bool:
        """Whether the next hop is an inner server of our own domains, which takes what it gets from us."""
        for recipient in recipients:
            if await self._core.dispatch.own_recipient(recipient=recipient) is None:
                return False
        return True

    async def _current_key(self) -> bytes:
        """The newest key; a new one if that is too old, or if there is none."""
        keys = self._known_keys()
        now = int(self._core.now())
        newest = keys[0] if keys else None
        rotates = self._core.time_state != "unset"
        if newest is None or (rotates and now - newest.made_at >= self._config.rotate_days * DAY_S):
            keys = await new_key(self._core, after=newest)
        return keys[0].secret

    async def _keep(self, token: Token, sender: Address) -> None:
        now, text, window_s = int(self._core.now()), str(sender), window_s_of(self._core)
        if now - self._noted.get(token.text, now - FORGET_S) < FORGET_S:
            return
        await self._core.store.write(lambda db: keep_sender(db, token.text, text, now, window_s))
        self._noted = {key: at for key, at in self._noted.items() if now - at < FORGET_S} | {token.text: now}

    # ── back ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl(tryfirst=True)
    async def own_recipient(self, recipient: Recipient) -> Literal["local"] | None:
        """Return addresses are ours, also where their domain has no other mail."""
        ours = is_srs(recipient.address) and domain_key(recipient.address.domain) == domain_key(self._domain)
        return "local" if ours else None

    @hookimpl(tryfirst=True)
    async def expand_recipient(self, recipient: Recipient) -> Sequence[Recipient] | None:
        """The sender for whom a return address stands; one that is not good stays, and no catch-all gets it."""
        if not await self._is_return_address(recipient):
            return None
        try:
            return [Recipient(self._original(recipient.address))]
        except SrsError:
            return [recipient]  # `route_recipient` says why

    @hookimpl(tryfirst=True)
    async def route_recipient(self, recipient: Recipient) -> Reply | None:
        """Refuse a return address that is not good."""
        if not await self._is_return_address(recipient):
            return None
        try:
            self._original(recipient.address)
        except SrsError as error:
            return Reply(550, "5.1.1", f"This return address leads nowhere: {error}")
        return None

    @hookimpl
    async def known_recipients(self) -> Sequence[KnownRecipient]:
        """Return addresses, for servers before us: those see the form, only we the hash."""
        core = self._core.settings[CoreConfig]
        domains = sorted({domain_key(self._domain), *core.domains})
        return [KnownRecipient(f"{tag}@{domain}", "=") for domain in domains for tag in ("srs0", "srs1")]

    async def _is_return_address(self, recipient: Recipient) -> bool:
        return is_srs(recipient.address) and await self._core.dispatch.own_recipient(recipient=recipient) == "local"

    def _original(self, address: Address) -> Address:
        """Raises SrsError."""
        found = reverse(
            address,
            [key.secret for key in self._known_keys()],
            day=self._day if self._core.time_state != "unset" else None,
            max_age_days=self._config.max_age_days,
            hash_length=self._config.hash_length,
        )
        if isinstance(found, Address):
            return found
        sender = self._core.store.peek(lambda db: kept_sender(db, found.text))
        if sender is None:
            raise SrsError("it has expired")
        return Address.parse(sender)

    # ── facts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _config(self) -> SrsConfig:
        return self._core.settings[SrsConfig]

    @property
    def _domain(self) -> str:
        core = self._core.settings[CoreConfig]
        chosen = self._config.domain
        return normal_domain(chosen) if chosen else next(iter(core.domains), core.hostname)

    @property
    def _day(self) -> int:
        return int(self._core.now()) // DAY_S

    def _known_keys(self) -> list[Key]:
        """The newest first. Read each time, since commands change them; few messages ask."""
        return self._core.store.peek(list_keys)


def window_s_of(core: Core) -> int:
    """For how long what a key has made must be understood, in seconds: the queue's time is within it."""
    return (core.settings[SrsConfig].max_age_days + 1) * DAY_S


async def new_key(core: Core, *, after: Key | None) -> list[Key]:
    """Make a key, unless `after` is not the newest any more. Returns all, the newest first. Raises StoreError."""
    made = Key(int(core.now()), secrets.token_bytes(KEY_OCTETS))
    known, window_s = after.made_at if after is not None else None, window_s_of(core)
    return await core.store.write(lambda db: add_key(db, made, after=known, window_s=window_s))


async def rotate(core: Core, *, forget: bool = False) -> int:
    """Make a new key now, and `forget` those before it or not. Returns how many are left of these."""
    keys = core.store.peek(list_keys)
    left = await new_key(core, after=keys[0] if keys else None)
    if forget:
        await core.store.write(forget_older_keys)
        return 0
    return len(left) - 1
