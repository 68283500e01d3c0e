"""Which mailboxes a command is about: the filters of NOTIFY and MULTISEARCH (RFC 5465 section 6, RFC 7377). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from plugins.imap4.protocol_list import DELIMITER
from plugins.imap4.protocol_parse import Cursor, GrammarError

MAX_SOURCES = 100  # filters of one command
MAX_NAMES = 1_000  # mailboxes named in one command

_PLAIN = frozenset({"SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED"})
PERSONAL = frozenset({"INBOXES", "PERSONAL"})  # all of one's own: mail can be delivered into any of them
_WITH_NAMES = frozenset({"SUBTREE", "SUBTREE-ONE", "MAILBOXES"})


@dataclass(frozen=True, slots=True)
class Source:
    """One filter; `names` stand behind SUBTREE, SUBTREE-ONE and MAILBOXES."""

    kind: str
    names: tuple[str, ...] = ()

    def covers(self, name: str, *, subscribed: bool) -> bool:
        """Whether a mailbox of that name is meant; one of PERSONAL means any of one's own, whatever its name.

        Those that mean the selected mailbox cover none by name.
        """
        match self.kind:
            case "INBOXES" | "PERSONAL":
                return True
            case "SUBSCRIBED":
                return subscribed
            case "MAILBOXES":
                return name in self.names
            case "SUBTREE":
                return any(name == top or name.startswith(top + DELIMITER) for top in self.names)
            case "SUBTREE-ONE":
                return any(name == top or name.rpartition(DELIMITER)[0] == top for top in self.names)
        return False


SELECTED = Source("SELECTED")


def parse_sources(cursor: Cursor) -> tuple[Source, ...]:
    """Read `IN (…) ` of ESEARCH; without it the selected mailbox is meant (RFC 7377 section 2)."""
    if cursor.data[cursor.at : cursor.at + 3].upper() != b"IN ":
        return (SELECTED,)
    cursor.at += 3
    cursor.expect(b"(")
    found = [parse_source(cursor)]
    while not cursor.accept(b")"):
        cursor.space()
        if cursor.peek() == b"(":
            raise GrammarError("unknown scope option")  # RFC 7377 defines none
        found.append(parse_source(cursor))
        if len(found) > MAX_SOURCES or sum(len(one.names) for one in found) > MAX_NAMES:
            raise GrammarError("too many mailboxes")
    cursor.space()
    if any(one.kind == "SELECTED-DELAYED" for one in found):
        raise GrammarError("selected-delayed is not permitted here")
    return tuple(found)


def parse_source(cursor: Cursor) -> Source:
    """Read one filter."""
    kind = cursor.word()
    if kind in _PLAIN:
        return Source(kind)
    if kind not in _WITH_NAMES:
        raise GrammarError("unknown kind of mailboxes")
    cursor.space()
    if not cursor.accept(b"("):
        return Source(kind, (cursor.mailbox(),))
    names = [cursor.mailbox()]
    while not cursor.accept(b")"):
        cursor.space()
        names.append(cursor.mailbox())
        if len(names) > MAX_NAMES:
            raise GrammarError("too many mailboxes")
    return Source(kind, tuple(names))
