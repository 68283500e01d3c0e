"""Lists of members: who may write to one, what a message to it becomes, and the transport that sends it to all."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from urllib.parse import quote

from appliance.core import Core
from appliance.errors import NotFoundError, QuotaError, StoreError
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.received import delivered_to, was_delivered_to
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.mail.text import encode_words
from appliance.store import MailingList, QueuedMessage, QueueEntry
from appliance.store.lists import OWNER_SUFFIXES, everyone_on, is_on

log = logging.getLogger(__name__)

TRANSPORT = "list"

NO_NOTICES = Reply(550, "5.7.2", "Lists take no notifications; write to the owner of the list instead")
MEMBERS_ONLY = Reply(550, "5.7.2", "Only members may write to this list")
ACCOUNTS_ONLY = Reply(550, "5.7.2", "Only people of this office who are logged in may write to this list")
LIST_LOOP = Reply(554, "5.4.6", "Mail loop: the message came from this list")
ROBOT = Reply(550, "5.7.2", "Lists take no automatic replies")
GONE = Reply(550, "5.1.1", "There is no such list any more")
TAKEN = Reply(250, "2.0.0", "sent to the members of the list")
NOBODY = Reply(250, "2.0.0", "the list has no members")
LATER = Reply(451, "4.3.0", "the message for the list could not be stored, try again later")

# What we say about the list ourselves (RFC 2369, RFC 2919); of another list's we keep nothing, since both at once
# would lead programs astray.
_OWN_FIELDS = frozenset(
    {
        b"list-id", b"list-post", b"list-owner", b"list-help", b"list-subscribe", b"list-unsubscribe",
        b"list-unsubscribe-post", b"list-archive", b"precedence",
    }
)  # fmt: skip
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")


def may_post(
    core: Core, found: MailingList, session: Session, envelope: Envelope, recipient: Recipient
) -> Reply | None:
    """Why this message is not for the list, or None.

    What a login says is certain; without one, the envelope's sender is what filters have left of it. The queue looks
    for a way again without the session: then a list for people of the office takes nothing that came by an alias.
    """
    sender = envelope.sender
    if sender is None:
        return NO_NOTICES
    keys = [key for key in (session.account, sender.key) if key]
    if found.post == "anyone" or Address.parse(found.owner).key in keys:
        return None
    if found.post == "members":
        on_it = core.store.peek(lambda db: is_on(db, found.address, keys))
        return None if on_it else MEMBERS_ONLY
    ours = session.role == "local" and not recipient.via and core.store.directory.account(sender.key) is not None
    return None if session.account is not None or ours else ACCOUNTS_ONLY


class ListTransport:
    """Transport `list` (a `FilingTransport`): a message for a list becomes one for its members, in one transaction.

    Its sender is then the owner's address of the list, so that whoever wrote hears nothing of members who cannot be
    reached (RFC 5321 section 3.9.2); for the writer, the list itself is where the message was delivered
    (RFC 3461 section 5.2.7.3).
    """

    name = TRANSPORT

    def __init__(self, core: Core) -> None:
        self._core = core

    async def deliver_queued(
        self, envelope: Envelope, queued: QueuedMessage, entries: Sequence[QueueEntry], message: Message
    ) -> list[Outcome]:
        """Send it to each list's members, and settle the list's entry by that."""
        return [await self._distribute(envelope, entry, message) for entry in entries]

    async def _distribute(self, envelope: Envelope, entry: QueueEntry, message: Message) -> Outcome:
        found = self._core.store.directory.mailing_list(entry.route.next_hop)
        if found is None:
            return _failed(entry, GONE)
        if (refusal := _refusal(message, found)) is not None:
            return _failed(entry, refusal)
        try:
            members = await self._core.store.read(lambda db: everyone_on(db, found.address))
        except StoreError as error:
            log.error("%s", error)
            return _failed(entry, Reply(550, "5.3.5", f"The list cannot be used: {error}"))
        if not members:
            return _delivered(entry, NOBODY)
        terms = Envelope(
            owner_address(found),
            ret="HDRS",
            body=envelope.body,
            smtputf8=envelope.smtputf8,
            require_tls=envelope.require_tls,
            tls_optional=envelope.tls_optional,
            priority=envelope.priority,
        )
        recipients = [Recipient(Address.parse(member)) for member in members]
        try:
            await self._core.intake.submit(
                distributed(message, found),
                terms.sender,
                recipients,
                origin="list",
                envelope=terms,
                insist=True,  # the owner hears of members that are refused
                settles=[entry.id],
            )
        except NotFoundError:
            return _delivered(entry, TAKEN)  # it was settled meanwhile
        except (QuotaError, StoreError) as error:
            return Outcome(entry.recipient, "deferred", Reply(LATER.code, LATER.enhanced, LATER.text, str(error)))
        return _delivered(entry, TAKEN)


def owner_address(found: MailingList) -> Address:
    """To whom notices about a list's mail go: an address of the list's, which leads to its owner."""
    address = Address.parse(found.address)
    return Address(f"{address.local}{OWNER_SUFFIXES[0]}", address.domain)


def list_of_owner_address(address: Address) -> Address | None:
    """The list to whose owner an address would lead, if there is that list."""
    for suffix in OWNER_SUFFIXES:
        if address.local.lower().endswith(suffix) and len(address.local) > len(suffix):
            return Address(address.local[: -len(suffix)], address.domain)
    return None


def list_id(found: MailingList) -> bytes:
    """The identifier of a list (RFC 2919 section 2)."""
    return found.address.replace("@", ".").encode()


def distributed(message: Message, found: MailingList) -> Message:
    """The message as members get it. Subject, text and author stay, so that the author's signature does as well."""
    dropped = _OWN_FIELDS | {b"reply-to"} if found.reply_to_list else _OWN_FIELDS
    owner = _uri(owner_address(found))
    title = f"{_phrase(found.title)} " if found.title else ""
    lines = [
        f"List-Id: {title}<{list_id(found).decode()}>",
        f"List-Post: <mailto:{_uri(Address.parse(found.address))}>",
        f"List-Owner: <mailto:{owner}>",
        f"List-Help: <mailto:{owner}?subject=help>",
        f"List-Unsubscribe: <mailto:{owner}?subject=unsubscribe>",
        "Precedence: list",
    ]
    if found.reply_to_list:
        lines.append(f"Reply-To: <{found.address}>")
    head = delivered_to(found.address) + "".join(f"{line}\r\n" for line in lines).encode()
    return message.without(dropped).prepend(head)


def _refusal(message: Message, found: MailingList) -> Reply | None:
    if was_delivered_to(message, found.address):
        return LIST_LOOP
    ours = b"<" + list_id(found).lower() + b">"
    if any(ours in value.lower() for value in message.get_all(b"list-id")):
        return LIST_LOOP
    automatic = message.get(b"auto-submitted")
    return ROBOT if automatic is not None and automatic.strip().lower().startswith(b"auto-replied") else None


def _uri(address: Address) -> str:
    return quote(str(address), safe="@")


def _phrase(title: str) -> str:
    """A display name (RFC 5322 section 3.2.5), in encoded words if it is not plain (RFC 2047)."""
    if _ATOMS.fullmatch(title):
        return title
    if title.isascii():
        return '"' + re.sub(r'(["\\])', r"\\\1", title) + '"'
    return encode_words(title)


def _delivered(entry: QueueEntry, reply: Reply) -> Outcome:
    return Outcome(entry.recipient, "delivered", reply)


def _failed(entry: QueueEntry, reply: Reply) -> Outcome:
    return Outcome(entry.recipient, "failed", reply)
