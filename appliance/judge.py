"""What intake concludes from all findings of one message, where no plugin judges."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.mail.finding import Action, Finding, Judgement

_SEVERITY: dict[Action, int] = {"accept": 0, "junk": 1, "quarantine": 2, "defer": 3, "refuse": 4}

_NOTHING_FOUND = Judgement("accept", 0.0)


def judge(findings: Sequence[Finding]) -> Judgement:
    """The most severe action any finding demands; a filter whose absence defers, defers when it was unavailable."""
    if not findings:
        return _NOTHING_FOUND
    worst: Action = "accept"
    reason = demanded = ""
    for finding in findings:
        action = finding.action or "accept"
        if finding.result == "unavailable" and finding.absence == "defer":
            action = "defer"
        if _SEVERITY[action] > _SEVERITY[worst]:
            worst, demanded = action, finding.name
            reason = f"{finding.name}: {finding.text or finding.result}"
    return Judgement(worst, sum(finding.score for finding in findings), reason, demanded=demanded)
