"""IDLE (RFC 2177)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugins.imap4.access import renew
from plugins.imap4.protocol import Line
from plugins.imap4.protocol_command import Command
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession


async def idle(session: ImapSession, command: Command) -> str:
    """Tell changes as they happen until the client says DONE. It is logged out after `idle_timeout` like any other."""
    connection = session.connection
    connection.write(b"+ idling\r\n")
    session.machine.expect_line()
    session.is_idle = True
    try:
        while session.open:
            renew(session)
            await session.tell_news(expunges=True)
            event = await connection.next_event(session.config.idle_timeout)
            if type(event) is Line:
                if event.data.upper() != b"DONE":
                    raise RefusalError("expected DONE", status="BAD")
                return "IDLE completed"
            if connection.stopping:
                return ""
    finally:
        session.is_idle = False
    return ""
