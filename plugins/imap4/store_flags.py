"""STORE and UID STORE (RFC 3501 section 6.4.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.errors import ForbiddenError
from appliance.store.mailboxes import keyword_bits
from appliance.store.messages import edit_flags, set_flags
from appliance.store.model import FIRST_KEYWORD_BIT, SYSTEM_FLAGS
from plugins.imap4.batches import spans
from plugins.imap4.protocol_command import StoreFlags
from plugins.imap4.refusal import RefusalError
from plugins.imap4.store_condition import store_unchanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.store import Database
    from plugins.imap4.session import ImapSession

_SYSTEM = {name.lower().encode(): 1 << bit for bit, name in enumerate(SYSTEM_FLAGS)}
MAX_UIDS = 20_000  # set in one write, so that no single command holds up the writer for long
MAX_RANGES = 64  # that are set by a statement each; more, and one statement gets the list of UIDs


def flag_bits(names: Sequence[bytes]) -> tuple[int, tuple[str, ...]]:
    r"""The bits of the system flags, and the keywords among the names. \Recent is ours alone and is passed over.

    Raises RefusalError for system flags that do not exist.
    """
    bits = 0
    keywords: list[str] = []
    for name in names:
        bit = _SYSTEM.get(name.lower())
        if bit is not None:
            bits |= bit
        elif not name.startswith(b"\\"):
            keywords.append(name.decode("ascii"))
        elif name.lower() != b"\\recent":
            raise RefusalError("There is no such system flag", status="BAD")
    return bits, tuple(keywords)


async def store(session: ImapSession, command: StoreFlags) -> str:
    """Change flags and, unless silent, tell the new ones with the news that follow."""
    selected = session.mailbox
    if selected.read_only:
        raise RefusalError("The mailbox was opened read-only", "READ-ONLY")
    indexes = selected.view.select(command.members, by_uid=command.uid)
    system, keywords = _permitted(command, selected.settable)
    if command.unchangedsince is not None:
        return await store_unchanged(session, command, indexes, system, keywords)
    await set_flags_of(session, indexes, command.mode, system, keywords, tell=not command.silent)
    return "STORE completed"


def _permitted(command: StoreFlags, settable: int) -> tuple[int, tuple[str, ...]]:
    """What of the flags may be changed. Raises ForbiddenError if nothing of them (RFC 4314 section 4)."""
    system, keywords = flag_bits(command.flags)
    permitted, allowed = system & settable, keywords if settable >> FIRST_KEYWORD_BIT else ()
    if not settable or ((system or keywords) and not (permitted or allowed)):
        raise ForbiddenError("You have no right to change these flags")
    return permitted, allowed


async def set_flags_of(
    session: ImapSession,
    indexes: Sequence[int],
    mode: str,
    system: int,
    keywords: tuple[str, ...] = (),
    *,
    tell: bool = False,
) -> None:
    """Add ("+"), take away ("-") or replace ("") flags of messages of the selected mailbox. `tell`: all new flags."""
    selected = session.mailbox
    settable = selected.settable
    for start in range(0, len(indexes), MAX_UIDS):
        chosen = indexes[start : start + MAX_UIDS]
        uids = selected.view.uids_at(chosen)
        # UIDs only grow, so a message that the view does not have between two neighbours is gone.
        runs = spans(chosen, gap=1)
        ranges = [(selected.view.uids[first], selected.view.uids[last]) for first, last in runs]

        def work(db: Database, uids: Sequence[int] = uids, ranges: Sequence[tuple[int, int]] = ranges) -> None:
            bits = system | keyword_bits(db, selected.mailbox_id, keywords)
            add, remove = (0, bits) if mode == "-" else (bits, 0 if mode else settable)
            if len(ranges) <= MAX_RANGES:
                edit_flags(db, selected.mailbox_id, ranges, add=add, remove=remove)
            else:
                set_flags(db, selected.mailbox_id, uids, add=add, remove=remove)

        await session.core.store.write(work, origin=session)
        if tell:
            selected.tell_flags_of(uids)
