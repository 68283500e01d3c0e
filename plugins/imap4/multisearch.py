"""ESEARCH: one search in several mailboxes (RFC 7377). Each mailbox with matches is one response, with UIDs."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from appliance.errors import NotFoundError
from appliance.store import mailboxes
from appliance.store.sharing import Access, list_others
from plugins.imap4.access import find_mailbox
from plugins.imap4.enabled import Enabled
from plugins.imap4.numbers import has_numbers
from plugins.imap4.progress import Progress
from plugins.imap4.protocol_command import MultiSearch
from plugins.imap4.protocol_respond import CRLF
from plugins.imap4.protocol_respond import mailbox as written
from plugins.imap4.protocol_return import EVERYTHING
from plugins.imap4.protocol_search import CHARSETS, Key
from plugins.imap4.protocol_sources import PERSONAL, SELECTED, Source
from plugins.imap4.refusal import RefusalError
from plugins.imap4.search import find
from plugins.imap4.search_answer import result_data, shown_of
from plugins.imap4.search_stored import asks_modseq, highest_modseq, resolved
from plugins.imap4.selected import Selected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appliance.store import Database
    from plugins.imap4.session import ImapSession


async def multisearch(session: ImapSession, command: MultiSearch) -> str:
    """Search the mailboxes one after the other; those that are not there, or go meanwhile, are passed over."""
    key = _admitted(session, command)
    progress = Progress(session, command.tag)
    selected = session.selected
    chosen = await _mailboxes(session, command.sources)
    for done, access in enumerate(chosen):
        progress.tell(done, len(chosen))
        if selected is not None and access.mailbox.id == selected.mailbox_id:
            await _search(session, command, key, selected, access.name, progress)
            continue
        with _opened(session, access) as other:
            try:
                await other.open()
                await _search(session, command, key, other, access.name, progress)
            except NotFoundError:
                continue
        await session.connection.drain()
    return "ESEARCH completed"


def _admitted(session: ImapSession, command: MultiSearch) -> Key:
    """The key, if the command can be carried out in this state. Raises RefusalError."""
    if command.key is None:
        raise RefusalError("The charset is not supported", f"BADCHARSET ({' '.join(CHARSETS)})")
    if SELECTED in command.sources and session.selected is None:
        raise RefusalError("No mailbox is selected", status="BAD")
    if command.sources != (SELECTED,):
        if command.returns is not None and command.returns.save:
            raise RefusalError("Only a search of the selected mailbox can be saved", status="BAD")
        if has_numbers(command.key):
            raise RefusalError("Message numbers mean nothing in several mailboxes", status="BAD")
    if asks_modseq(command.key):
        session.enable_condstore()
    return command.key


@contextmanager
def _opened(session: ImapSession, access: Access) -> Iterator[Selected]:
    r"""A mailbox that is looked into without being selected: nothing is told of it, and nothing in it is \\Recent."""
    shared = session.shared
    other = Selected(
        session.core.store, shared.recent, shared.views, access.mailbox, Enabled(rev2=True),
        read_only=True, access=access, owner=session, wake=lambda: None,
    )  # fmt: skip
    try:
        yield other
    finally:
        other.close()


async def _search(
    session: ImapSession, command: MultiSearch, key: Key, selected: Selected, name: str, progress: Progress
) -> None:
    indexes = await find(session, selected, await resolved(session, selected, key), progress)
    returns = command.returns or EVERYTHING
    shown = shown_of(returns, indexes)
    if returns.save:
        selected.view.result = array("I", sorted(selected.view.uids_at(shown)))
    if not indexes:
        return
    modseq = await highest_modseq(session, selected, shown) if asks_modseq(key) else 0
    data = result_data(returns, selected.view.uids_at(indexes), in_order=True, modseq=modseq)
    line = b'* ESEARCH (TAG "%b" MAILBOX %b UIDVALIDITY %d) UID%b' % (
        command.tag,
        written(name, utf8=session.enabled.utf8),
        selected.uidvalidity,
        data,
    )
    session.connection.write(line + CRLF)


async def _mailboxes(session: ImapSession, sources: Sequence[Source]) -> list[Access]:
    """The mailboxes that the sources mean and that may be read, each once, in the order of their names."""
    account, selected = session.account.id, session.selected
    own = None if selected is None or SELECTED not in sources else selected.mailbox_id

    def look(db: Database) -> tuple[list[Access], set[str]]:
        there = [Access(mailbox, mailbox.name) for mailbox in mailboxes.list_mailboxes(db, account)]
        others = (one for one in list_others(db, account) if "r" in one.rights)
        return there + sorted(others, key=lambda one: one.name), set(mailboxes.list_subscriptions(db, account))

    there, subscribed = await session.core.store.read(look)
    if selected is not None and own is not None and all(one.mailbox.id != own for one in there):
        # One that may be read and not be looked up.
        there.append(find_mailbox(session, selected.name, "r"))
    return [
        one
        for one in there
        if one.mailbox.selectable
        and (
            one.mailbox.id == own
            or any(
                source.covers(one.name, subscribed=one.name in subscribed)
                for source in sources
                if source.kind not in PERSONAL or not one.prefix
            )
        )
    ]
