"""Validates a chain (RFC 8617 section 5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from appliance.dns import TemporaryDnsError
from appliance.mail.message import Message
from plugins.spam.arc.protocol_sets import ArcSet, read_sets, seal_input
from plugins.spam.dkim.keys import Names, fetch_key
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dkim.verification import Bodies, verify_signature

Result = Literal["none", "pass", "fail"]


@dataclass(frozen=True, slots=True)
class Chain:
    """What the chain is worth. `sealers` are the domains of its seals, the latest last; `results` those of its sets."""

    result: Result
    why: str = ""
    sealers: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    temporary: bool = False  # it failed for want of DNS

    @property
    def count(self) -> int:
        """Number of sets."""
        return len(self.sealers)


async def validate(message: Message, names: Names, *, now: float | None = None) -> Chain:
    """Validate all seals and the latest message signature. Raises nothing for what mail or DNS hold."""
    try:
        sets = read_sets(message.fields())
    except TagError as error:
        return Chain("fail", str(error))
    if not sets:
        return Chain("none")
    sealers = tuple(one.sealed.domain for one in sets)
    results = tuple(one.sealed_for for one in sets)
    try:
        why = _states(sets) or await _latest(message, sets[-1], names, now) or await _seals(message, sets, names)
    except TemporaryDnsError as error:
        return Chain("fail", str(error), sealers, results, temporary=True)
    return Chain("fail" if why else "pass", why, sealers, results)


def _states(sets: list[ArcSet]) -> str:
    """Step 2 and 3: the latest does not say that it failed; the first says none, all others pass."""
    if sets[-1].sealed.state == "fail":
        return "the latest seal says that the chain had failed"
    for number, one in enumerate(sets):
        wanted = "pass" if number else "none"
        if one.sealed.state != wanted:
            return f"the seal i={number + 1} says cv={one.sealed.state}"
    return ""


async def _latest(message: Message, latest: ArcSet, names: Names, now: float | None) -> str:
    verdict = await verify_signature(message, latest.signature, latest.message, Bodies(message), names, now)
    if verdict.result == "temperror":
        raise TemporaryDnsError(verdict.why)
    return "" if verdict.result == "pass" else f"the latest message signature: {verdict.why}"


async def _seals(message: Message, sets: list[ArcSet], names: Names) -> str:
    for count in range(len(sets), 0, -1):
        seal = sets[count - 1].sealed
        try:
            key = await fetch_key(names, seal.key_name)
        except TagError as error:
            return f"the seal i={count}: {error}"
        right = key.record.kind == seal.algorithm.partition("-")[0]
        if not right or not key.proves(seal.value, seal_input(message.header, sets[:count])):
            return f"the seal i={count} does not fit"
    return ""
