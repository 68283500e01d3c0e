"""Message numbers in commands: which use them, and why none may once a client has enabled UIDONLY (RFC 9586)."""

from __future__ import annotations

from plugins.imap4.protocol_command import Command
from plugins.imap4.protocol_search import And, Key, Not, Numbers, Or
from plugins.imap4.refusal import RefusalError

# Commands with a form for numbers and one for UIDs.
_BY_NUMBER = frozenset({"FETCH", "STORE", "SEARCH", "COPY", "MOVE", "SORT", "THREAD", "REPLACE"})
# Numbers must not move under these; their forms with UID do not use any (RFC 3501 section 7.4.1).
_HOLDS_NUMBERS = frozenset({"FETCH", "STORE", "SEARCH", "SORT", "THREAD"})


def uses_numbers(command: Command) -> bool:
    """Whether the command names messages by their numbers, or is answered with them."""
    return command.verb in _BY_NUMBER and not getattr(command, "uid", False)


def holds_numbers(command: Command) -> bool:
    """Whether no EXPUNGE may be told before the command is complete."""
    return command.verb in _HOLDS_NUMBERS and not getattr(command, "uid", False)


def refuse_numbers(command: Command) -> None:
    """Raise RefusalError for a command that uses message numbers, also as a search key (RFC 9586 section 3)."""
    key = getattr(command, "key", None)
    if uses_numbers(command) or (key is not None and has_numbers(key)):
        raise uid_required()


def uid_required() -> RefusalError:
    """What is answered to message numbers with UIDONLY."""
    return RefusalError("Message numbers are not used any more: UIDONLY is enabled", "UIDREQUIRED", status="BAD")


def has_numbers(key: Key) -> bool:
    """Whether message numbers are among the search keys."""
    match key:
        case Numbers():
            return True
        case Not():
            return has_numbers(key.key)
        case Or():
            return has_numbers(key.first) or has_numbers(key.second)
        case And():
            return any(map(has_numbers, key.keys))
    return False
