"""How searches are answered: SEARCH or SORT with all numbers, or ESEARCH with what was asked for (RFC 4731)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from plugins.imap4.protocol_respond import CRLF, numbers_line
from plugins.imap4.protocol_return import EVERYTHING, Returns
from plugins.imap4.search_stored import highest_modseq
from plugins.imap4.view import uid_set

AT_ONCE = 5_000  # messages whose numbers are written at once; for more, others have their turn meanwhile

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.protocol_command import Search
    from plugins.imap4.session import ImapSession


async def answer(session: ImapSession, command: Search, indexes: Sequence[int], *, with_modseq: bool) -> None:
    """Write the response for what was found; `indexes` are in the order that was asked for.

    Keeps the result for `$` if the client wants that (RFC 5182 section 2.1).
    """
    view = session.mailbox.view
    returns = command.returns or (EVERYTHING if session.enabled.rev2 and command.verb == "SEARCH" else None)
    shown = indexes if returns is None else shown_of(returns, indexes)
    modseq = await highest_modseq(session, session.mailbox, shown) if with_modseq else 0

    def response(db: Database | None = None) -> bytes:
        if returns is not None and returns.save:
            view.result = array("I", sorted(view.uids_at(shown)))
        if returns == Returns(save=True):
            return b""
        numbers = view.uids_at(indexes) if command.uid else [index + 1 for index in indexes]
        if returns is None:
            return numbers_line(command.verb, numbers, modseq)
        data = result_data(returns, numbers, in_order=command.verb != "SORT", modseq=modseq)
        uid = b" UID" if command.uid else b""
        return b'* ESEARCH (TAG "%b")%b%b' % (command.tag, uid, data) + CRLF

    at_once = len(indexes) <= AT_ONCE
    session.connection.write(response() if at_once else await session.core.store.read(response))


def shown_of(returns: Returns, indexes: Sequence[int]) -> Sequence[int]:
    """The messages that the answer is about: all, unless only some of them are named (RFC 5182 section 2.1)."""
    some = returns.minimum or returns.maximum or returns.partial is not None
    if not indexes or not some or returns.everything or returns.count:
        return indexes
    chosen = [indexes[place] for place in returns.partial.of(len(indexes))] if returns.partial else []
    chosen += indexes[:1] if returns.minimum else ()
    chosen += indexes[-1:] if returns.maximum else ()
    return sorted(set(chosen))


def result_data(returns: Returns, numbers: Sequence[int], *, in_order: bool, modseq: int = 0) -> bytes:
    """The items of an ESEARCH response, each with a space before it. `in_order`: the numbers ascend."""
    items: list[bytes] = []
    if numbers and returns.minimum:
        items.append(b"MIN %d" % numbers[0])
    if numbers and returns.maximum:
        items.append(b"MAX %d" % numbers[-1])
    if returns.count:
        items.append(b"COUNT %d" % len(numbers))
    if numbers and returns.everything:
        items.append(b"ALL " + _set(numbers, in_order=in_order))
    if returns.partial:
        places = returns.partial.of(len(numbers))
        part = numbers[places.start : places.stop]
        items.append(b"PARTIAL (%b %b)" % (returns.partial.text, _set(part, in_order=in_order) if part else b"NIL"))
    if numbers and modseq:
        items.append(b"MODSEQ %d" % modseq)
    return b"".join(b" " + item for item in items)


def _set(numbers: Sequence[int], *, in_order: bool) -> bytes:
    return uid_set(numbers) if in_order else b",".join([b"%d" % number for number in numbers])
