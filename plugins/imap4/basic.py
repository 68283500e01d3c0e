"""The small commands: CAPABILITY, NOOP, CHECK, LOGOUT, ID, ENABLE, NAMESPACE, and the greeting."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from appliance.store.sharing import NAMESPACES, list_others
from appliance.wire.imap import string
from plugins.imap4.protocol_command import Command, Enable, Identify, State
from plugins.imap4.protocol_respond import CRLF, untagged

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession

log = logging.getLogger(__name__)

_BASE = ("IMAP4rev1", "SASL-IR", "ID", "ENABLE", "IDLE")
_BEFORE_LOGIN = "LITERAL-"  # in place of LITERAL+: little is read from strangers (RFC 7888 section 5)
_AFTER_LOGIN = (
    "LITERAL+",
    "NAMESPACE",
    "CHILDREN",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "STATUS=SIZE",
    "CONDSTORE",
    "QRESYNC",
    "OBJECTID",
    "SAVEDATE",
    "UIDONLY",
    "INPROGRESS",
    "UIDPLUS",
    "MOVE",
    "UNSELECT",
    "NOTIFY",
    "MULTIAPPEND",
    "CATENATE",
    "ESEARCH",
    "SEARCHRES",
    "SORT",
    "SORT=DISPLAY",
    "ESORT",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "I18NLEVEL=1",
    "WITHIN",
    "MULTISEARCH",
    "BINARY",
    "PREVIEW",
    "REPLACE",
    "UTF8=ACCEPT",
    "ACL",
    "RIGHTS=texk",
    "LIST-MYRIGHTS",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "METADATA",
    "LIST-METADATA",
    "PARTIAL",
)
_REV2 = "IMAP4rev2"
_REV2_NEEDS = frozenset({"ESEARCH", "SEARCHRES"})  # beside what is always there (RFC 9051 appendix E)
_LOGGED_CHARACTERS = 200  # of what a client says about itself


def capabilities(session: ImapSession) -> str:
    """What works in the present state, and nothing else (RFC 3501 section 6.1.1)."""
    names = [*_BASE[:1], _REV2, *_BASE[1:]] if _REV2 in _offered() else list(_BASE)
    if session.machine.state is not State.NOT_AUTHENTICATED:
        compress = () if session.machine.is_compressed else ("COMPRESS=DEFLATE",)
        again = ("UNAUTHENTICATE",) if session.config.unauthenticate else ()
        return " ".join((*names, *_AFTER_LOGIN, *again, *compress, f"APPENDLIMIT={session.config.max_append}"))
    names.append(_BEFORE_LOGIN)
    facts = session.session
    if facts.tls is None and facts.peer_ip:
        names.append("STARTTLS")
    if session.core.auth.allowed(facts):
        names += [f"AUTH={mechanism}" for mechanism in session.core.auth.mechanisms(facts)]
    else:
        names.append("LOGINDISABLED")
    return " ".join(names)


def _offered() -> frozenset[str]:
    """What a client that has logged in can use, or enable."""
    names = frozenset((*_BASE, *_AFTER_LOGIN))
    return names | {_REV2} if names >= _REV2_NEEDS else names


def greeting(session: ImapSession) -> bytes:
    """The first line of the connection."""
    return untagged("OK", f"{session.hostname} Palomar is ready", f"CAPABILITY {capabilities(session)}")


async def capability(session: ImapSession, command: Command) -> str:
    """CAPABILITY (section 6.1.1)."""
    session.connection.write(f"* CAPABILITY {capabilities(session)}\r\n".encode())
    return "CAPABILITY completed"


async def noop(session: ImapSession, command: Command) -> str:
    """NOOP (section 6.1.2): the news are told by the session, as after any command."""
    return "NOOP completed"


async def check(session: ImapSession, command: Command) -> str:
    """CHECK (section 6.4.1): everything answered is on the disk already."""
    return "CHECK completed"


async def logout(session: ImapSession, command: Command) -> str:
    """LOGOUT (section 6.1.3)."""
    session.deselect()
    session.hang_up("Logging out")
    return "LOGOUT completed"


async def identify(session: ImapSession, command: Identify) -> str:
    """ID (RFC 2971)."""
    if command.fields:
        log.info("client says it is %s", str(dict(command.fields))[:_LOGGED_CHARACTERS])
    fields = (("name", "Palomar"), ("version", _version()), ("vendor", "Palomar"))
    session.connection.write(
        b"* ID (" + b" ".join(string(name) + b" " + string(value) for name, value in fields) + b")" + CRLF
    )
    return "ID completed"


def _version() -> str:
    try:
        return version("palomar")
    except PackageNotFoundError:
        return "unknown"


async def enable(session: ImapSession, command: Enable) -> str:
    """ENABLE (RFC 5161). Names that are unknown, or need not be enabled, are passed over."""
    enabled, selected = session.enabled, session.selected
    knew_condstore = enabled.condstore
    names = [name for word in command.names if (name := enabled.switch_on(word, _offered()))]
    session.machine.utf8 = enabled.utf8
    session.connection.write(" ".join(("* ENABLED", *names)).encode() + CRLF)
    if selected is not None:
        if enabled.rev2:
            selected.stop_recent()
        if enabled.condstore and not knew_condstore:
            session.connection.write(selected.modseq_line())
    return "ENABLE completed"


async def namespace(session: ImapSession, command: Command) -> str:
    """NAMESPACE (RFC 2342): one's own mailboxes, and those of others and of roles if there are any for this account."""
    account = session.account.id
    names = {one.name for one in await session.core.store.read(lambda db: list_others(db, account))}
    others, shared = (
        f'(("{space}/" "/"))' if any(name.startswith(space + "/") for name in names) else "NIL" for space in NAMESPACES
    )
    session.connection.write(f'* NAMESPACE (("" "/")) {others} {shared}\r\n'.encode())
    return "NAMESPACE completed"
