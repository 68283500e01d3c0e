"""The commands of IMAP as values (RFC 3501 section 6). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from plugins.imap4.protocol_acl import RightsChange
from plugins.imap4.protocol_fetch import FetchItem
from plugins.imap4.protocol_list import ListQuery
from plugins.imap4.protocol_metadata import Wanted
from plugins.imap4.protocol_notify import Wishes
from plugins.imap4.protocol_parse import SequenceSet
from plugins.imap4.protocol_return import Returns
from plugins.imap4.protocol_search import Key
from plugins.imap4.protocol_sort import Criterion
from plugins.imap4.protocol_sources import Source
from plugins.imap4.protocol_sync import (
    NO_MODIFIERS,
    Known,
    Modifiers,
)


class State(IntEnum):
    """The states of a connection (RFC 3501 section 3); LOGOUT is the end of the session."""

    NOT_AUTHENTICATED = 0
    AUTHENTICATED = 1
    SELECTED = 2


@dataclass(frozen=True, slots=True)
class Command:
    """What all commands have; those without arguments are just this."""

    tag: bytes
    verb: str


@dataclass(frozen=True, slots=True)
class Login(Command):
    """LOGIN (section 6.2.3)."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """AUTHENTICATE (section 6.2.2); `initial` is the initial response of SASL-IR, still in base64 (RFC 4959)."""

    mechanism: str
    initial: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identify(Command):
    """ID (RFC 2971)."""

    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Enable(Command):
    """ENABLE (RFC 5161)."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnMailbox(Command):
    """DELETE, SUBSCRIBE, UNSUBSCRIBE."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Select(Command):
    """SELECT and EXAMINE (section 6.3.1), with what CONDSTORE and QRESYNC add."""

    mailbox: str
    condstore: bool = False
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class Create(Command):
    r"""CREATE (section 6.3.3); `uses` are the special uses wanted, such as `\Sent` (RFC 6154 section 3)."""

    mailbox: str
    uses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rename(Command):
    """RENAME (section 6.3.5)."""

    mailbox: str
    target: str


@dataclass(frozen=True, slots=True)
class ListNames(Command):
    """LIST and LSUB."""

    query: ListQuery


@dataclass(frozen=True, slots=True)
class Status(Command):
    """STATUS (section 6.3.10)."""

    mailbox: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compress(Command):
    """COMPRESS (RFC 4978 section 3)."""

    mechanism: str


@dataclass(frozen=True, slots=True)
class GetQuota(Command):
    """GETQUOTA (RFC 9208 section 4.1.1)."""

    root: bytes


@dataclass(frozen=True, slots=True)
class GetMetadata(Command):
    """GETMETADATA (RFC 5464 section 4.2); the mailbox "" is the server."""

    mailbox: str
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class SetMetadata(Command):
    """SETMETADATA (RFC 5464 section 4.3); None takes an annotation away."""

    mailbox: str
    values: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Notify(Command):
    """NOTIFY (RFC 5465 section 3.1); None is NOTIFY NONE."""

    wishes: Wishes | None


@dataclass(frozen=True, slots=True)
class OnEntry(Command):
    """DELETEACL and LISTRIGHTS (RFC 4314)."""

    mailbox: str
    identifier: str


@dataclass(frozen=True, slots=True)
class SetAcl(OnEntry):
    """SETACL (RFC 4314 section 3.1)."""

    change: RightsChange


@dataclass(frozen=True, slots=True)
class Fetch(Command):
    """FETCH and UID FETCH (section 6.4.5)."""

    uid: bool
    members: SequenceSet
    items: tuple[FetchItem, ...]
    modifiers: Modifiers = NO_MODIFIERS


@dataclass(frozen=True, slots=True)
class StoreFlags(Command):
    """STORE and UID STORE (section 6.4.6). `mode` is "+", "-" or ""."""

    uid: bool
    members: SequenceSet
    mode: str
    silent: bool
    flags: tuple[bytes, ...]
    unchangedsince: int | None = None


@dataclass(frozen=True, slots=True)
class Copy(Command):
    """COPY and MOVE, with and without UID (section 6.4.7, RFC 6851)."""

    uid: bool
    members: SequenceSet
    mailbox: str


@dataclass(frozen=True, slots=True)
class UidExpunge(Command):
    """UID EXPUNGE (RFC 4315 section 2.1)."""

    members: SequenceSet


@dataclass(frozen=True, slots=True)
class Search(Command):
    """SEARCH and UID SEARCH (section 6.4.4). `key` is None when the charset is unknown."""

    uid: bool
    key: Key | None
    returns: Returns | None = None


@dataclass(frozen=True, slots=True)
class Sort(Search):
    """SORT and UID SORT (RFC 5256 section 3)."""

    criteria: tuple[Criterion, ...] = ()


@dataclass(frozen=True, slots=True)
class MultiSearch(Search):
    """ESEARCH (RFC 7377): a search in several mailboxes."""

    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Thread(Search):
    """THREAD and UID THREAD (RFC 5256 section 3)."""

    algorithm: str = "REFERENCES"
