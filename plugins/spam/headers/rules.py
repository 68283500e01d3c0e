"""The hook: looks for the rules' patterns in header fields, within limits of size and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from appliance.mail.text import decode_words
from plugins.spam.headers.config import HeadersConfig, Rule
from plugins.spam.headers.patterns import Pattern, compiled

NAME = "headers"
MAX_VALUE = 8192  # octets of one field that are looked at
MAX_SAME = 100  # fields of one name
MAX_SHOWN = 80  # characters of what was found
AT_ONCE = 64 << 10  # octets that rules look at on the event loop; what is more goes to a thread

Compiled = Sequence[tuple[Rule, Pattern]]


class Headers:
    """Asks every rule of every message that comes from outside."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._config: HeadersConfig | None = None
        self._rules: Compiled = ()

    @hookimpl
    async def score_message(self, session: Session, message: Message) -> Sequence[Finding] | None:
        """A finding for each rule that applies."""
        config = self._core.settings[HeadersConfig]
        if not config.rules or not self._core.intake.router.from_outside(session):
            return None
        if config is not self._config:
            self._rules = [(rule, compiled(rule.pattern, any_case=rule.any_case)) for rule in config.rules]
            self._config = config
        if len(message.header) * len(self._rules) > AT_ONCE:
            return await asyncio.to_thread(apply, self._rules, message, config)
        return apply(self._rules, message, config)


def apply(
    rules: Compiled, message: Message, config: HeadersConfig, clock: Callable[[], float] = time.monotonic
) -> list[Finding]:
    """What the rules say. At a limit the finding says that the rest was not looked at, and mail goes on."""
    fields: dict[bytes, list[str]] = {}
    found: list[Finding] = []
    left, end = config.max_octets, clock() + config.max_seconds
    for number, (rule, pattern) in enumerate(rules):
        name = rule.header.lower().encode()
        if name not in fields:
            fields[name] = [_text(value) for value in message.get_all(name)[:MAX_SAME]]
        values = fields[name]
        left -= sum(map(len, values))
        if left < 0 or clock() > end:
            text = (
                f"{len(rules) - number} of {len(rules)} rules were left out: the header is too large, or it took long"
            )
            return [*found, Finding(NAME, "unavailable", text=text)]
        match = next((match for value in values if (match := pattern.search(value)) is not None), None)
        if (match is None) is rule.missing:
            seen = "" if match is None else f"{rule.header}: {match.group(0)[:MAX_SHOWN]}"
            text = rule.reason or f"a rule of the administrator applies: {rule.name}"
            found.append(Finding(NAME, rule.name, rule.score, text, action=rule.action or None, evidence=seen))
    return found


def _text(value: bytes) -> str:
    """A field as a person reads it, without what is no text."""
    return decode_words(value[:MAX_VALUE]).encode("utf-8", "replace").decode("utf-8", "replace")
