"""The hook: one finding for each rule that fits, with what it rests on."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.heuristics.config import HeuristicsConfig
from plugins.spam.heuristics.protocol_facts import facts_of
from plugins.spam.heuristics.protocol_rules import RULES, hits

SCORES = Path(__file__).with_name("scores.toml")
MAX_EVIDENCE = 80  # characters
LARGE = 256 * 1024  # octets of a text whose parts take time to find


class Heuristics:
    """Asks every rule about a stranger's message."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._scores = scores()

    @hookimpl
    async def score_message(self, session: Session, message: Message) -> Sequence[Finding] | None:
        """What the rules find. Takes less than a millisecond for ordinary mail, and is bounded for all other."""
        if not self._core.intake.router.from_outside(session):
            return None
        asked = (message, self._core.now(), self._scores, self._core.settings[HeuristicsConfig])
        return await asyncio.to_thread(findings, *asked) if len(message.text) > LARGE else findings(*asked)


def findings(message: Message, at: float, weights: dict[str, float], config: HeuristicsConfig) -> list[Finding]:
    """One finding for each rule that weighs and fits, up to `most` together. The message came `at` epoch seconds."""
    left_out = {*config.off, *(name for name, score in weights.items() if not score)}
    found = [
        (weights[rule.name] * config.factor, rule, evidence) for rule, evidence in hits(facts_of(message, at), left_out)
    ]
    made, left = [], config.most
    for score, rule, evidence in sorted(found, key=lambda one: (-one[0], one[1].name)):
        given = min(score, left)
        left -= given
        made.append(Finding("heuristics", rule.name, round(given, 2), rule.text, evidence=evidence[:MAX_EVIDENCE]))
    return made


@cache
def scores() -> dict[str, float]:
    """The score of each rule: as fitted, else the weight that the rule states."""
    fitted = tomllib.loads(SCORES.read_text())
    return {rule.name: float(fitted.get(rule.name, rule.weight)) for rule in RULES}
