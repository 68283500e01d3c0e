"""One filter's result, and what intake concludes from all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["accept", "junk", "quarantine", "refuse", "defer"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one filter found about one message.

    `result` is the method's own word (pass, fail, none, temperror …), `score` its weight in the judgement (positive
    is bad), `text` a sentence for people, `header` an Authentication-Results clause or empty. `absence` tells what
    follows when the filter could not run: ignore it, or defer the message.
    """

    name: str
    result: str
    score: float = 0.0
    text: str = ""
    header: str = ""
    absence: Literal["ignore", "defer"] = "ignore"
    action: Action | None = None  # a filter that must decide alone (antivirus, attachment policy)
    evidence: str = ""  # the octets, names or numbers that it rests on, for `palomar spam why`
    domain: str = ""  # the domain that a pass proves, for the policy that compares it with the author's


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is done with the message for one recipient, and why."""

    action: Action
    score: float
    reason: str = ""
    header: bytes = b""  # whole lines for the message as this recipient gets it
    demanded: str = ""  # the finding that demanded the action, whatever the score is
    note: str = ""  # for the trace, behind the reason
