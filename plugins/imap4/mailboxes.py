"""Commands on mailbox names: CREATE to STATUS (RFC 3501 section 6.3), with LIST of RFC 5258, 5819 and 6154."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from appliance.errors import HasChildrenError
from appliance.mail.rights import ALL_RIGHTS
from appliance.store import mailboxes, sharing
from appliance.store.annotations import annotations_of_all
from appliance.store.messages import count_deleted, list_flags
from appliance.store.model import DELIMITER, Mailbox
from plugins.imap4.access import find_selectable
from plugins.imap4.acl import rights_line
from plugins.imap4.metadata import metadata_line
from plugins.imap4.object_id import mailbox_id
from plugins.imap4.protocol_command import Create, ListNames, OnMailbox, Rename, Status
from plugins.imap4.protocol_list import ListQuery, Patterns
from plugins.imap4.protocol_respond import name_line, old_name, status_line
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.recent import Recent
    from plugins.imap4.session import ImapSession

NAMES_AT_ONCE = 250  # written before others have their turn
_WILDCARDS = frozenset("%*")
_CRITERIA = ("SUBSCRIBED", "SPECIAL-USE")  # selection options that choose names, as CHILDINFO quotes them


async def create(session: ImapSession, command: Create) -> str:
    """CREATE (section 6.3.3), with a special use (RFC 6154 section 3)."""
    _check_name(command.mailbox)
    account = session.account.id
    use = ""
    if command.uses:
        known = {name.lower().encode(): name for name in mailboxes.SPECIAL_USES}
        use = known.get(command.uses[0].lower(), "")
        if not use or len(command.uses) > 1:
            raise RefusalError("A mailbox has one special use of those in RFC 6154", "USEATTR")
    made = await session.core.store.write(
        lambda db: sharing.create_named(db, account, command.mailbox, special_use=use), origin=session
    )
    _tell_name(session, made.name, command.mailbox.rstrip(DELIMITER))
    return f"[MAILBOXID ({mailbox_id(made.mailbox.id)})] CREATE completed"


async def delete(session: ImapSession, command: OnMailbox) -> str:
    """DELETE (section 6.3.4). A session that deletes the mailbox it has selected leaves it first."""
    account, store = session.account.id, session.core.store
    mailbox = store.peek(lambda db: sharing.require_access(db, account, command.mailbox, "x")).mailbox
    if session.selected is not None and session.selected.mailbox_id == mailbox.id:
        session.deselect()
    try:
        await store.write(lambda db: sharing.delete_named(db, account, command.mailbox), origin=session)
    except HasChildrenError as error:
        raise RefusalError(str(error), "HASCHILDREN") from error
    return "DELETE completed"


async def rename(session: ImapSession, command: Rename) -> str:
    """RENAME (section 6.3.5)."""
    _check_name(command.target)
    account = session.account.id
    made = await session.core.store.write(
        lambda db: sharing.rename_named(db, account, command.mailbox, command.target), origin=session
    )
    if command.mailbox != mailboxes.INBOX:  # which keeps its name, and gives its messages away
        _tell_name(session, made.name, command.mailbox)
    return "RENAME completed"


def _tell_name(session: ImapSession, name: str, old: str) -> None:
    """Tell a client of IMAP4rev2 that what it knows as `old` has another name (RFC 9051 sections 6.3.4 and 6.3.6)."""
    if session.rev2 and name != old:
        utf8 = session.enabled.utf8
        session.connection.write(name_line("LIST", (), name, old_name(old, utf8=utf8), utf8=utf8))


async def subscribe(session: ImapSession, command: OnMailbox) -> str:
    """SUBSCRIBE and UNSUBSCRIBE (sections 6.3.6 and 6.3.7). The mailbox need not be there."""
    account, wanted = session.account.id, command.verb == "SUBSCRIBE"
    if wanted:
        _check_name(command.mailbox)
    await session.core.store.write(
        lambda db: mailboxes.set_subscribed(db, account, command.mailbox, subscribed=wanted), origin=session
    )
    return f"{command.verb} completed"


def _check_name(name: str) -> None:
    if not _WILDCARDS.isdisjoint(name):
        raise RefusalError("A mailbox name cannot hold % or *", "CANNOT")


# ── LIST, LSUB ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def list_names(session: ImapSession, command: ListNames) -> str:
    """LIST in its plain and its extended form."""
    query = command.query
    if query.asks_delimiter:
        session.connection.write(b'* LIST (\\Noselect) "/" ""\r\n')
        return "LIST completed"
    account, recent = session.account.id, session.shared.recent
    names = await session.core.store.read(lambda db: Names(db, account, subscriptions=_wants_subscriptions(query)))
    noted: dict[int, dict[str, bytes]] = {}
    if query.metadata:
        noted = await session.core.store.read(lambda db: annotations_of_all(db, account, names.readable_others()))
    utf8 = session.enabled.utf8
    for place, line in enumerate(names.lines(query, utf8=utf8), start=1):
        if place % NAMES_AT_ONCE == 0:
            await session.connection.drain()
            await asyncio.sleep(0)  # other connections have their turn
        session.connection.write(line.octets)
        if "MYRIGHTS" in query.wanted and line.mailbox is not None:
            session.connection.write(
                rights_line(line.mailbox.name, names.rights(line.mailbox), utf8=session.enabled.utf8)
            )
        if query.metadata and line.mailbox is not None:
            values = noted.get(line.mailbox.id, {})
            found = [(entry, values.get(entry)) for entry in query.metadata]
            session.connection.write(metadata_line(line.mailbox.name, found, utf8=utf8))
        if query.status and line.mailbox is not None and names.is_readable(line.mailbox):
            session.connection.write(await _status_line(session, recent, line.mailbox, query.status))
    return "LIST completed"


async def list_subscribed(session: ImapSession, command: ListNames) -> str:
    r"""LSUB (section 6.3.9): a name that `%` cuts short is told as \Noselect."""
    query = command.query
    if query.asks_delimiter:
        session.connection.write(b'* LSUB (\\Noselect) "/" ""\r\n')
        return "LSUB completed"
    account = session.account.id
    subscribed = await session.core.store.read(lambda db: set(mailboxes.list_subscriptions(db, account)))
    patterns = Patterns(query.patterns)
    found = {name: () for name in subscribed if patterns.match(name)}
    places = {
        parent: ("\\Noselect",)
        for name in subscribed
        if name not in found
        for parent in _parents(name)
        if parent not in found and patterns.match(parent)
    }
    for name, attributes in sorted({**places, **found}.items(), key=lambda item: _order(item[0])):
        session.connection.write(name_line("LSUB", attributes, name, utf8=session.enabled.utf8))
    return "LSUB completed"


def _wants_subscriptions(query: ListQuery) -> bool:
    return "SUBSCRIBED" in query.selection | query.wanted


class _Line:
    __slots__ = ("mailbox", "octets")

    def __init__(self, octets: bytes, mailbox: Mailbox | None) -> None:
        self.octets = octets
        self.mailbox = mailbox


class Names:
    """All names of an account at one moment, and what LIST says of each."""

    def __init__(self, db: Database, account_id: int, *, subscriptions: bool) -> None:
        self._mailboxes = {mailbox.name: mailbox for mailbox in mailboxes.list_mailboxes(db, account_id)}
        self._rights: dict[int, str] = {}  # on mailboxes of others
        for access in sharing.list_others(db, account_id):
            self._rights[access.mailbox.id] = access.rights
            self._mailboxes.setdefault(access.name, replace(access.mailbox, name=access.name))
        self._places = self._outline() - self._mailboxes.keys()
        self._parents = {parent for name in self._mailboxes for parent in _parents(name)}
        self._subscribed = set(mailboxes.list_subscriptions(db, account_id)) if subscriptions else set()

    def lines(self, query: ListQuery, *, utf8: bool) -> Iterator[_Line]:
        """The responses to a LIST, in the order of the names."""
        patterns = Patterns(query.patterns)
        selected = self._selected(query)
        above: set[str] = set()
        hidden: set[str] = set()
        if "RECURSIVEMATCH" in query.selection:
            above = {parent for name in selected for parent in _parents(name)}
            # A parent is told for the sake of children only if the patterns do not reach them (RFC 5258 section 3.5).
            hidden = {parent for name in selected if not patterns.match(name) for parent in _parents(name)}
        criteria = b" ".join(b'"%b"' % option.encode() for option in _CRITERIA if option in query.selection)
        for name in sorted(filter(patterns.match, selected | hidden), key=_order):
            childinfo = b' ("CHILDINFO" (%b))' % criteria if name in above else b""
            line = name_line("LIST", self.attributes(name), name, childinfo, utf8=utf8)
            yield _Line(line, self._mailboxes.get(name))

    def _selected(self, query: ListQuery) -> set[str]:
        """The names that the selection options leave."""
        names = self._subscribed if "SUBSCRIBED" in query.selection else self._places.union(self._mailboxes)
        if "SPECIAL-USE" in query.selection:
            names = {name for name in names if (mailbox := self._mailboxes.get(name)) and mailbox.special_use}
        return names

    def _outline(self) -> set[str]:
        """The levels above mailboxes of others, which clients that look at one level after the other have to see."""
        names = (name for name, mailbox in self._mailboxes.items() if mailbox.id in self._rights)
        return {parent for name in names for parent in _parents(name)}

    def is_readable(self, mailbox: Mailbox) -> bool:
        """Whether its state may be told."""
        return mailbox.selectable and "r" in self.rights(mailbox)

    def readable_others(self) -> list[int]:
        """The ids of mailboxes of others whose annotations may be told."""
        return [mailbox_id for mailbox_id, rights in self._rights.items() if "r" in rights]

    def rights(self, mailbox: Mailbox) -> str:
        """What the account may do with a mailbox of these."""
        return self._rights.get(mailbox.id, ALL_RIGHTS)

    def get(self, name: str) -> Mailbox | None:
        """The mailbox, or mere place, of that name."""
        return self._mailboxes.get(name)

    def is_subscribed(self, name: str) -> bool:
        """Whether the name is subscribed, if subscriptions were read."""
        return name in self._subscribed

    def attributes(self, name: str) -> list[str]:
        """What LIST says of a name, also of one that is not there."""
        mailbox = self._mailboxes.get(name)
        found: list[str] = []
        if mailbox is None:
            found.append("\\Noselect" if name in self._places else "\\NonExistent")
        elif not mailbox.selectable:
            found.append("\\Noselect")
        found.append("\\HasChildren" if name in self._parents else "\\HasNoChildren")
        if name in self._subscribed:
            found.append("\\Subscribed")
        if mailbox is not None and mailbox.special_use:
            found.append(mailbox.special_use)
        return found


def _parents(name: str) -> Iterator[str]:
    end = name.rfind(DELIMITER)
    while end > 0:
        yield name[:end]
        end = name.rfind(DELIMITER, 0, end)


def _order(name: str) -> tuple[bool, str]:
    return name != "INBOX", name


# ── STATUS ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def status(session: ImapSession, command: Status) -> str:
    """STATUS (section 6.3.10)."""
    access = find_selectable(session, command.mailbox, "r")
    mailbox = replace(access.mailbox, name=access.name) if access.prefix else access.mailbox
    session.connection.write(await _status_line(session, session.shared.recent, mailbox, command.items))
    return "STATUS completed"


async def _status_line(session: ImapSession, recent: Recent, mailbox: Mailbox, items: tuple[str, ...]) -> bytes:
    if "HIGHESTMODSEQ" in items:
        session.enable_condstore()
    values: dict[str, int | str] = {
        "MESSAGES": mailbox.messages,
        "UIDNEXT": mailbox.uidnext,
        "UIDVALIDITY": mailbox.uidvalidity,
        "UNSEEN": mailbox.unseen,
        "SIZE": mailbox.bytes,
        "RECENT": 0,
        "HIGHESTMODSEQ": mailbox.highestmodseq,
        "MAILBOXID": f"({mailbox_id(mailbox.id)})",
    }
    if "DELETED" in items or "DELETED-STORAGE" in items:
        count, octets = await session.core.store.read(lambda db: count_deleted(db, mailbox.id))
        values["DELETED"], values["DELETED-STORAGE"] = count, -(-octets // 1024)
    if "RECENT" in items and (first := recent.first(mailbox.id)) < mailbox.uidnext:
        rows = await session.core.store.read(lambda db: list_flags(db, mailbox.id, first - 1))
        values["RECENT"] = len(rows)
    return status_line(mailbox.name, [(item, values[item]) for item in items], utf8=session.enabled.utf8)
