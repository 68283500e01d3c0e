"""SORT and UID SORT (RFC 5256 section 3, RFC 5957), with the result options of ESORT (RFC 5267)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.store.messages import sortable
from plugins.imap4.answer_cache import Asked
from plugins.imap4.batches import spans
from plugins.imap4.columns import BATCH, Make, columns
from plugins.imap4.protocol_command import Sort
from plugins.imap4.protocol_respond import numbers_line
from plugins.imap4.protocol_sort import Criterion
from plugins.imap4.search import found_by
from plugins.imap4.search_answer import answer
from plugins.imap4.sort_block import SortBlock, make_sort_blocks, sorted_places

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession

INLINE = 500  # results that are put in order at once; more are left to a thread


async def sort(session: ImapSession, command: Sort) -> str:
    """Answer with the messages that match, in the order of the criteria."""
    indexes, with_modseq = await found_by(session, command)
    if command.returns is None and not with_modseq and len(indexes) > INLINE:
        session.connection.write(await _line(session, command, indexes))
        return f"{command.verb} completed"
    if len(indexes) > 1:
        indexes = await in_order(session, session.mailbox, command.criteria, indexes)
    await answer(session, command, indexes, with_modseq=with_modseq)
    return f"{command.verb} completed"


async def _line(session: ImapSession, command: Sort, indexes: Sequence[int]) -> bytes:
    """The plain answer about many messages, which is kept for the next time."""
    view, answers = session.mailbox.view, session.shared.answers
    uids = view.uids_at(indexes)
    question = (command.criteria, command.uid)
    asked = Asked(session.mailbox.mailbox_id, question, _packed(uids), _packed(indexes))
    line = answers.get(asked)
    if line is None:
        ordered = await in_order(session, session.mailbox, command.criteria, indexes)

        def written(db: Database) -> bytes:
            return numbers_line("SORT", view.uids_at(ordered) if command.uid else [index + 1 for index in ordered])

        line = await session.core.store.read(written)
        if len(ordered) == len(indexes):  # else some are gone, of which the view does not know yet
            answers.keep(asked, line)
    return line


def _packed(numbers: Sequence[int]) -> Sequence[int]:
    return array("I", numbers) if isinstance(numbers, list) else numbers


async def in_order(
    session: ImapSession, selected: Selected, criteria: Sequence[Criterion], indexes: Sequence[int]
) -> Sequence[int]:
    """The same indexes, sorted."""
    names = list(dict.fromkeys(criterion.by.encode() for criterion in criteria))
    uids = selected.view.uids_at(indexes)
    make = _sort_values(selected.mailbox_id)
    found = None
    if 2 * len(indexes) >= len(selected.view):
        found = await columns(session, selected, session.shared.sorts, names, make)
    if found is None:
        found = await _read(session, uids, names, make)
    blocks = {name.decode(): found[name] for name in names}

    def put(db: Database | None = None) -> list[int]:
        return [indexes[place] for place in sorted_places(uids, criteria, blocks)]

    return put() if len(indexes) <= INLINE else await session.core.store.read(put)


def _sort_values(mailbox_id: int) -> Make[SortBlock]:
    return lambda db, first, last, names: make_sort_blocks(sortable(db, mailbox_id, first, last), names)


async def _read(
    session: ImapSession, uids: Sequence[int], names: Sequence[bytes], make: Make[SortBlock]
) -> dict[bytes, tuple[SortBlock, ...]]:
    """The columns of some messages, which are not kept."""
    found: list[list[SortBlock]] = []
    for start in range(0, len(uids), BATCH):
        for first, last in spans(uids[start : start + BATCH]):
            found.append(await session.core.store.read(lambda db, a=first, b=last: make(db, a, b, names)))  # type: ignore[misc]
    return {name: tuple(blocks[place] for blocks in found) for place, name in enumerate(names)}
