"""CATENATE: parts of a message that lie in mailboxes already (RFC 4469). They are copied octet by octet, unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from appliance.errors import ForbiddenError, NotFoundError
from appliance.store.messages import list_rows
from appliance.store.stored import StoredMessage
from plugins.imap4.access import find_selectable
from plugins.imap4.fetch_section import Octets, Stretch, section_octets
from plugins.imap4.protocol_parse import GrammarError
from plugins.imap4.protocol_url import MessageUrl, parse_url, shown_url
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from appliance.store.messages import Row
    from plugins.imap4.session import ImapSession


async def copy_part(
    session: ImapSession, url: bytes, admit: Callable[[int], None], write: Callable[[bytes], None]
) -> None:
    """Hand the octets that a URL names to `write`, piece by piece; `admit` is told how many before the first.

    Raises RefusalError with the code BADURL, and what the two raise.
    """
    try:
        wanted = parse_url(url)
        row = _row(session, wanted)
        async with session.core.store.reading(row[5], row[6]) as message:
            octets = await session.core.store.read(lambda _db: _section(wanted, message))
            admit(sum(map(len, octets)))
            for piece in octets:
                if isinstance(piece, Stretch):
                    async for chunk in message.text(piece.start, piece.stop):
                        write(chunk)
                else:
                    write(bytes(piece))
    except (GrammarError, NotFoundError, ForbiddenError, RefusalError) as error:
        if isinstance(error, RefusalError) and error.code != "NONEXISTENT":
            raise  # what `admit` has to say
        raise RefusalError(f"A part cannot be copied: {error}", f'BADURL "{shown_url(url)}"') from error


def _row(session: ImapSession, wanted: MessageUrl) -> Row:
    """The message that is meant. Raises NotFoundError."""
    store = session.core.store
    if wanted.mailbox:
        mailbox = find_selectable(session, wanted.mailbox, "r").mailbox
        if wanted.uidvalidity not in {0, mailbox.uidvalidity}:
            raise NotFoundError("there is no such mailbox")
        mailbox_id = mailbox.id
    elif session.selected is not None:
        mailbox_id = session.selected.mailbox_id
    else:
        raise NotFoundError("no mailbox is selected")
    rows = store.peek(lambda db: list_rows(db, mailbox_id, wanted.uid - 1, wanted.uid))
    if not rows:
        raise NotFoundError("there is no such message")
    return rows[0]


def _section(wanted: MessageUrl, message: StoredMessage) -> Octets:
    octets = section_octets(wanted.section, wanted.partial, message, StoredMessage.octets)
    if octets is None:
        raise NotFoundError("the message has no such part")
    return octets
