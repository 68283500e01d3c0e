"""STORE and UID STORE (RFC 3501 section 6.4.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.store.mailboxes import keyword_bits
from appliance.store.messages import set_flags
from appliance.store.model import SYSTEM_FLAGS
from plugins.imap4.protocol_command import StoreFlags
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.store import Database
    from plugins.imap4.session import ImapSession

_SYSTEM = {name.lower().encode(): 1 << bit for bit, name in enumerate(SYSTEM_FLAGS)}
MAX_UIDS = 20_000  # set in one write, so that no single command holds up the writer for long


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
    system, keywords = flag_bits(command.flags)
    for start in range(0, len(indexes), MAX_UIDS):
        uids = list(selected.view.uids_at(indexes[start : start + MAX_UIDS]))

        def work(db: Database, uids: list[int] = uids) -> None:
            bits = system | keyword_bits(db, selected.mailbox_id, keywords)
            if command.mode == "+":
                set_flags(db, selected.mailbox_id, uids, add=bits)
            elif command.mode == "-":
                set_flags(db, selected.mailbox_id, uids, remove=bits)
            else:
                set_flags(db, selected.mailbox_id, uids, replace=bits)

        await session.core.store.write(work, origin=session)
        if not command.silent:
            selected.tell_flags_of(uids)
    return "STORE completed"
