"""GETMETADATA and SETMETADATA: annotations of mailboxes and of the server (RFC 5464)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from appliance.errors import LimitError
from appliance.store.annotations import MAX_ANNOTATIONS, SERVER, Annotation, list_annotations, set_annotations
from plugins.imap4.access import find_mailbox
from plugins.imap4.protocol_command import GetMetadata, SetMetadata
from plugins.imap4.protocol_metadata import Wanted
from plugins.imap4.protocol_respond import CRLF, NIL, literal8, mailbox, string
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession

MAX_VALUE = 64 << 10  # octets of one value


async def get_metadata(session: ImapSession, command: GetMetadata) -> str:
    """GETMETADATA (section 4.2). Values that are longer than the client wants are left out, and that is said."""
    account, place = session.account.id, _place(session, command.mailbox, "lr")
    known = await session.core.store.read(lambda db: list_annotations(db, account, place))
    found, longest = chosen(command.wanted, known)
    if found:
        session.connection.write(metadata_line(command.mailbox, found, utf8=session.enabled.utf8))
    code = f"[METADATA LONGENTRIES {longest}] " if longest else ""
    return f"{code}{command.verb} completed"


async def set_metadata(session: ImapSession, command: SetMetadata) -> str:
    """SETMETADATA (section 4.3). Only the administrator would say what all see of the server."""
    shared = any(entry.startswith("/shared/") for entry, _ in command.values)
    account, place = session.account.id, _place(session, command.mailbox, "lrw" if shared else "lr")
    if place == SERVER and shared:
        raise RefusalError("What is shared about the server is not yours to set", "NOPERM")
    if any(value is not None and len(value) > MAX_VALUE for _, value in command.values):
        raise RefusalError(f"A value has at most {MAX_VALUE} octets", f"METADATA MAXSIZE {MAX_VALUE}")
    try:
        await session.core.store.write(lambda db: set_annotations(db, account, place, command.values), origin=session)
    except LimitError as error:
        raise RefusalError(f"At most {MAX_ANNOTATIONS} annotations of one account", "METADATA TOOMANY") from error
    return f"{command.verb} completed"


def chosen(wanted: Wanted, known: Iterable[Annotation]) -> tuple[list[Annotation], int]:
    """Those that are wanted, and the length of the longest that is too long for the client, else 0."""
    fitting = [one for one in known if any(_covers(entry, one[0], wanted.depth) for entry in wanted.entries)]
    if wanted.max_size is None:
        return fitting, 0
    longest = max((len(value) for _, value in fitting if len(value) > wanted.max_size), default=0)
    return [one for one in fitting if len(one[1]) <= wanted.max_size], longest


def metadata_line(name: str, found: Sequence[tuple[str, bytes | None]], *, utf8: bool) -> bytes:
    """`* METADATA INBOX (/private/comment "mine")`; NIL for what is not there."""
    pairs = b" ".join(entry.encode() + b" " + _value(value) for entry, value in found)
    return b"* METADATA %b (%b)" % (mailbox(name, utf8=utf8) if name else b'""', pairs) + CRLF


def _value(value: bytes | None) -> bytes:
    if value is None:
        return NIL
    return literal8(value) if b"\0" in value else string(value)


def _covers(wanted: str, entry: str, depth: int | None) -> bool:
    if entry == wanted:
        return True
    below = entry.startswith(wanted + "/")
    return below and (depth is None or entry.count("/") - wanted.count("/") <= depth)


def _place(session: ImapSession, name: str, needed: str) -> int:
    return find_mailbox(session, name, needed).mailbox.id if name else SERVER
