"""The settings of sender rewriting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import domain_name, setting, within
from appliance.errors import Problem
from appliance.mail.address import Address
from appliance.mail.selector import selector_problem, selects


@dataclass(frozen=True, kw_only=True, slots=True)
class SrsConfig:
    """[srs]"""

    domain: str = setting(
        "", "Domain of the return addresses; its mail must come here. Empty takes the first of domains, or hostname."
    )
    exclude: tuple[str, ...] = setting(
        (), 'Senders that stay, as their SPF records name us: addresses, domains, or subdomains ("*.office.test").'
    )
    max_age_days: int = setting(21, "Days for which bounces are led back to the sender.")
    rotate_days: int = setting(90, "Days after which a new key is made; what the old one made stays good.")
    hash_length: int = setting(6, "Characters of the hash; 4 is what libsrs2 and postsrsd use.")

    def problems(self) -> Iterator[Problem]:
        """Domains that are none, and numbers out of bounds."""
        if self.domain:
            yield from domain_name("domain", self.domain)
        for name in self.exclude:
            yield from selector_problem("exclude", name)
        yield from within(self, 1, 365, "max_age_days", unit="days")
        yield from within(self, 1, 3650, "rotate_days", unit="days")
        yield from within(self, 4, 20, "hash_length")

    def excludes(self, sender: Address) -> bool:
        """Whether mail of this sender leaves with its own return address."""
        return any(selects(selector, sender) for selector in self.exclude)
