"""What a client has missed while it was away, or asks to be told again: RFC 7162 sections 3.1.4, 3.2.5 and 3.2.6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from appliance.store.history import changed_since, expunged_since
from plugins.imap4.protocol_parse import SequenceSet
from plugins.imap4.protocol_sync import Known, Since
from plugins.imap4.uid_spans import Span, gaps, intersection, merged, spans_of_set, vanished_lines
from plugins.imap4.unasked import flag_lines

if TYPE_CHECKING:
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession
    from plugins.imap4.view import View

FLAGS_AT_ONCE = 5_000  # FETCH responses of one answer


async def catch_up(session: ImapSession, known: Known) -> None:
    """Answer `SELECT … (QRESYNC (…))`: first what is gone, then what has changed.

    With another UIDVALIDITY the client knows nothing of use; it has been told that already.
    """
    selected = session.mailbox
    if known.uidvalidity != selected.uidvalidity:
        return
    wanted = None if known.uids is None else spans_of_set(known.uids, 0)
    above = 0 if known.matches is None else matched_uid(selected.view, *known.matches)
    gone, rows = await _missed(session, selected, known.modseq)
    session.connection.write(vanished_lines(_vanished(selected, gone, wanted, above=above), earlier=True))
    changed = _known_of(selected, rows, known.modseq)
    if wanted is not None:
        changed = {uid: changed[uid] for span in wanted for uid in _between(changed, span)} if changed else {}
    indexes = [index for uid in changed if (index := selected.view.index(uid)) >= 0]
    modseqs = [changed[uid] for uid in selected.view.uids_at(indexes)]
    for start in range(0, len(indexes), FLAGS_AT_ONCE):
        end = start + FLAGS_AT_ONCE
        session.connection.write(flag_lines(session.enabled, selected.view, indexes[start:end], modseqs[start:end]))
        await session.connection.drain()


async def _missed(
    session: ImapSession, selected: Selected, modseq: int
) -> tuple[Sequence[Span] | None, Sequence[tuple[int, int]]]:
    """What is gone since `modseq`, None if that is not known, and (uid, modseq) of what has changed."""
    mailbox_id = selected.mailbox_id
    recent = session.shared.changes.changed_since(mailbox_id, modseq, selected.modseq)
    if recent is not None:
        return (), recent
    return await session.core.store.read(
        lambda db: (
            expunged_since(db, mailbox_id, modseq, selected.settled_modseq),
            changed_since(db, mailbox_id, modseq),
        )
    )


async def tell_vanished(session: ImapSession, members: SequenceSet, since: Since) -> None:
    """Answer VANISHED of UID FETCH: which UIDs of the set are gone. `*` reaches to the last UID ever given."""
    selected = session.mailbox
    wanted = spans_of_set(members, max(1, selected.uidnext - 1))
    gone = await session.core.store.read(
        lambda db: expunged_since(db, selected.mailbox_id, since.modseq, selected.settled_modseq)
    )
    session.connection.write(vanished_lines(_vanished(selected, gone, wanted), earlier=True))


async def changed_of(session: ImapSession, indexes: Sequence[int], since: Since) -> Sequence[int]:
    """Those of `indexes` whose messages have changed since."""
    selected = session.mailbox
    rows = session.shared.changes.changed_since(selected.mailbox_id, since.modseq, selected.modseq)
    if rows is None:
        rows = await session.core.store.read(lambda db: changed_since(db, selected.mailbox_id, since.modseq))
    changed = _known_of(selected, rows, since.modseq)
    places = [index for uid in changed if (index := selected.view.index(uid)) >= 0]
    if isinstance(indexes, range):
        return [index for index in places if index in indexes]
    wanted = set(indexes)
    return [index for index in places if index in wanted]


def matched_uid(view: View, numbers: SequenceSet, uids: SequenceSet) -> int:
    """The greatest UID that still has the message number it had: nothing below it is gone (section 3.2.5.2).

    Both sets are ascending and stand side by side. What lies past the end of the mailbox is not looked at.
    """
    found = 0
    for number, uid in zip(_each(numbers), _each(uids), strict=False):
        if number > len(view):
            break
        if view.uids[number - 1] == uid:
            found = uid
    return found


def _each(members: SequenceSet) -> Iterator[int]:
    for first, last in spans_of_set(members, 0):
        yield from range(first, last + 1)


def _between(changed: dict[int, int], span: Span) -> Iterator[int]:
    return (uid for uid in changed if span[0] <= uid <= span[1])


def _vanished(
    selected: Selected, gone: Sequence[Span] | None, wanted: Sequence[Span] | None, *, above: int = 0
) -> list[Span]:
    """What is gone of the `wanted` UIDs (None: of all).

    Where the history does not reach back so far (`gone` is None), it is every UID without a message, from `above` on.
    """
    if gone is None:
        missing = gaps(selected.view.uids, selected.uidnext - 1)
        gone = [(max(first, above + 1), last) for first, last in missing if last > above]
    return merged(gone) if wanted is None else list(intersection(merged(gone), wanted))


def _known_of(selected: Selected, rows: Sequence[tuple[int, int]], modseq: int) -> dict[int, int]:
    """The modseqs of messages that have changed since `modseq`, by UID, as far as the view knows of it."""
    state = selected.modseq
    return {uid: min(changed, state) for uid, changed in rows} if modseq < state else {}
