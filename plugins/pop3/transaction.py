"""The TRANSACTION and UPDATE states: list, read and delete messages (RFC 1939 sections 5 to 7)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from appliance.connection import ConnectionLostError
from appliance.errors import NotFoundError, StoreError
from appliance.mail.message import Message
from plugins.pop3.maildrop import Maildrop, Update
from plugins.pop3.policy import policy_of
from plugins.pop3.protocol_text import END, Stuffer, err, ok, top_length

if TYPE_CHECKING:
    from plugins.pop3.session import Pop3Session

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_DIGITS = 10  # of a message number or a count of lines
CHUNK = 64 * 1024  # octets of the pieces in which the start of a message is sent
LINES_AT_ONCE = 2000  # of LIST and UIDL

NO_SUCH_MESSAGE = err("No such message")
REMOVED_MEANWHILE = err("Another mail program has removed this message meanwhile")
NOT_NOW = err("The message cannot be read now, try again later", "SYS/TEMP")
NOT_REMOVED = err("Some deleted messages are not removed, try again later", "SYS/TEMP")


def _maildrop(session: Pop3Session) -> Maildrop:
    assert session.maildrop is not None
    return session.maildrop


def _number(argument: bytes) -> int | None:
    """A number as the RFC writes it, or None."""
    text = argument.strip(b" ")
    return int(text) if text.isdigit() and len(text) <= MAX_DIGITS else None


def _chosen(session: Pop3Session, argument: bytes) -> int | None:
    """The message that a command names; if there is none it is answered, and None."""
    number = _number(argument)
    if number is None:
        session.object_to("A message number is needed")
        return None
    if not _maildrop(session).has(number):
        session.say(NO_SUCH_MESSAGE)
        return None
    return number


# ── listings ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def stat(session: Pop3Session, argument: bytes) -> None:
    """STAT: number and size of what is there."""
    maildrop = _maildrop(session)
    session.say(ok(f"{maildrop.messages} {maildrop.octets}"))


async def list_(session: Pop3Session, argument: bytes) -> None:
    """LIST: the size of one message, or of all."""
    await _listed(session, argument, _maildrop(session).size)


async def uidl(session: Pop3Session, argument: bytes) -> None:
    """UIDL: the unique id of one message, or of all."""
    await _listed(session, argument, _maildrop(session).uidl)


async def _listed(session: Pop3Session, argument: bytes, value: Callable[[int], object]) -> None:
    maildrop = _maildrop(session)
    if argument:
        number = _chosen(session, argument)
        if number is not None:
            session.say(ok(f"{number} {value(number)}"))
        return
    session.say(ok(f"{maildrop.messages} messages ({maildrop.octets} octets)"))
    lines: list[str] = []
    for number in maildrop.numbers():
        lines.append(f"{number} {value(number)}\r\n")
        if len(lines) == LINES_AT_ONCE:
            await session.send("".join(lines).encode())
            lines.clear()
    await session.send("".join(lines).encode() + END)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def retr(session: Pop3Session, argument: bytes) -> None:
    """RETR: one whole message. A large one goes out piece by piece, as fast as the client takes it."""
    number = _chosen(session, argument)
    if number is None:
        return
    maildrop = _maildrop(session)
    if maildrop.large(number):
        await _send_large(session, number)
        return
    response = await _read(session, maildrop.response, number)
    if response is not None:
        maildrop.mark_fetched(number)
        await session.send(response)


async def top(session: Pop3Session, argument: bytes) -> None:
    """TOP: the header of a message and the first lines of its text."""
    which, _, count = argument.strip(b" ").partition(b" ")
    lines = _number(count)
    if lines is None:
        session.object_to("TOP needs a message number and a count of lines")
        return
    number = _chosen(session, which)
    if number is None:
        return
    maildrop = _maildrop(session)
    if lines and maildrop.large(number):
        await _send_large(session, number, lines)
        return
    message = await _read(session, maildrop.fetch if lines else maildrop.fetch_header, number)
    if message is None:
        return
    text = message.text
    end = top_length(len(text), lambda start, stop: bytes(text[start:stop]), lines)
    session.say(ok())
    stuffer = Stuffer()
    for chunk in Message(message.header, text[:end]).chunks(CHUNK):
        await session.send(stuffer.feed(chunk))
    await session.send(stuffer.finish())


async def _send_large(session: Pop3Session, number: int, lines: int | None = None) -> None:
    """RETR, or TOP with some lines, of a message that is not held in memory: its text goes out as it is read."""
    maildrop, begun = _maildrop(session), False
    try:
        async with maildrop.reading(number) as message:
            text = message.text()
            piece = await anext(text, b"")  # what cannot be read at all is told in words, before anything is announced
            begun = True
            if lines is None:
                maildrop.mark_fetched(number)
            session.say(ok(f"{message.size} octets") if lines is None else ok())
            stuffer = Stuffer()
            session.say(stuffer.feed(message.header))
            while piece:
                if lines is not None:
                    piece = piece[: top_length(len(piece), partial(_part, piece), lines)]
                    lines -= piece.count(b"\n")
                session.say(stuffer.feed(piece))
                await session.drain()
                piece = b"" if lines == 0 else await anext(text, b"")
            session.say(stuffer.finish())
    except StoreError as error:
        if not begun:
            _tell(session, number, error)
            return
        # The client waits for the end of the message: no words would be understood now.
        log.error("message %d of %s broke off on its way: %s", number, session.session.account, error)
        session.connection.abort()
        raise ConnectionLostError("a stored message could not be read to its end") from error


def _part(octets: bytes, start: int, end: int) -> bytes:
    return octets[start:end]


async def _read(session: Pop3Session, read: Callable[[int], Awaitable[T]], number: int) -> T | None:
    """Read a message; where that fails it is answered, and None."""
    try:
        return await read(number)
    except StoreError as error:
        _tell(session, number, error)
    return None


def _tell(session: Pop3Session, number: int, error: StoreError) -> None:
    """Answer that a message cannot be read."""
    if isinstance(error, NotFoundError):
        session.say(REMOVED_MEANWHILE)
        return
    log.error("message %d of %s cannot be read: %s", number, session.session.account, error)
    session.say(NOT_NOW)


# ── deleting and leaving ─────────────────────────────────────────────────────────────────────────────────────────


async def dele(session: Pop3Session, argument: bytes) -> None:
    """DELE: mark a message; QUIT removes it."""
    number = _chosen(session, argument)
    if number is not None:
        _maildrop(session).delete(number)
        session.say(ok(f"Message {number} deleted"))


async def rset(session: Pop3Session, argument: bytes) -> None:
    """RSET: take all marks back."""
    maildrop = _maildrop(session)
    maildrop.reset()
    session.say(ok(f"{maildrop.messages} messages ({maildrop.octets} octets)"))


async def noop(session: Pop3Session, argument: bytes) -> None:
    """NOOP."""
    session.say(ok())


async def quit_(session: Pop3Session, argument: bytes) -> None:
    """QUIT: the UPDATE state, the only place where anything is removed."""
    session.open = False
    try:
        removed = await _maildrop(session).update(_wanted(session))
    except StoreError as error:
        log.error("messages of %s cannot be removed: %s", session.session.account, error)
        session.say(NOT_REMOVED)
        return
    session.leave()  # before the answer: who has seen it may come back at once
    for mailbox, uids in removed:
        session.core.dispatch.message_expunged(account=_maildrop(session).account.name, mailbox=mailbox, uids=uids)
    session.say(ok("Goodbye"))


def _wanted(session: Pop3Session) -> Update:
    """What the account's policy makes of QUIT. Days are counted from a time that is known only."""
    policy, core = policy_of(session.config, _maildrop(session).account.name), session.core
    counted = policy.expire > 0 and core.time_state == "synced"
    return Update(
        mark_seen=session.config.mark_seen,
        remove_fetched=policy.expire == 0,
        note_at=int(core.now()) if counted else None,
    )
