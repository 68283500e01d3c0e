"""The ports of the role: IMAP, POP3 and submission, each in clear with STARTTLS and with TLS first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from appliance.connection import Connection
from appliance.core import Core
from appliance.listener import Limits, Listener, addresses_of
from plugins.proxy.config import ProxyConfig
from plugins.proxy.imap import ImapFront
from plugins.proxy.pop3 import Pop3Front
from plugins.proxy.protocol import LineMachine
from plugins.proxy.session import ProxySession, Shared
from plugins.proxy.submission import SubmissionFront

PORTS = (  # name, setting, kind, TLS from the first octet
    ("imap", "imap", "imap", False),
    ("imaps", "imaps", "imap", True),
    ("pop3", "pop3", "pop3", False),
    ("pop3s", "pop3s", "pop3", True),
    ("submission", "submission", "submission", False),
    ("submissions", "submissions", "submission", True),
)


def listeners(core: Core) -> list[Listener]:
    """One listener per kind of port; it follows the addresses in the settings."""
    config = core.settings[ProxyConfig]
    limits = Limits(max_connections=config.max_connections, max_per_peer=config.max_per_peer)
    shared = Shared(core)
    return [
        Listener(
            f"proxy-{name}",
            addresses_of(core, ProxyConfig, setting),
            machine=LineMachine,
            serve=_serve(shared, kind),
            certificates=core.certificates,
            implicit_tls=implicit_tls,
            limits=limits,
            setting=f"proxy.{setting}",
        )
        for name, setting, kind, implicit_tls in PORTS
    ]


def _serve(shared: Shared, kind: str) -> Callable[[Connection], Awaitable[None]]:
    async def serve(connection: Connection) -> None:
        await session(shared, connection, kind).run()

    return serve


def session(shared: Shared, connection: Connection, kind: str) -> ProxySession:
    """A session of that kind."""
    fronts: dict[str, type[ImapFront | Pop3Front | SubmissionFront]] = {"imap": ImapFront, "pop3": Pop3Front}
    front = fronts.get(kind, SubmissionFront)(shared.core, connection)
    return ProxySession(shared, front, front, kind)
