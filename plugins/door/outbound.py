"""The limit of what an account sends: beyond it the account counts as hijacked, its mail is held, an alarm is given."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from appliance.config import CoreConfig
from appliance.dispatch import HookFailedError
from appliance.errors import AddressError, NotFoundError, StoreError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome
from appliance.mail.edited import Edited
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.received import date_field, message_id
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from plugins.door.config import OutboundConfig
from plugins.door.networks import Recent
from plugins.door.usage import Usage

if TYPE_CHECKING:
    from appliance.core import Core

log = logging.getLogger(__name__)

STASH = "door.outbound"
MAX_ACCOUNTS = 2000  # whose use is remembered
MAX_SENDERS = 5000  # sender addresses whose account is remembered, for the share of failed deliveries

TOO_MANY_SESSIONS = Reply(421, "4.7.0", "Too many connections of this account, try again later")


class Outbound:
    """Counts per account, and trips."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.usage: Recent[str, Usage] = Recent(MAX_ACCOUNTS)
        self.touched: set[str] = set()  # accounts whose use is not written down yet
        self._accounts: Recent[str, str] = Recent(MAX_SENDERS)  # sender address → account
        self._open: Counter[str] = Counter()
        self._tripping: dict[str, asyncio.Task[None]] = {}
        self._elsewhere: Recent[str, str] = Recent(MAX_ACCOUNTS)  # tripped accounts of another back end, and why

    # ── the hooks ─────────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def smtp_sender(self, session: Session) -> Reply | None:
        """Bound the connections of an account."""
        account = session.account
        if account is None or session.stash.get(STASH) == account:
            return None
        limit = self._core.settings[OutboundConfig].connections
        if 0 < limit <= self._open[account]:
            return TOO_MANY_SESSIONS
        self.leave(session)
        session.stash[STASH] = account
        self._open[account] += 1
        return None

    @hookimpl
    async def smtp_refused(self, session: Session, reply: Reply) -> Reply | None:
        """A client that has too many connections must not keep this one."""
        return reply if reply is TOO_MANY_SESSIONS else None

    @hookimpl
    async def message_received(self, session: Session, envelope: Envelope, message: Message) -> Edited | None:
        """Count a message; when it is the one too many, its account's mail is held from this one on.

        The intake sees to that; but an account of another back end can be held by name only as long as we run.
        """
        account = session.account
        if account is None or self._core.store.directory.held(account):
            return None
        if self._elsewhere.get(account) is None:
            await self._count(account, envelope)
        why = self._elsewhere.get(account)
        return Edited(message, envelope.sender, envelope.recipients, quarantine=why) if why else None

    @hookimpl
    async def delivery_settled(self, envelope: Envelope, outcome: Outcome) -> None:
        """Count what became of an account's mail."""
        if envelope.sender is None or outcome.peer == "local":
            return
        account = self._accounts.get(envelope.sender.key)
        if account is None:
            return
        usage = self._usage(account)
        failed = outcome.status == "failed"
        usage.add(self._core.now(), settled=1, failed=int(failed))
        self.touched.add(account)
        if failed:
            await self._judge(account, usage)

    # ── what stands behind them ───────────────────────────────────────────────────────────────────────────────────

    def leave(self, session: Session) -> None:
        """Count a connection no more."""
        account = session.stash.pop(STASH, None)
        if account is not None:
            self._open[account] -= 1
            if self._open[account] <= 0:
                del self._open[account]

    async def _count(self, account: str, envelope: Envelope) -> None:
        outside = await self._outside(envelope)
        if not outside:
            return
        usage, now = self._usage(account), self._core.now()
        new = sum([usage.destination(_hash(recipient.address), now) for recipient in outside])
        usage.add(now, messages=1, recipients=len(outside), new=new)
        self.touched.add(account)
        if envelope.sender is not None:
            self._accounts.put(envelope.sender.key, account)
        await self._judge(account, usage)

    def _usage(self, account: str) -> Usage:
        return self.usage.entry(account, Usage)

    async def _outside(self, envelope: Envelope) -> list[Recipient]:
        """The recipients that have no mailbox here. Raises HookFailedError."""
        own: dict[str, bool] = {}
        outside = []
        for recipient in envelope.recipients:
            domain = recipient.address.domain
            if domain not in own:
                own[domain] = await self._core.dispatch.own_recipient(recipient=recipient) == "local"
            if not own[domain]:
                outside.append(recipient)
        return outside

    async def _judge(self, account: str, usage: Usage) -> None:
        held = self._core.store.directory.held(account)
        why = "" if held else usage.excess(self._core.now(), self._core.settings[OutboundConfig])
        if not why:
            return
        task = self._tripping.get(account)
        if task is None:
            task = self._tripping[account] = asyncio.create_task(self._trip(account, why))
            task.add_done_callback(lambda _: self._tripping.pop(account, None))
        await asyncio.shield(task)

    async def _trip(self, account: str, why: str) -> None:
        """Give the alarm, then hold the account's mail: a crash between the two repeats the alarm, and loses none."""
        log.error("%s sent %s: its mail to others is held until `palomar account release %s`", account, why, account)
        try:
            await self._alarm(account, why)
        except (StoreError, HookFailedError) as error:
            log.error("the alarm about %s could not be sent: %s", account, error)
        try:
            if waiting := await self._core.queue.desk.hold_account(account, why):
                log.error("%d recipient(s) of what %s had sent before wait too", waiting, account)
        except NotFoundError:
            log.warning("%s has no mailbox here: what was held is released by `palomar queue release`", account)
            self._elsewhere.put(account, f"{account} sent {why}")
        self._usage(account).forget()
        self.touched.add(account)

    async def _alarm(self, account: str, why: str) -> None:
        config = self._core.settings[CoreConfig]
        text = config.postmaster or self._core.store.directory.first_account() or ""
        try:
            postmaster = Address.parse(text)
        except AddressError:
            log.error("nobody can be told about %s: there is no postmaster", account)
            return
        message = alarm(account, why, postmaster, hostname=config.hostname, at=self._core.now())
        terms = Envelope(None, body="8BITMIME", smtputf8=not (account.isascii() and postmaster.is_ascii))
        to = [Recipient(postmaster)]
        await self._core.intake.submit(message, None, to, origin="door", written=True, envelope=terms)


def alarm(account: str, why: str, postmaster: Address, *, hostname: str, at: float) -> Message:
    """The message that tells the administrator."""
    header = [
        f"From: Palomar <postmaster@{hostname}>",
        f"To: <{postmaster}>",
        f"Subject: Mail of {account} is held",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    body = [
        f"{account} has sent more than an office does: {why}.",
        "Perhaps somebody else knows its password. What it sends from now on is taken, but held here.",
        "",
        "Look at what waits:            palomar queue list --state held",
        f"If it was somebody else:       palomar account password {account}",
        f"    and throw it away:         palomar account release {account} --remove",
        f"If it was all right:           palomar account release {account}",
        "",
        "The limits are those of [door.outbound] in palomar.toml.",
    ]
    text = "\r\n".join([*header, "", *body, ""]).encode()
    return Message.parse(date_field(at) + message_id(secrets.token_hex(12), hostname) + text)


def _hash(address: Address) -> int:
    """A number for an address: whom an account writes to is nobody's business, and need not be kept."""
    digest = hashlib.blake2b(address.key.encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")
