"""The AUTHORIZATION state: capabilities, TLS, and the ways to log in (RFC 1939, 2449, 2595, 5034, 6856)."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from appliance.auth import Authenticated, Challenge, TemporaryAuthError
from appliance.errors import ProtocolError, StoreError
from plugins.pop3.maildrop import Maildrop
from plugins.pop3.policy import capabilities, policy_of
from plugins.pop3.protocol import EARLY_BYTES
from plugins.pop3.protocol_text import err, listing, ok

if TYPE_CHECKING:
    from plugins.pop3.session import Pop3Session

log = logging.getLogger(__name__)

ENCRYPT_FIRST = "Encryption is required for a login: use STLS"
FAILED = err("Authentication failed", "AUTH")  # RFC 3206
IN_USE = err("The mailbox is in use by another POP3 session", "IN-USE")
NO_MAILBOX = err("The login is good, but there is no mailbox for it here", "SYS/PERM")
NOT_NOW = err("The mailbox cannot be read now, try again later", "SYS/TEMP")
LANGUAGES = ("i-default Default language (English)", "en English")


# ── capabilities, language, UTF-8 ────────────────────────────────────────────────────────────────────────────────


async def capa(session: Pop3Session, argument: bytes) -> None:
    """CAPA (RFC 2449): what may be used in this state."""
    name = None if session.maildrop is None else session.maildrop.account.name
    policy = None if name is None else policy_of(session.config, name)
    lines = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "LANG"]
    lines += capabilities(session.config, policy)
    if session.maildrop is None:
        mechanisms = session.core.auth.mechanisms(session.session)
        if mechanisms:
            lines += ["USER", f"SASL {' '.join(mechanisms)}"]
        if _offers_stls(session):
            lines.append("STLS")
    lines.append("IMPLEMENTATION Palomar")
    session.say(listing("Capabilities follow", lines))


async def lang(session: Pop3Session, argument: bytes) -> None:
    """LANG (RFC 6856 section 3): we speak English only, and say so."""
    tag = argument.strip().lower()
    if not tag:
        session.say(listing("Languages follow", LANGUAGES))
    elif tag in {b"*", b"en", b"i-default"}:
        session.say(ok("en English it is"))
    else:
        session.say(err("That language is not spoken here"))


async def utf8(session: Pop3Session, argument: bytes) -> None:
    """UTF8 (RFC 6856 section 2): messages are sent as they were received in either mode."""
    if argument:
        session.object_to("UTF8 takes no argument")
    else:
        session.say(ok("UTF-8 it is"))


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _offers_stls(session: Pop3Session) -> bool:
    # A Unix socket does not leave the machine.
    return session.session.tls is None and bool(session.session.peer_ip)


async def stls(session: Pop3Session, argument: bytes) -> None:
    """STLS (RFC 2595 section 4). What was said before it counts no more."""
    if argument:
        session.object_to("STLS takes no argument")
    elif not _offers_stls(session):
        session.object_to("TLS is up already" if session.session.tls is not None else "No TLS here")
    elif session.machine.pending:
        # Whoever sent it may not be who does the handshake (CVE-2011-0411).
        raise ProtocolError("data pipelined after STLS", reply=EARLY_BYTES)
    else:
        session.say(ok("Begin TLS"))
        session.session.tls = await session.connection.start_tls(session.core.certificates.login_context())
        session.user = None


# ── logging in ───────────────────────────────────────────────────────────────────────────────────────────────────


async def user(session: Pop3Session, argument: bytes) -> None:
    """USER: remember the name. Whether anybody has it is not told."""
    name = _text(argument)
    if not session.core.auth.allowed(session.session):
        session.object_to(ENCRYPT_FIRST)  # now, before the password follows in clear
    elif not name:
        session.object_to("USER needs a name in UTF-8")
    else:
        session.user = name
        session.say(ok("And the password?"))


async def pass_(session: Pop3Session, argument: bytes) -> None:
    """PASS: the whole rest of the line is the password, spaces included (RFC 1939 section 7)."""
    name, session.user = session.user, None
    password = _text(argument)
    if name is None:
        session.object_to("USER comes first")
    elif not password:
        session.object_to("PASS needs a password in UTF-8")
    else:
        try:
            account = await session.core.auth.login(session.session, name, password)
        except TemporaryAuthError as error:
            session.say(err(str(error), "SYS/TEMP"))
            return
        await _conclude(session, account, name)


async def apop(session: Pop3Session, argument: bytes) -> None:
    """APOP (RFC 1939 section 7), for accounts that have opted in to a recoverable password."""
    name, _, digest = argument.rpartition(b" ")
    login = _text(name)
    if not session.stamp:
        session.object_to("APOP is not offered")
    elif not session.core.auth.allowed(session.session):
        session.object_to(ENCRYPT_FIRST)
    elif not login or len(digest) != 32:
        session.object_to("APOP needs a name and a digest")
    else:
        try:
            account = await session.core.auth.apop(session.session, login, digest, session.stamp)
        except TemporaryAuthError as error:
            session.say(err(str(error), "SYS/TEMP"))
            return
        await _conclude(session, account, login)


async def auth(session: Pop3Session, argument: bytes) -> None:
    """AUTH (RFC 5034): one SASL exchange. Without an argument it lists the mechanisms, as Outlook expects."""
    mechanism, _, initial = argument.partition(b" ")
    if not mechanism:
        session.say(listing("Mechanisms follow", session.core.auth.mechanisms(session.session)))
        return
    exchange = session.core.auth.begin(session.session, mechanism.decode("ascii", "replace"))
    outcome = await exchange.respond(initial or None, initial=True)
    while isinstance(outcome, Challenge):
        session.say(b"+ %b\r\n" % outcome.line)
        outcome = await exchange.respond(await session.auth_line())
    if isinstance(outcome, Authenticated):
        await _conclude(session, outcome.account, outcome.login)
    elif outcome.cause == "credentials":
        await _conclude(session, None, "")
    elif outcome.cause == "temporary":
        session.say(err(outcome.text, "SYS/TEMP"))
    else:
        session.object_to(outcome.text)


async def _conclude(session: Pop3Session, account: str | None, login: str) -> None:
    """Answer a login: open the maildrop, or say that it failed; too many failures end the connection."""
    if account is not None:
        await _enter(session, account, login)
        return
    session.auth_failures += 1
    session.open = session.auth_failures < session.config.max_auth_failures
    session.say(FAILED)


async def _enter(session: Pop3Session, name: str, login: str) -> None:
    """Take the account's maildrop for this session."""
    store, connection = session.core.store, session.connection
    account = store.directory.account(name)
    if account is None:
        session.say(NO_MAILBOX)
        return
    policy, now = policy_of(session.config, account.name), connection.loop.time()
    if (left := session.locks.delays.left(account.name, policy.login_delay, now)) > 0:
        session.say(err(f"Too soon after the last login, wait {math.ceil(left)} seconds", "LOGIN-DELAY"))
        return
    session.lease = session.locks.acquire(
        account.name,
        now,
        takeover_after=session.config.takeover_after,
        close=connection.abort,
    )
    if session.lease is None:
        session.say(IN_USE)
        return
    try:
        session.maildrop = await Maildrop.open(store, account, junk=policy.junk)
    except StoreError as error:
        log.warning("the maildrop of %s cannot be opened: %s", name, error)
        session.leave()
        session.say(NOT_NOW)
        return
    session.session.account, session.session.login = account.name, login
    session.locks.delays.note(account.name, now)
    session.watch(account.name)
    session.say(ok(f"{session.maildrop.messages} messages ({session.maildrop.octets} octets)"))


async def quit_(session: Pop3Session, argument: bytes) -> None:
    """QUIT before the login."""
    session.open = False
    session.say(ok("Goodbye"))


def _text(data: bytes) -> str:
    """Text in UTF-8, or nothing when it is something else."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
