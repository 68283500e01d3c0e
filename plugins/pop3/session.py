"""One POP3 connection: greets, hands each command to its function, counts what goes wrong, and says goodbye.

The commands before the login are in `authorization.py`, those behind it in `transaction.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from appliance.auth.authenticator import new_stamp
from appliance.config import CoreConfig
from appliance.connection import WAKE, Connection, IdleTimeoutError
from appliance.core import Core
from appliance.errors import ProtocolError
from plugins.pop3 import authorization, transaction
from plugins.pop3.config import Pop3Config
from plugins.pop3.lock import Lease, Locks
from plugins.pop3.maildrop import Maildrop
from plugins.pop3.protocol import AuthLine, Command, Pop3Server
from plugins.pop3.protocol_text import err, ok

log = logging.getLogger(__name__)

SLICE = 128 * 1024  # octets of long answers that are written at once over TLS
DRAIN_EVERY = 256 * 1024  # octets written before the peer must have taken most of them

# What a browser that was lured here sends first. Its next lines would be what the lurer wants us to hear.
_HTTP = frozenset({"GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "PATCH"})

Handler = Callable[["Pop3Session", bytes], Awaitable[None]]

BEFORE_LOGIN: Mapping[str, Handler] = {
    "CAPA": authorization.capa,
    "STLS": authorization.stls,
    "UTF8": authorization.utf8,
    "LANG": authorization.lang,
    "USER": authorization.user,
    "PASS": authorization.pass_,
    "APOP": authorization.apop,
    "AUTH": authorization.auth,
    "QUIT": authorization.quit_,
}
AFTER_LOGIN: Mapping[str, Handler] = {
    "CAPA": authorization.capa,
    "LANG": authorization.lang,
    "STAT": transaction.stat,
    "LIST": transaction.list_,
    "UIDL": transaction.uidl,
    "RETR": transaction.retr,
    "TOP": transaction.top,
    "DELE": transaction.dele,
    "RSET": transaction.rset,
    "NOOP": transaction.noop,
    "QUIT": transaction.quit_,
}


class Pop3Session:
    """The state of one connection. Settings are those at its start."""

    __slots__ = (
        "_unsent",
        "_unwatch",
        "auth_failures",
        "config",
        "connection",
        "core",
        "errors",
        "lease",
        "locks",
        "machine",
        "maildrop",
        "open",
        "session",
        "stamp",
        "user",
    )

    def __init__(self, core: Core, connection: Connection, locks: Locks) -> None:
        machine = connection.machine
        assert isinstance(machine, Pop3Server)
        self.core = core
        self.connection = connection
        self.machine = machine
        self.locks = locks
        self.config = core.settings[Pop3Config]
        self.session = connection.facts("pop3")
        self.open = True
        self.user: str | None = None  # the name that USER gave
        self.stamp = b""  # the greeting's stamp for APOP, if it has one
        self.lease: Lease | None = None
        self.maildrop: Maildrop | None = None  # once logged in
        self.errors = 0
        self.auth_failures = 0
        self._unsent = 0
        self._unwatch: Callable[[], None] | None = None

    async def run(self) -> None:
        """Serve until one side ends it. ProtocolError and ConnectionLostError are left to the listener.

        Whatever ends it but QUIT, nothing is deleted (RFC 1939 section 6).
        """
        self._greet()
        try:
            while self.open:
                event = await self.next_event()
                if isinstance(event, Command):
                    await self._obey(event)
                elif event is WAKE and self.connection.stopping:
                    return  # POP3 has no words for it; clients try again
        except IdleTimeoutError:
            log.debug("idle for too long")  # section 3 wants no response
        finally:
            self.leave()

    async def next_event(self) -> object:
        """Wait for the client. Meanwhile the maildrop counts as idle."""
        lease, config = self.lease, self.config
        if lease is None:
            return await self.connection.next_event(config.login_timeout)
        lease.idle_since = self.connection.loop.time()
        try:
            return await self.connection.next_event(config.command_timeout)
        finally:
            lease.idle_since = None

    async def auth_line(self) -> bytes:
        """The next line of an AUTH exchange."""
        self.machine.expect_auth()
        while True:
            event = await self.connection.next_event(self.config.login_timeout)
            if isinstance(event, AuthLine):
                return event.data
            if self.connection.stopping:
                raise ProtocolError("stopping during a login", reply=err("The server is shutting down", "SYS/TEMP"))

    # ── for the commands ──────────────────────────────────────────────────────────────────────────────────────────

    def say(self, response: bytes) -> None:
        """Answer."""
        self.connection.write(response)

    async def send(self, data: bytes) -> None:
        """Answer at length: waits while the peer reads more slowly than we write. Raises ConnectionLostError.

        Over TLS in slices, as what waits for the client would else be in memory twice.
        """
        while len(data) > SLICE and self.connection.tls is not None:
            self.connection.write(data[:SLICE])
            await self.drain()
            data = data[SLICE:]
        self.connection.write(data)
        self._unsent += len(data)
        if self._unsent > DRAIN_EVERY:
            self._unsent = 0
            await self.drain()

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was written. Raises ConnectionLostError.

        A peer that takes nothing is as silent as one that says nothing: it keeps nobody from the maildrop.
        """
        if self.lease is not None:
            self.lease.idle_since = self.connection.loop.time()
        await self.connection.drain()
        if self.lease is not None:
            self.lease.idle_since = None

    def object_to(self, text: str) -> None:
        """Answer what is no proper command here; too many of these end the connection."""
        self.errors += 1
        self.open = self.open and self.errors < self.config.max_errors
        self.say(err(text))

    def watch(self, account: str) -> None:
        """End the session when its account is disabled or deleted."""
        self._unwatch = self.core.store.directory.watch(account, self.connection.stop)

    def leave(self) -> None:
        """Give the maildrop up."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if self.lease is not None:
            self.lease.release()
            self.lease = None
        if self.maildrop is not None:
            self.maildrop.forget()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _greet(self) -> None:
        auth = self.core.auth
        if auth.weak_offered() and auth.allowed(self.session):
            self.stamp = new_stamp(self.core.settings[CoreConfig].hostname)
        self.say(ok(f"Palomar POP3 ready {self.stamp.decode()}".rstrip()))

    async def _obey(self, command: Command) -> None:
        handler = (BEFORE_LOGIN if self.maildrop is None else AFTER_LOGIN).get(command.verb)
        if handler is not None:
            await handler(self, command.argument)
        elif command.verb in _HTTP:
            self.object_to("This is no web server")
            self.open = False
        elif command.verb in BEFORE_LOGIN or command.verb in AFTER_LOGIN:
            self.object_to("Not now: log in first" if self.maildrop is None else "You are logged in already")
        else:
            self.object_to("Unknown command")
