"""The commands that ask and carry no mail: VRFY, EXPN (RFC 5321 section 3.5) and ETRN (RFC 1985)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.config import CoreConfig
from appliance.dispatch import HookFailedError
from appliance.errors import AddressError
from appliance.mail.address import normal_domain
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.routing import expand
from appliance.store.queuedesk import Selection
from appliance.wire.smtp import parse_path

if TYPE_CHECKING:
    from plugins.smtp.session import SmtpSession

MAX_MEMBERS_SHOWN = 100  # of one answer to EXPN

NEEDS_ARGUMENT = Reply(501, "5.5.4", "The command needs an argument")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
IN_TRANSACTION = Reply(503, "5.5.1", "Not during a mail transaction")
HELLO_FIRST = Reply(503, "5.5.1", "Say EHLO first")
CANNOT_TELL = Reply(252, "2.1.5", "Cannot tell; send the mail and see")
BAD_ADDRESS = Reply(501, "5.1.3", "That is no address")
NOT_HERE = Reply(551, "5.7.1", "User not local; please try the domain's own server")
NO_SUCH_USER = Reply(550, "5.1.1", "No such user here")
NO_LIST = Reply(550, "5.1.1", "That is an address of one")
ENDLESS = Reply(550, "5.4.6", "The aliases of this address lead back to themselves or grow without end")
NO_SUCH_COMMAND = Reply(500, "5.5.2", "Command not recognized")
BAD_NODE = Reply(501, "5.5.4", "Syntax: ETRN domain")
NO_ETRN = Reply(459, "4.7.1", "ETRN is not for this domain")
TOO_SOON = Reply(458, "4.7.1", "Unable to queue messages for that domain so soon again")
NOTHING_WAITS = Reply(251, "2.0.0", "OK, no messages waiting for that domain")


# ── VRFY and EXPN ────────────────────────────────────────────────────────────────────────────────────────────────


async def vrfy(session: SmtpSession, argument: str) -> None:
    """VRFY: what RCPT would say, where the settings let it tell; else 252: it would serve guessers (section 7.3)."""
    session.idle_commands += 1
    if not argument:
        session.say(NEEDS_ARGUMENT)
    elif not _may_ask(session):
        session.say(CANNOT_TELL)
    else:
        session.say(await _verified(session, argument))


async def expn(session: SmtpSession, argument: str) -> None:
    """EXPN: the members of an alias, where the settings let it tell; else 502."""
    session.idle_commands += 1
    if not _may_ask(session):
        session.say(NOT_IMPLEMENTED)
    elif not argument:
        session.say(NEEDS_ARGUMENT)
    else:
        session.say(await _expanded(session, argument))


def _may_ask(session: SmtpSession) -> bool:
    who = session.config.vrfy
    return who == "all" or (who == "accounts" and session.session.account is not None)


def _recipient(session: SmtpSession, argument: str) -> Recipient | None:
    """The address in an argument, with or without angle brackets."""
    hostname = session.core.settings[CoreConfig].hostname
    try:
        address, rest = parse_path(argument if "<" in argument else f"<{argument}>", postmaster_domain=hostname)
    except AddressError:
        return None
    if address is None or (rest and rest.upper() != "SMTPUTF8") or not (address.is_ascii or rest):
        return None  # RFC 6531 section 3.7.4.2: what is not ASCII needs that word
    return Recipient(address)


async def _verified(session: SmtpSession, argument: str) -> Reply:
    recipient = _recipient(session, argument)
    if recipient is None:
        return BAD_ADDRESS
    core = session.core
    try:
        if await core.dispatch.own_recipient(recipient=recipient) is None:
            return NOT_HERE
        answer = await core.intake.router.resolve(session.session, Envelope(None), recipient)
    except HookFailedError as error:
        return error.reply
    if isinstance(answer, Reply):
        return NO_SUCH_USER if answer.permanent else CANNOT_TELL
    return Reply(250, "2.1.5", f"<{recipient.address}>")


async def _expanded(session: SmtpSession, argument: str) -> Reply:
    recipient = _recipient(session, argument)
    if recipient is None:
        return BAD_ADDRESS
    core = session.core
    try:
        if await core.dispatch.own_recipient(recipient=recipient) is None:
            return NOT_HERE
        found = await expand(core.dispatch, recipient)
    except HookFailedError as error:
        return error.reply
    if found is None:
        return ENDLESS
    members = [f"<{member.address}>" for member in found.final[:MAX_MEMBERS_SHOWN]]
    if members == [f"<{recipient.address}>"]:
        return NO_LIST
    return Reply(250, "2.1.5", "\n".join(members))


# ── ETRN ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def etrn(session: SmtpSession, argument: str) -> None:
    """ETRN: send what waits for a domain now, or with @ for those below it too (RFC 1985 section 5).

    It goes where the domain's MX is, not to whoever asks.
    """
    session.idle_commands += 1
    session.say(await _flushed(session, argument))


async def _flushed(session: SmtpSession, argument: str) -> Reply:
    config = session.config
    if not config.etrn_domains or session.session.role != "mx":
        return NO_SUCH_COMMAND
    if not session.session.esmtp:
        return HELLO_FIRST
    if session.mail is not None:
        return IN_TRANSACTION
    try:
        domain = normal_domain(argument.removeprefix("@"))
    except AddressError:
        return NO_ETRN if argument.startswith("#") else BAD_NODE  # queues have no names here
    if domain not in {normal_domain(name) for name in config.etrn_domains}:
        return NO_ETRN
    now, asked = session.connection.loop.time(), session.etrn_asked
    if now - asked.get(domain, -config.etrn_interval) < config.etrn_interval:
        return TOO_SOON
    asked[domain] = now
    waiting = Selection(domains=(domain,), subdomains=argument.startswith("@"), released=True)
    count = await session.core.queue.desk.retry(waiting)
    session.core.trace.record(session.session.id, "mx", "etrn", f"{count} due for {domain}, asked by {session.peer}")
    return Reply(253, "2.0.0", f"OK, {count} pending messages for {domain} started") if count else NOTHING_WAITS
