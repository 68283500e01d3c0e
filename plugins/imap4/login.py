"""STARTTLS, LOGIN and AUTHENTICATE (RFC 3501 section 6.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.auth import Authenticated, Challenge, TemporaryAuthError
from plugins.imap4.basic import capabilities
from plugins.imap4.protocol_command import Authenticate, Command, Login
from plugins.imap4.protocol_respond import tagged
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession

# RFC 5530 section 3; `aborted` and `malformed` are BAD (RFC 3501 section 6.2.2).
_CODES = {
    "credentials": "AUTHENTICATIONFAILED",
    "temporary": "UNAVAILABLE",
    "mechanism": "CANNOT",
    "privacy": "PRIVACYREQUIRED",
}


async def starttls(session: ImapSession, command: Command) -> str:
    """STARTTLS (section 6.2.1). The answer goes out in clear, before the handshake."""
    facts = session.session
    if facts.tls is not None:
        raise RefusalError("TLS is active already", status="BAD")
    if not facts.peer_ip:
        raise RefusalError("A Unix socket needs no TLS", status="BAD")
    session.machine.start_tls()  # before the OK: to commands that came behind STARTTLS not even that is due
    session.connection.write(tagged(command.tag, "OK", "Begin TLS negotiation now"))
    facts.tls = await session.connection.start_tls(session.core.certificates.login_context())
    return ""


async def login(session: ImapSession, command: Login) -> str:
    """LOGIN (section 6.2.3)."""
    facts = session.session
    if not session.core.auth.allowed(facts):
        raise RefusalError("Encryption is required before a login", "PRIVACYREQUIRED")
    try:
        account = await session.core.auth.login(facts, command.user, command.password)
    except TemporaryAuthError as error:
        raise RefusalError(str(error), "UNAVAILABLE") from error
    if account is None:
        session.auth_failures += 1
        raise RefusalError("Invalid login name or password", "AUTHENTICATIONFAILED")
    return _enter(session, account, command.user)


async def authenticate(session: ImapSession, command: Authenticate) -> str:
    """AUTHENTICATE (section 6.2.2), with SASL-IR (RFC 4959)."""
    exchange = session.core.auth.begin(session.session, command.mechanism)
    outcome = await exchange.respond(command.initial, initial=True)
    while isinstance(outcome, Challenge):
        session.connection.write(b"+ %b\r\n" % outcome.line)
        outcome = await exchange.respond(await session.line())
    if isinstance(outcome, Authenticated):
        return _enter(session, outcome.account, outcome.login)
    if outcome.cause == "credentials":
        session.auth_failures += 1
    code = _CODES.get(outcome.cause, "")
    raise RefusalError(outcome.text, code, status="NO" if code else "BAD")


async def unauthenticate(session: ImapSession, command: Command) -> str:
    """UNAUTHENTICATE (RFC 8437): another account may log in on the same connection. TLS stays, compression ends."""
    if not session.config.unauthenticate:
        raise RefusalError("unknown command", status="BAD")
    session.machine.stop_compression()
    session.log_out()
    code = f"CAPABILITY {capabilities(session)}"
    session.connection.write(tagged(command.tag, "OK", "Logged out of the account", code))
    session.connection.encode_output(None)
    return ""


def _enter(session: ImapSession, name: str, login_name: str) -> str:
    account = session.core.store.directory.account(name)
    if account is None:
        raise RefusalError("The account was deleted", "AUTHORIZATIONFAILED")
    if not session.shared.admit(account.id, session.config.max_per_account):
        raise RefusalError("Too many connections of this account", "LIMIT")
    session.log_in(account, login_name)
    return f"[CAPABILITY {capabilities(session)}] Logged in"
