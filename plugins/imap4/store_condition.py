"""STORE with UNCHANGEDSINCE: flags of messages that nobody else has changed meanwhile (RFC 7162 section 3.1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.store.mailboxes import keyword_bits
from appliance.store.messages import list_uids, set_flags
from plugins.imap4.batches import spans
from plugins.imap4.protocol_command import StoreFlags
from plugins.imap4.refusal import RefusalError
from plugins.imap4.view import uid_set

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.session import ImapSession

MAX_UIDS = 10_000  # set in one write


async def store_unchanged(
    session: ImapSession, command: StoreFlags, indexes: Sequence[int], system: int, keywords: tuple[str, ...]
) -> str:
    """Change what is unchanged; MODIFIED names the rest, whose flags and modseqs are told too."""
    session.enable_condstore()
    selected = session.mailbox
    settable = selected.settable
    modified: list[int] = []
    gone = 0
    for start in range(0, len(indexes), MAX_UIDS):
        chosen = indexes[start : start + MAX_UIDS]
        uids = selected.view.uids_at(chosen)

        def work(db: Database, uids: Sequence[int] = uids) -> tuple[set[int], set[int]]:
            bits = system | keyword_bits(db, selected.mailbox_id, keywords)
            add, remove = (0, bits) if command.mode == "-" else (bits, 0 if command.mode else settable)
            there = {row[0] for span in spans(uids) for row in list_uids(db, selected.mailbox_id, *span)}
            _, done = set_flags(
                db, selected.mailbox_id, uids, add=add, remove=remove, unchangedsince=command.unchangedsince
            )
            return there, {uid for uid, _ in done}

        there, done = await session.core.store.write(work, origin=session)
        failed = [index for index, uid in zip(chosen, uids, strict=True) if uid in there and uid not in done]
        selected.tell_flags_of(selected.view.uids_at(failed) if command.silent else there.intersection(uids))
        modified += failed
        gone += sum(uid not in there for uid in uids)
    return _outcome(command, _names(session, command, modified), gone)


def _names(session: ImapSession, command: StoreFlags, indexes: Sequence[int]) -> str:
    if command.uid:
        return uid_set(session.mailbox.view.uids_at(indexes)).decode()
    return uid_set([index + 1 for index in indexes]).decode()


def _outcome(command: StoreFlags, modified: str, gone: int) -> str:
    code = f"MODIFIED {modified}" if modified else ""
    if gone and not command.uid:
        raise RefusalError("Some of the messages were expunged", code or "EXPUNGEISSUED")
    return f"[{code}] Some messages have changed meanwhile" if code else f"Conditional {command.verb} completed"
