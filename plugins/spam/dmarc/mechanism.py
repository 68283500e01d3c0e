"""The hook: the author's policy, after SPF, DKIM and ARC have spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.authors import read_authors
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Action, Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.evaluation import Verdict, evaluate
from plugins.spam.dmarc.protocol_policy import Policy
from plugins.spam.dmarc.suffixes import organization
from plugins.spam.dmarc.tally import DISPOSITIONS, Decision, message_key

TIMEOUT_S = 20.0
_ACTIONS: tuple[Action | None, ...] = (None, "junk", "quarantine", "refuse")
_RESULTS = ("pass", "none", "permerror", "temperror", "fail")


class Dmarc:
    """Turns the author's policy into a finding that the judge honours."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def authenticate_message(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        phase: Literal["mechanisms", "policy"],
        findings: Sequence[Finding],
    ) -> Sequence[Finding] | None:
        """One finding. A message without one author's domain cannot be judged, and says so."""
        core = self._core
        if phase != "policy":
            return None
        config = core.settings[DmarcConfig]
        author = author_domain(message)
        if not author:
            text = "The message has no author, or authors of several domains"
            return [Finding("dmarc", "permerror", config.none_score, text, "dmarc=permerror")]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                verdict = await evaluate(
                    core.resolver, author, findings, lambda domain: organization(domain, config.suffix_list)
                )
        except TimeoutError:
            verdict = Verdict("temperror", author, why=f"no answer within {TIMEOUT_S:g} s")
        return [_finding(verdict, _action(verdict, message, findings, config), config)]


def _action(
    verdict: Verdict, message: Message, findings: Sequence[Finding], config: DmarcConfig
) -> tuple[Action | None, str]:
    """What the policy demands here, and why it is less than the domain asks for, if it is."""
    if verdict.result != "fail" or verdict.policy == "none" or verdict.published is None:
        return Decision()
    record = verdict.published.record
    for one in findings:
        if one.name == "arc" and one.result == "pass" and one.domain and "dmarc=pass" in one.evidence:
            return Decision(None, "trusted_forwarder", f"{one.domain}, which we trust, had found it to pass")
    if record.testing:
        return Decision(None, "policy_test_mode", "the domain only tries its policy out (t=y)")
    policy: Policy = verdict.policy
    sampled_out = record.percent <= _draw(message)
    if sampled_out:  # section 6.6.4: the others get the next milder policy
        policy = "quarantine" if policy == "reject" else "none"
    wanted = config.on_reject if policy == "reject" else config.on_quarantine if policy == "quarantine" else "score"
    why = "" if policy == verdict.policy else f"the domain asks that of {record.percent} % only"
    return (None if wanted == "score" else wanted), why


def _draw(message: Message) -> int:
    """0 to 99, the same for one message however often it is tried."""
    return int.from_bytes(message_key(message)[:4], "big") % 100


def _finding(verdict: Verdict, decided: Decision, config: DmarcConfig) -> Finding:
    action, _, milder = decided
    author, score = verdict.author, 0.0
    if verdict.result == "pass":
        score = config.pass_score
    elif verdict.result == "fail" and decided.reason != "trusted_forwarder":
        score = config.none_score if verdict.policy == "none" else config.fail_score
    words = {
        "none": f"{author} has no policy about mail in its name",
        "pass": f"the message is really from {author} ({verdict.by})",
        "fail": f"the message claims to be from {author}, which did not send it",
        "temperror": f"the policy of {author} could not be checked: {verdict.why}",
        "permerror": f"the policy of {author} breaks the rules: {verdict.why}",
    }[verdict.result]
    if milder:
        words += f"; {milder}"
    asked = f" (p={verdict.policy} dis={action or 'none'})" if verdict.result == "fail" else ""
    header = f"dmarc={verdict.result}{asked} header.from={author}"
    record = verdict.published.record if verdict.published is not None else None
    evidence = f"p={record.policy} sp={record.subdomain_policy} pct={record.percent}" if record is not None else ""
    return Finding("dmarc", verdict.result, score, words, header, action=action, evidence=evidence, domain=author)
