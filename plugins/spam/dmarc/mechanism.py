"""The hook: the author's policy, after SPF, DKIM and ARC have spoken."""

from __future__ import annotations

import asyncio
import hashlib
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
        found: list[Finding] = []
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        for author in authors.domains:
            try:
                async with asyncio.timeout_at(deadline):
                    verdict = await evaluate(
                        core.resolver, author, findings, lambda domain: organization(domain, config.suffix_list)
                    )
            except TimeoutError:
                verdict = Verdict("temperror", author, why=f"no answer within {TIMEOUT_S:g} s")
            found.append(_finding(verdict, _action(verdict, message, findings, config), config))
        return [max(found, key=_gravity)]


def _action(
    verdict: Verdict, message: Message, findings: Sequence[Finding], config: DmarcConfig
) -> tuple[Action | None, str]:
    """What the policy demands here, and why it is less than the domain asks for, if it is."""
    if verdict.result != "fail" or verdict.policy == "none" or verdict.published is None:
        return None, ""
    record = verdict.published.record
    for one in findings:
        if one.name == "arc" and one.result == "pass" and one.domain and "dmarc=pass" in one.evidence:
            return None, f"{one.domain}, which we trust, had found it to pass"
    if record.testing:
        return None, "the domain only tries its policy out (t=y)"
    policy: Policy = verdict.policy
    if record.percent <= _draw(message):  # section 6.6.4: the others get the next milder policy
        policy = "quarantine" if policy == "reject" else "none"
    wanted = config.on_reject if policy == "reject" else config.on_quarantine if policy == "quarantine" else "score"
    why = "" if policy == verdict.policy else f"the domain asks that of {record.percent} % only"
    return (None if wanted == "score" else wanted), why


def _gravity(finding: Finding) -> tuple[int, int]:
    """How much a finding speaks against the message."""
    return _ACTIONS.index(finding.action), _RESULTS.index(finding.result)


def _draw(message: Message) -> int:
    """0 to 99, the same for one message however often it is tried."""
    key = b"\0".join(message.get(name) or b"" for name in (b"message-id", b"from", b"date", b"subject"))
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % 100


def _finding(verdict: Verdict, decided: tuple[Action | None, str], config: DmarcConfig) -> Finding:
    action, milder = decided
    author, score = verdict.author, 0.0
    if verdict.result == "pass":
        score = config.pass_score
    elif verdict.result == "fail" and not milder.endswith("found it to pass"):
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
    return Finding("dmarc", verdict.result, score, words, header, action=action, domain=author)
