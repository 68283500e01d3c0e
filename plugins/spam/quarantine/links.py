"""Links that release what is held: each is an address of ours with a token that is good once, for one account.

Whoever holds a token and is logged in as its account, or may file into its inbox, may use it: today by a mail to the
address, which is refused to all others at RCPT; a page of the web role can hand `redeem` the same token from a URL.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.errors import NotFoundError, QuotaError, StoreError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.dates import format_date
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.rights import covers
from appliance.mail.session import Session
from appliance.store import Account, QueuedMessage, QueueEntry
from appliance.store.quarantine import Quarantined, quarantined_entry
from appliance.store.rights import rights_on
from plugins.spam.quarantine.config import QuarantineConfig
from plugins.spam.quarantine.desk import header_of, outside, release
from plugins.spam.quarantine.protocol_digest import Cover, compose_answer, shown
from plugins.spam.quarantine.protocol_texts import TEXTS, Texts
from plugins.spam.quarantine.schema import Link, find_link

TRANSPORT = "quarantine"
NEEDED_RIGHTS = "ri"  # on the inbox of another account, to use its links (RFC 4314 section 2.1)
TOKEN_OCTETS = 15
_TOKEN = re.compile(r"[a-z2-7]{24}")  # that many octets in base32; addresses come in any case

UNKNOWN = Reply(550, "5.7.1", "This link releases nothing: it was used before, or it is too old")
OTHER = Reply(550, "5.7.1", "This link works from the account that it was sent to, and when you are logged in")
TAKEN = Reply(250, "2.0.0", "the link was used")


class Links:
    """The routing hooks: who may send to the address of a link."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl(tryfirst=True)
    async def expand_recipient(self, recipient: Recipient) -> Sequence[Recipient] | None:
        """The address of a link stays as it is: neither a catch-all nor an account with that name gets it."""
        return [recipient] if self._token(recipient.address) else None

    @hookimpl(tryfirst=True)
    async def route_recipient(self, session: Session, recipient: Recipient) -> Route | Reply | None:
        """The way of a good link, for its own account; words for all others."""
        token = self._token(recipient.address)
        if not token:
            return None
        hashed, now = hash_of(token), int(self._core.now())
        link = self._core.store.peek(lambda db: find_link(db, hashed, now))
        if link is None:
            return UNKNOWN
        owner = self._core.store.directory.account_by_id(link.account_id)
        return Route(TRANSPORT, owner.name) if owner is not None and self._may_use(session, owner) else OTHER

    def _may_use(self, session: Session, owner: Account) -> bool:
        """Whether who is logged in is the owner, or may read its inbox and put mail there (a role such as office@)."""
        account = self._core.store.directory.account(session.account) if session.account else None
        if account is None or account.id == owner.id:
            return account is not None
        inbox = self._core.store.mailbox(owner.id, "INBOX")
        if inbox is None:
            return False
        return covers(self._core.store.peek(lambda db: rights_on(db, account.id, inbox.id)), NEEDED_RIGHTS)

    def _token(self, address: Address) -> str:
        """The token in the address of a link; empty for other addresses."""
        name = self._core.settings[QuarantineConfig].release_name
        begin, found, token = address.local.lower().partition("+")
        return token if found and begin == name and _TOKEN.fullmatch(token) else ""


class ReleaseTransport:
    """Transport `quarantine` (a `FilingTransport`): a mail to a link's address releases, and is answered."""

    name = TRANSPORT

    def __init__(self, core: Core) -> None:
        self._core = core

    async def deliver_queued(
        self, envelope: Envelope, queued: QueuedMessage, entries: Sequence[QueueEntry], message: Message
    ) -> list[Outcome]:
        """Release, and settle the entry by the answer. After a crash in between the answer is that nothing was held."""
        return [await self._deliver(entry) for entry in entries]

    async def _deliver(self, entry: QueueEntry) -> Outcome:
        core = self._core
        try:
            account = core.store.directory.account(entry.route.next_hop)
            if account is None:
                return Outcome(entry.recipient, "failed", UNKNOWN, peer="local")
            released = await redeem(core, account, entry.recipient.address.local.lower().rpartition("+")[2])
            await self._answer(account, released, entry.id)
        except NotFoundError:
            pass  # settled meanwhile
        except (QuotaError, StoreError) as error:
            later = Reply(451, "4.3.0", "the link could not be used now", reason=str(error))
            return Outcome(entry.recipient, "deferred", later, peer="local")
        return Outcome(entry.recipient, "delivered", TAKEN, peer="local")

    async def _answer(self, account: Account, released: Quarantined | None, settles: int) -> None:
        core, texts = self._core, texts_for(self._core, account)
        subject, text = texts.gone_subject, texts.gone
        if released is not None:
            sender, title = outside(await header_of(core, released), released)
            names = {"sender": shown(sender) or texts.no_sender, "subject": shown(title) or texts.no_subject}
            subject, text = texts.released_subject, texts.released.format(**names)
        cover = cover_for(core, account)
        await submit(core, compose_answer(cover, texts, subject=subject, text=text), cover, settles=(settles,))


async def redeem(core: Core, account: Account, token: str) -> Quarantined | None:
    """Use a token in the name of an account: what it released, or None where it is good for nothing.

    Raises StoreError.
    """
    hashed, now = hash_of(token), int(core.now())
    link = await core.store.read(lambda db: find_link(db, hashed, now))
    if link is None or link.account_id != account.id:
        return None
    one = await core.store.read(lambda db: quarantined_entry(db, link.entry_id))
    if one is None or one.trace_id != link.trace_id or one.demanded:
        return None
    return one if await release(core, [one], learn=True) else None


def new_link(core: Core, account: Account, one: Quarantined) -> tuple[Link, Address]:
    """A link to what is held for an account, and its address, which nobody but the account may learn."""
    config = core.settings[QuarantineConfig]
    token = base64.b32encode(secrets.token_bytes(TOKEN_OCTETS)).decode().lower()
    expires_at = int(core.now() + config.link_days * 86_400)
    link = Link(hash_of(token), account.id, one.entry_id, one.trace_id, expires_at)
    return link, Address(f"{config.release_name}+{token}", account.name.rpartition("@")[2])


def hash_of(token: str) -> bytes:
    """Under which a token is kept: who reads the database learns none."""
    return hashlib.sha256(token.encode()).digest()


def texts_for(core: Core, account: Account) -> Texts:
    """The words for an account, in its language."""
    return TEXTS[core.language_of(Address.parse(account.name))]


def cover_for(core: Core, account: Account) -> Cover:
    """The outside of a mail of ours to an account. Raises AddressError."""
    hostname = core.settings[CoreConfig].hostname
    return Cover(
        sender=Address("postmaster", hostname),
        to=Address.parse(account.name),
        date=format_date(core.now()),
        message_id=f"{secrets.token_hex(12)}@{hostname}",
        boundary=f"=_{secrets.token_hex(12)}",
    )


async def submit(core: Core, message: Message, cover: Cover, *, settles: Sequence[int] = ()) -> None:
    """Hand a mail of ours to the one door. Raises StoreError, NotFoundError when what it settles is gone."""
    terms = Envelope(None, body="7BIT" if message.header.isascii() else "8BITMIME", smtputf8=not cover.to.is_ascii)
    await core.intake.submit(
        message,
        None,
        [Recipient(cover.to)],
        origin=TRANSPORT,
        envelope=terms,
        insist=True,
        settles=settles,
        written=True,
    )
