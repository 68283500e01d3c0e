"""SEARCH and UID SEARCH (RFC 3501 section 6.4.4).

Keys that the view answers are decided first, here; only the messages they leave are looked into, on a reader thread
and in batches, so that other connections and a waiting checkpoint get their turn. Header fields that are searched
are kept for a while, see `column_cache.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from appliance.errors import StoreError
from appliance.mail.search_text import text_reach
from appliance.mail.text import search_form
from appliance.store.messages import headers, list_rows, list_uids
from appliance.store.model import MessageRow
from plugins.imap4.batches import groups, spans
from plugins.imap4.columns import Make, columns
from plugins.imap4.progress import Progress
from plugins.imap4.protocol_command import Search
from plugins.imap4.protocol_search import CHARSETS, And, Arrived, Date, Header, Key, Not, Or, Size, Text
from plugins.imap4.refusal import RefusalError
from plugins.imap4.search_answer import answer
from plugins.imap4.search_fields import FieldBlock, by_fields, header_keys, make_blocks
from plugins.imap4.search_filter import may_match, needles
from plugins.imap4.search_index import ask_index
from plugins.imap4.search_match import Subject, Test, compile_key
from plugins.imap4.search_rows import by_rows
from plugins.imap4.search_stored import asks_modseq, resolved
from plugins.imap4.search_view import by_view

if TYPE_CHECKING:
    from appliance.mail.message import Message
    from appliance.store import Database
    from plugins.imap4.selected import Selected
    from plugins.imap4.session import ImapSession
    from plugins.imap4.view import View

AT_ONCE = 20_000  # messages that are looked up in the view without a hop to a thread
BATCH = 2_000  # messages whose rows and headers are searched by one hop to a thread
HEADER_OCTETS = 64 << 10  # of headers that are looked through together; above 128 KiB malloc maps them anew
TEXT_BATCH = 8 << 20  # octets of messages whose texts are searched by one hop …
TEXT_BATCH_MESSAGES = 500  # … and their number

_NO_FACTS = (0, 0)

# What a key looks at, cheapest first.
VIEW, ROWS, FIELDS, HEADERS, TEXTS = range(5)


async def search(session: ImapSession, command: Search) -> str:
    """Answer with message numbers, or UIDs for UID SEARCH, ascending; with what RETURN asks for, if it stands there."""
    indexes, with_modseq = await found_by(session, command)
    await answer(session, command, indexes, with_modseq=with_modseq)
    return f"{command.verb} completed"


async def found_by(session: ImapSession, command: Search) -> tuple[Sequence[int], bool]:
    """The indexes that match, ascending, and whether the answer tells a modseq. For SEARCH, SORT and THREAD.

    A search that fails leaves nothing behind in `$` (RFC 5182 section 2.1).
    """
    try:
        return await _found(session, command)
    except (RefusalError, StoreError):
        if command.returns is not None and command.returns.save:
            session.mailbox.view.result = array("I")
        raise


async def _found(session: ImapSession, command: Search) -> tuple[Sequence[int], bool]:
    if command.key is None:
        raise RefusalError("The charset is not supported", f"BADCHARSET ({' '.join(CHARSETS)})")
    with_modseq = asks_modseq(command.key)
    if with_modseq:
        session.enable_condstore()
    progress, selected = Progress(session, command.tag), session.mailbox
    return await find(session, selected, await resolved(session, selected, command.key), progress), with_modseq


async def find(session: ImapSession, selected: Selected, key: Key, progress: Progress) -> Sequence[int]:
    """The indexes of the messages that match, ascending."""
    return await _among(session, selected, key, range(len(selected.view)), progress)


async def _among(
    session: ImapSession, selected: Selected, key: Key, indexes: Sequence[int], progress: Progress
) -> Sequence[int]:
    """Those of `indexes` that match."""
    keys = key.keys if isinstance(key, And) else (key,)
    for one in keys:
        if cost(one) == VIEW:
            indexes = await _by_view(session, selected.view, one, indexes)
    rows = tuple(one for one in keys if cost(one) == ROWS)
    if rows and indexes and (those := await by_rows(session, selected, And(rows), indexes)) is not None:
        indexes, keys = those, tuple(one for one in keys if one not in rows)
    for depth in (ROWS, FIELDS, HEADERS, TEXTS):
        left = tuple(one for one in keys if cost(one) == depth)
        if left and indexes:
            found: Sequence[int] | None = None
            if depth == TEXTS:
                found = await _by_texts(session, selected, And(left), indexes, progress)
            elif depth == FIELDS:
                found = await _by_fields(session, selected, And(left), indexes)
            if found is None:
                found = await _by_store(session, selected, And(left), depth, indexes, progress)
            indexes = found
    return indexes


async def _by_view(session: ImapSession, view: View, key: Key, indexes: Sequence[int]) -> Sequence[int]:
    """`by_view`, on a thread if there is much to look at: others have their turn meanwhile."""
    if len(indexes) <= AT_ONCE:
        return by_view(view, key, indexes)
    return await session.core.store.read(lambda _: by_view(view, key, indexes))


async def _by_texts(
    session: ImapSession, selected: Selected, key: Key, indexes: Sequence[int], progress: Progress
) -> Sequence[int]:
    """What `_by_store` finds, by the search index for all messages that it covers, if it can be used."""
    index = session.shared.index
    # Before it is asked what the index covers: what goes into it meanwhile is found there as well.
    extracted = await index.extracted() if index is not None else {}
    covered = await ask_index(session, selected, key, indexes)
    if covered is None:
        return await _by_store(session, selected, key, TEXTS, indexes, progress, extracted)
    found = await _among(session, selected, covered.key, covered.indexes, progress)
    others = await _by_store(session, selected, key, TEXTS, covered.others, progress, extracted)
    return sorted([*found, *others])


def cost(key: Key) -> int:
    """What has to be looked at for a key: VIEW, ROWS, FIELDS (of the header, and the view), HEADERS or TEXTS."""
    match key:
        case Size() | Arrived():
            return ROWS
        case Date():
            return HEADERS if key.sent else ROWS
        case Header():
            return FIELDS
        case Text():
            return TEXTS
        case Not():
            return cost(key.key)
        case Or():
            return _deepest({cost(key.first), cost(key.second)})
        case And():
            return _deepest(set(map(cost, key.keys)))
    return VIEW


def _deepest(costs: set[int]) -> int:
    deepest = max(costs)
    return HEADERS if deepest == FIELDS and ROWS in costs else deepest


def looks_at_rows(key: Key) -> bool:
    """Whether a key needs size or internal date, at any depth."""
    match key:
        case Size() | Arrived():
            return True
        case Date():
            return not key.sent
        case Not():
            return looks_at_rows(key.key)
        case Or():
            return looks_at_rows(key.first) or looks_at_rows(key.second)
        case And():
            return any(map(looks_at_rows, key.keys))
    return False


async def _by_fields(
    session: ImapSession, selected: Selected, key: Key, indexes: Sequence[int]
) -> Sequence[int] | None:
    """What `_by_store` finds, by fields that are kept or will be. None: it is not worth it, or there is no room."""
    wanted = header_keys(key)
    fields = sorted({one.field for one in wanted})
    cache, mailbox_id, view = session.shared.fields, selected.mailbox_id, selected.view
    if 2 * len(indexes) < len(view) and not all(cache.has(mailbox_id, field) for field in fields):
        return None
    found = await columns(session, selected, cache, fields, _fields_of(mailbox_id))
    if found is None:
        return None

    def look(db: Database) -> list[int]:
        hits = {
            one: [uid for block in found[one.field] for uid in block.holding(search_form(one.needle))] for one in wanted
        }
        matching = by_fields(view, key, indexes, hits)
        uids = view.uids_at(matching)
        there = {row[0] for first, last in spans(uids) for row in list_uids(db, mailbox_id, first, last)}
        return [index for index, uid in zip(matching, uids, strict=True) if uid in there]

    return await session.core.store.read(look)


def _fields_of(mailbox_id: int) -> Make[FieldBlock]:
    return lambda db, first, last, fields: make_blocks(headers(db, mailbox_id, first, last), fields)


async def _by_store(
    session: ImapSession,
    selected: Selected,
    key: Key,
    depth: int,
    indexes: Sequence[int],
    progress: Progress,
    extracted: Mapping[int, bytes] | None = None,
) -> list[int]:
    """Those of `indexes` that match a key which the view cannot answer. Messages that are gone do not.

    `extracted` are texts by their bodies, see `SearchIndex.extracted`.
    """
    test = compile_key(key, selected.view)
    found: list[int] = []
    for start in range(0, len(indexes), BATCH):
        chosen = indexes[start : start + BATCH]
        places = dict(zip(selected.view.uids_at(chosen), chosen, strict=True))
        if depth == TEXTS:
            progress.tell(start, len(indexes))
            found += await _by_text(session, selected.mailbox_id, test, places, extracted or {})
        else:
            wanted = needles(key) if depth in {FIELDS, HEADERS} else None
            scan = _scan(selected.mailbox_id, test, places, with_rows=looks_at_rows(key), wanted=wanted)
            found += await session.core.store.read(scan)
    return found


def _scan(
    mailbox_id: int, test: Test, places: dict[int, int], *, with_rows: bool, wanted: frozenset[bytes] | None
) -> Callable[[Database], list[int]]:
    """What a reader thread does for a batch. `places` are uids with their indexes, ascending.

    `wanted` is what `needles` says of the key; None if no header is to be looked at.
    """

    def scan(db: Database) -> list[int]:
        found = []
        for first, last in spans(list(places)):
            rows = list_rows(db, mailbox_id, first - 1, last) if with_rows else ()
            if wanted is None:
                subjects = (Subject(places.get(row[0], -1), row[3], row[4]) for row in rows)
            else:
                facts = {row[0]: (row[3], row[4]) for row in rows}
                heads = _possible(headers(db, mailbox_id, first, last), wanted)
                subjects = (Subject(places.get(uid, -1), *facts.get(uid, _NO_FACTS), header) for uid, header in heads)
            found += [subject.index for subject in subjects if subject.index >= 0 and test(subject)]
        return found

    return scan


def _possible(heads: Iterable[tuple[int, bytes]], wanted: frozenset[bytes]) -> Iterator[tuple[int, bytes]]:
    """Those of the (uid, header) pairs that can match at all."""
    if not wanted:
        yield from heads
        return
    for some in _portions(heads):
        for place in may_match([header for _, header in some], wanted):
            yield some[place]


def _portions(heads: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Some HEADER_OCTETS at a time: there are many headers, and one can be large."""
    some: list[tuple[int, bytes]] = []
    octets = 0
    for head in heads:
        some.append(head)
        octets += len(head[1])
        if octets >= HEADER_OCTETS:
            yield some
            some, octets = [], 0
    yield some


async def _by_text(
    session: ImapSession, mailbox_id: int, test: Test, places: dict[int, int], extracted: Mapping[int, bytes]
) -> list[int]:
    store = session.core.store

    def read(db: Database) -> list[MessageRow]:
        wanted = spans(list(places))
        rows = (row for first, last in wanted for row in list_rows(db, mailbox_id, first - 1, last))
        return [MessageRow(*row) for row in rows if row[0] in places]

    def look(db: Database, row: MessageRow, message: Message) -> bool:
        more = extracted.get(row.body_id, b"")
        return test(Subject(places[row.uid], row.size, row.internal_at, message.header, message, more))

    found: list[int] = []
    for group in groups(await store.read(read), TEXT_BATCH, TEXT_BATCH_MESSAGES):
        verdicts = await store.each(group, look, reach=text_reach)
        found += [places[row.uid] for row, verdict in zip(group, verdicts, strict=True) if verdict]
    return found
