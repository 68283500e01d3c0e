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
from plugins.spam.dmarc import suffixes
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.evaluation import Verdict, evaluate
from plugins.spam.dmarc.protocol_policy import Policy
from plugins.spam.dmarc.reports import Reports
from plugins.spam.dmarc.tally import DISPOSITIONS, Decision, message_key

TIMEOUT_S = 20.0
_ACTIONS: tuple[Action | None, ...] = (None, "junk", "quarantine", "refuse")
_RESULTS = ("pass", "none", "permerror", "temperror", "fail")


class Dmarc:
    """Turns the author's policy into a finding that the judge honours."""

    def __init__(self, core: Core, reports: Reports | None = None) -> None:
        self._core = core
        self._reports = reports

    @hookimpl
    async def authenticate_message(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        phase: Literal["mechanisms", "policy"],
        findings: Sequence[Finding],
    ) -> Sequence[Finding] | None:
        """One finding: of several authors' domains the one that speaks most against the message counts.

        Where readers would not agree who the author is, it is refused as what a domain asks to reject
        (RFC 7489 section 6.6.1): else its reader would see a domain that nobody has asked.
        """
        core = self._core
        if phase != "policy":
            return None
        config = core.settings[DmarcConfig]
        authors = read_authors(message)
        if authors.problem:
            action = None if config.on_reject == "score" else config.on_reject
            text = f"nobody can tell who the author is: {authors.problem}"
            return [Finding("dmarc", "permerror", config.fail_score, text, "dmarc=permerror", action=action)]
        await suffixes.make_ready(config.suffix_list)
        found: list[tuple[Finding, Verdict, Decision]] = []
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        for author in authors.domains:
            try:
                async with asyncio.timeout_at(deadline):
                    verdict = await evaluate(
                        core.resolver,
                        author,
                        findings,
                        lambda domain: suffixes.organization(domain, config.suffix_list),
                    )
            except TimeoutError:
                verdict = Verdict("temperror", author, why=f"no answer within {TIMEOUT_S:g} s")
            decided = _action(verdict, message, findings, config)
            found.append((_finding(verdict, decided, config), verdict, decided))
        finding, verdict, decided = max(found, key=lambda one: _gravity(one[0]))
        if self._reports is not None:
            self._reports.note(session, envelope, findings, verdict, decided, message)
        return [finding]


def _action(verdict: Verdict, message: Message, findings: Sequence[Finding], config: DmarcConfig) -> Decision:
    """What the policy demands here."""
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
    action = None if wanted == "score" else wanted
    if sampled_out:
        return Decision(action, "sampled_out", f"the domain asks that of {record.percent} % only")
    return Decision(action, "" if DISPOSITIONS.get(action) == policy else "local_policy")


def _gravity(finding: Finding) -> tuple[int, int]:
    """How much a finding speaks against the message."""
    return _ACTIONS.index(finding.action), _RESULTS.index(finding.result)


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
