"""The commands around mail: greeting, hello, STARTTLS, AUTH, and the small ones (RFC 5321 section 4.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.auth import Authenticated, Challenge
from appliance.errors import ProtocolError
from appliance.mail.reply import Reply
from plugins.smtp.envelope import parse_hello
from plugins.smtp.refusal import RefusedError

if TYPE_CHECKING:
    from plugins.smtp.session import SmtpSession

MAX_LIMIT = 999_999  # of a value in LIMITS: six digits (RFC 9422 section 4.1)

OK = Reply(250, "2.0.0", "Ok")
BYE = Reply(221, "2.0.0", "Goodbye")
NO_ARGUMENT = Reply(501, "5.5.4", "The command takes no argument")
NEEDS_ARGUMENT = Reply(501, "5.5.4", "The command needs an argument")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
HELP_ANSWER = Reply(214, "2.0.0", "EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY STARTTLS AUTH; see RFC 5321")
USE_LHLO = Reply(500, "5.5.1", "This is LMTP: say LHLO")
NOT_LMTP = Reply(500, "5.5.1", "This is SMTP: say EHLO")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
TLS_ALREADY = Reply(503, "5.5.1", "TLS is up already")
PIPELINED_STARTTLS = Reply(503, "5.5.0", "Nothing may follow STARTTLS before its answer, closing")
HELLO_FIRST = Reply(503, "5.5.1", "Say EHLO first")
IN_TRANSACTION = Reply(503, "5.5.1", "Not during a mail transaction")
LOGGED_IN_ALREADY = Reply(503, "5.5.1", "You are logged in already")
LOGGED_IN = Reply(235, "2.7.0", "Authentication successful")
TOO_MANY_LOGINS = Reply(421, "4.7.0", "Too many failed logins, closing")

# The codes belong to Refused.cause, as the table there says (RFC 4954 sections 4 and 6).
_AUTH_REFUSALS = {
    "credentials": (535, "5.7.8"),
    "temporary": (454, "4.7.0"),
    "aborted": (501, "5.7.0"),
    "malformed": (501, "5.5.2"),
    "mechanism": (504, "5.5.4"),
    "privacy": (538, "5.7.11"),
}


async def greet(session: SmtpSession) -> None:
    """Send the greeting, or the refusal that a plugin wants instead of it (RFC 5321 section 3.1).

    After a 554 the server waits for QUIT, and answers anything else by 503; a 421 ends the connection.
    """
    refusal = await session.core.dispatch.smtp_connect(session=session.session)
    if refusal is None:
        protocol = "LMTP" if session.session.role == "lmtp" else "ESMTP"
        session.connection.write(f"220 {session.hostname} {protocol} Palomar\r\n".encode())
        return
    session.record_refusal("connect", refusal)
    # No other codes are known to clients in this place; a 521 (RFC 7504) would say that we never take mail.
    if refusal.temporary:
        session.hang_up(Reply(421, refusal.enhanced, refusal.text))
    else:
        session.turn_away(Reply(554, refusal.enhanced, refusal.text))


# ── hello ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def ehlo(session: SmtpSession, argument: str) -> None:
    """EHLO: open the session, or begin it anew, and announce the extensions (RFC 5321 section 4.1.1.1)."""
    if session.session.role == "lmtp":
        session.say(USE_LHLO)
    elif await _hello(session, argument, esmtp=True):
        session.connection.write(_announcement(session))


async def helo(session: SmtpSession, argument: str) -> None:
    """HELO: the same without extensions."""
    if session.session.role == "lmtp":
        session.say(USE_LHLO)
    elif await _hello(session, argument, esmtp=False):
        session.connection.write(f"250 {session.hostname}\r\n".encode())


async def lhlo(session: SmtpSession, argument: str) -> None:
    """LHLO: what EHLO is to LMTP (RFC 2033 section 4.1)."""
    if session.session.role != "lmtp":
        session.say(NOT_LMTP)
    elif await _hello(session, argument, esmtp=True):
        session.connection.write(_announcement(session))


async def _hello(session: SmtpSession, argument: str, *, esmtp: bool) -> bool:
    session.idle_commands += 1
    facts = session.session
    try:
        name = parse_hello(argument, strict=facts.role == "mx")
    except RefusedError as error:
        session.say(error.reply)
        return False
    session.drop_mail()
    facts.helo, facts.esmtp = name, esmtp
    refusal = await session.core.dispatch.smtp_helo(session=facts)
    if refusal is None:
        return True
    facts.helo, facts.esmtp = "", False
    session.record_refusal("hello", refusal)
    session.say(refusal)
    return False


def _announcement(session: SmtpSession) -> bytes:
    lines = [
        session.hostname,
        "PIPELINING",
        f"SIZE {session.machine.max_size}",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        f"LIMITS MAILMAX={min(session.config.max_transactions, MAX_LIMIT)} RCPTMAX={session.config.max_recipients}",
        *session.terms().announced(),
    ]
    if session.config.etrn_domains and session.session.role == "mx":
        lines.append("ETRN")
    if _offers_starttls(session):
        lines.append("STARTTLS")
    if _offers_auth(session) and (mechanisms := session.core.auth.mechanisms(session.session)):
        lines.append(f"AUTH {' '.join(mechanisms)}")
    lines += session.extensions
    return bytes(Reply(250, "", "\n".join(lines)))


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _offers_starttls(session: SmtpSession) -> bool:
    # A Unix socket does not leave the machine.
    return session.session.tls is None and bool(session.session.peer_ip)


async def starttls(session: SmtpSession, argument: str) -> None:
    """STARTTLS (RFC 3207). What was said before it counts no more."""
    facts = session.session
    if argument:
        session.say(NO_ARGUMENT)
        return
    if facts.tls is not None:
        session.say(TLS_ALREADY)
        return
    if not _offers_starttls(session):
        session.say(NOT_IMPLEMENTED)
        return
    if session.machine.pending:
        # Whoever sent it may not be who does the handshake (CVE-2011-0411): not even an answer to it is due.
        raise ProtocolError("data pipelined after STARTTLS", reply=bytes(PIPELINED_STARTTLS))
    session.drop_mail()
    session.connection.write(bytes(READY_FOR_TLS))
    certificates = session.core.certificates
    # Other servers come with certificates of all kinds, which no authority of ours has to know.
    logins = facts.role == "submission"
    facts.tls = await session.connection.start_tls(
        certificates.login_context() if logins else certificates.server_context()
    )
    facts.helo, facts.esmtp = "", False
    facts.account, facts.login, facts.mechanism = None, "", ""


# ── AUTH ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _offers_auth(session: SmtpSession) -> bool:
    role = session.session.role
    return (role == "submission" or (role == "mx" and session.config.mx_auth)) and session.session.account is None


async def auth(session: SmtpSession, argument: str) -> None:
    """AUTH (RFC 4954): one SASL exchange, which ends in a login or in a refusal."""
    facts = session.session
    refusal = _auth_refusal(session, argument)
    if refusal is not None:
        session.say(refusal)
        return
    mechanism, _, initial = argument.partition(" ")
    exchange = session.core.auth.begin(facts, mechanism)
    outcome = await exchange.respond(initial.encode() if initial else None, initial=True)
    while isinstance(outcome, Challenge):
        session.connection.write(b"334 %b\r\n" % outcome.line)
        outcome = await exchange.respond(await session.auth_line())
    if isinstance(outcome, Authenticated):
        facts.account, facts.login, facts.mechanism = outcome.account, outcome.login, mechanism.upper()
        session.watch(outcome.account)
        session.auth_failures = 0
        session.say(LOGGED_IN)
        return
    code, enhanced = _AUTH_REFUSALS[outcome.cause]
    session.say(Reply(code, enhanced, outcome.text))
    session.auth_failures += outcome.cause == "credentials"
    if session.auth_failures >= session.config.max_auth_failures:
        session.hang_up(TOO_MANY_LOGINS)


def _auth_refusal(session: SmtpSession, argument: str) -> Reply | None:
    if session.session.account is not None:
        return LOGGED_IN_ALREADY
    if not _offers_auth(session):
        return NOT_IMPLEMENTED
    if not session.session.esmtp:
        return HELLO_FIRST
    if session.mail is not None:
        return IN_TRANSACTION
    return None if argument else NEEDS_ARGUMENT


# ── the small ones ───────────────────────────────────────────────────────────────────────────────────────────────


async def rset(session: SmtpSession, argument: str) -> None:
    """RSET: forget the transaction; hello and login stay."""
    session.idle_commands += 1
    if argument:
        session.say(NO_ARGUMENT)
        return
    session.drop_mail()
    session.say(OK)


async def noop(session: SmtpSession, argument: str) -> None:
    """NOOP, with or without an argument."""
    session.idle_commands += 1
    session.say(OK)


async def quit_(session: SmtpSession, argument: str) -> None:
    """QUIT: the only end that a client gives."""
    if argument:
        session.say(NO_ARGUMENT)
    else:
        session.hang_up(BYE)


async def help_(session: SmtpSession, argument: str) -> None:
    """HELP."""
    session.idle_commands += 1
    session.say(HELP_ANSWER)
