"""How each command is read (RFC 3501 sections 6 and 9). Pure.

One table names every command, the states in which it is permitted, and its reader. Extensions add rows.
"""

from __future__ import annotations

from collections.abc import Callable

from plugins.imap4.protocol_acl import parse_identifier, parse_rights_change
from plugins.imap4.protocol_command import (
    Authenticate,
    Command,
    Compress,
    Copy,
    Create,
    Enable,
    Fetch,
    GetMetadata,
    GetQuota,
    Identify,
    ListNames,
    Login,
    MultiSearch,
    Notify,
    OnEntry,
    OnMailbox,
    Rename,
    Search,
    Select,
    SetAcl,
    SetMetadata,
    Sort,
    State,
    Status,
    StoreFlags,
    Thread,
    UidExpunge,
)
from plugins.imap4.protocol_fetch import parse_items
from plugins.imap4.protocol_list import parse_list, parse_lsub, parse_status_items
from plugins.imap4.protocol_metadata import parse_values, parse_wanted
from plugins.imap4.protocol_notify import parse_notify
from plugins.imap4.protocol_parse import Cursor, GrammarError, parse_verb
from plugins.imap4.protocol_return import parse_return
from plugins.imap4.protocol_search import parse_keys_in_charset, parse_program
from plugins.imap4.protocol_sort import parse_algorithm, parse_criteria
from plugins.imap4.protocol_sources import parse_sources
from plugins.imap4.protocol_sync import (
    parse_fetch_modifiers,
    parse_select_parameters,
    parse_unchangedsince,
)

MAX_ENABLE = 50  # names in one ENABLE
MAX_ID_FIELDS = 30  # RFC 2971 section 3.3
MAX_ID_VALUE = 1024

Reader = Callable[[Cursor, bytes, str], Command]


def _bare(cursor: Cursor, tag: bytes, verb: str) -> Command:
    return Command(tag, verb)


def _login(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    user = cursor.astring()
    cursor.space()
    try:
        return Login(tag, verb, user.decode(), cursor.astring().decode())
    except UnicodeDecodeError:
        raise GrammarError("login name or password is not UTF-8") from None


def _authenticate(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    mechanism = cursor.word()
    initial = None
    if not cursor.at_end():
        cursor.space()
        initial = cursor.data[cursor.at :]
        cursor.at = len(cursor.data)
    return Authenticate(tag, verb, mechanism, initial)


def _identify(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    fields: list[tuple[str, str]] = []
    if cursor.data[cursor.at :].upper() == b"NIL":
        cursor.at += 3
        return Identify(tag, verb, ())
    cursor.expect(b"(")
    cursor.accept(b" ")  # aioimaplib writes one inside either parenthesis
    while not cursor.accept(b")"):
        if fields:
            cursor.space()
            if cursor.accept(b")"):
                break
        name = cursor.string()
        cursor.space()
        value = cursor.nstring() or b""
        fields.append((name.decode("utf-8", "replace"), value.decode("utf-8", "replace")))
        if len(fields) > MAX_ID_FIELDS or len(name) > MAX_ID_VALUE or len(value) > MAX_ID_VALUE:
            raise GrammarError("ID too long")
    return Identify(tag, verb, tuple(fields))


def _enable(cursor: Cursor, tag: bytes, verb: str) -> Command:
    names: list[str] = []
    while not names or not cursor.at_end():
        cursor.space()
        names.append(cursor.word())
        if len(names) > MAX_ENABLE:
            raise GrammarError("too many names")
    return Enable(tag, verb, tuple(names))


def _on_mailbox(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    return OnMailbox(tag, verb, cursor.mailbox())


def _select(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    return Select(tag, verb, cursor.mailbox(), *parse_select_parameters(cursor))


def _create(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    uses: tuple[bytes, ...] = ()
    if not cursor.at_end():
        cursor.space()
        cursor.expect(b"(")
        if cursor.word() != "USE":
            raise GrammarError("expected USE")
        cursor.space()
        uses = cursor.flags()
        cursor.expect(b")")
    return Create(tag, verb, mailbox, uses)


def _rename(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    return Rename(tag, verb, mailbox, cursor.mailbox())


def _list(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    return ListNames(tag, verb, parse_list(cursor) if verb == "LIST" else parse_lsub(cursor))


def _status(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    return Status(tag, verb, mailbox, parse_status_items(cursor))


def _compress(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    return Compress(tag, verb, cursor.word())


def _get_quota(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    return GetQuota(tag, verb, cursor.astring())


def _get_metadata(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    return GetMetadata(tag, verb, *parse_wanted(cursor))


def _set_metadata(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    return SetMetadata(tag, verb, mailbox, parse_values(cursor))


def _notify(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    return Notify(tag, verb, parse_notify(cursor))


def _on_entry(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    return OnEntry(tag, verb, mailbox, parse_identifier(cursor))


def _set_acl(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    identifier = parse_identifier(cursor)
    cursor.space()
    return SetAcl(tag, verb, mailbox, identifier, parse_rights_change(cursor))


def _fetch(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    members = cursor.sequence_set()
    cursor.space()
    verb, uid = _uid(verb)
    return Fetch(tag, verb, uid, members, parse_items(cursor), parse_fetch_modifiers(cursor, uid=uid))


def _store(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    members = cursor.sequence_set()
    cursor.space()
    unchangedsince = parse_unchangedsince(cursor)
    mode = "+" if cursor.accept(b"+") else "-" if cursor.accept(b"-") else ""
    item = cursor.word()
    if item not in {"FLAGS", "FLAGS.SILENT"}:
        raise GrammarError("expected FLAGS")
    cursor.space()
    if cursor.peek() == b"(":
        flags = cursor.flags()
    else:
        found = [cursor.flag()]
        while cursor.accept(b" "):
            found.append(cursor.flag())
            cursor.check_length(len(found))
        flags = tuple(found)
    return StoreFlags(tag, *_uid(verb), members, mode, item == "FLAGS.SILENT", flags, unchangedsince)


def _copy(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    members = cursor.sequence_set()
    cursor.space()
    return Copy(tag, *_uid(verb), members, cursor.mailbox())


def _uid_expunge(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    return UidExpunge(tag, verb, cursor.sequence_set())


def _search(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    returns = parse_return(cursor)
    return Search(tag, *_uid(verb), parse_program(cursor), returns)


def _multisearch(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    sources = parse_sources(cursor)
    returns = parse_return(cursor)
    return MultiSearch(tag, verb, True, parse_program(cursor), returns, sources)


def _sort(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    returns = parse_return(cursor)
    criteria = parse_criteria(cursor)
    cursor.space()
    return Sort(tag, *_uid(verb), parse_keys_in_charset(cursor), returns, criteria)


def _thread(cursor: Cursor, tag: bytes, verb: str) -> Command:
    cursor.space()
    algorithm = parse_algorithm(cursor)
    cursor.space()
    return Thread(tag, *_uid(verb), parse_keys_in_charset(cursor), None, algorithm)


def _uid(verb: str) -> tuple[str, bool]:
    return (verb[4:], True) if verb.startswith("UID ") else (verb, False)


_ALWAYS = frozenset(State)
_BEFORE = frozenset({State.NOT_AUTHENTICATED})
_AFTER = frozenset({State.AUTHENTICATED, State.SELECTED})
_IN_MAILBOX = frozenset({State.SELECTED})

COMMANDS: dict[str, tuple[frozenset[State], Reader]] = {
    "CAPABILITY": (_ALWAYS, _bare),
    "NOOP": (_ALWAYS, _bare),
    "LOGOUT": (_ALWAYS, _bare),
    "ID": (_ALWAYS, _identify),
    "STARTTLS": (_BEFORE, _bare),
    "LOGIN": (_BEFORE, _login),
    "AUTHENTICATE": (_BEFORE, _authenticate),
    "ENABLE": (_AFTER, _enable),
    "UNAUTHENTICATE": (_AFTER, _bare),
    "ESEARCH": (_AFTER, _multisearch),
    "SELECT": (_AFTER, _select),
    "EXAMINE": (_AFTER, _select),
    "CREATE": (_AFTER, _create),
    "DELETE": (_AFTER, _on_mailbox),
    "RENAME": (_AFTER, _rename),
    "SUBSCRIBE": (_AFTER, _on_mailbox),
    "UNSUBSCRIBE": (_AFTER, _on_mailbox),
    "LIST": (_AFTER, _list),
    "LSUB": (_AFTER, _list),
    "STATUS": (_AFTER, _status),
    "NAMESPACE": (_AFTER, _bare),
    "COMPRESS": (_AFTER, _compress),
    "GETQUOTA": (_AFTER, _get_quota),
    "GETQUOTAROOT": (_AFTER, _on_mailbox),
    "SETACL": (_AFTER, _set_acl),
    "DELETEACL": (_AFTER, _on_entry),
    "GETACL": (_AFTER, _on_mailbox),
    "LISTRIGHTS": (_AFTER, _on_entry),
    "MYRIGHTS": (_AFTER, _on_mailbox),
    "GETMETADATA": (_AFTER, _get_metadata),
    "SETMETADATA": (_AFTER, _set_metadata),
    "IDLE": (_AFTER, _bare),
    "NOTIFY": (_AFTER, _notify),
    "CHECK": (_IN_MAILBOX, _bare),
    "CLOSE": (_IN_MAILBOX, _bare),
    "UNSELECT": (_IN_MAILBOX, _bare),
    "EXPUNGE": (_IN_MAILBOX, _bare),
    "SEARCH": (_IN_MAILBOX, _search),
    "SORT": (_IN_MAILBOX, _sort),
    "THREAD": (_IN_MAILBOX, _thread),
    "FETCH": (_IN_MAILBOX, _fetch),
    "STORE": (_IN_MAILBOX, _store),
    "COPY": (_IN_MAILBOX, _copy),
    "MOVE": (_IN_MAILBOX, _copy),
    "UID SEARCH": (_IN_MAILBOX, _search),
    "UID SORT": (_IN_MAILBOX, _sort),
    "UID THREAD": (_IN_MAILBOX, _thread),
    "UID FETCH": (_IN_MAILBOX, _fetch),
    "UID STORE": (_IN_MAILBOX, _store),
    "UID COPY": (_IN_MAILBOX, _copy),
    "UID MOVE": (_IN_MAILBOX, _copy),
    "UID EXPUNGE": (_IN_MAILBOX, _uid_expunge),
}
# These are read in pieces, by the machine itself.
APPEND_STATES = {"APPEND": _AFTER, "REPLACE": _IN_MAILBOX, "UID REPLACE": _IN_MAILBOX}


def parse_command(data: bytes, state: State, *, utf8: bool = False) -> Command:
    """Read a whole command, without its last CRLF. Raises GrammarError, also for one that `state` does not permit."""
    cursor = Cursor(data, utf8=utf8)
    tag = cursor.tag()
    cursor.space()
    verb = parse_verb(cursor)
    try:
        states, read = COMMANDS[verb]
    except KeyError:
        raise GrammarError("unknown command") from None
    if state not in states:
        raise GrammarError(_WRONG_STATE[state])
    command = read(cursor, tag, verb)
    cursor.end()
    return command


_WRONG_STATE = {
    State.NOT_AUTHENTICATED: "log in first",
    State.AUTHENTICATED: "not permitted without a selected mailbox, or after login",
    State.SELECTED: "already logged in",
}
