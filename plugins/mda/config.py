"""The settings of local delivery."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import domain_name, setting
from appliance.errors import Problem

SEPARATORS = "+-=_#"


@dataclass(frozen=True, kw_only=True, slots=True)
class MdaConfig:
    """[mda]"""

    separator: str = setting("+", "Starts the detail of a sub-address: ana+lists@ is ana's. Empty switches it off.")
    file_by_detail: bool = setting(False, "File mail for ana+lists@ in her mailbox 'lists' if she has one.")

    shared_domains: tuple[str, ...] = setting(
        (), "Domains of ours with mailboxes on other servers too: recipients that are unknown here are passed on."
    )

    def problems(self) -> Iterator[Problem]:
        """A separator that addresses cannot have, and domains that are none."""
        for name in self.shared_domains:
            yield from domain_name("shared_domains", name)
        if len(self.separator) > 1 or self.separator not in SEPARATORS:
            text = f"must be one of {' '.join(SEPARATORS)} or empty, not {self.separator!r}."
            yield Problem("separator", text, 'The default is "+".')
