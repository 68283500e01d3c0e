"""The hook: strangers' mail is shown to SpamAssassin, whose word is one finding among others."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.daemons import Daemon
from plugins.spam.spamd.config import SpamdConfig
from plugins.spam.spamd.protocol_spamc import MAX_ANSWER, Verdict, is_whole, read_answer, request

NAME = "spamd"


class Spamd:
    """Asks, and gives its score the weight that the settings say."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._daemon = Daemon("SpamAssassin", NAME)

    @hookimpl
    async def score_message(self, session: Session, message: Message) -> Sequence[Finding] | None:
        """One finding; that it could not be asked is one, too."""
        config = self._core.settings[SpamdConfig]
        if not self._core.intake.router.from_outside(session):
            return None
        pieces = request(message, config.user)
        told = await self._daemon.ask_about(
            message, config, pieces, most=MAX_ANSWER, is_whole=is_whole, read=read_answer
        )
        return [told if isinstance(told, Finding) else _finding(told, config)]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """That it cannot be asked."""
        return self._daemon.status()


def _finding(verdict: Verdict, config: SpamdConfig) -> Finding:
    score = round(max(config.min_score, min(config.max_score, verdict.score * config.factor)), 2)
    text = f"SpamAssassin gives it {verdict.score:.1f} of {verdict.required:.1f} points"
    return Finding(NAME, "spam" if verdict.is_spam else "ham", score, text, evidence=", ".join(verdict.symbols))
