"""The ports of the role: IMAP with STARTTLS, and with TLS from the first octet."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable

from appliance.connection import Connection, Machine
from appliance.listener import Limits, Listener, addresses_of
from plugins.imap4.config import Imap4Config
from plugins.imap4.shared import Shared


def _machine() -> Machine:
    from plugins.imap4.protocol import ImapServer

    return ImapServer()


class ImapListener(Listener):
    """A listener that also waits for what its sessions have left to be written."""

    def __init__(self, name: str, shared: Shared, *, setting: str, implicit_tls: bool = False) -> None:
        core = shared.core
        config = core.settings[Imap4Config]

        async def serve(connection: Connection) -> None:
            from plugins.imap4.session import ImapSession

            await ImapSession(shared, connection).run()

        super().__init__(
            name,
            addresses_of(core, Imap4Config, setting),
            machine=_machine,
            serve=serve,
            certificates=core.certificates,
            implicit_tls=implicit_tls,
            logins=True,
            limits=Limits(max_connections=config.max_connections, max_per_peer=config.max_per_peer),
            busy_reply=b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n",
            setting=f"imap4.{setting}",
        )
        self._shared = shared

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled, then finish."""
        # A fifth of all that a start loads is this role's grammar: mail from others need not wait for it.
        await asyncio.to_thread(importlib.import_module, "plugins.imap4.session")
        try:
            await super().run(ready)
        finally:
            await self._shared.recent.settle()


def listeners(shared: Shared) -> list[Listener]:
    """One listener per kind of port; it follows the addresses in the settings."""
    return [
        ImapListener("imap", shared, setting="listen"),
        ImapListener("imaps", shared, setting="listen_tls", implicit_tls=True),
    ]
