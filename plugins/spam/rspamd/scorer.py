"""The hook: strangers' mail is shown to Rspamd, whose word is one finding among others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.daemons import Daemon
from plugins.spam.rspamd.config import RspamdConfig
from plugins.spam.rspamd.protocol_checkv2 import (
    MAX_ANSWER,
    MAX_RECIPIENTS,
    Verdict,
    is_whole,
    read_answer,
    request,
)

NAME = "rspamd"


class Rspamd:
    """Asks, and gives its score the weight that the settings say."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._daemon = Daemon("Rspamd", NAME)

    @hookimpl
    async def score_message(self, session: Session, envelope: Envelope, message: Message) -> Sequence[Finding] | None:
        """One finding; that it could not be asked is one, too."""
        config = self._core.settings[RspamdConfig]
        if not self._core.intake.router.from_outside(session):
            return None
        pieces = request(message, _about(session, envelope))
        told = await self._daemon.ask_about(
            message, config, pieces, most=MAX_ANSWER, is_whole=is_whole, read=read_answer
        )
        return [told if isinstance(told, Finding) else _finding(told, config)]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """That it cannot be asked."""
        return self._daemon.status()


def _about(session: Session, envelope: Envelope) -> Iterator[tuple[str, str]]:
    if session.peer_ip:
        yield "IP", session.peer_ip
    yield "Helo", session.helo
    yield "From", str(envelope.sender or "")
    for recipient in envelope.recipients[:MAX_RECIPIENTS]:
        yield "Rcpt", str(recipient.address)


def _finding(verdict: Verdict, config: RspamdConfig) -> Finding:
    score = round(max(config.min_score, min(config.max_score, verdict.score * config.factor)), 2)
    result = "ham" if verdict.action in ("", "no action", "greylist") else "spam"
    text = f"Rspamd gives it {verdict.score:.1f} of {verdict.required:.1f} points ({verdict.action or 'no action'})"
    return Finding(
        NAME, result, score, text, evidence=", ".join(f"{name} {weight:+.1f}" for name, weight in verdict.symbols)
    )
