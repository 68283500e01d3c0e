"""The hook: every message from outside, and what our own people send, is shown to clamd."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.clamav.config import ClamavConfig
from plugins.spam.clamav.protocol_clamd import MAX_ANSWER, is_whole, read_answer, request
from plugins.spam.daemons import Daemon

NAME = "clamav"


class Scanner:
    """Asks clamd; a virus is refused whatever else speaks for the message."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._daemon = Daemon("ClamAV", NAME)

    @hookimpl
    async def score_message(self, message: Message) -> Sequence[Finding] | None:
        """Virus or none; that clamd could not be asked is a finding too."""
        config = self._core.settings[ClamavConfig]
        told = await self._daemon.ask_about(
            message, config, request(message), most=MAX_ANSWER, is_whole=is_whole, read=read_answer
        )
        if isinstance(told, Finding):
            return [told]
        if not told:
            return [Finding(NAME, "clean")]
        return [Finding(NAME, "virus", text=f"the message holds {told}", action=config.on_virus, evidence=told)]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """That clamd cannot be asked."""
        return self._daemon.status()
