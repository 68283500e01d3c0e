"""The settings of the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting
from appliance.document import dotted
from appliance.errors import AddressError, Problem
from appliance.mail.address import Address
from appliance.mail.selector import selector_problem, selects

Direction = Literal["incoming", "outgoing", "internal"]
Form = Literal["report", "copy"]
EVERY_DIRECTION: tuple[Direction, ...] = ("incoming", "outgoing", "internal")


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalRule:
    """[[journal.rules]]"""

    to: str = setting("", "Address of the archive: an account here, or one elsewhere.")
    of: tuple[str, ...] = setting(
        (), 'Whose mail: addresses, domains, or subdomains ("*.office.test"); empty is that of everybody.'
    )
    directions: tuple[Direction, ...] = setting(EVERY_DIRECTION, "Which mail of theirs.")
    form: Form = setting(
        "report", "report: the message in a journal report with its envelope; copy: with the envelope in its header."
    )

    def problems(self) -> Iterator[Problem]:
        """Archives that are no address, selectors that are none, and rules that mean nothing."""
        if not self.to:
            yield Problem("to", "must be set.", "Write the address of the archive.")
        else:
            try:
                Address.parse(self.to)
            except AddressError as error:
                yield Problem("to", f"{self.to!r} is no address: {error}.", 'Write it like "archive@office.test".')
        for selector in self.of:
            yield from selector_problem("of", selector)
        if not self.directions:
            yield Problem("directions", "is empty, so nothing would be kept.", "Take it out to keep all mail.")

    def chooses(self, addresses: Sequence[Address]) -> bool:
        """Whether one of these is somebody whose mail is kept."""
        return bool(addresses) and (
            not self.of or any(selects(one, address) for one in self.of for address in addresses)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalConfig:
    """[journal]"""

    rules: tuple[JournalRule, ...] = setting((), "What is kept where; each archive gets a message once.")

    def problems(self) -> Iterator[Problem]:
        """Rules for one archive in two forms."""
        for place, rule in enumerate(self.rules):
            before = [other.form for other in self.rules[:place] if other.to.lower() == rule.to.lower()]
            if before and rule.form not in before:
                text = f"another rule has {before[0]!r} for {rule.to}."
                yield Problem(dotted("rules", place, "form"), text, "Give both the same form.")
