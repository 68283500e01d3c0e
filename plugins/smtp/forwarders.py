"""XCLIENT and XFORWARD: trusted servers tell who is behind them.

XCLIENT makes the session that of another client, with all that follows from its address and login. XFORWARD changes
what is noted down, and nothing else. Both are known only to peers in the settings' networks, judged by the socket.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.wire.sasl.prepare import prepare_login
from appliance.wire.smtp import GrammarError
from plugins.smtp import dialogue
from plugins.smtp.protocol_forwarder import UNKNOWN_IP, XCLIENT, XFORWARD, attributes
from plugins.smtp.trust import is_in

if TYPE_CHECKING:
    from plugins.smtp.config import SmtpConfig
    from plugins.smtp.session import SmtpSession

Handler = Callable[["SmtpSession", str], Awaitable[None]]

log = logging.getLogger(__name__)

_BY_WORD = "XCLIENT"  # in place of a mechanism
NO_SUCH_LOGIN = Reply(550, "5.7.0", "There is no account of that name")


def is_trusted(session: Session, networks: Sequence[str]) -> bool:
    """Whether the settings name this peer: by the address of its socket, or as `local` on a Unix socket.

    One that a proxy tells of is never trusted.
    """
    if not networks or session.via:
        return False
    return is_in(session.peer_ip, networks) if session.peer_ip else "local" in networks


def commands(session: Session, config: SmtpConfig) -> tuple[dict[str, Handler], list[str]]:
    """The commands of this page that the peer may use, and the lines that announce them."""
    handlers: dict[str, Handler] = {}
    lines: list[str] = []
    if is_trusted(session, config.xclient_networks):
        handlers["XCLIENT"] = xclient
        lines.append(f"XCLIENT {' '.join(XCLIENT)}")
    if is_trusted(session, config.xforward_networks):
        handlers["XFORWARD"] = xforward
        lines.append(f"XFORWARD {' '.join(XFORWARD)}")
    return handlers, lines


async def xclient(session: SmtpSession, argument: str) -> None:
    """XCLIENT: begin anew as the client that the peer tells of; attributes told before stay."""
    session.idle_commands += 1
    if session.mail is not None:
        session.say(dialogue.IN_TRANSACTION)
        return
    try:
        told = attributes(argument, XCLIENT)
    except GrammarError as error:
        session.say(Reply(501, "5.5.4", str(error)))
        return
    account = _account(session, told)
    if account is None:
        session.say(NO_SUCH_LOGIN)
        return
    before = session.session
    # Plugins may still be at work on what they were told of the one before, so that one stays as it is.
    session.core.dispatch.smtp_disconnect(session=before)
    session.begin_as(client := _client(before, told, account))
    log.info("%s speaks for %s", client.via, session.peer)
    await dialogue.greet(session)


def _account(session: SmtpSession, told: dict[str, str]) -> str | None:
    """The account that the client is said to have logged in to: empty for none, None if there is none of that name."""
    before = session.session
    if "LOGIN" not in told:
        return before.login if before.mechanism == _BY_WORD else ""  # a login of the server itself is not the client's
    try:
        name = prepare_login(told["LOGIN"]) if told["LOGIN"] else ""
    except ValueError:
        return None
    return name if not name or session.core.store.directory.usable(name) else None


def _client(before: Session, told: dict[str, str], account: str) -> Session:
    tls = before.tls
    return Session(
        before.id,
        before.role,
        peer_ip=told.get("ADDR", before.peer_ip) or UNKNOWN_IP,
        peer_port=int(told.get("PORT", str(before.peer_port)) or 0),
        local_ip=told.get("DESTADDR", before.local_ip),
        local_port=int(told.get("DESTPORT", str(before.local_port)) or 0),
        helo=told.get("HELO", before.helo if before.via else ""),
        esmtp=told.get("PROTO", "") == "ESMTP",
        # The certificate is the server's that speaks to us: nobody's behind it.
        tls=None if tls is None else replace(tls, client=None),
        account=account or None,
        login=account,
        mechanism=_BY_WORD if account else "",
        via=before.via or before.peer_ip or "local",
    )


async def xforward(session: SmtpSession, argument: str) -> None:
    """XFORWARD: note who is behind the peer, until the next transaction is over. Nothing is decided by it."""
    session.idle_commands += 1
    if session.mail is not None:
        session.say(dialogue.IN_TRANSACTION)
        return
    try:
        told = attributes(argument, XFORWARD)
    except GrammarError as error:
        session.say(Reply(501, "5.5.4", str(error)))
        return
    session.forwarded = {**session.forwarded, **told}
    session.say(dialogue.OK)


def origin(forwarded: dict[str, str]) -> str:
    """Who is behind the peer, for the trace; empty where it has not told, `local` for its own mail."""
    if not forwarded:
        return ""
    address = forwarded.get("ADDR", "")
    if not address:
        return "local"
    name = forwarded.get("HELO", "") or forwarded.get("NAME", "")
    ident = forwarded.get("IDENT", "")
    return address + (f" ({name})" if name else "") + (f", its id {ident}" if ident else "")
