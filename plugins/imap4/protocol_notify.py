"""NOTIFY as it is written: which events of which mailboxes (RFC 5465 section 8). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plugins.imap4.protocol_fetch import FetchItem, parse_items
from plugins.imap4.protocol_parse import Cursor, GrammarError
from plugins.imap4.protocol_sources import MAX_NAMES, MAX_SOURCES, Source, parse_source

# As the code BADEVENT lists them. AnnotationChange belongs to an extension that is not here (RFC 5257).
EVENTS = (
    "MessageNew",
    "MessageExpunge",
    "FlagChange",
    "MailboxName",
    "SubscriptionChange",
    "MailboxMetadataChange",
    "ServerMetadataChange",
)
MAX_EVENTS = 20  # of one group

_BY_WORD = {name.upper(): name for name in EVENTS}
OF_MESSAGES = frozenset(EVENTS[:3])
_BOTH = frozenset(EVENTS[:2])
SELECTED = frozenset({"SELECTED", "SELECTED-DELAYED"})


@dataclass(frozen=True, slots=True)
class EventGroup:
    """The events of some mailboxes that a client wants to hear of; `items` are to be told of new messages."""

    source: Source
    events: frozenset[str]
    items: tuple[FetchItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What NOTIFY SET asks for: `status` at once, too. `unknown`: events that no group here can hold were among it."""

    groups: tuple[EventGroup, ...]
    status: bool = False
    unknown: bool = False


def parse_notify(cursor: Cursor) -> Wishes | None:
    """Read `NONE` (then it is None), or `SET [STATUS] (…) (…)`."""
    word = cursor.word()
    if word == "NONE":
        return None
    if word != "SET":
        raise GrammarError("expected SET or NONE")
    cursor.space()
    status = cursor.peek() != b"("
    if status:
        if cursor.word() != "STATUS":
            raise GrammarError("expected STATUS")
        cursor.space()
    groups, unknown = [], False
    while True:
        group, strange = _group(cursor)
        groups.append(group)
        unknown = unknown or strange
        _check_sizes(groups)
        if cursor.at_end():
            break
        cursor.space()
    if sum(group.source.kind in SELECTED for group in groups) > 1:
        raise GrammarError("the selected mailbox may be named once")
    return Wishes(tuple(groups), status, unknown)


def _check_sizes(groups: Sequence[EventGroup]) -> None:
    if len(groups) > MAX_SOURCES or sum(len(group.source.names) for group in groups) > MAX_NAMES:
        raise GrammarError("too many mailboxes")


def _group(cursor: Cursor) -> tuple[EventGroup, bool]:
    """Read `(personal (MessageNew MessageExpunge))`, and whether there are events in it that nobody knows."""
    cursor.expect(b"(")
    source = parse_source(cursor)
    cursor.space()
    found: set[str] = set()
    items: tuple[FetchItem, ...] = ()
    unknown = False
    if not cursor.accept(b"("):
        if cursor.word() != "NONE":
            raise GrammarError("expected events or NONE")
    else:
        for _ in range(MAX_EVENTS):
            word = cursor.word()
            unknown = unknown or word not in _BY_WORD
            found.add(_BY_WORD.get(word, ""))
            if word == "MESSAGENEW" and cursor.data[cursor.at : cursor.at + 2] == b" (":
                cursor.space()
                items = tuple(replace(item, sets_seen=False) for item in parse_items(cursor))
            if cursor.accept(b")"):
                break
            cursor.space()
        else:
            raise GrammarError("too many events")
    cursor.expect(b")")
    events = frozenset(found - {""})
    _check(source, events, items)
    return EventGroup(source, events, items), unknown


def _check(source: Source, events: frozenset[str], items: tuple[FetchItem, ...]) -> None:
    """What section 5 and section 6.1 call errors."""
    if events & OF_MESSAGES and not events >= _BOTH:
        raise GrammarError("MessageNew and MessageExpunge belong together, FlagChange to both")
    if source.kind in SELECTED and events - OF_MESSAGES:
        raise GrammarError("of the selected mailbox only messages are told")
    if items and source.kind not in SELECTED:
        raise GrammarError("only new messages of the selected mailbox can be told in detail")
