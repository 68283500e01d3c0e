"""The hook: adds up what was found and compares it with the recipient's thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.envelope import Recipient
from appliance.mail.finding import Action, Finding, Judgement
from appliance.store import Account
from plugins.spam.judge.config import JudgeConfig, Thresholds
from plugins.spam.judge.protocol_weights import Weights, key_of
from plugins.spam.judge.why import read_rows, weighed

CRLF = "\r\n"
SHOWN = 12  # findings named in X-Spam-Status
_STEPS: tuple[tuple[Action, str], ...] = (
    ("refuse", "refuse_score"), ("quarantine", "quarantine_score"), ("junk", "junk_score"),
)  # fmt: skip
_SEVERITY: dict[Action, int] = {"accept": 0, "junk": 1, "quarantine": 2, "defer": 3, "refuse": 4}


class Judge:
    """One judgement that a person can read."""

    def __init__(self, core: Core, weights: Weights | None = None) -> None:
        self._core = core
        self._weights = weights or Weights()

    @hookimpl
    async def judge_recipient(
        self, recipient: Recipient, account: Account | None, findings: Sequence[Finding]
    ) -> Judgement | None:
        """By score, unless a finding demands something severer alone (a virus) or cannot be done without."""
        config = self._core.settings[JudgeConfig]
        wanted = limits(config, recipient, account)
        found, factors = self._weights.weigh(findings)
        score = sum(finding.score for finding in found)
        action: Action = next((step for step, name in _STEPS if 0 < wanted[name] <= score), "accept")
        reason, demanded_by = (_reason(found), "") if action != "accept" else ("", "")
        for finding in findings:
            demanded = "defer" if finding.result == "unavailable" and finding.absence == "defer" else finding.action
            if demanded is None or demanded == "accept" or _SEVERITY[demanded] < _SEVERITY[action]:
                continue
            demanded_by = finding.name  # also of what the score alone would come to: it is no guess any more
            if demanded != action:
                action, reason = demanded, f"{finding.name}: {finding.text or finding.result}"
        header = _header(found, score, action, wanted)
        return Judgement(action, score, reason, header, demanded=demanded_by, note=weighed(findings, factors))

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """What `palomar spam` asks."""
        return [("spam.why", self._why)]

    async def _why(self, core: Core, *, text: str) -> list[dict[str, Any]]:
        """The findings of the messages that fit: a trace id, or words of the trace (a sender, a Message-ID)."""
        found = await core.trace.find(text)
        return read_rows(await core.trace.ways({row.trace_id for row in found}))


def limits(config: JudgeConfig, recipient: Recipient, account: Account | None) -> dict[str, float]:
    """The scores for one recipient: those of the file, changed by the first rule that names it."""
    wanted = {name: getattr(config, name) for name in ("tag_score", "junk_score", "quarantine_score", "refuse_score")}
    rule = next((one for one in config.rules if _fits(one, recipient, account)), None)
    if rule is not None:
        for name in wanted:
            value = getattr(rule, name)
            wanted[name] = max(0.0, value) if value else wanted[name]
    return wanted


def _fits(rule: Thresholds, recipient: Recipient, account: Account | None) -> bool:
    names = {recipient.address.key, recipient.address.domain}
    if account is not None:
        names |= {account.name, account.name.rpartition("@")[2]}
    return any(one.lower().removeprefix("@") in names for one in rule.recipients)


def _reason(findings: Sequence[Finding]) -> str:
    """The two heaviest findings, in words."""
    heaviest = sorted((one for one in findings if one.score > 0), key=lambda one: -one.score)[:2]
    return "; ".join(one.text or f"{one.name} {one.result}" for one in heaviest)


def _header(findings: Sequence[Finding], score: float, action: Action, wanted: dict[str, float]) -> bytes:
    """X-Spam-Flag and X-Spam-Status as SpamAssassin writes them, since programs file by these."""
    spam = action != "accept" or 0 < wanted["tag_score"] <= score
    weighing = sorted((one for one in findings if one.score), key=lambda one: -abs(one.score))[:SHOWN]
    tests = f",{CRLF}\t".join(f"{key_of(one)}={one.score:.2f}" for one in weighing) or "none"
    status = f"X-Spam-Status: {'Yes' if spam else 'No'}, score={score:.1f} required={wanted['junk_score']:.1f}"
    return f"{'X-Spam-Flag: YES' + CRLF if spam else ''}{status}{CRLF}\ttests={tests}{CRLF}".encode("ascii", "replace")
