"""What a transport answered, held against its contract: exactly one Outcome per recipient. Pure.

Transports are plugins. Whoever has no sound answer was not delivered, for all we know, and is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply

MAX_SHOWN = 100  # characters of an answer that is none
_STATUSES = ("delivered", "deferred", "failed")


def matched(answer: object, recipients: Sequence[Recipient], name: str) -> tuple[list[Outcome], str]:
    """One outcome per recipient, in their order, and what the transport `name` did wrong, or an empty text.

    Sound outcomes count also where others are missing, so that nobody gets a message twice for somebody else's sake.
    """
    if not isinstance(answer, (list, tuple)):
        wrong = f"answered {answer!r:.{MAX_SHOWN}} instead of a list of outcomes"
        return deferred(recipients, Reply(451, "4.3.0", f"the transport {name!r} {wrong}")), wrong
    if len(answer) == len(recipients) and all(
        _is_sound(outcome) and outcome.recipient is recipient
        for outcome, recipient in zip(answer, recipients, strict=True)
    ):
        return list(answer), ""
    given: dict[str, Outcome] = {}
    contradicted = set()
    for outcome in answer:
        if _is_sound(outcome):
            key = outcome.recipient.address.key
            if given.setdefault(key, outcome).status != outcome.status:
                contradicted.add(key)
    reply = Reply(451, "4.3.0", f"the transport {name!r} gave no answer for this recipient")
    keys = [recipient.address.key for recipient in recipients]
    outcomes = [
        given[key] if key in given and key not in contradicted else Outcome(recipient, "deferred", reply)
        for key, recipient in zip(keys, recipients, strict=True)
    ]
    return outcomes, "did not give one sound outcome for every recipient"


def deferred(recipients: Sequence[Recipient], reply: Reply) -> list[Outcome]:
    """The same temporary failure for all."""
    return [Outcome(recipient, "deferred", reply) for recipient in recipients]


def _is_sound(outcome: object) -> bool:
    """An outcome of the right types whose reply does not contradict its status."""
    return (
        isinstance(outcome, Outcome)
        and isinstance(outcome.recipient, Recipient)
        and isinstance(outcome.reply, Reply)
        and isinstance(outcome.peer, str)
        and outcome.status in _STATUSES
        and outcome.reply.positive == (outcome.status == "delivered")
    )
