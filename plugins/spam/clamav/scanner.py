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
from plugins.spam.protocol_daemon import DaemonError

NAME = "clamav"


class Scanner:
    """Asks clamd; a virus is refused whatever else speaks for the message."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._daemon = Daemon("clamd")

    @hookimpl
    async def score_message(self, message: Message) -> Sequence[Finding] | None:
        """Virus or none; that clamd could not be asked is a finding too."""
        config = self._core.settings[ClamavConfig]
        if message.size > config.max_mib << 20:
            return [Finding(NAME, "unscanned", text=f"the message has more than {config.max_mib} MiB")]
        try:
            answer = await self._daemon.ask(
                config.socket, request(message), seconds=config.timeout, most=MAX_ANSWER, is_whole=is_whole
            )
            name = read_answer(answer)
        except DaemonError as error:
            absence = "defer" if config.on_absence == "defer" else "ignore"
            return [Finding(NAME, "unavailable", text=self._daemon.failed(error), absence=absence)]  # type: ignore[arg-type]
        self._daemon.problem = ""
        if not name:
            return [Finding(NAME, "clean")]
        return [Finding(NAME, "virus", text=f"the message holds {name}", action=config.on_virus, evidence=name)]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """That clamd cannot be asked."""
        return [("ClamAV", self._daemon.problem, "error")] if self._daemon.problem else []
