"""The hook: strangers' mail is shown to SpamAssassin, whose word is one finding among others."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.daemons import Daemon
from plugins.spam.protocol_daemon import DaemonError
from plugins.spam.spamd.config import SpamdConfig
from plugins.spam.spamd.protocol_spamc import MAX_ANSWER, Verdict, is_whole, read_answer, request

NAME = "spamd"


class Spamd:
    """Asks, and gives its score the weight that the settings say."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._daemon = Daemon("SpamAssassin")

    @hookimpl
    async def score_message(self, session: Session, message: Message) -> Sequence[Finding] | None:
        """One finding; that it could not be asked is one, too."""
        config = self._core.settings[SpamdConfig]
        if not self._core.intake.router.from_outside(session):
            return None
        if message.size > config.max_mib << 20:
            return [Finding(NAME, "unscanned", text=f"the message has more than {config.max_mib} MiB")]
        pieces = request(message, config.user)
        try:
            answer = await self._daemon.ask(
                config.socket, pieces, seconds=config.timeout, most=MAX_ANSWER, is_whole=is_whole
            )
            verdict = read_answer(answer)
        except DaemonError as error:
            absence = "defer" if config.on_absence == "defer" else "ignore"
            return [Finding(NAME, "unavailable", text=self._daemon.failed(error), absence=absence)]  # type: ignore[arg-type]
        self._daemon.problem = ""
        return [_finding(verdict, config)]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """That it cannot be asked."""
        return [("SpamAssassin", self._daemon.problem, "error")] if self._daemon.problem else []


def _finding(verdict: Verdict, config: SpamdConfig) -> Finding:
    score = round(max(config.min_score, min(config.max_score, verdict.score * config.factor)), 2)
    text = f"SpamAssassin gives it {verdict.score:.1f} of {verdict.required:.1f} points"
    return Finding(NAME, "spam" if verdict.is_spam else "ham", score, text, evidence=", ".join(verdict.symbols))
