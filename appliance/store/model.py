"""The rows of the store as values. Ids are SQLite row ids; times are epoch seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Judgement
from appliance.mail.flags import ANSWERED as ANSWERED
from appliance.mail.flags import DELETED as DELETED
from appliance.mail.flags import DRAFT as DRAFT
from appliance.mail.flags import FLAGGED as FLAGGED
from appliance.mail.flags import SEEN as SEEN
from appliance.mail.flags import SYSTEM_FLAGS as SYSTEM_FLAGS
from appliance.mail.message import Message

FIRST_KEYWORD_BIT = 8  # keyword n of a mailbox is bit 8 + n of `flags`
MAX_KEYWORDS = 55  # bits 8..62; SQLite integers are signed 64-bit, so 63 is the sign
ALL_FLAGS = (1 << FIRST_KEYWORD_BIT + MAX_KEYWORDS) - 1

EVERYBODY = 0  # in place of an account's id: all that can log in
DELIMITER = "/"  # between the levels of a mailbox name


class Account(msgspec.Struct, frozen=True):
    """One person or role with mailboxes. `name` is the login and primary address, lower case, NFC."""

    id: int
    name: str
    quota_bytes: int = 0  # 0: no limit
    used_bytes: int = 0
    enabled: bool = True
    redirect: str = ""  # all mail goes to this address instead of the mailbox
    weak_mechanisms: bool = False  # SCRAM-SHA-1, CRAM-MD5 and APOP by the account's own choice
    redirect_keep: bool = False  # a redirect leaves a copy in the mailbox
    language: str = ""  # that its mail from the appliance is written in; empty: the appliance's


DomainKind = Literal["local", "backup", "relay"]


class Domain(msgspec.Struct, frozen=True):
    """One mail domain that is ours, and how it is served. `catch_all` receives what has no account, if not empty.

    Mail of a `relay` goes to the host `next_hop`; that of a `backup` too, or to exchangers that DNS prefers to us.
    """

    name: str
    kind: DomainKind = "local"
    catch_all: str = ""
    next_hop: str = ""


PostingRule = Literal["members", "accounts", "anyone"]


class MailingList(msgspec.Struct, frozen=True):
    """A list of members. Notices about its mail go to `owner`; `post` says who may write to it."""

    address: str
    title: str
    owner: str
    post: PostingRule = "members"
    reply_to_list: bool = False  # answers go to the list and not to the author


class StoredCredential(msgspec.Struct, frozen=True):
    """One verifier of a login name. `account` is the account's name; application passwords have a `label`."""

    kind: str
    account: str
    login: str
    label: str
    data: bytes


class Mailbox(msgspec.Struct, frozen=True):
    """One mailbox. `name` is Unicode with `/` between levels; INBOX is always upper case."""

    id: int
    account_id: int
    name: str
    uidvalidity: int
    uidnext: int
    highestmodseq: int
    messages: int
    unseen: int
    bytes: int
    subscribed: bool
    special_use: str  # "\\Sent" or ""
    keywords: tuple[str, ...]  # index n is flag bit FIRST_KEYWORD_BIT + n
    selectable: bool = True  # False: only a place in the hierarchy (\Noselect)


class MessageRow(NamedTuple):
    """One message in one mailbox, as the mailbox roles list it."""

    uid: int
    flags: int
    modseq: int
    size: int  # octets as sent to a client: prefix + header + text
    internal_at: int
    body_id: int
    filing_id: int


@dataclass(frozen=True, slots=True)
class Filing:
    """A wish: file the message in this mailbox of this account. The mailbox is made if it is not there."""

    account_id: int
    mailbox: str = "INBOX"
    prefix: bytes = b""  # this filing's own header lines: Return-Path, Delivered-To, Authentication-Results
    flags: int = 0
    keywords: tuple[str, ...] = ()
    variant: Message | None = None  # what this account gets instead of the shared message (a decrypted one)


class QueueWish(msgspec.Struct, frozen=True):
    """A wish: keep the message for this recipient until its transport has settled it."""

    recipient: Recipient
    route: Route
    hold: bool = False
    reason: str = ""  # why it is held, for people
    judged: Judgement | None = None  # by filters, if it is held because of them


class Alongside(msgspec.Struct, frozen=True):
    """Another message that is stored in the same transaction, with filings, entries and an envelope of its own."""

    message: Message
    filings: Sequence[Filing]
    wishes: Sequence[QueueWish]
    envelope: Envelope
    trace_id: str


class Filed(msgspec.Struct, frozen=True):
    """A filing that was carried out."""

    account_id: int
    mailbox_id: int
    uid: int


class Accepted(msgspec.Struct, frozen=True):
    """What one accept transaction stored. `queue_id` is None when every recipient was local."""

    body_id: int
    filed: tuple[Filed, ...] = ()
    queue_id: int | None = None
    also: tuple[Accepted, ...] = ()  # the messages stored alongside


class QueuedMessage(msgspec.Struct, frozen=True):
    """One message in the queue with its envelope."""

    id: int
    body_id: int
    sender: Address | None
    ret: str
    envid: str
    body: str
    smtputf8: bool
    size: int
    created_at: int
    trace_id: str
    require_tls: bool = False
    tls_optional: bool = False  # this and what follows as in Envelope
    priority: int = 0
    release_at: int = 0
    deliver_by: int = 0
    by_mode: str = ""
    auth: str = ""


class QueueEntry(msgspec.Struct, frozen=True):
    """One recipient of a queued message. Age is kept as waited seconds, so a clock that jumps expires nothing."""

    id: int
    message_id: int
    recipient: Recipient
    route: Route
    state: Literal["active", "held", "damaged"]
    attempts: int
    waited_s: int
    next_at: int
    delay_warned: bool
    last_reply: str
    tried_at: int = 0  # when the last attempt ended; 0 before the first, and if the clock was not synced then


class FlagEdit(msgspec.Struct, frozen=True):
    """What was done alike to all messages from one UID to another: `remove` was taken from their flags, `add` added."""

    first_uid: int
    last_uid: int
    add: int
    remove: int


@dataclass(frozen=True, slots=True)
class MailboxEvent:
    """What happened to a mailbox's name, subscription or annotations; published after the commit, as a hint.

    `account_id` is whose mailbox it is, and `name` its name afterwards; "" stands for the server. `old_name` is what a
    renamed one was called; `entries` are the annotations that were set or taken away, those of one account if
    `seen_by` names it. "rights" says that mailboxes are shared in another way, to all of EVERYBODY.
    """

    account_id: int
    kind: Literal["created", "deleted", "renamed", "subscription", "annotations", "rights"]
    name: str
    old_name: str = ""
    entries: tuple[str, ...] = ()
    seen_by: int = 0
    origin: object = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened in one mailbox, published after the commit. A hint: the truth is the durable modseq."""

    mailbox_id: int
    account_id: int
    modseq: int
    added: tuple[int, ...] = ()  # uids, ascending
    expunged: tuple[int, ...] = ()  # uids, ascending
    flags: tuple[tuple[int, int], ...] = ()  # (uid, flags) after the change, those of added uids included
    edits: tuple[FlagEdit, ...] = ()  # in place of `flags` for whole ranges; some may have had these flags before
    origin: object = field(default=None, compare=False)  # the session that made the change, if it gave itself


Notice = Change | MailboxEvent
