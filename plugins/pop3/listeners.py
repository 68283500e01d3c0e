"""The ports of the role: POP3 and POP3 over TLS."""

from __future__ import annotations

from appliance.connection import Connection
from appliance.core import Core
from appliance.listener import Limits, Listener, addresses_of
from plugins.pop3.config import Pop3Config
from plugins.pop3.lock import Locks
from plugins.pop3.protocol import Pop3Server
from plugins.pop3.session import Pop3Session

PORTS = (("pop3", "listen", False), ("pop3s", "listen_tls", True))  # name, setting, TLS from the first octet
TOO_MANY = b"-ERR [SYS/TEMP] Too many connections, try again later\r\n"


def listeners(core: Core, locks: Locks) -> list[Listener]:
    """One listener per kind of port; both share the maildrop locks, and follow the addresses in the settings."""
    config = core.settings[Pop3Config]
    limits = Limits(max_connections=config.max_connections, max_per_peer=config.max_per_peer)

    async def serve(connection: Connection) -> None:
        await Pop3Session(core, connection, locks).run()

    return [
        Listener(
            name,
            addresses_of(core, Pop3Config, setting),
            machine=Pop3Server,
            serve=serve,
            certificates=core.certificates,
            implicit_tls=implicit_tls,
            logins=True,
            limits=limits,
            busy_reply=TOO_MANY,
            setting=f"pop3.{setting}",
        )
        for name, setting, implicit_tls in PORTS
    ]
